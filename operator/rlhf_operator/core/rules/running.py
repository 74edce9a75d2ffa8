"""Rules of a run in progress, from what stops it to what lets it go on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from rlhf_operator.api.evidence import Verdict
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import Outcome, RunType
from rlhf_operator.api.schema import parse_duration
from rlhf_operator.core import (
    analysis,
    approvals,
    capacity,
    contenders,
    drills,
    overrides,
    verdicts,
)
from rlhf_operator.core import reward_hacking as hacking
from rlhf_operator.core.decision import Action, Decision, hold, roll_back
from rlhf_operator.core.mirrors import Mirror
from rlhf_operator.core.observed import Observed, Run
from rlhf_operator.core.rules import consent, contest, switching
from rlhf_operator.core.rules.acts import canary_run


def superseded(seen: Observed) -> Decision | None:
    """End the run when another version is asked for: it starts anew against the old stable."""
    run = canary_run(seen)
    if run is None or seen.invalid is not None or seen.target is None or drills.is_drill(run):
        return None
    if seen.target.identity == run.spec.to.identity:
        return None
    return roll_back(Reason.SUPERSEDED, f"{seen.target.name} is asked for now", Outcome.SUPERSEDED)


def first_not_serving(seen: Observed) -> Decision | None:
    """Wait for the very first version, or for renewed pods, to serve."""
    run = seen.run
    if run is None or not run.is_active or run.status.canary is not None:
        return None
    stable, work = run.status.stable, seen.workload(run.status.stable)
    assert stable is not None
    renewed = run.spec.type is not RunType.RESTART or work.is_current
    if work.ready > 0 and renewed and seen.route.does({stable.name: 100}):
        return Decision(
            action=Action.PROMOTE,
            reason=Reason.SERVING,
            message=f"{stable.name} serves",
            outcome=Outcome.PROMOTED,
            weight=0,
        )
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


def spec_unreadable(seen: Observed) -> Decision | None:
    """Raise nothing by a spec that does not even say how many pods there should be."""
    if canary_run(seen) is None or seen.spec is not None:
        return None
    why = seen.invalid.message if seen.invalid else "it cannot be understood"
    return hold(Reason.SPEC_INVALID, f"no weight is raised: {why}")


def suspended(seen: Observed) -> Decision | None:
    """Raise nothing while a person said stop."""
    run = canary_run(seen)
    if run is None:
        return None
    if seen.spec is not None and seen.spec.suspend:
        return hold(Reason.SUSPENDED, "spec.suspend is set; no weight is raised")
    if run.status.paused:
        return hold(Reason.PAUSED, "a person paused this run; Resume lets it go on")
    if seen.frozen is not None:
        return hold(Reason.FROZEN, f"freeze window {seen.frozen} is open")
    return None


def blind(seen: Observed) -> Decision | None:
    """Park a canary whose safety could not be seen for `maxBlind`."""
    run = canary_run(seen)
    if run is None or drills.is_drill(run):
        return None
    status = run.status
    limit = parse_duration(run.plan.max_blind)
    if status.weight == 0 or status.blind_since is None or seen.now < status.blind_since + limit:
        return None
    names = ", ".join(seen.canary.blind) if seen.canary else "every Safety objective"
    return Decision(
        action=Action.PARK,
        reason=Reason.PARKED,
        message=f"no usable data for {run.plan.max_blind}: {names}",
        step=-1,
        weight=0,
    )


def parked(seen: Observed) -> Decision | None:
    """Stay at weight 0 until safety can be seen again; then the run prepares anew."""
    run = canary_run(seen)
    if run is None or run.status.phase != "Parked":
        return None
    if seen.stable is None or seen.stable.blind:
        return hold(Reason.PARKED, "safety data is still missing; weight stays 0")
    return None


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
    return waiting or _advance(run, 0, ready + approvals.told(run))


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
        return _held(run, run.since or seen.now)
    return _not_in_force(seen)


def rules_differ(seen: Observed) -> Decision | None:
    """Wait until all guards have the same rules; with new ones the step's evidence begins anew."""
    run = canary_run(seen)
    if run is None or run.status.weight == 0 or drills.is_drill(run):
        return None
    obstacle = seen.rules.obstacle(run.status.rules_digest)
    if obstacle is None:
        return None
    if not seen.rules.is_mixed:
        return Decision(
            action=Action.RECOUNT,
            reason=Reason.RULES_CHANGED,
            message=obstacle,
            step=run.status.step,
            weight=run.status.weight,
        )
    end = _patience_end(seen, run)
    if seen.now >= end and run.plan.on_inconclusive == "RollBack":
        why = f"{obstacle}; those that cannot take them need a Restart decision"
        return roll_back(Reason.MAX_HOLD_EXCEEDED, f"after {run.plan.max_hold}: {why}")
    return hold(Reason.RULES_DIFFER, obstacle, wake=end if seen.now < end else None)


