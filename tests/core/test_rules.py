"""The order is the behaviour: every pair of neighbours, and that each rule has its say."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import Outcome, RunType
from rlhf_operator.core import rollout
from rlhf_operator.core.observed import Observed, Workload
from rlhf_operator.core.rules_in_force import InForce
from tests import builders as make
from tests.builders import BAD, GONE, SILENT, SLOW, V1, V2, act, ago
from tests.core import (
    test_reward_hacking,
    test_rules_alike,
    test_rules_arms,
    test_rules_consent,
    test_rules_control,
    test_rules_course,
    test_rules_drill,
    test_rules_harm,
    test_rules_people,
    test_rules_resting,
    test_rules_running,
    test_rules_strategies,
    test_split,
)
from tests.core.test_rules_strategies import DAY, HALVES, LOST, OPEN, primary, trial_of

ROWS = [
    *test_rules_alike.ROWS,
    *test_rules_arms.ROWS,
    *test_reward_hacking.ROWS,
    *test_rules_consent.ROWS,
    *test_rules_control.ROWS,
    *test_rules_drill.ROWS,
    *test_rules_course.ROWS,
    *test_rules_harm.ROWS,
    *test_rules_people.ROWS,
    *test_rules_running.ROWS,
    *test_rules_resting.ROWS,
    *test_rules_strategies.ROWS,
    *test_split.ROWS,
]
SUSPENDED = make.model_spec(suspend=True)
INVALID = make.failure(Reason.SPEC_INVALID)
RESTART = make.make_run(type=RunType.RESTART, from_=V1, to=V1, stable=V1, canary=None, weight=0)
MIXED = InForce(digests=frozenset({"old", "new"}))
MISMATCH = Workload(wanted=1, failure=make.failure(Reason.ARTIFACT_MISMATCH))

NEIGHBOURS = [
    ("model_deleted", "run_not_open", {"deleted": True, "run": make.make_run(started_at=None)}),
    ("run_not_open", "person_stopped",
     {"run": make.make_run(started_at=None), "acts": (act("Abort"),)}),
    ("person_stopped", "canary_unsafe", {"acts": (act("Abort"),), "canary": BAD}),
    ("drill_superseded", "person_decided",
     test_rules_drill.DRILL | {"acts": (act("Pause"),)}),
    ("person_decided", "not_the_model",
     test_rules_alike.SAME | {"acts": (act("Restart"),), "run": test_rules_alike.fled(
         test_rules_alike.SAME["stable"], settled_at=ago(1))}),
    ("not_the_model", "stable_unsafe", test_rules_alike.SAME),
    ("stable_unsafe", "stable_vetoed",
     {"run": make.ended(), "stable": BAD, "quarantines": make.vetoed(V1)}),
    ("stable_vetoed", "control_over",
     test_rules_control.HELD | {"quarantines": make.vetoed(V1), "workloads": make.pods(sft=GONE)}),
    ("canary_not_serving", "stable_not_serving", {"workloads": {"sft": GONE, "v1": MISMATCH}}),
    ("stable_not_serving", "canary_failed", {"canary": SLOW, "workloads": make.pods(sft=GONE)}),
    ("stable_failed", "person_refused",
     test_rules_harm.PROMOTED | {"stable": SLOW, "acts": (act("Abort"),)}),
    ("canary_failed", "test_lost",
     {"run": trial_of(5), "canary": primary(LOST, SLOW), "route": HALVES}),
    ("test_lost", "person_refused",
     {"run": trial_of(5), "canary": primary(LOST), "route": HALVES, "acts": (act("Restart"),)}),
    ("person_refused", "superseded", {"acts": (act("Restart"),), "target": V2}),
    ("spec_invalid", "nothing_live", {"run": None, "invalid": INVALID}),
    ("spec_invalid", "settling", {"run": make.ended(settled_at=None), "invalid": INVALID}),
    ("settling", "target_serving", {"run": make.ended(settled_at=None)}),
    ("superseded", "blind", {"target": V2, "run": make.make_run(blind_since=ago(31))}),
    ("blind", "spec_unreadable",
     {"run": make.make_run(blind_since=ago(31)), "spec": None, "target": None}),
    ("spec_unreadable", "suspended",
     {"run": make.make_run(paused=True), "spec": None, "target": None}),
    ("suspended", "parked",
     {"run": make.parked(), "stable": None, "spec": SUSPENDED}),
    ("parked", "preparing", {"run": make.parked(), "stable": None}),
    ("preparing", "weight_not_in_force", {"run": make.preparing(in_force_at=None)}),
    ("weight_not_in_force", "inconclusive",
     {"run": make.make_run(in_force_at=None), "canary": SILENT}),
    ("weight_not_in_force", "rules_differ",
     {"run": make.make_run(in_force_at=None), "canary": SILENT, "rules": MIXED}),
    ("rules_differ", "reward_hacking",
     test_reward_hacking.parts(test_reward_hacking.HACKED) | {"rules": MIXED}),
    ("weight_not_in_force", "reward_hacking",
     test_reward_hacking.parts(test_reward_hacking.HACKED, run={"in_force_at": None})),
    ("reward_hacking", "holding",
     test_reward_hacking.parts(test_reward_hacking.HACKED, run={"in_force_at": ago(0.5)})),
    ("holding", "inconclusive", {"run": make.make_run(in_force_at=ago(0.5)), "canary": SILENT}),
    ("holding", "drill_held",
     test_rules_drill.DRILL | {"run": make.drill(in_force_at=ago(0.5)), "canary": SILENT}),
    ("best_of_several", "no_winner",
     test_rules_arms.trial(test_rules_arms.BETTER, test_rules_arms.UNDECIDED,
                           test_rules_arms.UNDECIDED, test_rules_arms.several(DAY))),
    ("no_winner", "inconclusive",
     {"run": trial_of(DAY), "canary": primary(OPEN, SILENT), "route": HALVES}),
    ("inconclusive", "test_undecided",
     {"run": trial_of(DAY - 1), "canary": primary(OPEN, SILENT), "route": HALVES}),
    ("test_undecided", "answers_missing",
     {"run": trial_of(DAY - 1), "canary": primary(OPEN, test_split.HALF_LOST), "route": HALVES,
      "spec": test_split.BEHIND}),
    ("answers_missing", "awaiting_approval",
     {"run": make.make_run(in_force_at=ago(30), plan={"steps": [
         {"weight": 10, "hold": "1m", "approval": {"gate": "Leave"}},
         {"weight": 50, "hold": "1m"}]}),
      "canary": test_split.HALF_LOST, "spec": test_split.BEHIND}),
    ("awaiting_approval", "others_leaving",
     test_rules_arms.alone(workloads=test_rules_arms.SERVE, run=test_rules_arms.several(
         gate={"gate": "Leave"}, arms=(test_rules_arms.dropped(V2),)))),
    ("others_leaving", "steps_complete", test_rules_arms.alone(workloads=test_rules_arms.SERVE)),
    ("steps_complete", "step_passed", {"run": make.make_run(step=1, weight=50)}),
    ("drill_due", "target_serving", test_rules_drill.DUE),
    ("other_won", "target_quarantined",
     test_rules_arms.WON_BY_V2 | {"quarantines": make.quarantine(V1)}),
    ("target_quarantined", "target_failed",
     {"run": make.ended(Outcome.ROLLED_BACK), "quarantines": make.quarantine(V1)}),
    ("target_failed", "start_not_allowed",
     {"run": make.ended(Outcome.ROLLED_BACK), "spec": SUSPENDED}),
    ("start_not_allowed", "target_differs",
     {"run": make.ended(), "target": V2, "spec": SUSPENDED}),
    ("target_differs", "nothing_to_do", {"run": make.ended(), "target": V2}),
]  # fmt: skip

APART = {
    ("superseded", "spec_invalid"): "one needs a canary, the other a model without a run",
    ("spec_invalid", "first_not_serving"): "one needs a model without a run, the other a run",
    ("first_not_serving", "nothing_live"): "one needs a record, the other that there is none",
    ("nothing_live", "settling"): "one needs that there is no record, the other an ended one",
    ("canary_unsafe", "control_unsafe"): "one needs a canary, the other an ended run",
    ("control_unsafe", "drill_superseded"): "one needs an ended run, the other a drill",
    ("control_over", "canary_not_serving"): "one needs an ended run, the other a canary",
    ("settling", "drill_late"): "one needs an ended run, the other a drill",
    ("drill_late", "blind"): "one needs a drill, the other any other canary",
    ("step_passed", "drill_due"): "one needs a canary, the other an ended run",
    ("drill_held", "best_of_several"): "one needs a drill, the other a test",
    ("target_serving", "other_won"): "one needs that the target serves, the other that it lost",
    ("stable_failed", "test_lost"): "one needs a model without a run, the other a test",
    ("canary_failed", "stable_failed"): "one needs a canary, the other a model without a run",
}
RULES = {rule.__name__: rule for rule in rollout.RULES}


def answers(rule: str, seen: Observed) -> bool | None:
    """Whether a rule would answer; None where it rests on an earlier one's silence."""
    try:
        return RULES[rule](seen) is not None
    except (AssertionError, IndexError):
        return None


