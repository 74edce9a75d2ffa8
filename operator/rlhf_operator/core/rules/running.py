"""Rules of a run in progress, from what stops it to what lets it go on."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from rlhf_operator.api.evidence import Verdict
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import Outcome
from rlhf_operator.api.schema import parse_duration
from rlhf_operator.core import (
    analysis,
    approvals,
    capacity,
    contenders,
    drills,
    overrides,
    split,
    verdicts,
)
from rlhf_operator.core import reward_hacking as hacking
from rlhf_operator.core.decision import Action, Decision, hold, promote, roll_back
from rlhf_operator.core.observed import Observed, Run
from rlhf_operator.core.rules import contest, patience
from rlhf_operator.core.rules.acts import advance, canary_run


def superseded(seen: Observed) -> Decision | None:
    """End the run when another version is asked for: it starts anew against the old stable."""
    run = canary_run(seen)
    if run is None or seen.invalid is not None or seen.target is None or drills.is_drill(run):
        return None
    if seen.target.identity == run.spec.to.identity:
        return None
    return roll_back(Reason.SUPERSEDED, f"{seen.target.name} is asked for now", Outcome.SUPERSEDED)


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
    if _is_unjudged(seen, run, limit):
        said = f"{run.plan.told(status.weight)} was declared and not in force for so long"
        message = f"nothing is judged of {contenders.named(seen).name}: {said}"
        return Decision(
            action=Action.PARK, reason=Reason.PARKED, message=message, step=-1, weight=0
        )
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


def _is_unjudged(seen: Observed, run: Run, limit: timedelta) -> bool:
    """Return whether a canary has had traffic for long that is not what was declared.

    Evidence begins when a weight is in force: until then no harm shows.
    """
    status, name = run.status, contenders.named(seen).name
    if status.in_force_at is not None or status.declared_at is None or status.weight == 0:
        return False
    if capacity.is_in_force(seen, run):
        return False  # since this pass
    late = status.declared_at + parse_duration(run.plan.ready_timeout) + limit
    return seen.now >= late and (seen.route.weights or {}).get(name, 0) > 0


def parked(seen: Observed) -> Decision | None:
    """Stay at weight 0 until safety can be seen again; then the run prepares anew."""
    run = canary_run(seen)
    if run is None or run.status.phase != "Parked":
        return None
    if seen.stable is None or seen.stable.blind:
        return hold(Reason.PARKED, "safety data is still missing; weight stays 0")
    return None


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
    end = patience.end(seen, run)
    if seen.now >= end and run.plan.on_inconclusive == "RollBack":
        why = f"after {run.plan.max_hold}: {obstacle}"
        return roll_back(Reason.MAX_HOLD_EXCEEDED, why)
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
    end = patience.end(seen, run)
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
    assert run.since is not None, "readiness.weight_not_in_force comes first"
    return patience.held(run, run.since) if seen.now < patience.hold_end(run) else None


def inconclusive(seen: Observed) -> Decision | None:
    """Wait for an explicit success; after `maxHold` do as the plan says."""
    run = canary_run(seen)
    if run is None:
        return None
    if seen.canary is None and run.policies:
        # So it is after a restart; that a source does not answer is a result, and no silence.
        return hold(Reason.INCONCLUSIVE, "nothing was measured yet")
    results = overrides.gating(seen, run)
    verdict = analysis.worst(results)
    if verdict is Verdict.SUCCESSFUL:
        return None
    why = verdicts.tell(verdicts.unsure(results)) or "no objective can say Successful"
    end = patience.end(seen, run)
    if seen.now >= end and run.plan.on_inconclusive == "RollBack":
        return roll_back(Reason.MAX_HOLD_EXCEEDED, f"inconclusive for {run.plan.max_hold}: {why}")
    reason = Reason.METRICS_UNAVAILABLE if verdict is Verdict.ERROR else Reason.INCONCLUSIVE
    return hold(reason, why, wake=end if seen.now < end else None)


def answers_missing(seen: Observed) -> Decision | None:
    """Raise nothing while fewer answers of the canary are counted than its weight says.

    What got lost on the way may be what is bad, and nobody judged it. It is no proof of harm
    either: a person looks, and goes on by mending the way, by Promote or by Abort; after `maxHold`
    the plan says what becomes of it, as of all that stays undecided.
    """
    run = canary_run(seen)
    found = split.of_step(seen, run) if run is not None else None
    if run is None or found is None or not found.missing:
        return None
    end = patience.end(seen, run)
    if seen.now >= end and run.plan.on_inconclusive == "RollBack":
        why = f"after {run.plan.max_hold}: {found.message}"
        return roll_back(Reason.MAX_HOLD_EXCEEDED, why)
    wake = end if seen.now < end else None
    return replace(hold(Reason.TRAFFIC_SPLIT_MISMATCH, found.message, wake=wake), stalled=True)


def steps_complete(seen: Observed) -> Decision | None:
    """Promote when the last step was held and judged successful."""
    run = canary_run(seen)
    if run is None or run.status.step < len(run.plan.steps) - 1:
        return None
    assert run.status.canary is not None
    passed = _evidence(seen, run) + contest.won(seen, run) + approvals.told(run)
    return promote(Reason.PROMOTED, f"{run.status.canary.name} passed every step: {passed}")


def step_passed(seen: Observed) -> Decision | None:
    """Advance to the next step."""
    run = canary_run(seen)
    if run is None:
        return None
    return advance(run, run.status.step + 1, _evidence(seen, run) + approvals.told(run))


def _evidence(seen: Observed, run: Run) -> str:
    results = verdicts.gating(overrides.gating(seen, run))
    return verdicts.tell(results) + overrides.told(run, seen.now)