def reward_hacking(seen: Observed) -> Decision | None:
    """Raise nothing while the reward model is pleased and people are not; then as policies say."""
    run = canary_run(seen)
    found = hacking.suspicion(seen, run) if run is not None else None
    if run is None or found is None:
        return None
    after = hacking.roll_back_after(hacking.binding(seen, run))
    last = None if after is None else (run.status.reward_hacking_since or seen.now) + after
    if last is not None and seen.now >= last:
        return roll_back(Reason.REWARD_HACKING_SUSPECTED, found, quarantine=True)
    end = _patience_end(seen, run)
    if seen.now >= end and run.plan.on_inconclusive == "RollBack":
        return roll_back(Reason.MAX_HOLD_EXCEEDED, f"suspected for {run.plan.max_hold}: {found}")
    return Decision(
        action=Action.HOLD,
        reason=Reason.REWARD_HACKING_SUSPECTED,
        message=found,
        stalled=last is None,
        wake=min((each for each in (end, last) if each and seen.now < each), default=None),
    )


def holding(seen: Observed) -> Decision | None:
    """Give every weight its time, counted from when it was in force."""
    run = canary_run(seen)
    if run is None:
        return None
    assert run.since is not None, "weight_not_in_force comes first"
    return _held(run, run.since) if seen.now < _hold_end(run) else None


def inconclusive(seen: Observed) -> Decision | None:
    """Wait for an explicit success; after `maxHold` do as the plan says."""
    run = canary_run(seen)
    if run is None:
        return None
    results = overrides.gating(seen, run)
    verdict = analysis.worst(results)
    if verdict is Verdict.SUCCESSFUL:
        return None
    why = verdicts.tell(verdicts.unsure(results)) or "nothing was measured yet"
    end = _patience_end(seen, run)
    if seen.now >= end and run.plan.on_inconclusive == "RollBack":
        return roll_back(Reason.MAX_HOLD_EXCEEDED, f"inconclusive for {run.plan.max_hold}: {why}")
    reason = Reason.METRICS_UNAVAILABLE if verdict is Verdict.ERROR else Reason.INCONCLUSIVE
    return hold(reason, why, wake=end if seen.now < end else None)


def steps_complete(seen: Observed) -> Decision | None:
    """Promote when the last step was held and judged successful."""
    run = canary_run(seen)
    if run is None or run.status.step < len(run.plan.steps) - 1:
        return None
    assert run.status.canary is not None
    passed = _evidence(seen, run) + contest.won(seen, run) + approvals.told(run)
    return Decision(
        action=Action.PROMOTE,
        reason=Reason.PROMOTED,
        message=f"{run.status.canary.name} passed every step: {passed}",
        outcome=Outcome.PROMOTED,
        weight=0,
    )


def step_passed(seen: Observed) -> Decision | None:
    """Advance to the next step."""
    run = canary_run(seen)
    if run is None:
        return None
    return _advance(run, run.status.step + 1, _evidence(seen, run) + approvals.told(run))


def _evidence(seen: Observed, run: Run) -> str:
    results = verdicts.gating(overrides.gating(seen, run))
    return verdicts.tell(results) + overrides.told(run, seen.now)


def _advance(run: Run, step: int, message: str) -> Decision:
    assert run.status.canary is not None, "only a canary gets weight"
    return Decision(
        action=Action.ADVANCE,
        reason=Reason.ADVANCED,
        message=message,
        step=step,
        # What the spec asks for may have been dropped from a test of several.
        weight=contenders.planned(run).get(run.status.canary.name, run.plan.steps[step].weight),
    )


def _hold_end(run: Run) -> datetime:
    assert run.since is not None, "weight_not_in_force comes first"
    return run.since + parse_duration(run.plan.steps[run.status.step].hold)


def _patience_end(seen: Observed, run: Run) -> datetime:
    """Return when `maxHold` is over: how long the step may last without a success.

    A test may use all its `duration`, and what is left of several is seen anew.
    """
    begins, test = _hold_end(run), run.plan.ab_test
    if test is not None and run.since is not None:
        in_force = run.status.in_force_at or run.since
        begins = max(begins, run.since + parse_duration(test.duration), in_force)
    return begins + parse_duration(run.plan.max_hold) + _stood_still(run, seen.now)


def _held(run: Run, since: datetime) -> Decision:
    step = run.plan.steps[run.status.step]
    wake = since + parse_duration(step.hold)
    share = run.plan.told(sum(contenders.shares(run.status).values()))
    return hold(Reason.HOLDING, f"{share} is held for {step.hold}", wake=wake)


def _stood_still(run: Run, now: datetime) -> timedelta:
    """Return for how long this step waited for a person or a window, up to now."""
    began = run.status.not_holding_since
    return parse_duration(run.status.held_for) + (now - began if began else timedelta())


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
