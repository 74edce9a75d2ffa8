"""Shadows, switches and tests from a commit to the end, on a cluster in memory."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf_operator.api.evidence import Verdict
from rlhf_operator.api.rollout import Outcome
from rlhf_operator.api.strategies import TEST_POLICY
from tests.reconcile import invariants
from tests.reconcile.stage import KEY, MINUTE, POLICY, Stage

SHADOW = {"strategy": "Shadow", "shadow": {"percent": 10, "hold": "2m"}}
SWITCH = {"strategy": "BlueGreen", "blueGreen": {"hold": "2m"}, "surge": "Full"}
TEST = {
    "strategy": "ABTest",
    "abTest": {
        "weight": 50, "minimum": "2m", "duration": "10m",
        "primary": {"name": "thumbs", "indicator": {"type": "ThumbsDownRate"}},
    },
}  # fmt: skip


def by(rollout: dict[str, Any], **changes: Any) -> Stage:
    stage = Stage()
    stage.edit(rollout={"coolDown": "1m"} | rollout, **changes)
    return stage


def route(stage: Stage) -> Any:
    return stage.world.store.get("HTTPRoute", KEY.namespace, KEY.name)


def test_a_shadow_gets_copies_and_no_user_until_it_is_promoted() -> None:
    stage = by(SHADOW)
    stage.run(MINUTE)
    assert stage.weights == {"sft": 100}
    assert invariants.copies(route(stage)) == {("v1", 10)}
    assert (stage.status["weight"], stage.status["copied"]) == (0, 10)
    assert stage.pods == {"sft": 2, "v1": 1}
    stage.run(5 * MINUTE)
    assert stage.weights == {"v1": 100}
    assert invariants.copies(route(stage)) == set()
    assert stage.runs[-1].status.outcome is Outcome.PROMOTED


def test_a_shadow_that_cannot_be_seen_is_parked_without_copies() -> None:
    stage = by(SHADOW | {"maxBlind": "1m"})
    stage.script = lambda *_: Verdict.ERROR
    stage.run(MINUTE / 2)
    assert invariants.copies(route(stage)) == {("v1", 10)}
    stage.run(3 * MINUTE)
    assert stage.runs[-1].status.phase == "Parked"
    assert invariants.copies(route(stage)) == set()


def test_a_switch_moves_everything_and_keeps_the_way_back() -> None:
    stage = by(SWITCH)
    stage.run(MINUTE)
    assert stage.weights == {"v1": 100}
    assert stage.pods == {"sft": 2, "v1": 2}
    assert stage.status["weight"] == 100
    stage.script = lambda name, _: Verdict.FAILED if name == "v1" else Verdict.SUCCESSFUL
    stage._pass()
    assert stage.weights == {"sft": 100}, "in the very pass that sees it"
    stage.run()
    assert stage.pods == {"sft": 2}
    assert stage.runs[-1].status.quarantine is not None


def test_a_switch_that_passed_is_promoted_and_stable_goes() -> None:
    stage = by(SWITCH, standby={"replicas": 0})
    stage.run()
    assert stage.runs[-1].status.outcome is Outcome.PROMOTED
    assert stage.weights == {"v1": 100}
    assert stage.pods == {"sft": 1, "v1": 2}, "the floor keeps one"


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        pytest.param(Verdict.FAILED, "LostABTest", id="lost"),
        pytest.param(Verdict.INCONCLUSIVE, "NoDifference", id="no difference"),
    ],
)
def test_a_test_that_was_not_won_is_not_tried_again_by_itself(
    verdict: Verdict, reason: str
) -> None:
    stage = by(TEST)
    stage.slos.primary = verdict
    stage.run(20 * MINUTE)
    status = stage.runs[-1].status
    assert (status.outcome, status.reason, status.quarantine) == (
        Outcome.ROLLED_BACK, reason, None,
    )  # fmt: skip
    assert stage.weights == {"sft": 100}
    assert stage.status["stable"]["name"] == "sft"
    assert stage.condition("Stalled") == ("True", "RolledBack")
    before = len(stage.runs)
    stage.run(20 * MINUTE)
    assert len(stage.runs) == before
    stage.slos.primary = Verdict.SUCCESSFUL
    stage.say("Retry")
    stage.run(20 * MINUTE)
    assert len(stage.runs) == before + 1
    assert stage.weights == {"v1": 100}


def test_the_result_of_a_test_is_on_record() -> None:
    stage = by(TEST)
    stage.slos.primary = Verdict.SUCCESSFUL
    stage.run(20 * MINUTE)
    status = stage.runs[-1].status
    assert status.outcome is Outcome.PROMOTED
    recorded = {(each.policy, each.name): each.verdict for each in status.steps[-1].slos}
    assert recorded["ab-test", "thumbs"] is Verdict.SUCCESSFUL
    assert "v1 is better: thumbs" in (status.message or "")


def test_clients_keep_their_arm_through_a_test_and_lose_it_at_its_end() -> None:
    traffic = Stage().model["spec"]["traffic"] | {"stickiness": {"mode": "Arm"}}
    stage = by(TEST, traffic=traffic)
    stage.run(2 * MINUTE)
    *arms, _ = route(stage)["spec"]["rules"]
    kept = {rule["backendRefs"][0]["name"]: rule["matches"][0]["headers"] for rule in arms}
    assert kept.keys() == {"sft-serving", "v1-serving"}
    stage.slos.primary = Verdict.FAILED
    stage.run()
    assert len(route(stage)["spec"]["rules"]) == 1, "and nobody is kept on what lost"


def test_a_switch_with_approval_waits_before_it_moves_anything() -> None:
    plan = SWITCH["blueGreen"] | {"approval": {"gate": "Enter"}}  # type: ignore[operator]
    stage = by(SWITCH | {"blueGreen": plan})
    stage.run(5 * MINUTE)
    assert stage.weights == {"sft": 100}
    assert stage.pods == {"sft": 2, "v1": 2}
    assert stage.condition("Ready") == ("False", "AwaitingApproval")
    stage.say("Approve", identity=stage.identity("v1"))
    stage.run(MINUTE)
    assert stage.weights == {"v1": 100}


@pytest.mark.parametrize(
    ("rollout", "changes", "reason"),
    [
        pytest.param(SHADOW, {"traffic": {"router": "Service"}}, "CannotMirror",
                     id="a shadow where nothing can copy"),
        pytest.param(SHADOW | {"shadow": {"percent": 60, "hold": "1m"}}, {}, "SurgeTooSmall",
                     id="a shadow with too few pods"),
        pytest.param(TEST, {"policies": [{"name": TEST_POLICY}]}, "SpecInvalid",
                     id="a test beside a policy of its name"),
        pytest.param(SHADOW, {"policies": [{"name": "votes"}]}, "SpecInvalid",
                     id="a shadow that votes would judge"),
    ],
)  # fmt: skip
def test_what_cannot_be_carried_out_is_refused(
    rollout: dict[str, Any], changes: dict[str, Any], reason: str
) -> None:
    stage = Stage()
    stage.put(POLICY | {"metadata": POLICY["metadata"] | {"name": TEST_POLICY}})  # type: ignore[operator]
    votes = {"name": "votes", "class": "Quality", "indicator": {"type": "ThumbsDownRate"}}
    stage.put(POLICY | {
        "metadata": POLICY["metadata"] | {"name": "votes"},  # type: ignore[operator]
        "spec": {"slos": [votes | {"max": "0.1"}]},
    })  # fmt: skip
    stage.edit(version="sft")
    stage.run()
    stage.edit(version="v1", rollout=rollout, **changes)
    stage.run()
    assert stage.condition("Stalled") == ("True", reason)
    assert stage.runs[-1].spec.to.name == "sft"
