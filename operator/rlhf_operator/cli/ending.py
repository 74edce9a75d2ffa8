"""How one simulated rollout went."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from rlhf_operator.api.rollout import Outcome
from rlhf_operator.core import contenders
from rlhf_operator.core.observed import Run


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """How one simulated rollout went."""

    outcome: Outcome | None
    """None where it was still going at the limit, or never started."""
    reason: str
    took: timedelta
    highest: int
    """The highest weight that it reached."""
    answers: int
    """Answers that what is tested gave before the outcome; of a shadow nobody gets them."""
    bad: int
    """Flagged ones that users got of it."""
    unread: int
    """Flagged ones of a shadow, which nobody got."""
    shown_before: int
    """Answers that stable had shown before it fell silent; 0 where there is no switch."""
    ends: tuple[tuple[str, str], ...] = ()
    """Of a test of several: each version, and why it won or was dropped."""


def of_each(run: Run) -> Iterator[tuple[str, str]]:
    """Yield how each tested version ended: why it was dropped, or how the run ended with it."""
    status = run.status
    out = {arm.version: arm.reason or "" for arm in status.arms if arm.state == "Dropped"}
    left = str(status.reason) if status.outcome is not None else "StillTested"
    for each in contenders.tried(run):
        yield each.name, out.get(each.name, left)
