"""Steps that wait for people, and whose approval counts."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf_operator.api.reasons import Reason
from rlhf_operator.core import approvals, rollout, summary
from rlhf_operator.core.decision import Action
from rlhf_operator.core.observed import Run
from tests import builders as make
from tests.builders import BAD, NOW, SILENT, SLOW, V1, V2, act, ago
from tests.core.rule_rows import check, row

LEAVE = {"gate": "Leave"}
ENTER = {"gate": "Enter"}


def run(first: Any = None, second: Any = None, *approved: Any, **changes: Any) -> Run:
    """A run of two steps with these approvals asked for; `approved` are authors, or with a step."""
    steps: list[dict[str, Any]] = [{"weight": 10, "hold": "1m"}, {"weight": 50, "hold": "1m"}]
    for step, asked in zip(steps, (first, second), strict=True):
        step |= {"approval": asked} if asked is not None else {}
    said = [{"author": one} if isinstance(one, str) else one for one in approved]
    decisions = [
        {"name": f"say-{place}", "action": "Approve", "reason": "fine", "at": ago(1)} | one
        for place, one in enumerate(said)
    ]
    made = make.preparing if changes.get("step", 0) < 0 else make.make_run
    return made(plan={"steps": steps}, decisions=decisions, **changes)


def waits(**more: Any) -> dict[str, Any]:
    return {"awaiting": {"step": 0, "gate": "Leave", "since": ago(30)}} | more


YES = act("Approve", identity=V1.identity)
NOT_AUTHOR = LEAVE | {"notAuthor": True}
PASSED = make.PASSED

ROWS = [
    row("a step that nobody has approved is not left", "awaiting_approval", Action.HOLD,
        Reason.AWAITING_APPROVAL, run=run(LEAVE)),
    row("a step that was approved is left", "step_passed", Action.ADVANCE, Reason.ADVANCED,
        run=run(LEAVE, None, "ann")),
    row("a step that takes two is not left with one", "awaiting_approval", Action.HOLD,
        Reason.AWAITING_APPROVAL, run=run(LEAVE | {"count": 2}, None, "ann")),
    row("one person is not two", "awaiting_approval", Action.HOLD, Reason.AWAITING_APPROVAL,
        run=run(LEAVE | {"count": 2}, None, "ann", "ann")),
    row("two people are two", "step_passed", Action.ADVANCE, Reason.ADVANCED,
        run=run(LEAVE | {"count": 2}, None, "ann", "bob")),
    row("the next step is not entered without approval", "awaiting_approval", Action.HOLD,
        Reason.AWAITING_APPROVAL, run=run(None, ENTER)),
    row("the approval of another step does not count", "awaiting_approval", Action.HOLD,
        Reason.AWAITING_APPROVAL, run=run(None, ENTER, {"author": "ann", "step": 1})),
    row("the approval of this step counts", "step_passed", Action.ADVANCE, Reason.ADVANCED,
        run=run(None, ENTER, {"author": "ann", "step": 2})),
    row("the first step is not entered without approval", "preparing", Action.HOLD,
        Reason.AWAITING_APPROVAL, run=run(ENTER, step=-1, golden=PASSED)),
    row("the first step is entered with approval", "preparing", Action.ADVANCE, Reason.ADVANCED,
        run=run(ENTER, None, "ann", step=-1, golden=PASSED)),
    row("the approval to leave the first step does not keep anybody out of it", "preparing",
        Action.ADVANCE, Reason.ADVANCED, run=run(LEAVE, step=-1, golden=PASSED)),
    row("the last step is not left for promotion without approval", "awaiting_approval",
        Action.HOLD, Reason.AWAITING_APPROVAL, run=run(None, LEAVE, step=1, weight=50)),
    row("who made the change does not count", "awaiting_approval", Action.HOLD,
        Reason.AWAITING_APPROVAL, run=run(NOT_AUTHOR, None, "ann", changed_by="ann")),
    row("somebody else counts", "step_passed", Action.ADVANCE, Reason.ADVANCED,
        run=run(NOT_AUTHOR, None, "bob", changed_by="ann")),
    row("nobody counts while it is not known who made the change", "awaiting_approval",
        Action.HOLD, Reason.AWAITING_APPROVAL, run=run(NOT_AUTHOR, None, "bob")),
    row("an unsafe canary does not wait for approval", "canary_unsafe", Action.ROLL_BACK,
        Reason.SAFETY_FAILED, run=run(LEAVE, **waits()), canary=BAD),
    row("a slow canary does not wait for approval", "canary_failed", Action.ROLL_BACK,
        Reason.SLO_FAILED, run=run(LEAVE, **waits()), canary=SLOW),
    row("approval does not take the place of evidence", "inconclusive", Action.HOLD,
        Reason.INCONCLUSIVE, run=run(LEAVE, None, "ann"), canary=SILENT),
    row("nobody is asked before the step was held", "holding", Action.HOLD, Reason.HOLDING,
        run=run(LEAVE, in_force_at=ago(0.5))),
    row("without a timeout a run waits for ever", "awaiting_approval", Action.HOLD,
        Reason.AWAITING_APPROVAL, run=run(LEAVE, **waits())),
    row("after its timeout the run rolls back", "awaiting_approval", Action.ROLL_BACK,
        Reason.APPROVAL_TIMEOUT, run=run(LEAVE | {"timeout": "30m"}, **waits())),
    row("the timeout of one gate is not that of another", "awaiting_approval", Action.HOLD,
        Reason.AWAITING_APPROVAL, run=run(None, ENTER | {"timeout": "30m"}, **waits())),
    row("an approval is recorded", "person_decided", Action.HOLD, Reason.APPROVED,
        run=run(LEAVE), acts=(YES,)),
    row("an approval of a later step is recorded", "person_decided", Action.HOLD,
        Reason.APPROVED, run=run(None, LEAVE), acts=(act("Approve", identity=V1.identity,
                                                         step=2),)),
    row("an approval of an identity that is not tried yet waits for its run", "step_passed",
        Action.ADVANCE, Reason.ADVANCED, acts=(act("Approve", identity=V2.identity),)),
    row("an approval that came too late is refused", "person_refused", Action.KEEP,
        Reason.EXPIRED, run=run(LEAVE), acts=(act("Approve", identity=V1.identity,
                                                  expires_at=ago(1)),)),
    row("an approval that no step asks for is refused", "person_refused", Action.KEEP,
        Reason.NOT_APPLICABLE, acts=(YES,)),
    row("an approval of a step that was left is refused", "person_refused", Action.KEEP,
        Reason.NOT_APPLICABLE, run=run(LEAVE, step=1, weight=50),
        acts=(act("Approve", identity=V1.identity, step=1),)),
    row("a second approval by the same person is refused", "person_refused", Action.KEEP,
        Reason.NOT_APPLICABLE, run=run(LEAVE | {"count": 2}, None, "ann"), acts=(YES,)),
    row("an approval by who made the change is refused", "person_refused", Action.KEEP,
        Reason.NOT_APPLICABLE, run=run(NOT_AUTHOR, changed_by="ann"), acts=(YES,)),
    row("an approval of what serves is refused", "person_refused", Action.KEEP,
        Reason.NOT_APPLICABLE, run=make.ended(), acts=(YES,)),
    row("no run starts whose author may not approve and is not known", "start_not_allowed",
        Action.KEEP, Reason.AUTHOR_UNKNOWN, run=make.ended(to=V2, stable=make.SFT),
        spec=make.model_spec(rollout={"canary": {"steps": [
            {"weight": 10, "hold": "1m", "approval": NOT_AUTHOR}]}})),
    row("a run starts whose author may not approve and is known", "target_differs",
        Action.START, Reason.STARTED, run=make.ended(to=V2, stable=make.SFT), changed_by="ann",
        spec=make.model_spec(rollout={"canary": {"steps": [
            {"weight": 10, "hold": "1m", "approval": NOT_AUTHOR}]}})),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "action", "reason", "changes"), ROWS)
def test_who_is_asked_and_who_counts(
    rule: str, action: Action, reason: Reason, changes: dict[str, Any]
) -> None:
    decision = check(rule, action, reason, changes)
    assert not decision.quarantine or reason in (Reason.SAFETY_FAILED, Reason.SLO_FAILED)
    assert (decision.awaiting is not None) == (reason is Reason.AWAITING_APPROVAL)
    if decision.start is not None:
        assert decision.start.changed_by == changes["changed_by"]


def test_the_message_says_how_to_approve() -> None:
    seen = make.make_observed(run=run(LEAVE | {"count": 2}, None, "bob"))
    message = rollout.decide(seen).message
    for part in ("1 of 2 approvals (bob)", "step 1/2 (10%)", "kubectl rlhf approve support v1",
                 "action Approve", V1.identity):  # fmt: skip
        assert part in message


def test_a_wait_for_people_is_told_once() -> None:
    seen = make.make_observed(run=run(LEAVE))
    decision = rollout.decide(seen)
    (event,) = summary.events(decision, None, seen.run)
    assert (event.reason, decision.awaiting and decision.awaiting.since) == (
        "AwaitingApproval", NOW,
    )  # fmt: skip
    later = make.make_observed(run=run(LEAVE, awaiting=decision.awaiting))
    assert summary.events(rollout.decide(later), None, later.run) == ()


def test_the_next_step_tells_who_approved() -> None:
    seen = make.make_observed(run=run(LEAVE | {"count": 2}, None, "ann", "bob"))
    assert rollout.decide(seen).message.endswith("; approved by ann, bob")


def test_gates_come_in_the_order_in_which_a_run_meets_them() -> None:
    found = approvals.gates(run(LEAVE, ENTER).spec.plan.steps)
    assert [(gate.step, gate.approval.gate, gate.leads_from) for gate in found] == [
        (0, "Leave", 0), (1, "Enter", 0),
    ]  # fmt: skip
