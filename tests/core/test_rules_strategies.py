"""Shadows, switches and tests: what the rules make of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rlhf_operator.api.evidence import FirstCounts, SLOResult, Verdict
from rlhf_operator.api.plan import PinnedPolicy
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.strategies import TEST_POLICY
from rlhf_operator.core import rollout
from rlhf_operator.core.decision import Action
from rlhf_operator.core.mirrors import Mirror
from rlhf_operator.core.observed import Assessment, Route, Workload
from tests import builders as make
from tests.builders import BAD, GOOD, NOW, PASSED, SILENT, ago
from tests.core.rule_rows import check, row
from tests.core.test_strategies import AB_TEST, GATE, SHADOW, SWITCH

COPIED = Route(weights={"sft": 100}, mirror=Mirror(version="v1", percent=20), accepted=True)
ALL_ON_STABLE = Route(weights={"sft": 100}, accepted=True)
ALL_ON_CANARY = Route(weights={"v1": 100}, accepted=True)
HALVES = Route(weights={"sft": 50, "v1": 50}, accepted=True)


def shadow(**changes: Any) -> Any:
    return make.make_run(**{"plan": SHADOW, "weight": 20, "in_force_at": None} | changes)


SHADOWS = [
    row("copies that are not made are waited for", "weight_not_in_force", Action.HOLD,
        Reason.WEIGHT_NOT_IN_FORCE, run=shadow(), route=ALL_ON_STABLE),
    row("copies that are made are held", "weight_not_in_force", Action.HOLD, Reason.HOLDING,
        run=shadow(), route=COPIED),
    row("a shadow that passed is promoted", "steps_complete", Action.PROMOTE, Reason.PROMOTED,
        run=shadow(in_force_at=ago(2)), route=COPIED),
    row("a shadow that nobody could judge is not", "inconclusive", Action.HOLD,
        Reason.INCONCLUSIVE, run=shadow(in_force_at=ago(2)), route=COPIED, canary=SILENT),
    row("an unsafe shadow ends at once, and is quarantined", "canary_unsafe", Action.ROLL_BACK,
        Reason.SAFETY_FAILED, run=shadow(in_force_at=ago(0.1)), route=COPIED, canary=BAD),
]  # fmt: skip


def switch(**changes: Any) -> Any:
    base = {"plan": SWITCH, "weight": 0, "step": -1, "phase": "Preparing", "golden": PASSED}
    return make.make_run(**base | changes)


def compared(samples: int | None, *, least: int = 200) -> dict[str, Any]:
    """A policy that compares with stable, and what stable has shown so far."""
    policy = PinnedPolicy.model_validate({
        "name": "safe", "metricSource": "default", "interval": "1s",
        "slos": [{"name": "unsafe", "class": "Safety", "minSamples": least,
                  "indicator": {"type": "UnsafeServedRate"}, "versusStable": {"ratio": "1.5"}}],
    })  # fmt: skip
    shown = SLOResult(policy="safe", name="unsafe", class_="Safety", version="sft",
                      verdict=Verdict.INCONCLUSIVE, events=0, samples=samples)  # fmt: skip
    return {
        "run": switch(policies=(policy,)),
        "policies": (policy,),
        "stable": Assessment(results=(shown,)) if samples is not None else None,
        "route": ALL_ON_STABLE,
    }


ONE = make.pods(v1=Workload(wanted=2, ready=1))
GATED = SWITCH | {"steps": [{"weight": 100, "hold": "1m", "approval": GATE}]}
WAITING = {"step": 0, "gate": "Enter", "since": ago(200)}
SWITCHES = [
    row("a switch waits for every pod", "preparing", Action.HOLD, Reason.PREPARING,
        run=switch(), workloads=ONE, route=ALL_ON_STABLE),
    row("but not for ever", "preparing", Action.ROLL_BACK, Reason.NOT_READY,
        run=switch(ready_since=ago(31)), workloads=ONE, route=ALL_ON_STABLE),
    row("with every pod it comes", "preparing", Action.ADVANCE, Reason.ADVANCED,
        run=switch(), route=ALL_ON_STABLE),
    row("while people think it over a pod may go and come back", "preparing", Action.HOLD,
        Reason.PREPARING, run=switch(ready_since=ago(300), awaiting=WAITING), workloads=ONE,
        route=ALL_ON_STABLE),
    row("unless people must agree first", "preparing", Action.HOLD, Reason.AWAITING_APPROVAL,
        run=switch(plan=GATED), route=ALL_ON_STABLE),
    row("or stable has shown too little to compare with", "preparing", Action.HOLD,
        Reason.INCONCLUSIVE, **compared(199)),
    row("or nothing at all", "preparing", Action.HOLD, Reason.INCONCLUSIVE, **compared(None)),
    row("enough is enough", "preparing", Action.ADVANCE, Reason.ADVANCED, **compared(200)),
    row("the switch is judged for its hold", "holding", Action.HOLD, Reason.HOLDING,
        run=switch(weight=100, step=0, phase="Progressing", in_force_at=ago(0.5)),
        route=ALL_ON_CANARY, canary=GOOD),
    row("and promoted after it", "steps_complete", Action.PROMOTE, Reason.PROMOTED,
        run=switch(weight=100, step=0, phase="Progressing"), route=ALL_ON_CANARY, canary=GOOD),
    row("an unsafe version goes back at once", "canary_unsafe", Action.ROLL_BACK,
        Reason.SAFETY_FAILED, run=switch(weight=100, step=0, phase="Progressing"),
        route=ALL_ON_CANARY, canary=BAD),
]  # fmt: skip


def primary(verdict: Verdict | None, guard: Assessment = GOOD) -> Assessment:
    """Guardrails, and what the primary says beside them."""
    if verdict is None:
        return guard
    thumbs = SLOResult(
        policy=TEST_POLICY, name="thumbs", class_="Informational", version="v1", verdict=verdict,
        value="0.1", stable_value="0.2", events=10, samples=100, stable_events=20,
        stable_samples=100, ratio="0.5", ratio_low="0.3", ratio_high="0.9", harm="-1.5",
        good="4.5",
    )  # fmt: skip
    return replace(guard, results=(*guard.results, thumbs))


def trial_of(minutes: float, gate: dict[str, Any] | None = None, **changes: Any) -> Any:
    """A test that has gone on for so long."""
    plan = AB_TEST | {"steps": [{"weight": 50, "hold": "1h", "approval": gate}]}
    return make.make_run(**{"plan": plan, "weight": 50, "in_force_at": ago(minutes)} | changes)


WON, LOST, OPEN = Verdict.SUCCESSFUL, Verdict.FAILED, Verdict.INCONCLUSIVE
DAY = 24 * 60.0
TESTS = [
    row("a winner waits for the least time", "holding", Action.HOLD, Reason.HOLDING,
        run=trial_of(59), canary=primary(WON), route=HALVES),
    row("and is promoted after it", "steps_complete", Action.PROMOTE, Reason.PROMOTED,
        run=trial_of(60), canary=primary(WON), route=HALVES),
    row("not while a guardrail is unsure", "inconclusive", Action.HOLD, Reason.INCONCLUSIVE,
        run=trial_of(60), canary=primary(WON, SILENT), route=HALVES),
    row("nor past one that fails", "canary_unsafe", Action.ROLL_BACK, Reason.SAFETY_FAILED,
        run=trial_of(60), canary=primary(WON, BAD), route=HALVES),
    row("a loser goes before the least time is over", "test_lost", Action.ROLL_BACK,
        Reason.LOST_AB_TEST, run=trial_of(5), canary=primary(LOST), route=HALVES),
    row("also while suspended", "test_lost", Action.ROLL_BACK, Reason.LOST_AB_TEST,
        run=trial_of(5), canary=primary(LOST), route=HALVES, spec=make.model_spec(suspend=True)),
    row("an open test goes on", "test_undecided", Action.HOLD, Reason.INCONCLUSIVE,
        run=trial_of(DAY - 1), canary=primary(OPEN), route=HALVES),
    row("to the end of its time", "no_winner", Action.ROLL_BACK, Reason.NO_DIFFERENCE,
        run=trial_of(DAY), canary=primary(OPEN), route=HALVES),
    row("while nobody can tell it goes on", "test_undecided", Action.HOLD,
        Reason.METRICS_UNAVAILABLE, run=trial_of(DAY), canary=primary(Verdict.ERROR),
        route=HALVES),
    row("also right after a restart", "test_undecided", Action.HOLD, Reason.INCONCLUSIVE,
        run=trial_of(DAY), canary=primary(None), route=HALVES),
    row("but not for ever", "no_winner", Action.ROLL_BACK, Reason.NO_DIFFERENCE,
        run=trial_of(2 * DAY), canary=primary(None), route=HALVES),
    row("a winner at the end of the time is one", "steps_complete", Action.PROMOTE,
        Reason.PROMOTED, run=trial_of(DAY + 1), canary=primary(WON), route=HALVES),
    row("a canary without a test is asked for no winner", "step_passed", Action.ADVANCE,
        Reason.ADVANCED, canary=primary(None)),
]  # fmt: skip


ROWS = [*SHADOWS, *SWITCHES, *TESTS]


@pytest.mark.parametrize(("rule", "action", "reason", "changes"), ROWS)
def test_what_is_decided(
    rule: str, action: Action, reason: Reason, changes: dict[str, Any]
) -> None:
    check(rule, action, reason, changes)


@pytest.mark.parametrize(
    ("minutes", "verdict"), [pytest.param(5, LOST, id="lost"), pytest.param(DAY, OPEN, id="open")]
)
def test_a_test_that_ends_blames_nobody(minutes: float, verdict: Verdict) -> None:
    seen = make.make_observed(run=trial_of(minutes), canary=primary(verdict), route=HALVES)
    decision = rollout.decide(seen)
    assert decision.action is Action.ROLL_BACK
    assert not decision.quarantine


def test_the_result_of_a_test_is_told_with_its_numbers() -> None:
    seen = make.make_observed(run=trial_of(60), canary=primary(WON), route=HALVES)
    message = rollout.decide(seen).message
    for part in (
        "v1 is better", "0.1 (10 of 100) against stable's 0.2 (20 of 100)",
        "ratio 0.5 (0.3 to 0.9)", "for better 90 to 1, for worse 0.22 to 1, 40 to 1 decides",
    ):  # fmt: skip
        assert part in message


def test_where_users_are_compared_they_are_counted_in_what_is_told() -> None:
    judged = primary(WON)
    *guards, thumbs = judged.results
    firsts = FirstCounts(events=4, samples=50, stable_events=9, stable_samples=50)
    counted = replace(judged, results=(*guards, thumbs.model_copy(update={"firsts": firsts})))
    seen = make.make_observed(run=trial_of(60), canary=counted, route=HALVES)
    told = rollout.decide(seen).message
    assert "(4 of 50) against stable's" in told and "(9 of 50), each user once" in told


def test_what_a_shadow_gets_is_told_as_copies() -> None:
    seen = make.make_observed(run=shadow(), route=ALL_ON_STABLE)
    assert "declared sft 100% v1 20% copied" in rollout.decide(seen).message
    held = rollout.decide(make.make_observed(run=shadow(in_force_at=NOW), route=COPIED))
    assert held.message == "20% copied is held for 1m"


def test_a_repin_cannot_change_the_strategy() -> None:
    say = make.act("Repin")
    seen = make.make_observed(run=shadow(in_force_at=ago(0.1)), route=COPIED, acts=(say,))
    decision = rollout.decide(seen)
    assert decision.refused is Reason.NOT_APPLICABLE
    assert decision.message == "the run goes by Shadow, not by Canary"
