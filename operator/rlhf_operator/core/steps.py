"""The steps on record: since when the newest is in force, and how it ended."""

from __future__ import annotations

from datetime import datetime

from rlhf_operator.api.evidence import StepRecord
from rlhf_operator.api.rollout import RolloutStatus
from rlhf_operator.core import capacity, standings
from rlhf_operator.core.decision import Decision
from rlhf_operator.core.observed import Observed, Run


def closed(seen: Observed, run: Run, decision: Decision) -> tuple[StepRecord, ...]:
    """Return the steps with the last one ended by what was decided."""
    if not run.status.steps:
        return ()
    steps = run.status.steps
    if run.status.in_force_at is None and capacity.is_in_force(seen, run):
        steps = in_force(seen, run.status)
    *earlier, last = steps
    ended = last.model_copy(
        update={
            "ended_at": seen.now,
            "rule": decision.rule or str(decision.reason),
            "message": decision.message[:4096],
            "slos": standings.last_seen(seen),
        }
    )
    return (*earlier, ended)


def in_force(seen: Observed, status: RolloutStatus) -> tuple[StepRecord, ...]:
    """Return the steps with the last one in force from now on."""
    if not status.steps or status.outcome is not None:
        return status.steps
    return begun(status.steps, seen.now)


def begun(steps: tuple[StepRecord, ...], at: datetime) -> tuple[StepRecord, ...]:
    """Return some steps with the last one in force since an instant."""
    *earlier, last = steps
    return (*earlier, last.model_copy(update={"in_force_at": at}))
