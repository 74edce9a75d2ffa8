"""Tests of several versions at once, from a commit to the end, on a cluster in memory."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf_operator.api.evidence import Verdict
from rlhf_operator.api.rollout import Outcome
from tests.reconcile.stage import KEY, MINUTE, Stage, identity_of, version

WON, LOST, OPEN = Verdict.SUCCESSFUL, Verdict.FAILED, Verdict.INCONCLUSIVE
TEST: dict[str, Any] = {
    "strategy": "ABTest", "coolDown": "1m", "readyTimeout": "5m",
    "abTest": {
        "weight": 20, "others": [{"version": "v2", "weight": 30}, {"version": "v3", "weight": 10}],
        "minimum": "2m", "duration": "10m",
        "primary": {"name": "thumbs", "indicator": {"type": "ThumbsDownRate"}},
    },
}  # fmt: skip


def trial(said: dict[str, tuple[Verdict, str]] | None = None, **changes: Any) -> Stage:
    """A test of v1, v2 and v3 against sft, and what the primary says of each."""
    stage = Stage()
    stage.put(version("v3", "3"))
    stage.edit(**{"rollout": TEST, "serving": {"replicas": 4}} | changes)
    stage.slos.primaries = said or {}
    return stage


def unsafe(*names: str) -> Any:
    return lambda name, _: Verdict.FAILED if name in names else Verdict.SUCCESSFUL


def states(stage: Stage) -> dict[str, tuple[str, str | None]]:
    return {arm.version: (arm.state, arm.reason) for arm in stage.runs[-1].status.arms}


def test_every_version_gets_its_own_weight() -> None:
    stage = trial()
    stage.run(MINUTE)
    assert stage.weights == {"sft": 40, "v1": 20, "v2": 30, "v3": 10}
    assert stage.pods == {"sft": 2, "v1": 1, "v2": 2, "v3": 1}
    assert states(stage) == {"v2": ("Testing", None), "v3": ("Testing", None)}
    roles = {each["name"]: (each["role"], each["weight"]) for each in stage.status["versions"]}
    assert roles["v3"] == ("Canary", 10)
    assert stage.status["tested"] == "v1 20%, v2 30%, v3 10%"


def test_the_best_of_several_that_are_better_is_promoted() -> None:
    stage = trial({"v1": (WON, "0.8"), "v2": (WON, "0.5"), "v3": (WON, "0.7")})
    stage.run(20 * MINUTE)
    status = stage.runs[-1].status
    assert status.outcome is Outcome.PROMOTED
    assert status.stable is not None
    assert status.stable.name == "v2"
    assert stage.weights == {"v2": 100}
    assert states(stage) == {"v1": ("Dropped", "OtherWon"), "v3": ("Dropped", "OtherWon")}
    assert ("Normal", "OtherWon") in stage.cluster.events
    assert stage.condition("Stalled") == ("True", "OtherWon")
    assert "set spec.version to v2" in stage.message("Stalled")
    before = len(stage.runs)
    stage.run(20 * MINUTE)
    assert len(stage.runs) == before, "v1 has lost and is not tried again by itself"
    stage.edit(version="v2", rollout=TEST | {"abTest": TEST["abTest"] | {"others": []}})
    stage.run(MINUTE)
    assert stage.condition("Ready") == ("True", "Serving")


def test_an_unsafe_version_is_dropped_at_once_and_the_others_go_on() -> None:
    stage = trial()
    stage.run(MINUTE)
    stage.script = unsafe("v1")
    stage._pass()
    assert stage.weights == {"sft": 60, "v2": 30, "v3": 10}, "in the very pass that sees it"
    stage.run(MINUTE)
    status = stage.runs[-1].status
    assert status.outcome is None
    assert status.canary is not None
    assert (status.canary.name, status.weight) == ("v2", 30)
    assert states(stage) == {"v1": ("Dropped", "SafetyFailed"), "v3": ("Testing", None)}
    assert [each.version for each in status.quarantines] == ["v1"]
    assert stage.cluster.events.count(("Warning", "SafetyFailed")) == 1
    assert set(stage.pods) == {"sft", "v2", "v3"}, "what has no traffic has no pods"
    stage.slos.primaries = {"v2": (WON, "0.5"), "v3": (OPEN, "1")}
    stage.run(20 * MINUTE)
    assert stage.weights == {"v2": 100}


def test_all_that_fail_at_once_are_dropped_also_where_nothing_is_counted_of_them_anew() -> None:
    stage = trial()
    stage.run(MINUTE)
    stage.script = unsafe("v2", "v3")
    stage._pass()
    stage.script = unsafe()
    stage.run(MINUTE)
    assert stage.weights == {"sft": 80, "v1": 20}
    assert [each.version for each in stage.runs[-1].status.quarantines] == ["v2", "v3"]


def test_what_is_worse_is_dropped_and_blamed_for_nothing() -> None:
    stage = trial({"v2": (LOST, "2")})
    stage.run(MINUTE)
    assert stage.weights == {"sft": 70, "v1": 20, "v3": 10}
    assert states(stage)["v2"] == ("Dropped", "LostABTest")
    assert stage.runs[-1].status.quarantines == ()


def test_when_the_last_version_is_dropped_the_test_ends_and_stable_stays() -> None:
    stage = trial({name: (LOST, "2") for name in ("v1", "v2", "v3")})
    stage.run(20 * MINUTE)
    status = stage.runs[-1].status
    assert (status.outcome, status.reason) == (Outcome.ROLLED_BACK, "LostABTest")
    assert stage.weights == {"sft": 100}
    assert {state for state, _ in states(stage).values()} == {"Dropped"}
    assert stage.condition("Stalled") == ("True", "RolledBack")


def test_without_a_winner_in_time_stable_stays() -> None:
    stage = trial()
    stage.run(30 * MINUTE)
    status = stage.runs[-1].status
    assert (status.outcome, status.reason) == (Outcome.ROLLED_BACK, "NoDifference")
    assert stage.weights == {"sft": 100}


def test_what_was_dropped_begins_no_time_anew() -> None:
    stage = trial({"v2": (LOST, "2"), "v1": (WON, "0.5"), "v3": (WON, "0.6")})
    stage.run(MINUTE)
    stage.slos.primaries = {"v1": (WON, "0.5"), "v3": (WON, "0.6")}
    stage.run(2 * MINUTE)
    assert stage.weights == {"v1": 100}, "after two minutes, and not two after v2 left"


def test_a_version_that_never_gets_ready_is_dropped_and_may_be_tried_again() -> None:
    stage = trial({"v1": (WON, "0.5"), "v2": (OPEN, "1")})
    stage.cluster.never_ready = {"v3"}
    stage.run(4 * MINUTE)
    assert stage.weights == {"sft": 100}, "all wait for the last"
    stage.run(3 * MINUTE)
    assert stage.weights == {"sft": 50, "v1": 20, "v2": 30}
    assert states(stage)["v3"] == ("Dropped", "NotReady")
    assert stage.runs[-1].status.quarantines == ()
    stage.run(20 * MINUTE)
    assert stage.weights == {"v1": 100}


def test_what_is_left_in_front_gets_its_own_weight_also_after_it_was_parked() -> None:
    stage = trial(rollout=TEST | {"maxBlind": "1m"})
    stage.cluster.never_ready = {"v1"}
    stage.run(6 * MINUTE)
    assert stage.weights == {"sft": 60, "v2": 30, "v3": 10}
    stage.script = lambda *_: Verdict.ERROR
    stage.run(2 * MINUTE)
    assert stage.runs[-1].status.phase == "Parked"
    assert stage.weights == {"sft": 100}
    stage.script = unsafe()
    stage.run(MINUTE)
    assert stage.weights == {"sft": 60, "v2": 30, "v3": 10}


def test_people_are_asked_before_the_first_weight_when_all_are_ready() -> None:
    plan = TEST["abTest"] | {"approval": {"gate": "Enter"}}
    stage = trial(rollout=TEST | {"abTest": plan})
    stage.cluster.never_ready = {"v3"}
    stage.run(4 * MINUTE)
    assert stage.condition("Ready") == ("False", "Preparing")
    stage.run(2 * MINUTE)
    assert stage.condition("Ready") == ("False", "AwaitingApproval")
    stage.say("Approve", identity=identity_of("v1", "1"))
    stage.run(MINUTE)
    assert stage.weights == {"sft": 50, "v1": 20, "v2": 30}


def test_golden_prompts_are_asked_of_every_version() -> None:
    stage = trial()
    stage.world.prober.failing = {"v2"}  # type: ignore[attr-defined]
    stage.run(MINUTE)
    assert states(stage)["v2"] == ("Dropped", "GoldenFailed")
    assert stage.weights == {"sft": 70, "v1": 20, "v3": 10}


def test_an_unsafe_stable_ends_the_whole_test() -> None:
    stage = Stage()
    stage.put(version("v3", "3"))
    stage.edit(standby={"replicas": 0})
    stage.run()
    others = {"others": [{"version": "v3", "weight": 30}]}
    stage.edit(version="v2", rollout=TEST | {"abTest": TEST["abTest"] | others})
    stage.run(MINUTE)
    assert stage.weights == {"v1": 50, "v2": 20, "v3": 30}
    stage.script = unsafe("v1")
    stage.run(MINUTE)
    assert stage.weights == {"sft": 100}
    test = stage.runs[-2].status
    assert (test.outcome, test.canary) == (Outcome.ROLLED_BACK, None)
    assert [arm.state for arm in test.arms] == ["Dropped"]
    assert set(stage.pods) == {"sft"}


def test_a_veto_of_one_version_drops_that_one() -> None:
    stage = trial()
    stage.run(MINUTE)
    stage.say("Veto", identity=identity_of("v3", "3"))
    stage.run(MINUTE)
    assert stage.weights == {"sft": 50, "v1": 20, "v2": 30}
    assert states(stage)["v3"] == ("Dropped", "Vetoed")
    assert stage.fate("say") == "Applied"
    (veto,) = stage.runs[-1].status.quarantines
    assert (veto.version, veto.author) == ("v3", "ann")


def test_what_is_unsafe_is_dropped_also_while_the_spec_cannot_be_read() -> None:
    stage = trial()
    stage.run(MINUTE)
    stage.edit(fallback="nonsense")
    stage.script = unsafe("v2")
    stage.run(MINUTE)
    assert stage.weights == {"sft": 70, "v1": 20, "v3": 10}


def test_an_abort_ends_the_whole_test() -> None:
    stage = trial()
    stage.run(MINUTE)
    stage.say("Abort")
    stage.run(MINUTE)
    assert stage.weights == {"sft": 100}
    assert stage.runs[-1].status.outcome is Outcome.ABORTED
    assert set(stage.pods) == {"sft"}


def test_a_person_promotes_what_the_spec_asks_for_and_the_others_leave() -> None:
    stage = trial()
    stage.run(MINUTE)
    stage.say("Promote")
    stage.run(3 * MINUTE)
    assert stage.weights == {"v1": 100}
    assert stage.fate("say") == "Applied"
    assert states(stage) == {"v2": ("Dropped", "OtherWon"), "v3": ("Dropped", "OtherWon")}


def beside_the_floor() -> Stage:
    """A test of v2 and of the floor, against v1."""
    stage = Stage()
    stage.edit(standby={"replicas": 0, "keep": "1m"}, serving={"replicas": 4})
    stage.run(20 * MINUTE)
    test = TEST["abTest"] | {"others": [{"version": "sft", "weight": 60}]}
    stage.edit(version="v2", rollout=TEST | {"abTest": test})
    stage.run(2 * MINUTE)
    assert stage.weights == {"v1": 20, "v2": 20, "sft": 60}
    return stage


def test_a_floor_that_is_dropped_keeps_its_pods_until_they_are_drained() -> None:
    stage = beside_the_floor()
    assert stage.pods == {"v1": 1, "v2": 1, "sft": 3}
    stage.slos.primaries = {"sft": (LOST, "2")}
    stage._pass()
    stage._pass()
    assert stage.weights == {"v1": 80, "v2": 20}
    assert stage.pods["sft"] == 3
    stage.run(2 * MINUTE)
    assert stage.pods == {"v1": 4, "v2": 1, "sft": 1}


def test_a_person_promotes_what_is_tested_beside_the_floor() -> None:
    stage = beside_the_floor()
    stage.say("Promote")
    stage.run(3 * MINUTE)
    assert (stage.fate("say"), stage.weights) == ("Applied", {"v2": 100})


def test_an_approval_is_for_the_version_that_is_promoted() -> None:
    plan = TEST["abTest"] | {"approval": {"gate": "Leave"}}
    stage = trial({"v1": (WON, "0.8"), "v2": (WON, "0.5")}, rollout=TEST | {"abTest": plan})
    stage.slos.primaries["v3"] = (LOST, "2")
    stage.run(MINUTE)
    stage.say("Approve", name="loser", identity=identity_of("v1", "1"))
    stage.run(5 * MINUTE)
    assert stage.condition("Ready") == ("False", "AwaitingApproval")
    assert stage.weights == {"sft": 70, "v2": 30}
    assert stage.fate("loser") is None, "v1 was not promoted, and may be another time"
    stage.say("Approve", name="winner", identity=identity_of("v2", "2"))
    stage.run(5 * MINUTE)
    assert stage.weights == {"v2": 100}


def test_clients_keep_their_arm_while_others_are_dropped() -> None:
    traffic = Stage().model["spec"]["traffic"] | {"stickiness": {"mode": "Arm"}}
    stage = trial(traffic=traffic)
    stage.run(MINUTE)

    def kept() -> dict[str, Any]:
        route: Any = stage.world.store.get("HTTPRoute", KEY.namespace, KEY.name)
        *arms, _ = route["spec"]["rules"]
        return {rule["backendRefs"][0]["name"]: rule["matches"] for rule in arms}

    before = kept()
    assert set(before) == {f"{name}-serving" for name in ("sft", "v1", "v2", "v3")}
    stage.script = unsafe("v2")
    stage._pass()
    assert kept() == {name: rule for name, rule in before.items() if name != "v2-serving"}
    stage.run(MINUTE)
    assert kept().keys() == {f"{name}-serving" for name in ("sft", "v1", "v3")}


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        pytest.param([{"version": "nobody", "weight": 10}], "VersionNotFound", id="unknown"),
        pytest.param([{"version": "sft", "weight": 10}], "SpecInvalid", id="what serves"),
    ],
)
def test_what_cannot_be_tested_is_told_before_anything_starts(
    others: list[dict[str, Any]], reason: str
) -> None:
    stage = trial(version="sft", rollout=TEST)
    stage.run(MINUTE)
    stage.edit(version="v1", rollout=TEST | {"abTest": TEST["abTest"] | {"others": others}})
    stage.run(5 * MINUTE)
    assert stage.condition("Stalled") == ("True", reason)
    assert [run.spec.to.name for run in stage.runs] == ["sft"]


def test_a_quarantined_version_is_not_tested_under_any_name() -> None:
    stage = trial()
    stage.run(MINUTE)
    stage.script = unsafe("v3")
    stage.run(MINUTE)
    stage.say("Abort")
    stage.run(5 * MINUTE)
    stage.script = unsafe()
    stage.say("Retry", name="again")
    stage.run(5 * MINUTE)
    assert stage.condition("Stalled") == ("True", "Quarantined")
    assert "v3" in stage.message("Stalled")
    assert stage.weights == {"sft": 100}
