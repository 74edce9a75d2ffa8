"""Who moves the traffic is away for a minute: users notice nothing, and nothing moves."""

from __future__ import annotations

from collections.abc import Callable

from e2e.harness.kubectl import Object, condition
from e2e.stories.door import Door
from e2e.stories.played_gateway import PlayedGateway
from e2e.stories.world import Story, reason_of, steps_of

A_MINUTE = 60.0


def test_the_api_server_is_away_from_the_operator_for_a_minute(
    story: Story, own_operator: Door
) -> None:
    """The operator is this story's own, and has the API server through a door alone.

    The API server itself goes on for everybody else, so that the story can look on.
    """
    story.a_version("sft")
    story.a_version("v1")
    story.a_policy()
    story.a_model("sft", steps=[{"weight": 30, "hold": "10s"}, {"weight": 60, "hold": "3s"}])
    story.commit("v1")
    story.until_weight("v1", 30)
    story.until_answers("both arms answer", lambda found: len(found.shares()) == 2)

    own_operator.shut()
    story.throughout(3, "the weight stays", _is_at(30))
    lease = story.kubectl.get("lease", "rlhf-operator")
    story.throughout(A_MINUTE, "the weight stays", _is_at(30))
    assert story.routed() == {"sft": 70, "v1": 30}
    # Nothing went through the door, or the operator would have renewed its lease every second.
    assert story.kubectl.get("lease", "rlhf-operator") == lease
    story.nobody_was_turned_away()

    own_operator.open()
    story.until_stable("v1")
    assert steps_of(story.history[-1]) == [0, 30, 60]
    assert story.told() == [("Initial", "sft", "Promoted"), ("Rollout", "v1", "Promoted")]
    story.until("Ready", lambda model: story.ready(model, "True"))
    story.every_answer_comes_from("v1")
    story.nobody_was_turned_away()


def test_a_gateway_controller_does_not_answer_for_a_minute(story: Story) -> None:
    """The route has two gateways. Users come through the one that is real.

    The controller of the other is played by the story, which writes into the route's status what
    a controller writes there, and for a minute writes nothing. So what is real is all that the
    operator reads and does; that a proxy lags behind is not shown here.
    """
    beside = story.stack.enter_context(PlayedGateway(story.kubectl))
    story.a_version("sft")
    story.a_version("v1")
    story.a_policy()
    story.a_model(
        "sft",
        steps=[{"weight": 30, "hold": "4s"}, {"weight": 60, "hold": "4s"}],
        traffic={"parentRefs": [story.gateway, {"name": beside.name}]},
    )
    story.commit("v1")
    story.until_weight("v1", 30)
    story.until("30% is in force", lambda _: "inForceAt" in _last_step(story))

    beside.go_away()
    story.until_weight("v1", 60)
    waiting = story.until("the silence", lambda model: reason_of(model) == "WeightNotInForce")
    assert "gateway beside has not looked" in condition(waiting, "Reconciling")["message"]
    story.throughout(
        A_MINUTE,
        "the run waits for the gateway",
        lambda model: reason_of(model) == "WeightNotInForce" and model["status"]["weight"] == 60,
    )
    assert "inForceAt" not in _last_step(story)

    beside.come_back()
    story.until_stable("v1")
    assert steps_of(story.history[-1]) == [0, 30, 60]
    assert story.told()[-1] == ("Rollout", "v1", "Promoted")
    story.nobody_was_turned_away()


def _is_at(weight: int) -> Callable[[Object], bool]:
    return lambda model: bool(model["status"]["weight"] == weight)


def _last_step(story: Story) -> Object:
    found: Object = story.history[-1]["status"]["steps"][-1]
    return found
