"""Rules that wait: for pods, for golden prompts, and for the router to do what was declared."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import RunType
from rlhf_operator.api.schema import parse_duration
from rlhf_operator.core import approvals, capacity
from rlhf_operator.core.decision import Action, Decision, hold, promote, roll_back
from rlhf_operator.core.mirrors import Mirror
from rlhf_operator.core.observed import Observed, Run
from rlhf_operator.core.rules import consent, patience, switching
from rlhf_operator.core.rules.acts import advance, canary_run


def first_not_serving(seen: Observed) -> Decision | None:
    """Wait for the very first version, or for renewed pods, to serve."""
    run = seen.run
    if run is None or not run.is_active or run.status.canary is not None:
        return None
    stable, work = run.status.stable, seen.workload(run.status.stable)
    assert stable is not None
    renewed = run.spec.type is not RunType.RESTART or work.is_current
    if work.ready > 0 and renewed and seen.route.does({stable.name: 100}):
        return promote(Reason.SERVING, f"{stable.name} serves")
    failure = work.failure or (seen.route.failure if work.ready > 0 else None)
    until = _renewal_end(run)
    if until is not None and seen.now >= until:
        why = f": {failure.message}" if failure else ""
        return roll_back(
            Reason.NOT_READY,
            f"the renewed pods of {stable.name} were not ready after {run.plan.ready_timeout}{why}",
        )
    if failure is not None:
        return Decision(
            action=Action.HOLD,
            reason=Reason(failure.reason),
            message=f"{stable.name}: {failure.message}",
            stalled=True,
            wake=until,
        )
    return hold(
        Reason.PREPARING, f"{stable.name}: {work.ready} of {work.wanted} pods ready", wake=until
    )


def _renewal_end(run: Run) -> datetime | None:
    """Return until when a restart may take; its old pods serve meanwhile, and after it failed."""
    if run.spec.type is not RunType.RESTART or run.status.ready_since is None:
        return None
    return run.status.ready_since + parse_duration(run.plan.ready_timeout)


def preparing(seen: Observed) -> Decision | None:
    """Before the first weight: pods ready, golden prompts answered, every query answered."""
    run = canary_run(seen)
    if run is None or run.status.step >= 0:
        return None
    canary, status = run.status.canary, run.status
    work = seen.workload(canary)
    assert canary is not None
    if work.ready < switching.needed_pods(seen, run) or not work.is_current:
        return _waiting_for_pods(seen, run)
    golden = seen.golden or status.golden
    if golden is None:
        timeout = parse_duration(run.plan.ready_timeout)
        if status.ready_since is not None and seen.now >= status.ready_since + timeout:
            return roll_back(
                Reason.NOT_READY,
                f"{canary.name} answered no golden prompt in {run.plan.ready_timeout}",
            )
        return hold(Reason.GOLDEN_PENDING, "golden prompts are being asked")
    if not golden.passed:
        return roll_back(Reason.GOLDEN_FAILED, f"{canary.name}: {'; '.join(golden.failures)}")
    was_in_force = status.in_force_at is not None or capacity.is_in_force(seen, run)
    if seen.route.failure is not None or not was_in_force:
        return _not_in_force(seen)
    if seen.query_problems:
        return hold(Reason.METRICS_UNAVAILABLE, "; ".join(seen.query_problems))
    ready = "artefact verified, pods ready, golden prompts answered"
    waiting = switching.nothing_to_compare(seen, run) or consent.waiting(seen, run)
    return waiting or advance(run, 0, ready + approvals.told(run))


def weight_not_in_force(seen: Observed) -> Decision | None:
    """Wait until the router does what was declared."""
    run = canary_run(seen)
    if run is None:
        return None
    if run.status.in_force_at is not None:
        # Who refuses the route since then may do anything with the next weight.
        return _not_in_force(seen) if seen.route.failure is not None else None
    status, work = run.status, seen.workload(run.status.canary)
    timeout = parse_duration(run.plan.ready_timeout)
    late = status.ready_since is not None and seen.now >= status.ready_since + timeout
    if late and work.ready < work.wanted:
        return roll_back(
            Reason.NOT_READY,
            f"{work.ready} of {work.wanted} pods ready {run.plan.ready_timeout} after "
            f"{run.plan.told(status.weight)} was declared",
        )
    if capacity.is_in_force(seen, run):
        return patience.held(run, run.since or seen.now)
    return _not_in_force(seen)


def _not_in_force(seen: Observed) -> Decision:
    assert seen.run is not None
    if seen.route.failure is not None:
        failure = seen.route.failure
        return hold(Reason(failure.reason), failure.message)
    wanted = _shares(capacity.declared(seen.run), capacity.mirror(seen.run))
    now = _shares(seen.route.weights or {}, seen.route.mirror)
    note = f": {seen.route.note}" if seen.route.note else ""
    return hold(
        Reason.WEIGHT_NOT_IN_FORCE,
        f"declared {wanted}; the router has {now}{note}",
        wake=seen.now + timedelta(seconds=2),
    )


def _shares(weights: Mapping[str, int], mirror: Mirror | None) -> str:
    parts = [f"{name} {part}%" for name, part in weights.items()]
    if mirror is not None:
        parts.append(f"{mirror.version} {mirror.percent}% copied")
    return " ".join(parts) or "nothing"


def _waiting_for_pods(seen: Observed, run: Run) -> Decision:
    canary, work = run.status.canary, seen.workload(run.status.canary)
    assert canary is not None
    since = run.status.ready_since
    wake = since + parse_duration(run.plan.ready_timeout) if since else None
    if run.status.awaiting is not None and work.is_current:
        wake = None  # they were ready, and a pod that goes while people think it over comes back
    if wake is not None and seen.now >= wake:
        needed = switching.needed_pods(seen, run)
        few = f"{work.ready} of {needed} pods ready" if work.ready < needed else "old pods still"
        return roll_back(
            Reason.NOT_READY, f"{canary.name} had {few} after {run.plan.ready_timeout}"
        )
    if work.failure is not None:
        return hold(
            Reason(work.failure.reason), f"{canary.name}: {work.failure.message}", wake=wake
        )
    return hold(
        Reason.PREPARING, f"{canary.name}: {work.ready} of {work.wanted or 1} pods ready", wake=wake
    )
