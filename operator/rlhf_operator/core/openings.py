"""How the record of a run begins: what it takes over from the one before."""

from __future__ import annotations

from rlhf_operator.api.evidence import StepRecord
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import Outcome, RunType
from rlhf_operator.core import capacity, contenders, holdback, pins, quarantines
from rlhf_operator.core.facts import Changes
from rlhf_operator.core.observed import Observed, Run

_BLAMED = frozenset({Reason.SAFETY_FAILED, Reason.SLO_FAILED}) | pins.RESTRAINING


def opened(seen: Observed, run: Run) -> Changes:
    """Return the first status of a record."""
    spec = run.spec
    changes: Changes = {
        "started_at": seen.now,
        "ready_since": seen.now,
        "declared_at": seen.now,
        "stable": spec.from_ or spec.to,
        "fallback": seen.fallback,
        "weight": 0,
        "step": -1,
        "phase": "Preparing",
        "reason": str(Reason.STARTED),
        "message": spec.cause.message,
        "steps": (StepRecord(index=-1, weight=0, declared_at=seen.now),),
        "standby": holdback.inherited(seen),
        "pins": pins.inherited(seen, run),
    } | _inherited_baseline(seen, run)
    if seen.previous is not None:
        known = seen.previous.status
        changes |= {"proof": known.proof, "unproven_since": known.unproven_since}
    if spec.type in (RunType.ROLLOUT, RunType.DRILL):
        changes |= {"canary": spec.to, "arms": contenders.begun(spec.others)}
    if spec.type is RunType.ROLLOUT:
        changes |= restraint(seen)
    if spec.type in (RunType.ROLLOUT, RunType.RESTART):
        changes |= _inherited_doubt(seen)
    if spec.type in capacity.AT_ONCE:
        changes |= {
            "stable": spec.to,
            "outcome": Outcome.PROMOTED,
            "finished_at": seen.now,
            "phase": "Settling",
            "reason": spec.cause.reason,
            "standby": None,
            "baseline": (),
            "rules_digest": None,
            "rules_since": None,
            "drifts": (),
            "drifts_at": None,
            "force_block": spec.cause.reason in pins.RESTRAINING,
            "refuse": spec.cause.reason == Reason.REFUSING,
        }
        if spec.cause.reason in _BLAMED and spec.from_ is not None:
            changes["quarantine"] = quarantines.failed(seen, spec.from_, spec.cause.message)
    return changes


def restraint(seen: Observed) -> Changes:
    """Return how what serves is restrained: while another version is tried it goes on so."""
    before = seen.previous.status if seen.previous else None
    if before is None:
        return {}
    return {"force_block": before.force_block, "refuse": before.refuse}


def _inherited_doubt(seen: Observed) -> Changes:
    """Return why no move is made by itself: what is tried now may be the cure."""
    before = seen.previous.status if seen.previous else None
    if before is None:
        return {}
    return {"not_the_model": before.not_the_model, "alike": before.alike}


def _inherited_baseline(seen: Observed, run: Run) -> Changes:
    """Return what stable showed at first, and by which rules, while it is what serves."""
    before = seen.previous.status if seen.previous else None
    if before is None or before.stable is None or before.stable != run.spec.from_:
        return {}
    return {
        "baseline": before.baseline,
        "rules_digest": before.rules_digest,
        "rules_since": before.rules_since,
        "drifts": before.drifts,
        "drifts_at": before.drifts_at,
    }