@pytest.mark.parametrize(
    ("first", "second", "changes"),
    [pytest.param(*entry, id=f"{entry[0]} comes before {entry[1]}") for entry in NEIGHBOURS],
)
def test_which_of_two_rules_wins(first: str, second: str, changes: dict[str, Any]) -> None:
    seen = make.make_observed(**changes)
    assert answers(first, seen) and answers(second, seen) is not False, "both would answer"
    assert rollout.decide(seen).rule == first


def test_every_pair_of_neighbours_is_settled() -> None:
    order = list(RULES)
    told = {(first, second) for first, second, _ in NEIGHBOURS} | set(APART)
    assert [pair for pair in itertools.pairwise(order) if pair not in told] == []


@pytest.mark.parametrize("pair", APART, ids=lambda pair: f"{pair[0]} and {pair[1]}")
def test_rules_that_never_answer_together(pair: tuple[str, str]) -> None:
    for entry in ROWS:
        seen = make.make_observed(**entry.values[3])
        assert not (answers(pair[0], seen) and answers(pair[1], seen)), entry.id


def test_every_rule_decides_in_a_row() -> None:
    assert set(RULES) - {entry.values[0] for entry in ROWS} == set()


def test_the_last_rule_always_decides() -> None:
    for entry in ROWS:
        assert rollout.RULES[-1](make.make_observed(**entry.values[3])) is not None
