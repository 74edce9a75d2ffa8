"""How one simulated rollout went."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from rlhf_operator.api.rollout import Outcome


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
    """Answers that the canary gave before the outcome; of a shadow nobody gets them."""
    bad: int
    """Flagged ones that users got from the canary."""
    unread: int
    """Flagged ones of a shadow, which nobody got."""
    shown_before: int
    """Answers that stable had shown before it fell silent; 0 where there is no switch."""
