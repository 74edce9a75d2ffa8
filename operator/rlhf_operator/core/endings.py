"""What the end of a run, or of the control arm after it, changes in its record."""

from __future__ import annotations

from rlhf_operator.api.rollout import RunType
from rlhf_operator.core import contenders, drills, holdback, openings, pins, quarantines, steps
from rlhf_operator.core.decision import Decision
from rlhf_operator.core.facts import Changes
from rlhf_operator.core.observed import Observed, Run


def _ended(seen: Observed, run: Run, decision: Decision) -> Changes:
    return {
        "outcome": decision.outcome,
        "reason": str(decision.reason),
        "message": decision.message[:4096],
        "canary": None,
        "arms": contenders.closed(run.status.arms, decision.reason, decision.message, seen.now),
        "weight": 0,
        "phase": "Settling",
        "declared_at": seen.now,
        "in_force_at": None,
        "step_since": None,
        "blind_since": None,
        "reward_hacking_since": None,
        "awaiting": None,
        "not_holding_since": None,
        "checkpoint": None,
        "finished_at": seen.now,
        "steps": steps.closed(seen, run, decision),
    }


def rolled_back(seen: Observed, run: Run, decision: Decision) -> Changes:
    """Return what going back changes, or the end of a drill."""
    changes = _ended(seen, run, decision) | drills.ended(seen, run, decision)
    if run.spec.type is RunType.RESTART:
        changes["pins"] = pins.before(seen, run)
        changes |= openings.restraint(seen)
    if seen.deleted:  # the pods go with the model; nothing is left to drain
        changes |= {"settled_at": seen.now, "phase": "Completed"}
    if decision.quarantine:
        failed = run.status.canary or run.spec.to
        changes["quarantine"] = quarantines.made(seen, failed, decision)
    return changes


def promoted(seen: Observed, run: Run, decision: Decision) -> Changes:
    """Return what serving by default from now on changes."""
    changes = _ended(seen, run, decision) | {"not_the_model": None, "alike": ()}
    if run.status.canary is None:  # the first version, or renewed pods: the route is in force
        changes |= {"in_force_at": seen.now}
        if run.spec.from_ is None:  # nothing served before that could drain
            changes |= {"settled_at": seen.now, "phase": "Completed"}
        return changes
    standby = holdback.standby(seen, run, run.status.stable)
    changes |= {"force_block": False, "refuse": False}
    changes["unproven_since"] = drills.unproven_since(seen, run.status)
    return changes | {"stable": run.status.canary, "standby": standby}


def released(seen: Observed, run: Run, decision: Decision) -> Changes:
    """Return what the end of a control arm changes."""
    before = run.status.standby
    assert before is not None, "only what is kept warm can be a control arm"
    why = decision.message[:4096]
    changes: Changes = {
        "standby": holdback.released(before, decision.reason, why, seen.now),
        "declared_at": seen.now,
        "in_force_at": None,
        "settled_at": None,
        "phase": "Settling",
        "checkpoint": None,
    }
    if decision.quarantine:
        changes["quarantine"] = quarantines.failed(seen, before.version, why)
    return changes
