"""What people say, and what comes even before that."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf_operator.api.evidence import Verdict
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import Outcome, RunType
from rlhf_operator.core import rollout
from rlhf_operator.core.decision import Action
from rlhf_operator.core.gpus import Room
from tests import builders as make
from tests.builders import BAD, DULL, GONE, SFT, V1, V2, act, ago
from tests.core.rule_rows import check, row
from tests.core.test_rules_consent import run

LIFT = act("LiftQuarantine", identity=V1.identity)
VETO = act("Veto", identity=V1.identity)
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
    row("Abort ends a restart", "person_stopped", Action.ROLL_BACK, Reason.ABORTED,
        acts=(act("Abort"),), run=make.make_run(type=RunType.RESTART, canary=None, weight=0)),
    row("also where what serves is unsafe and stays", "person_refused", Action.KEEP,
        Reason.NOT_APPLICABLE, acts=(act("Abort"),), stable=BAD,
        run=make.ended(stable=SFT, to=SFT, force_block=True), target=SFT),
    row("but not before it is left", "stable_unsafe", Action.START, Reason.SAFETY_FAILED,
        acts=(act("Abort"),), stable=BAD, run=make.ended(standby=make.standby())),
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
    row("and goes back to what has pods", "person_stopped", Action.START,
        Reason.ROLLED_BACK_BY_PERSON, acts=(BACK,), spec=None, target=None,
        run=make.ended(pins=[{"version": "sft", "revision": "r"}])),
    row("but makes no pods without one", "person_refused", Action.KEEP,
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
        acts=(LIFT,), quarantines=make.quarantine(V1), run=make.ended(Outcome.ROLLED_BACK),
        quarantine_records={V1.identity: "support-2"}),
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
    row("a veto ends the run of that identity", "person_stopped", Action.ROLL_BACK,
        Reason.VETOED, acts=(VETO,)),
    row("also under another name", "person_stopped", Action.ROLL_BACK, Reason.VETOED,
        run=make.make_run(canary=make.V1_COPY), acts=(VETO,)),
    row("a veto comes before Safety: the identity is out either way", "person_stopped",
        Action.ROLL_BACK, Reason.VETOED, acts=(VETO,), canary=BAD),
    row("a veto of what serves is put on record first", "person_stopped", Action.FORBID,
        Reason.VETOED, acts=(VETO,), run=make.ended()),
    row("a veto of what was never tried too", "person_stopped", Action.FORBID, Reason.VETOED,
        acts=(act("Veto", identity=V2.identity),)),
    row("a veto of what failed already too: what serves is left only for a veto",
        "person_stopped", Action.FORBID, Reason.VETOED, acts=(VETO,), run=make.ended(),
        quarantines=make.quarantine(V1)),
    row("a second veto of an identity is refused", "person_refused", Action.KEEP,
        Reason.NOT_APPLICABLE, acts=(VETO,), run=make.ended(Outcome.ROLLED_BACK),
        quarantines=make.vetoed(V1)),
    row("a veto before the first record keeps the floor from being brought up", "nothing_live",
        Action.KEEP, Reason.QUARANTINED, run=None, acts=(act("Veto", identity=SFT.identity),),
        quarantines=make.vetoed(SFT, decision="say")),
    row("one that was lifted before it was on record is refused", "person_refused", Action.KEEP,
        Reason.NOT_APPLICABLE, run=None, spec=None, fallback=None, target=None,
        acts=(VETO, act("LiftQuarantine", name="lift", identity=V1.identity))),
    row("one for which a record has no room is refused", "person_refused", Action.KEEP,
        Reason.NOT_APPLICABLE, acts=(VETO,),
        run=make.ended(vetoes=tuple(make.vetoed(SFT).values()) * 64)),
    row("Retry starts again what failed without blame", "target_differs", Action.START,
        Reason.STARTED, acts=(act("Retry"),), run=make.ended(Outcome.ROLLED_BACK)),
    row("Retry starts what a person went back from", "target_differs", Action.START,
        Reason.STARTED, acts=(act("Retry"),),
        run=make.ended(type=RunType.ROLLBACK, to=SFT, stable=SFT)),
    row("Retry waits while suspended", "start_not_allowed", Action.KEEP, Reason.SUSPENDED,
        acts=(act("Retry"),), run=make.ended(Outcome.ROLLED_BACK),
        spec=make.model_spec(suspend=True)),
    row("Retry waits for the cool-down", "start_not_allowed", Action.HOLD, Reason.COOLING_DOWN,
        acts=(act("Retry"),), run=make.ended(Outcome.ROLLED_BACK, finished_at=ago(1))),
    row("Retry waits for GPUs", "start_not_allowed", Action.HOLD, Reason.INSUFFICIENT_GPU,
        acts=(act("Retry"),), run=make.ended(Outcome.ROLLED_BACK), gpus_per_pod=1,
        gpus=Room(free=0)),
    row("Retry that came too late starts nothing", "person_refused", Action.KEEP,
        Reason.EXPIRED, acts=(act("Retry", expires_at=ago(1)),),
        run=make.ended(Outcome.ROLLED_BACK)),
    row("Retry of what is quarantined is refused", "person_refused", Action.KEEP,
        Reason.NOT_APPLICABLE, acts=(act("Retry"),), run=make.ended(Outcome.ROLLED_BACK),
        quarantines=make.quarantine(V1)),
    row("Retry during a run is refused", "person_refused", Action.KEEP, Reason.NOT_APPLICABLE,
        acts=(act("Retry"),)),
    row("Retry of what serves is refused", "person_refused", Action.KEEP,
        Reason.NOT_APPLICABLE, acts=(act("Retry"),), run=make.ended()),
    row("Retry of what has not failed is refused", "person_refused", Action.KEEP,
        Reason.NOT_APPLICABLE, acts=(act("Retry"),), run=make.ended(), target=V2),
    row("Retry by a spec that cannot be used is refused", "person_refused", Action.KEEP,
        Reason.NOT_APPLICABLE, acts=(act("Retry"),), run=make.ended(Outcome.ROLLED_BACK),
        invalid=make.failure(Reason.VERSION_NOT_FOUND)),
    *(row(f"Promote goes {how}", "person_decided", Action.PROMOTE, Reason.PROMOTED_BY_PERSON,
          acts=(act("Promote"),), **changes) for how, changes in {
        "before the last step": {},
        "before the hold is over": {"run": make.make_run(in_force_at=ago(0.5))},
        "where quality cannot be told yet": {"canary": make.judged(Verdict.INCONCLUSIVE,
                                                                   "Quality")},
        "also where quality failed": {"canary": DULL},
        "also away from a stable version that is unsafe": {"stable": BAD},
        "through gates that people have opened": {"run": run({}, {}, "ann")},
    }.items()),
    row("Promote does not go past Safety", "canary_unsafe", Action.ROLL_BACK,
        Reason.SAFETY_FAILED, acts=(act("Promote"),), canary=BAD),
    *(row(f"Promote is refused {how}", "person_refused", Action.KEEP, Reason.NOT_APPLICABLE,
          acts=(act("Promote"),), **changes) for how, changes in {
        "without a run": {"run": make.ended()},
        "before the first weight": {"run": make.preparing()},
        "before the weight is in force": {"run": make.make_run(in_force_at=None)},
        "where nothing was measured": {"canary": None},
        "where safety is not seen": {"canary": make.judged(blind=("unsafe",))},
        "where another version is asked for": {"target": V2},
        "while suspended": {"spec": make.model_spec(suspend=True)},
        "while paused": {"run": make.make_run(paused=True)},
        "in a freeze window": {"frozen": "weekend"},
        "while an approval is missing": {"run": run({}, None)},
        "while an approval of a later step is missing": {"run": run(None, {"gate": "Enter"})},
    }.items()),
    row("a canary without a pod is not promoted", "canary_not_serving", Action.ROLL_BACK,
        Reason.NOT_READY, acts=(act("Promote"),), workloads=make.pods(v1=GONE)),
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
