"""What people say, and what comes even before that."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import Outcome, RunType
from rlhf_operator.core import rollout
from rlhf_operator.core.decision import Action
from tests import builders as make
from tests.builders import BAD, SFT, V1, V2, act, ago
from tests.core.rule_rows import check, row

LIFT = act("LiftQuarantine", identity=V1.identity)
BACK = act("RollBackTo", version=SFT)

ROWS = [
    row("a model that is being deleted is left alone",
        "model_deleted", Action.KEEP, Reason.DELETED, deleted=True, run=make.ended()),
    row("the record of a deleted model is closed", "model_deleted", Action.ROLL_BACK,
        Reason.DELETED, deleted=True, spec=None),
    row("a record without a first status is opened before anything else",
        "run_not_open", Action.OPEN, Reason.STARTED,
        run=make.make_run(started_at=None), acts=(act("Abort"),), canary=BAD),
    row("Abort ends the run", "person_stopped", Action.ROLL_BACK, Reason.ABORTED,
        acts=(act("Abort"),)),
    row("Abort ends the run also while suspended",
        "person_stopped", Action.ROLL_BACK, Reason.ABORTED,
        acts=(act("Abort"),), spec=make.model_spec(suspend=True)),
    row("Abort wins over an unsafe canary: both end at weight 0",
        "person_stopped", Action.ROLL_BACK, Reason.ABORTED, acts=(act("Abort"),), canary=BAD),
    row("Abort without a run is refused", "person_refused", Action.KEEP, Reason.NOT_APPLICABLE,
        acts=(act("Abort"),), run=make.ended()),
    row("Pause holds the run", "person_decided", Action.HOLD, Reason.PAUSED,
        acts=(act("Pause"),)),
    row("Pause without a run is refused", "person_refused", Action.KEEP, Reason.NOT_APPLICABLE,
        acts=(act("Pause"),), run=make.ended()),
    row("Resume lets the run go on", "person_decided", Action.HOLD, Reason.PAUSED,
        acts=(act("Resume"),), run=make.make_run(paused=True)),
    row("RollBackTo ends a run first", "person_stopped", Action.ROLL_BACK,
        Reason.ROLLED_BACK_BY_PERSON, acts=(BACK,)),
    row("RollBackTo starts a run of its own", "person_stopped", Action.START,
        Reason.ROLLED_BACK_BY_PERSON, acts=(BACK,), run=make.ended()),
    row("RollBackTo works while suspended", "person_stopped", Action.START,
        Reason.ROLLED_BACK_BY_PERSON, acts=(BACK,), run=make.ended(),
        spec=make.model_spec(suspend=True)),
    row("RollBackTo works while the last change settles", "person_stopped", Action.START,
        Reason.ROLLED_BACK_BY_PERSON, acts=(BACK,), run=make.ended(settled_at=None)),
    row("RollBackTo ends a run also under a spec that cannot be read", "person_stopped",
        Action.ROLL_BACK, Reason.ROLLED_BACK_BY_PERSON, acts=(BACK,), spec=None, target=None),
    row("RollBackTo takes a spec for a run of its own", "person_refused", Action.KEEP,
        Reason.NOT_APPLICABLE, acts=(BACK,), run=make.ended(), spec=None, target=None),
    row("RollBackTo a quarantined version is refused",
        "person_refused", Action.KEEP, Reason.NOT_APPLICABLE,
        acts=(BACK,), run=make.ended(), quarantines=make.quarantine(SFT)),
    row("RollBackTo what serves is refused",
        "person_refused", Action.KEEP, Reason.NOT_APPLICABLE,
        acts=(act("RollBackTo", version=V1),), run=make.ended()),
    row("RollBackTo a version that does not exist is refused",
        "person_refused", Action.KEEP, Reason.NOT_APPLICABLE,
        acts=(act("RollBackTo"),), run=make.ended()),
    row("RollBackTo during the first deployment is refused",
        "person_refused", Action.KEEP, Reason.NOT_APPLICABLE,
        acts=(act("RollBackTo", version=V1),), run=make.initial()),
    row("LiftQuarantine ends a quarantine", "person_decided", Action.LIFT, Reason.APPLIED,
        acts=(LIFT,), quarantines=make.quarantine(V1), run=make.ended(Outcome.ROLLED_BACK)),
    row("LiftQuarantine of an identity that is free is refused",
        "person_refused", Action.KEEP, Reason.NOT_APPLICABLE, acts=(LIFT,)),
    row("Restart renews the pods of what serves", "person_decided", Action.START, Reason.STARTED,
        acts=(act("Restart"),), run=make.ended()),
    row("Restart waits until the last change has settled", "settling", Action.HOLD,
        Reason.SETTLING, acts=(act("Restart"),), run=make.ended(settled_at=None)),
    row("Restart during a run is refused",
        "person_refused", Action.KEEP, Reason.NOT_APPLICABLE, acts=(act("Restart"),)),
    row("Restart from half a spec is refused", "person_refused", Action.KEEP,
        Reason.NOT_APPLICABLE, acts=(act("Restart"),), run=make.ended(), partly_understood=True),
    row("Restart where nothing serves is refused",
        "person_refused", Action.KEEP, Reason.NOT_APPLICABLE, acts=(act("Restart"),), run=None),
    row("a decision that came too late is refused",
        "person_refused", Action.KEEP, Reason.EXPIRED, acts=(act("Abort", expires_at=ago(1)),)),
    row("a decision in time is carried out", "person_stopped", Action.ROLL_BACK, Reason.ABORTED,
        acts=(act("Abort", expires_at=ago(-1)),)),
    row("the oldest decision comes first", "person_decided", Action.HOLD, Reason.PAUSED,
        acts=(act("Pause"), act("Restart", name="later"))),
    row("what takes traffic away comes before what is older", "person_stopped",
        Action.ROLL_BACK, Reason.ABORTED, acts=(act("Pause"), act("Abort", name="later"))),
    row("an unsafe canary does not wait for what people say", "canary_unsafe",
        Action.ROLL_BACK, Reason.SAFETY_FAILED, acts=(act("Pause"),), canary=BAD),
    row("one that cannot be carried out does not keep another waiting",
        "person_stopped", Action.ROLL_BACK, Reason.ABORTED,
        acts=(act("Restart"), act("Abort", name="later"))),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "action", "reason", "changes"), ROWS)
def test_what_people_say(
    rule: str, action: Action, reason: Reason, changes: dict[str, Any]
) -> None:
    decision = check(rule, action, reason, changes)
    if rule == "person_refused":
        assert decision.refused is reason and decision.act is not None
    if reason is Reason.ABORTED:
        assert (decision.outcome, decision.quarantine) == (Outcome.ABORTED, False)


def test_going_back_to_what_is_stable_ends_the_decision_with_the_run() -> None:
    ended = rollout.decide(make.make_observed(acts=(BACK,)))
    assert ended.act == BACK


def test_going_back_further_takes_a_run_of_its_own() -> None:
    run = make.make_run(stable=V2, from_=V2)
    ended = rollout.decide(make.make_observed(run=run, acts=(BACK,)))
    assert ended.act is None, "it is carried out only when the second run starts"
    after = rollout.decide(make.make_observed(run=make.ended(stable=V2), acts=(BACK,)))
    assert after.start is not None
    assert (after.start.type, after.start.to) == (RunType.ROLLBACK, SFT)
    assert (after.start.cause.author, after.start.cause.decision) == ("ann", "say")
