"""A run while its guards take new rules: it waits, and its step begins anew with them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rlhf_operator.api.evidence import BaselineRecord, Verdict
from rlhf_operator.api.rollout import Outcome
from rlhf_operator.core.rules_in_force import InForce
from tests.reconcile.stage import KEY, Stage

MINUTE = timedelta(minutes=1)
OLD, NEW = InForce(digests=frozenset({"old"})), InForce(digests=frozenset({"new"}))
MIXED = InForce(digests=frozenset({"old", "new"}))


def at_first_weight(**rollout: str) -> Stage:
    stage = Stage()
    stage.edit(rollout=stage.model["spec"]["rollout"] | rollout)
    stage.slos.rules = OLD
    while not (stage.runs and stage.runs[-1].status.weight == 10):
        stage.run(timedelta(seconds=5))
    stage.run(timedelta(seconds=20))
    assert stage.runs[-1].status.rules_digest == "old"
    return stage


def test_while_rules_differ_no_weight_is_raised() -> None:
    stage = at_first_weight()
    stage.slos.rules = MIXED
    stage.run(20 * MINUTE)
    assert stage.weights == {"sft": 90, "v1": 10}
    assert stage.runs[-1].status.reason == "RulesDiffer"
    stage.slos.rules = OLD  # a change that was taken back
    stage.run()
    assert stage.weights == {"v1": 100}


def test_rules_that_never_agree_end_the_run_after_max_hold() -> None:
    stage = at_first_weight(maxHold="10m")
    stage.slos.rules = MIXED
    stage.run(20 * MINUTE)
    status = stage.runs[-1].status
    assert (status.outcome, status.reason) == (Outcome.ROLLED_BACK, "MaxHoldExceeded")
    assert "Restart" in (status.message or "")
    assert status.quarantine is None


def test_with_new_rules_the_step_begins_anew() -> None:
    stage = at_first_weight()
    stage.slos.counted = {"samples": 1000, "events": 1}
    before = stage.runs[-1].status
    stage.slos.rules = NEW
    stage.run(timedelta(seconds=10))
    status = stage.runs[-1].status
    assert status.rules_digest == "new"
    assert (status.step, status.weight) == (before.step, before.weight)
    assert status.in_force_at is not None and before.in_force_at is not None
    assert status.in_force_at > before.in_force_at
    assert [step.weight for step in status.steps] == [0, 10, 10]
    assert ("Normal", "RulesChanged") in stage.cluster.events
    assert stage.pods == {"sft": 2, "v1": 1}
    stage.run()
    assert stage.weights == {"v1": 100}
    assert [step.weight for step in stage.runs[-1].status.steps] == [0, 10, 10, 50]


def test_an_unsafe_canary_is_left_while_rules_differ() -> None:
    stage = at_first_weight()
    stage.slos.rules = MIXED
    stage.script = lambda name, _: Verdict.FAILED if name == "v1" else Verdict.SUCCESSFUL
    stage.run()
    assert stage.runs[-1].status.reason == "SafetyFailed"


FROZEN = BaselineRecord(slo="safe/long", measure="l", mean="800", deviation="10")
LATER = FROZEN.model_copy(update={"mean": "900"})


def with_baseline() -> Stage:
    """v1 serves, and its first hour under the old rules is on record."""
    stage = Stage()
    stage.slos.rules, stage.slos.baselines = OLD, (FROZEN,)
    stage.run()
    assert stage.weights == {"v1": 100} and stage.runs[-1].status.baseline == (FROZEN,)
    stage.slos.baselines = ()
    return stage


def test_a_promoted_version_gets_a_new_baseline_with_new_rules() -> None:
    stage = with_baseline()
    stage.slos.rules = NEW
    changed = stage.now
    stage.run()
    status = stage.runs[-1].status
    assert (status.rules_digest, status.baseline) == ("new", ())
    assert status.rules_since is not None and status.rules_since >= changed
    (subject,) = stage.slos.subjects[KEY]
    assert (subject.rules, subject.rules_since) == ("new", status.rules_since)
    stage.slos.baselines = (LATER,)
    stage.run(10 * MINUTE)
    assert stage.runs[-1].status.baseline == (LATER,)
    stage._restart()
    stage.run(10 * MINUTE)
    assert stage.runs[-1].status.rules_since == status.rules_since
    assert len(stage.runs) == 2


@pytest.mark.parametrize("weight", [0, 10])
def test_a_version_that_a_run_leaves_in_place_is_not_compared_with_what_it_was(weight: int) -> None:
    """Rules change in the run of the next version, before its first weight or at it."""
    stage = with_baseline()
    stage.edit(version="v2")
    stage.cluster.never_ready = {"v2"} if weight == 0 else set()
    stage.run(timedelta(seconds=30))
    assert (stage.runs[-1].status.weight, stage.runs[-1].status.baseline) == (weight, (FROZEN,))
    stage.slos.rules = NEW
    stage.run(timedelta(seconds=30))
    stage.say("Abort")
    stage.run(5 * MINUTE)
    status = stage.runs[-1].status
    assert (status.outcome, status.stable and status.stable.name) == (Outcome.ABORTED, "v1")
    assert (status.rules_digest, status.baseline) == ("new", ())
    assert status.rules_since is not None


def test_what_a_run_takes_over_is_its_own_after_promotion() -> None:
    stage = with_baseline()
    stage.slos.rules = NEW
    stage.run()
    since = stage.runs[-1].status.rules_since
    stage.edit(version="v2")
    stage.run(timedelta(seconds=30))
    assert (stage.runs[-1].status.stable and stage.runs[-1].status.rules_since) == since
    stage.run()
    status = stage.runs[-1].status
    assert status.outcome is Outcome.PROMOTED and status.rules_digest == "new"
    assert status.rules_since is None, "its own run was under these rules"


def test_guards_that_tell_no_rules_change_nothing() -> None:
    stage = Stage()
    stage.run()
    assert stage.runs[-1].status.outcome is Outcome.PROMOTED
    assert stage.runs[-1].status.rules_digest is None
