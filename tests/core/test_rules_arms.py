"""Tests of several versions at once: what drops one, what ends them all, and who wins."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rlhf_operator.api.evidence import SLOResult, Verdict
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import Outcome
from rlhf_operator.api.strategies import TEST_POLICY
from rlhf_operator.core import contenders, rollout
from rlhf_operator.core.decision import Action, Decision
from rlhf_operator.core.observed import ArmSeen, Assessment, Observed, Route
from tests import builders as make
from tests.builders import BAD, GONE, GOOD, SFT, SILENT, SLOW, V1, V2, ago, ref
from tests.core.rule_rows import check, row
from tests.core.test_strategies import AB_TEST, TEST

V3 = ref("v3", "3")
OTHERS = [{"version": "v2", "weight": 20}, {"version": "v3", "weight": 10}]
PLAN = AB_TEST | {
    "abTest": TEST | {"weight": 30, "others": OTHERS},
    "steps": [{"weight": 30, "hold": "1h"}],
}
WON, LOST, OPEN = Verdict.SUCCESSFUL, Verdict.FAILED, Verdict.INCONCLUSIVE
DAY = 24 * 60.0
SHARES = {"sft": 40, "v1": 30, "v2": 20, "v3": 10}
SERVE = make.pods(v2=make.SERVING, v3=make.SERVING)


def says(verdict: Verdict, ratio: str = "1", guard: Assessment = GOOD) -> Assessment:
    """What the guardrails and the primary say of a version."""
    thumbs = SLOResult(
        policy=TEST_POLICY, name="thumbs", class_="Informational", version="v", verdict=verdict,
        value="0.1", stable_value="0.2", events=10, samples=100, stable_events=20,
        stable_samples=100, ratio=ratio, ratio_low="0.1", ratio_high="9", harm="-1", good="2",
    )  # fmt: skip
    return replace(guard, results=(*guard.results, thumbs))


def arm(version: Any, weight: int = 0, **changes: Any) -> dict[str, Any]:
    return {"version": version.name, "identity": version.identity, "weight": weight} | changes


def dropped(version: Any, reason: str = "OtherWon") -> dict[str, Any]:
    return arm(version, state="Dropped", reason=reason, message="as it was", at=ago(1))


def several(minutes: float = 90, gate: dict[str, Any] | None = None, **changes: Any) -> Any:
    """A test of v1, v2 and v3 that has gone on for so long."""
    steps = [PLAN["steps"][0] | {"approval": gate}]
    defaults = {
        "plan": PLAN | {"steps": steps}, "weight": 30, "in_force_at": ago(minutes),
        "others": (V2, V3), "arms": (arm(V2, 20), arm(V3, 10)),
    }  # fmt: skip
    return make.make_run(**defaults | changes)


def trial(
    v1: Assessment, v2: Assessment, v3: Assessment, run: Any = None, **changes: Any
) -> dict[str, Any]:
    return {
        "run": run or several(), "canary": v1, "workloads": SERVE,
        "arms": {"v2": ArmSeen(judged=v2), "v3": ArmSeen(judged=v3)},
        "route": Route(weights=SHARES, accepted=True),
    } | changes  # fmt: skip


def alone(**changes: Any) -> dict[str, Any]:
    """The test goes on with v1 alone, which has won."""
    run = changes.pop("run", several(arms=(dropped(V2), dropped(V3))))
    route = Route(weights={"sft": 70, "v1": 30}, accepted=True)
    return trial(says(WON), GOOD, GOOD, run, **{"route": route, "workloads": {}} | changes)


UNDECIDED = says(OPEN)
BETTER = says(WON, "0.5")
WON_BY_V2 = {
    "run": make.ended(plan=PLAN, others=(V2, V3), stable=V2), "workloads": SERVE,
    "tried": make.ended(plan=PLAN, others=(V2, V3), stable=V2),
}  # fmt: skip
ROWS = [
    row("all of them are tested until they are decided", "test_undecided", Action.HOLD,
        Reason.INCONCLUSIVE, **trial(UNDECIDED, UNDECIDED, UNDECIDED)),
    row("one that is unsafe is dropped", "canary_unsafe", Action.DROP, Reason.SAFETY_FAILED,
        **trial(UNDECIDED, UNDECIDED, says(OPEN, guard=BAD))),
    row("also where it is the one that the spec asks for", "canary_unsafe", Action.DROP,
        Reason.SAFETY_FAILED, **trial(BAD, UNDECIDED, UNDECIDED)),
    row("one that fails a guardrail is dropped", "canary_failed", Action.DROP,
        Reason.SLO_FAILED, **trial(UNDECIDED, says(OPEN, guard=SLOW), UNDECIDED)),
    row("one that is worse is dropped before the least time is over", "test_lost", Action.DROP,
        Reason.LOST_AB_TEST, **trial(UNDECIDED, says(LOST), UNDECIDED, several(5))),
    row("one that serves no more is dropped", "canary_not_serving", Action.DROP,
        Reason.NOT_READY, **trial(UNDECIDED, UNDECIDED, UNDECIDED,
                                  workloads=make.pods(v2=GONE, v3=make.SERVING))),
    row("one that is quarantined meanwhile is dropped", "canary_not_serving", Action.DROP,
        Reason.QUARANTINED, **trial(UNDECIDED, UNDECIDED, UNDECIDED,
                                    quarantines=make.quarantine(V3))),
    row("one whose safety cannot be seen parks them all", "blind", Action.PARK, Reason.PARKED,
        **trial(UNDECIDED, UNDECIDED, UNDECIDED, several(
            arms=(arm(V2, 20), arm(V3, 10, blind_since=ago(31)))))),
    row("what is better waits for the least time", "holding", Action.HOLD, Reason.HOLDING,
        **trial(BETTER, BETTER, BETTER, several(59))),
    row("then the best stays, if all are decided", "best_of_several", Action.DROP,
        Reason.OTHER_WON, **trial(BETTER, BETTER, BETTER)),
    row("while one is undecided the others wait", "test_undecided", Action.HOLD,
        Reason.INCONCLUSIVE, **trial(BETTER, BETTER, UNDECIDED)),
    row("and while a guardrail is unsure of one", "inconclusive", Action.HOLD,
        Reason.INCONCLUSIVE, **trial(BETTER, BETTER, says(WON, guard=SILENT))),
    row("but not beyond the test's time", "best_of_several", Action.DROP, Reason.OTHER_WON,
        **trial(BETTER, UNDECIDED, says(WON, guard=SILENT), several(DAY))),
    row("without any that is better the first is dropped then", "no_winner", Action.DROP,
        Reason.NO_DIFFERENCE, **trial(UNDECIDED, UNDECIDED, UNDECIDED, several(DAY))),
    row("and the last ends the test", "no_winner", Action.ROLL_BACK, Reason.NO_DIFFERENCE,
        **trial(UNDECIDED, GOOD, GOOD, several(
            DAY, arms=(dropped(V2, "LostABTest"), dropped(V3, "LostABTest"))))),
    row("the time of a step counts on when one is dropped", "best_of_several", Action.DROP,
        Reason.OTHER_WON, **trial(BETTER, BETTER, BETTER, several(1, step_since=ago(60)))),
    row("the winner waits until the others are gone", "others_leaving", Action.HOLD,
        Reason.SETTLING, **alone(workloads=SERVE)),
    row("and for people, if they are asked", "awaiting_approval", Action.HOLD,
        Reason.AWAITING_APPROVAL, **alone(workloads=make.pods(), run=several(
            gate={"gate": "Leave"}, arms=(dropped(V2), dropped(V3))))),
    row("then it is promoted", "steps_complete", Action.PROMOTE, Reason.PROMOTED,
        **alone(workloads=make.pods())),
    row("it need not be proven a second time", "steps_complete", Action.PROMOTE, Reason.PROMOTED,
        **alone(workloads=make.pods(), canary=UNDECIDED)),
    row("but a guardrail that is unsure again holds it", "inconclusive", Action.HOLD,
        Reason.INCONCLUSIVE, **alone(workloads=make.pods(), canary=SILENT)),
    row("and has time to be seen alone, however late it has won", "inconclusive", Action.HOLD,
        Reason.INCONCLUSIVE, **alone(workloads=make.pods(), canary=SILENT, run=several(
            1, step_since=ago(3 * DAY), arms=(dropped(V2), dropped(V3))))),
    row("but not for ever", "inconclusive", Action.ROLL_BACK, Reason.MAX_HOLD_EXCEEDED,
        **alone(workloads=make.pods(), canary=SILENT, run=several(
            2 * DAY, step_since=ago(3 * DAY), arms=(dropped(V2), dropped(V3))))),
    row("a version that another has beaten is not tested again", "other_won", Action.KEEP,
        Reason.OTHER_WON, **WON_BY_V2),
    row("unless the spec changes", "target_differs", Action.START, Reason.STARTED,
        **WON_BY_V2 | {"generation": 2}),
    row("what serves cannot be tested against itself", "start_not_allowed", Action.KEEP,
        Reason.SPEC_INVALID, run=make.ended(), target=V2, others=(V1,)),
    row("nor a version twice under two names", "start_not_allowed", Action.KEEP,
        Reason.SPEC_INVALID, run=make.ended(), target=V2, others=(ref("v2-copy", "2"),)),
    row("what is quarantined is tested beside no other", "start_not_allowed", Action.KEEP,
        Reason.QUARANTINED, run=make.ended(), target=V2, others=(V3,),
        quarantines=make.quarantine(V3)),
    row("without surge every tested version takes a replica", "start_not_allowed", Action.KEEP,
        Reason.SURGE_NONE_NEEDS_TWO_REPLICAS, run=make.ended(), target=V2, others=(V3,),
        spec=make.model_spec(rollout={"surge": "None"})),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "action", "reason", "changes"), ROWS)
def test_what_is_decided(
    rule: str, action: Action, reason: Reason, changes: dict[str, Any]
) -> None:
    check(rule, action, reason, changes)


def decided(**changes: Any) -> Decision:
    return rollout.decide(make.make_observed(**changes))


@pytest.mark.parametrize(
    ("v1", "v2", "v3", "arms", "quarantine"),
    [
        pytest.param(UNDECIDED, UNDECIDED, says(OPEN, guard=BAD), ("v3",), True, id="unsafe"),
        pytest.param(BAD, UNDECIDED, BAD, ("v1",), True, id="one after the other"),
        pytest.param(UNDECIDED, says(LOST), UNDECIDED, ("v2",), False, id="worse"),
        pytest.param(says(WON, "0.8"), says(WON, "0.3"), says(WON, "0.5"), ("v1", "v3"), False,
                     id="the lowest ratio is the best where less is better"),
    ],
)  # fmt: skip
def test_who_is_dropped_and_who_is_to_blame(
    v1: Assessment, v2: Assessment, v3: Assessment, arms: tuple[str, ...], quarantine: bool
) -> None:
    found = decided(**trial(v1, v2, v3))
    assert (found.action, found.arms, found.quarantine) == (Action.DROP, arms, quarantine)


def test_where_more_is_better_the_highest_ratio_wins() -> None:
    primary = {"name": "done", "indicator": {"type": "TaskCompletionRate"}}
    plan = PLAN | {"abTest": PLAN["abTest"] | {"primary": primary}}
    found = decided(**trial(says(WON, "1.2"), says(WON, "1.1"), BETTER, several(plan=plan)))
    assert found.arms == ("v2", "v3")


def test_what_holds_several_up_is_told_of_each() -> None:
    alike = decided(**trial(UNDECIDED, BETTER, UNDECIDED)).message
    assert alike.startswith("v1, v3: thumbs 0.1 (10 of 100)")
    message = decided(**trial(UNDECIDED, says(OPEN, "0.9"), UNDECIDED)).message
    assert message.startswith("v1, v3: thumbs")
    assert "; v2: thumbs" in message


def test_proof_is_dearer_where_several_are_tested() -> None:
    assert "120 to 1 decides" in decided(**trial(says(LOST), UNDECIDED, UNDECIDED)).message


def test_whatever_is_in_front_the_record_says_the_same() -> None:
    status = several(golden=make.PASSED, blind_since=ago(3)).status
    moved = contenders.in_front(status, "v3")
    assert moved.canary == V3
    assert (moved.weight, moved.golden, moved.blind_since) == (10, None, None)
    assert contenders.in_front(moved, "v1") == status


@pytest.mark.parametrize("name", ["v1", "v2"])
def test_a_dropped_version_keeps_what_it_showed_and_none_of_its_traffic(name: str) -> None:
    status = several().status
    after = contenders.without(status, (name,), Reason.SAFETY_FAILED, "unsafe", make.NOW)
    gone = {each.version: each for each in after.arms}[name]
    assert (gone.state, gone.weight, gone.reason, gone.at) == (
        "Dropped", 0, "SafetyFailed", make.NOW,
    )  # fmt: skip
    left = {contenders.named(view).name for view in contenders.views(seen_with(after))}
    assert left == {"v1", "v2", "v3"} - {name}


def seen_with(status: Any) -> Observed:
    return make.make_observed(run=make.replace_status(several(), status))


def test_of_an_ended_run_nothing_is_in_view() -> None:
    ended = make.make_observed(run=make.ended(Outcome.ROLLED_BACK), fallback=SFT)
    assert contenders.views(ended) == ()
