"""Rules for a model with no run in progress: may one start, and which."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import Outcome, RunType
from rlhf_operator.api.schema import parse_duration
from rlhf_operator.core import approvals, capacity, drills, holdback, plans
from rlhf_operator.core.decision import Action, Decision, hold, keep
from rlhf_operator.core.observed import Act, Observed, Run
from rlhf_operator.core.rules.acts import said

_AGAIN = "change the spec, or make a Retry decision, to"
_UNTIL = "until another version is good, or a Restart decision lets it serve again"
_BAD_ENDS = frozenset({Outcome.ROLLED_BACK, Outcome.ABORTED})


def spec_invalid(seen: Observed) -> Decision | None:
    """Keep what runs and tell the person."""
    if _is_running(seen) or seen.invalid is None:
        return None
    return keep(Reason(seen.invalid.reason), seen.invalid.message, stalled=True)


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


def settling(seen: Observed) -> Decision | None:
    """Let the last change end in the router and drain before the next begins."""
    run = seen.run
    if run is None or run.is_active or run.is_settled:
        return None
    if seen.route.failure is not None:
        return hold(Reason(seen.route.failure.reason), seen.route.failure.message)
    stable, work = run.status.stable, seen.workload(run.status.stable)
    takes_over = run.status.outcome is Outcome.PROMOTED and run.status.in_force_at is None
    if stable is not None and takes_over and work.ready == 0:
        why = f": {work.failure.message}" if work.failure else ""
        return hold(
            Reason.STABLE_NOT_SERVING,
            f"{stable.name} is to serve and has no ready pod{why}; what served goes on until then",
        )
    return hold(Reason.SETTLING, "traffic has moved; what it left is being drained")


def target_serving(seen: Observed) -> Decision | None:
    """Rest when what is asked for is what serves."""
    run = seen.run
    if run is None or run.is_active or seen.target is None:
        return None
    stable = run.status.stable
    if stable is None or stable.identity != seen.target.identity:
        return None
    work = seen.workload(stable)
    if work.ready == 0:
        why = f": {work.failure.message}" if work.failure else ""
        return hold(Reason.STABLE_NOT_SERVING, f"{stable.name} has no ready pod{why}")
    if run.status.refuse:
        why = f"nothing safe is left: {stable.name} answers every request with 503"
        return keep(Reason.REFUSING, f"{why} {_UNTIL}", stalled=True)
    if run.status.force_block:
        why = f"nothing safe is left: every guard rule of {stable.name} blocks"
        return keep(Reason.NOTHING_SAFE, f"{why} {_UNTIL}", stalled=True)
    arm = holdback.arm(run)
    if arm is not None:
        until = f"{arm.version.name} keeps {arm.weight}% as control arm until {arm.until:%d %H:%M}"
        return keep(Reason.SERVING, f"{stable.name} serves {100 - arm.weight}%; {until}")
    due = drills.due(seen)
    wake = due if due is not None and due > seen.now else None
    return replace(keep(Reason.SERVING, f"{stable.name} serves all traffic"), wake=wake)


def other_won(seen: Observed) -> Decision | None:
    """Rest where another version of the test has won, and say that the spec should name it."""
    run, stable = seen.tried, seen.run.status.stable if seen.run else None
    if run is None or stable is None or _is_running(seen) or seen.target is None:
        return None
    won = run.status.outcome is Outcome.PROMOTED and run.spec.type is RunType.ROLLOUT
    if not won or run.status.stable in (None, run.spec.to) or run.status.stable != stable:
        return None
    if not _same_try(seen, run) or _retry(seen) is not None:
        return None
    return keep(
        Reason.OTHER_WON,
        f"{stable.name} has won the test against {run.spec.to.name} and serves: set spec.version "
        f"to {stable.name}, and take it out of abTest.others; {_AGAIN} test {run.spec.to.name} "
        "again",
        stalled=True,
    )


def target_quarantined(seen: Observed) -> Decision | None:
    """Never try again what failed, under any name."""
    if _is_running(seen) or seen.target is None or not seen.is_quarantined(seen.target):
        return None
    record = seen.quarantines[seen.target.identity]
    how = record.message
    if record.author is None:
        other = record.version not in (None, seen.target.name)
        known_as = f" as {record.version}" if other else ""
        said = record.message.removeprefix(record.version or ": ")
        how = f"failed{known_as}{said if said != record.message else f': {said}'}"
    return keep(
        Reason.QUARANTINED,
        f"{seen.target.name} {how}; a LiftQuarantine decision lets it run again",
        stalled=True,
    )


def target_failed(seen: Observed) -> Decision | None:
    """Do not try the same thing again until the spec changes or a person asks."""
    return failed_try(seen) if _retry(seen) is None else None


def failed_try(seen: Observed) -> Decision | None:
    """Return why what is asked for is not tried again by itself; None where it is."""
    if seen.run is None or seen.run.is_active or seen.target is None:
        return None
    run = seen.tried or seen.run
    if run.status.outcome in _BAD_ENDS and _same_try(seen, run):
        return keep(
            Reason.ROLLED_BACK,
            f"{run.spec.to.name} was rolled back: {run.status.message}; {_AGAIN} try again",
            stalled=True,
        )
    if run.spec.type in capacity.AT_ONCE and run.spec.generation >= seen.generation:
        return keep(
            Reason.ROLLED_BACK,
            f"went back to {run.spec.to.name}: {run.spec.cause.message}; "
            f"{_AGAIN} try {seen.target.name} again",
            stalled=True,
        )
    return None


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
        return hold(Reason.QUEUED, "the limit of concurrent rollouts is reached")
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
        spec_invalid,
        settling,
        target_serving,
        other_won,
        target_quarantined,
        target_failed,
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
    act = _retry(seen)
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


def nothing_to_do(seen: Observed) -> Decision | None:
    """Rest: the rule that always decides."""
    return keep(Reason.SERVING, "nothing is asked for")


def _retry(seen: Observed) -> Act | None:
    """Return the oldest decision to try again that is in time."""
    wanted = (act for act in seen.acts if act.action == "Retry")
    return next(
        (act for act in wanted if act.expires_at is None or seen.now <= act.expires_at), None
    )


def _is_running(seen: Observed) -> bool:
    return seen.run is not None and seen.run.is_active


def _same_try(seen: Observed, run: Run) -> bool:
    assert seen.target is not None
    return run.spec.to.identity == seen.target.identity and run.spec.generation >= seen.generation


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
