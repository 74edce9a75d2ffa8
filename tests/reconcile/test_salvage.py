"""A spec that a newer operator's kinds let in: what runs goes on, and traffic can always flee."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from rlhf_operator.api.evidence import Verdict
from rlhf_operator.api.rollout import Outcome
from rlhf_operator.reconcile import salvage
from tests.reconcile.stage import KEY, MINUTE, Stage, model

TOMORROW: dict[str, Any] = {"ofTomorrow": {"a": 1}}


def at_first_weight() -> Stage:
    """A run of v1 that holds at its first weight."""
    stage = Stage(script=lambda *_: Verdict.INCONCLUSIVE)
    stage.run(2 * MINUTE)
    assert stage.weights == {"sft": 90, "v1": 10}
    return stage


def v1_is_unsafe(stage: Stage) -> None:
    stage.script = lambda name, _: Verdict.FAILED if name == "v1" else Verdict.SUCCESSFUL


@pytest.mark.parametrize(
    ("changes", "is_understood"),
    [
        pytest.param({}, True, id="a spec of today"),
        pytest.param(TOMORROW, True, id="a field that is not known"),
        pytest.param({"serving": {"replicas": 2, "ofTomorrow": 1}}, True, id="one further in"),
        pytest.param({"policies": [{"name": "safe", "x": 1}, {"name": "b", "y": 2}]}, True,
                     id="several, in a list"),
        pytest.param({"fallback": "nonsense"}, False, id="a field of another type"),
        pytest.param({"fallback": {}} | TOMORROW, False, id="a field that is missing"),
    ],
)  # fmt: skip
def test_what_is_understood(changes: dict[str, Any], is_understood: bool) -> None:
    raw = model(**changes)
    assert (salvage.model_spec(raw) is not None) is is_understood
    assert salvage.traffic(raw) is not None


@pytest.mark.parametrize("traffic", [7, {"router": "OfTomorrow"}, {"hostnames": 7}])
def test_a_route_that_is_not_understood_is_none(traffic: Any) -> None:
    assert salvage.traffic(model(traffic=traffic)) is None


def test_a_run_goes_on_by_its_pinned_plan_while_a_field_is_not_known() -> None:
    stage = at_first_weight()
    stage.edit(version="v2", **TOMORROW)
    stage.script = lambda *_: Verdict.SUCCESSFUL
    stage.run()
    assert stage.weights == {"v1": 100} and stage.pods == {"sft": 1, "v1": 2}
    assert stage.condition("Stalled") == ("True", "SpecInvalid"), "and nothing new starts"


def test_what_turns_unsafe_is_left_while_a_field_is_not_known() -> None:
    stage = Stage()
    stage.run()
    stage.edit(**TOMORROW)
    v1_is_unsafe(stage)
    stage.run()
    assert stage.weights == {"sft": 100} and stage.pods["sft"] == 2


def test_no_pod_is_rendered_from_half_a_spec() -> None:
    stage = Stage()
    stage.run()
    before = {raw["metadata"]["name"] for raw in stage.world.store.of_model("ConfigMap", KEY)}
    stage.edit(guard={"ofTomorrow": 1})
    stage.say("Restart")
    stage.run()
    said = stage.world.store.get("RLHFDecision", KEY.namespace, "say")
    assert said is not None and said["status"]["phase"] == "NotApplicable"
    assert {
        raw["metadata"]["name"] for raw in stage.world.store.of_model("ConfigMap", KEY)
    } == before


def test_by_a_spec_that_cannot_be_read_nothing_is_raised() -> None:
    stage = at_first_weight()
    stage.edit(fallback="nonsense")
    stage.script = lambda *_: Verdict.SUCCESSFUL
    stage.run()
    assert stage.weights == {"sft": 90, "v1": 10}
    assert stage.runs[-1].status.reason == "SpecInvalid"
    stage.edit(fallback={"version": "sft"})
    stage.run()
    assert stage.weights == {"v1": 100}


def test_an_unsafe_canary_loses_its_traffic_under_a_spec_that_cannot_be_read() -> None:
    stage = at_first_weight()
    stage.edit(fallback="nonsense")
    v1_is_unsafe(stage)
    stage.run()
    assert stage.weights == {"sft": 100}
    last = stage.runs[-1].status
    assert last.outcome is Outcome.ROLLED_BACK and last.quarantine is not None
    stage.edit(fallback={"version": "sft"})
    stage.run()
    assert stage.pods == {"sft": 2}, "its pods go when it is known how many there should be"


def test_a_person_can_end_a_run_under_a_spec_that_cannot_be_read() -> None:
    stage = at_first_weight()
    stage.edit(fallback="nonsense")
    stage.say("RollBackTo", version="sft")
    stage.run()
    assert stage.weights == {"sft": 100} and stage.runs[-1].status.outcome is Outcome.ABORTED


def test_a_blind_canary_is_parked_under_a_spec_that_cannot_be_read() -> None:
    stage = at_first_weight()
    stage.edit(fallback="nonsense")
    stage.script = lambda *_: Verdict.ERROR
    stage.run(40 * MINUTE)
    assert stage.weights == {"sft": 100} and stage.runs[-1].status.phase == "Parked"


def unreadable(stage: Stage) -> None:
    """A commit whose spec nobody can read: neither the floor nor the policies."""
    stage.edit(fallback="nonsense", policies=7)


def test_what_turns_unsafe_is_left_under_a_spec_that_cannot_be_read() -> None:
    stage = Stage()
    stage.run()
    unreadable(stage)
    v1_is_unsafe(stage)
    stage.run()
    assert stage.weights == {"sft": 100} and stage.pods == {"sft": 2, "v1": 2}
    assert stage.condition("Stalled") == ("True", "SpecInvalid")
    last = stage.runs[-1]
    assert last.spec.type == "Fallback" and last.spec.policies[0].name == "safe"
    assert last.status.quarantine is not None and last.is_settled
    stage.edit(fallback={"version": "sft"}, policies=[{"name": "safe"}])
    stage.run()
    assert stage.weights == {"sft": 100} and stage.pods == {"sft": 2}
    assert stage.condition("Stalled") == ("True", "Quarantined")


def test_an_unsafe_stable_is_left_in_the_middle_of_a_run_whose_spec_cannot_be_read() -> None:
    stage = Stage()
    stage.run()
    stage.edit(version="v2")
    stage.run(MINUTE)
    assert stage.runs[-1].is_active and stage.weights["v2"] > 0
    unreadable(stage)
    v1_is_unsafe(stage)
    stage.run()
    assert stage.weights == {"sft": 100}


def test_the_floor_that_the_spec_named_last_is_fled_to() -> None:
    stage = Stage()
    stage.edit(standby={"keep": "1m"})
    stage.run()
    stage.edit(fallback={"version": "v2"})
    stage.run()
    unreadable(stage)
    v1_is_unsafe(stage)
    stage.run()
    assert stage.weights == {"v2": 100}


def test_a_floor_without_pods_is_brought_up_from_its_pin() -> None:
    stage = Stage()
    stage.edit(fallback={"version": "sft", "replicas": 0}, standby={"keep": "1m"})
    stage.run()
    assert stage.pods == {"sft": 0, "v1": 2}
    unreadable(stage)
    v1_is_unsafe(stage)
    stage.run()
    assert stage.weights == {"sft": 100} and stage.pods["sft"] == 2


def test_a_policy_that_is_gone_too_is_judged_as_it_was_pinned() -> None:
    stage = Stage()
    stage.run()
    unreadable(stage)
    stage.world.store.drop("AlignmentPolicy", KEY.namespace, "safe")
    v1_is_unsafe(stage)
    stage.run()
    assert stage.weights == {"sft": 100}


def test_a_person_can_go_back_under_a_spec_that_cannot_be_read() -> None:
    stage = Stage()
    stage.run()
    unreadable(stage)
    stage.say("RollBackTo", version="sft")
    stage.say("RollBackTo", name="never ran", version="v2")
    stage.run()
    assert stage.weights == {"sft": 100}
    said = stage.world.store.get("RLHFDecision", KEY.namespace, "never ran")
    assert said is not None and said["status"]["phase"] == "NotApplicable"


def test_a_canary_is_parked_whose_weight_never_comes_in_force_and_is_not_judged() -> None:
    stage = Stage()
    stage.edit(
        rollout=stage.model["spec"]["rollout"] | {"maxBlind": "2m", "surge": "Full"},
        serving={"replicas": 4},
    )
    stage.run(40 * timedelta(seconds=1))
    while stage.runs[-1].status.weight == 10:
        stage._pass()
        stage.now += timedelta(seconds=1)
    assert stage.weights == {"sft": 75, "v1": 25}, "more when there are more pods"
    stage.edit(fallback="nonsense")
    v1_is_unsafe(stage)
    stage.run(6 * MINUTE)
    assert stage.weights == {"sft": 75, "v1": 25}, "within readyTimeout and maxBlind"
    stage.run(2 * MINUTE)
    assert stage.weights == {"sft": 100}
    assert (stage.runs[-1].status.phase, stage.runs[-1].status.outcome) == ("Parked", None)
