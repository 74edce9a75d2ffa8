"""Rules for a model with no run in progress: why it rests, and why none starts by itself."""

from __future__ import annotations

from dataclasses import replace

from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import Outcome, RunType
from rlhf_operator.core import capacity, drills, holdback
from rlhf_operator.core.decision import Decision, hold, keep
from rlhf_operator.core.observed import Act, Observed, Run

_AGAIN = "change the spec, or make a Retry decision, to"
_UNTIL = "until another version is good, or a Restart decision lets it serve again"
_BAD_ENDS = frozenset({Outcome.ROLLED_BACK, Outcome.ABORTED})


def spec_invalid(seen: Observed) -> Decision | None:
    """Keep what runs and tell the person."""
    if _is_running(seen) or seen.invalid is None:
        return None
    return keep(Reason(seen.invalid.reason), seen.invalid.message, stalled=True)


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
    if not _same_try(seen, run) or retry(seen) is not None:
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
    return failed_try(seen) if retry(seen) is None else None


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


def nothing_to_do(seen: Observed) -> Decision | None:
    """Rest: the rule that always decides."""
    return keep(Reason.SERVING, "nothing is asked for")


def retry(seen: Observed) -> Act | None:
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
