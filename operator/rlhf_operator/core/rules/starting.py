"""Rules by which a run starts: towards what is asked for, and not before it may."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import Outcome, RunType
from rlhf_operator.api.schema import parse_duration
from rlhf_operator.core import approvals, capacity, plans
from rlhf_operator.core.decision import Action, Decision, hold, keep
from rlhf_operator.core.observed import Observed, Run
from rlhf_operator.core.rules import resting
from rlhf_operator.core.rules.acts import said


def nothing_live(seen: Observed) -> Decision | None:
    """Bring the fallback up first: it is the first stable version."""
    if seen.run is not None or seen.fallback is None:
        return None
    if seen.spec is not None and seen.spec.suspend:
        return keep(Reason.SUSPENDED, "spec.suspend is set; nothing is brought up")
    if seen.is_quarantined(seen.fallback):
        return keep(
            Reason.QUARANTINED, f"the fallback {seen.fallback.name} is quarantined", stalled=True
        )
    message = f"{seen.fallback.name} is brought up as the first stable version"
    spec = plans.begin(seen, RunType.INITIAL, seen.fallback, Reason.FIRST_DEPLOYMENT, message)
    return Decision(
        action=Action.START, reason=Reason.FIRST_DEPLOYMENT, message=message, start=spec
    )


def start_not_allowed(seen: Observed) -> Decision | None:
    """Hold a new run back: suspended, frozen, cooling down, or no place is free."""
    run = seen.run
    if run is None or run.is_active or seen.spec is None:
        return None
    if seen.spec.suspend:
        return keep(Reason.SUSPENDED, "spec.suspend is set; no run starts")
    if seen.frozen is not None:
        return keep(Reason.FROZEN, f"freeze window {seen.frozen} is open; no run starts")
    steps = plans.steps(seen.spec.rollout)
    if seen.changed_by is None and approvals.excludes_author(steps):
        return keep(
            Reason.AUTHOR_UNKNOWN,
            "who made the change may not approve it, and the model does not say who that is; "
            "set its annotation rlhf.dev/changed-by to their user name",
            stalled=True,
        )
    until = cool_down_end(seen, seen.spec.rollout.cool_down)
    if until is not None and seen.now < until:
        return hold(
            Reason.COOLING_DOWN,
            f"a rollback just happened; waits until {until:%H:%M:%S}",
            wake=until,
        )
    unfit = _unfit_others(seen)
    if unfit is not None:
        return unfit
    if not seen.place_free:
        return hold(
            Reason.QUEUED, f"as many rollouts as may at once have pods in the pool {seen.pool}"
        )
    return _no_gpu(seen)


def _unfit_others(seen: Observed) -> Decision | None:
    """Return why what should be tested beside the target cannot be."""
    stable = seen.run.status.stable if seen.run else None
    for other in seen.others:
        if stable is not None and other.identity == stable.identity:
            return keep(
                Reason.SPEC_INVALID,
                f"{other.name} serves, and is what the others are compared with: take it out of "
                "abTest.others",
                stalled=True,
            )
        if seen.is_quarantined(other):
            record = seen.quarantines[other.identity]
            return keep(
                Reason.QUARANTINED,
                f"{other.name}, of abTest.others: {record.message}; take it out, or lift the "
                "quarantine with a LiftQuarantine decision",
                stalled=True,
            )
    same = {each.identity for each in (seen.target, *seen.others) if each is not None}
    if len(same) <= len(seen.others):
        message = "two of the versions to be tested are one artefact under two names"
        return keep(Reason.SPEC_INVALID, message, stalled=True)
    return None


def is_about_to_start(seen: Observed) -> bool:
    """Return whether a run towards the target starts now, if the GPUs are there."""
    run = seen.run
    if run is None or run.is_active or seen.target is None or seen.spec is None:
        return False
    if seen.spec.rollout.surge == "None":
        return False  # it takes its GPUs from stable
    known = replace(seen, gpus=None)
    earlier = (
        resting.spec_invalid,
        resting.settling,
        resting.target_serving,
        resting.other_won,
        resting.target_quarantined,
        resting.target_failed,
        start_not_allowed,
    )
    return all(rule(known) is None for rule in earlier)


def _no_gpu(seen: Observed) -> Decision | None:
    assert seen.spec is not None
    surge = seen.spec.rollout.surge
    least = 2 + len(seen.others)
    if surge == "None" and seen.spec.serving.replicas < least:
        return keep(
            Reason.SURGE_NONE_NEEDS_TWO_REPLICAS,
            f"surge None takes the canary's GPUs from stable; set replicas to {least} or more, or "
            "surge to One",
            stalled=True,
        )
    needed, count = (0 if surge == "None" else seen.gpus_per_pod), 1 + len(seen.others)
    if seen.gpus is None or not needed:
        return None
    if needed > seen.gpus.free:
        lack = f"one pod needs {needed} GPUs and can get {seen.gpus.free} on one node"
    elif count > 1 and seen.gpus.seats(needed) < count:
        lack = f"{count} pods need {needed} GPUs each, and {seen.gpus.seats(needed)} can get them"
    else:
        return None
    partly = "" if seen.others_counted else " (pods of others could not be counted)"
    return Decision(
        action=Action.HOLD,
        reason=Reason.INSUFFICIENT_GPU,
        message=f"{lack}{partly}{seen.gpus.told}; free some, or use surge None",
        stalled=True,
    )


def target_differs(seen: Observed) -> Decision | None:
    """Start a run towards what is asked for."""
    run = seen.run
    if run is None or run.is_active or seen.target is None or run.status.stable is None:
        return None
    message = f"{run.status.stable.name} to {seen.target.name}"
    act = resting.retry(seen)
    if act is not None:
        message += f", again, by {said(act)}"
    spec = plans.begin(
        seen,
        RunType.ROLLOUT,
        seen.target,
        Reason.STARTED,
        message,
        author=act.author if act else None,
        decision=act.name if act else None,
    )
    return Decision(action=Action.START, reason=Reason.STARTED, message=message, start=spec)


def cool_down_end(seen: Observed, cool_down: str) -> datetime | None:
    """Return until when no run starts after a rollback; a restart in between ends no cool-down."""
    ends = (_cooled(run, cool_down) for run in (seen.tried, seen.run) if run is not None)
    return max((end for end in ends if end is not None), default=None)


def _cooled(run: Run, cool_down: str) -> datetime | None:
    if run.status.finished_at is None:
        return None
    fled = run.spec.type in capacity.AT_ONCE and run.spec.cause.author is None
    if run.status.outcome is not Outcome.ROLLED_BACK and not fled:
        return None
    return run.status.finished_at + parse_duration(cool_down)
