"""Conditions: set once, kept while unchanged, and one place that says Ready.

Reconciling and Stalled exist only while True and never together (the kstatus contract).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from rlhf_operator.api.common import Condition
from rlhf_operator.api.reasons import ConditionType
from rlhf_operator.core.decision import Action, Decision


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """A condition that should stand now, without its times."""

    type: ConditionType
    status: str
    reason: str
    message: str


def summarize(decision: Decision, *, target_serves: bool) -> tuple[Fact, ...]:
    """Return Ready, and Reconciling or Stalled where they hold, from one decision."""
    reason, message = str(decision.reason), decision.message
    at_rest = decision.action is Action.KEEP
    if at_rest and target_serves and not decision.stalled:
        return (Fact(type=ConditionType.READY, status="True", reason=reason, message=message),)
    ready = Fact(type=ConditionType.READY, status="False", reason=reason, message=message)
    other = ConditionType.STALLED if decision.stalled else ConditionType.RECONCILING
    return (ready, Fact(type=other, status="True", reason=reason, message=message))


def merge(
    before: Iterable[Condition], facts: Iterable[Fact], now: datetime, generation: int
) -> tuple[Condition, ...]:
    """Return the conditions that should be stored.

    The transition time moves only when the status does. What is not among the facts goes.
    """
    known = {condition.type: condition for condition in before}
    return tuple(_one(known.get(fact.type), fact, now, generation) for fact in facts)


def _one(before: Condition | None, fact: Fact, now: datetime, generation: int) -> Condition:
    same = before is not None and before.status == fact.status
    return Condition.model_validate(
        {
            "type": str(fact.type),
            "status": fact.status,
            "reason": fact.reason,
            "message": fact.message[:4096],
            "lastTransitionTime": before.last_transition_time if before and same else now,
            "observedGeneration": generation,
        }
    )
