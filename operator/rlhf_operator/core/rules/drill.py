"""Rules of a drill: when one begins, what ends it at once, and what it proves.

In between the rules of any run hold. Drills wait for everything, and nothing waits for a drill.
"""

from __future__ import annotations

from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import Outcome
from rlhf_operator.api.schema import parse_duration
from rlhf_operator.core import drills, holdback
from rlhf_operator.core.decision import Action, Decision, hold
from rlhf_operator.core.observed import Act, Observed, Run
from rlhf_operator.core.rules import harm, starting


def drill_superseded(seen: Observed) -> Decision | None:
    """End a drill at once when anything else is wanted; a flight goes before all that."""
    run = drills.running(seen)
    if run is None:
        return None
    flight = harm.stable_unsafe(seen) or harm.stable_vetoed(seen)
    why = _other_wish(seen, run)
    if flight is not None or why is None:
        return flight
    return _conclude(Outcome.SUPERSEDED, Reason.SUPERSEDED, why)


def drill_late(seen: Observed) -> Decision | None:
    """End a drill whose fallback does not get its traffic in time."""
    run = drills.running(seen)
    if run is None or (run.status.step >= 0 and run.status.in_force_at is not None):
        return None
    since, timeout = run.status.ready_since, run.plan.ready_timeout
    if since is None or seen.now < since + parse_duration(timeout):
        return None
    message = f"{run.spec.to.name} had no traffic after {timeout}: {run.status.message}"
    return _conclude(Outcome.UNPROVEN, Reason.UNPROVEN, message)


def drill_held(seen: Observed) -> Decision | None:
    """Say what a drill proved that was held for its time; silence is no proof."""
    run = drills.running(seen)
    if run is None:
        return None
    name, weight = run.spec.to.name, run.status.weight
    count = drills.answers(seen)
    if count > 0:
        what = "1 answer" if count == 1 else f"{count} answers"
        message = f"{name} gave {what} at {weight}%"
        return _conclude(Outcome.PROVEN, Reason.PROVEN, message)
    at, step = run.status.in_force_at, run.plan.steps[run.status.step]
    assert at is not None, "weight_not_in_force comes first"
    end = at + parse_duration(step.hold) + parse_duration(run.plan.max_blind)
    message = f"no answer of {name} was counted at {weight}%"
    if seen.now >= end:
        why = f"{message} in {step.hold} and {run.plan.max_blind} more"
        return _conclude(Outcome.UNPROVEN, Reason.UNPROVEN, why)
    return hold(Reason.INCONCLUSIVE, message, wake=end)


def drill_due(seen: Observed) -> Decision | None:
    """Start a drill when the last proof is too old and the model rests."""
    when = drills.due(seen)
    if when is None or seen.now < when or not _rests(seen):
        return None
    spec = drills.begin(seen)
    return Decision(
        action=Action.START, reason=Reason.DRILL, message=spec.cause.message, start=spec
    )


def _other_wish(seen: Observed, run: Run) -> str | None:
    """Return what is wanted instead of going on with the drill."""
    spec, stable, target = seen.spec, run.status.stable, seen.target
    act = _waiting(seen)
    if act is not None:
        return f"{act.author} decided: {act.action}"
    if spec is None:
        return "the model's spec cannot be read"
    if spec.rollback_drill is None:
        return "rollbackDrill is not in the spec any more"
    if spec.suspend or seen.frozen is not None:
        return "spec.suspend is set" if spec.suspend else f"freeze window {seen.frozen} is open"
    if seen.invalid is not None or target is None or stable is None:
        return None
    if target.identity != stable.identity:
        return f"{target.name} is asked for now"
    if seen.fallback is not None and seen.fallback.identity != run.spec.to.identity:
        return f"{seen.fallback.name} is the fallback now"
    return None


def _rests(seen: Observed) -> bool:
    """Return whether nothing is going on, nothing is wanted, and all is well."""
    run, spec = seen.run, seen.spec
    if run is None or spec is None or not run.is_settled or seen.target is None:
        return False
    stable = run.status.stable
    serves = stable is not None and stable.identity == seen.target.identity
    until = starting.cool_down_end(seen, spec.rollout.cool_down)
    stopped = spec.suspend or seen.frozen is not None or seen.partly_understood
    crowded = not (seen.place_free and seen.drill_place_free)
    busy = _waiting(seen) is not None or crowded or (until is not None and seen.now < until)
    restrained = run.status.force_block or run.status.refuse
    return (
        serves
        and seen.workload(stable).ready > 0
        and seen.route.failure is None
        and run.status.not_the_model is None
        and holdback.arm(run) is None
        and not seen.is_quarantined(seen.fallback)
        and not (stopped or busy or restrained)
    )


def _waiting(seen: Observed) -> Act | None:
    """Return the oldest human decision before which no drill goes on.

    An approval that waits for its run is none of them: that run may never come, and where it
    does it needs no decision to end a drill.
    """
    return next((act for act in seen.acts if act.action != "Approve"), None)


def _conclude(outcome: Outcome, reason: Reason, message: str) -> Decision:
    return Decision(
        action=Action.CONCLUDE, reason=reason, message=message, outcome=outcome, weight=0
    )
