"""What a person said comes before everything that the operator thinks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import Outcome, RunType
from rlhf_operator.core import contenders, pins, plans, vetoes
from rlhf_operator.core.decision import Action, Decision, hold, keep, roll_back
from rlhf_operator.core.observed import Act, Observed, Run
from rlhf_operator.core.rules import course
from rlhf_operator.core.rules.acts import accept, canary_run, refuse, said
from rlhf_operator.core.rules.consent import approve
from rlhf_operator.core.rules.each import drop

_STOPPING = frozenset({"Veto", "Abort", "RollBackTo"})


def model_deleted(seen: Observed) -> Decision | None:
    """End the record; leave all else to the garbage collector: children belong to the model."""
    if not seen.deleted:
        return None
    if seen.run is not None and seen.run.is_active:
        return roll_back(Reason.DELETED, "the model was deleted", Outcome.ABORTED)
    return keep(Reason.DELETED, "the model is being deleted")


def person_stopped(seen: Observed) -> Decision | None:
    """Carry out the oldest human decision that takes traffic away."""
    acts = (act for act in seen.acts if act.action in _STOPPING)
    return next((answer for answer in _answers(seen, acts) if answer.refused is None), None)


def person_decided(seen: Observed) -> Decision | None:
    """Carry out the oldest human decision that can be carried out; an unsafe canary comes first."""
    answers = _answers(seen, seen.acts)
    return next((answer for answer in answers if answer.refused is None), None)


def person_refused(seen: Observed) -> Decision | None:
    """Say what cannot be carried out. Safety does not wait for that."""
    answers = _answers(seen, seen.acts)
    return next((answer for answer in answers if answer.refused is not None), None)


def _answers(seen: Observed, acts: Iterable[Act]) -> Iterator[Decision]:
    answers = (_answer(seen, act) for act in acts)
    return (answer for answer in answers if answer is not None)


def _answer(seen: Observed, act: Act) -> Decision | None:
    """Return what becomes of a human decision; None when it has to wait."""
    if act.expires_at is not None and seen.now > act.expires_at:
        return refuse(act, "it expired before it could be carried out", Reason.EXPIRED)
    match act.action:
        case "Approve":
            return approve(seen, act)
        case "Veto":
            return _veto(seen, act)
        case "Abort":
            return _abort(seen, act)
        case "Pause" | "Resume":
            return _pause(seen, act)
        case "Retry":
            return course.retry(seen, act)
        case "Promote":
            return course.promote(seen, act)
        case "Override":
            return course.override(seen, act)
        case "Repin":
            return course.repin(seen, act)
        case "RollBackTo":
            return _roll_back_to(seen, act)
        case "LiftQuarantine":
            return _lift(seen, act)
        case "Restart":
            return _restart(seen, act)


def _veto(seen: Observed, act: Act) -> Decision | None:
    run = canary_run(seen)
    known = seen.quarantines.get(act.identity or "")
    if known is not None and known.decision not in (None, act.name):
        return refuse(act, f"it is forbidden already: {known.message}")
    tested = contenders.views(seen)
    for view in tested if run is not None else ():
        ref = contenders.named(view)
        if ref.identity == act.identity and view.run is not None:
            message = f"{ref.name} at {_weight(view.run)}: vetoed by {said(act)}"
            ended = accept(roll_back(Reason.VETOED, message, quarantine=True), act)
            return drop((ref.name,), ended) if len(tested) > 1 else ended
    if seen.run is None:  # it binds as it stands, and gets its record with the first run
        return _lifted_before(seen, act)
    if len(vetoes.kept(seen.run)) == vetoes.MOST:
        return refuse(act, f"{seen.run.name} holds {vetoes.MOST} vetoes already; lift some")
    message = f"vetoed by {said(act)}"
    return Decision(action=Action.FORBID, reason=Reason.VETOED, message=message, act=act)


def _weight(run: Run) -> str:
    return run.plan.told(run.status.weight)


def _lifted_before(seen: Observed, act: Act) -> Decision | None:
    """Refuse a veto that somebody lifted before any record could hold it."""
    later = seen.acts[seen.acts.index(act) + 1 :]
    for each in later:
        if each.action == "LiftQuarantine" and each.identity == act.identity:
            return refuse(act, f"lifted by {said(each)}, before it was on record")
    return None


def _abort(seen: Observed, act: Act) -> Decision:
    run = seen.run
    renewing = run is not None and run.is_active and run.spec.type is RunType.RESTART
    if canary_run(seen) is None and not renewing:
        return refuse(act, "no run is going that could be aborted")
    ended = roll_back(Reason.ABORTED, said(act), Outcome.ABORTED)
    return accept(ended, act)


def _pause(seen: Observed, act: Act) -> Decision:
    if canary_run(seen) is None:
        return refuse(act, f"no run is going that {act.action} could act on")
    return accept(hold(Reason.PAUSED, f"{act.action} by {said(act)}"), act)


def _roll_back_to(seen: Observed, act: Act) -> Decision:
    run = seen.run
    if run is None or act.version is None:
        return refuse(act, "the version to go back to does not exist")
    if seen.is_quarantined(act.version):
        return refuse(act, f"{act.version.name} is quarantined; lift the quarantine first")
    if canary_run(seen) is not None:
        # Back to stable is done with the run's end; to another version it takes a run of its own.
        done = act if act.version == run.status.stable else None
        return accept(roll_back(Reason.ROLLED_BACK_BY_PERSON, said(act), Outcome.ABORTED), done)
    if act.version == run.status.stable:
        return refuse(act, f"{act.version.name} is what serves already")
    if run.is_active:
        return refuse(act, "the first deployment has to end first")
    if seen.spec is None and not pins.has(run, act.version):
        return refuse(act, "the model's spec cannot be understood, and it has no pods yet")
    spec = plans.begin(
        seen,
        RunType.ROLLBACK,
        act.version,
        Reason.ROLLED_BACK_BY_PERSON,
        said(act),
        author=act.author,
        decision=act.name,
    )
    return Decision(
        action=Action.START,
        reason=Reason.ROLLED_BACK_BY_PERSON,
        message=said(act),
        start=spec,
    )


def _lift(seen: Observed, act: Act) -> Decision:
    if act.identity not in seen.quarantine_records:
        return refuse(act, "no quarantine of this identity is in force")
    return Decision(
        action=Action.LIFT, reason=Reason.APPLIED, message=f"lifted by {said(act)}", act=act
    )


def _restart(seen: Observed, act: Act) -> Decision | None:
    run = seen.run
    if run is None or run.status.stable is None or seen.spec is None:
        return refuse(act, "nothing serves that could be restarted")
    if run.is_active:
        return refuse(act, "a run is going; restart when it has ended")
    if seen.partly_understood:
        return refuse(act, "no pods are made anew from a spec that is not fully understood")
    if not run.is_settled:
        return None  # what the last change left is still being drained
    spec = plans.begin(
        seen,
        RunType.RESTART,
        run.status.stable,
        Reason.STARTED,
        said(act),
        author=act.author,
        decision=act.name,
    )
    return Decision(
        action=Action.START, reason=Reason.STARTED, message=f"restart: {said(act)}", start=spec
    )
