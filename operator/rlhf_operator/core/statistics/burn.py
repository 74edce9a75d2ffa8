"""How fast the budget for bad answers is spent in steady state, over several windows at once.

A long window says that it matters, a short one that it still goes on. Source: Site Reliability
Workbook, chapter 5, multi-window multi-burn-rate alerts. Not for rollouts: their steps are
shorter than these windows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from rlhf_operator.core.statistics.numerics import checked
from rlhf_operator.core.statistics.rates import Count

PERIOD = timedelta(days=30)
"""The time in which the whole budget may be spent."""


class Urgency(StrEnum):
    """What a fast burn calls for."""

    PAGE = "Page"
    """Act now: go back to the last good version."""
    TICKET = "Ticket"
    """Act soon: retrain."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BurnRule:
    """Alert when both windows spend the budget more than `factor` times as fast as allowed."""

    urgency: Urgency
    long: timedelta
    short: timedelta
    budget: float
    """The part of the period's budget that is gone when the long window fires."""

    @property
    def factor(self) -> float:
        """Return the burn rate at which the long window spends that part."""
        return self.budget * (PERIOD / self.long)


def _hours(count: float) -> timedelta:
    return timedelta(hours=count)


BURN_RULES = (
    BurnRule(urgency=Urgency.PAGE, budget=0.02, long=_hours(1), short=_hours(1 / 12)),
    BurnRule(urgency=Urgency.PAGE, budget=0.05, long=_hours(6), short=_hours(0.5)),
    BurnRule(urgency=Urgency.TICKET, budget=0.10, long=_hours(24), short=_hours(2)),
    BurnRule(urgency=Urgency.TICKET, budget=0.10, long=_hours(72), short=_hours(6)),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Burn:
    """What one rule found: the burn rate of each window, None where nothing was counted."""

    rule: BurnRule
    long: float | None
    short: float | None

    @property
    def alerts(self) -> bool:
        """Return whether both windows burn too fast."""
        return self.known and min(self.long or 0.0, self.short or 0.0) > self.rule.factor

    @property
    def known(self) -> bool:
        """Return whether both windows have data. A rule that is not known is not at peace."""
        return self.long is not None and self.short is not None


def burn_rate(count: Count, allowed: float) -> float | None:
    """Return how many times faster than allowed the budget is spent; None without samples.

    allowed: bad answers per answer that the SLO permits, above 0, which is 1 - SLO.
    """
    if not 0 < checked(allowed, "the allowed rate") <= 1:
        raise ValueError(f"an allowed rate of {allowed} leaves no budget to spend")
    return None if count.rate is None else count.rate / allowed


def burns(windows: Mapping[timedelta, Count], allowed: float) -> tuple[Burn, ...]:
    """Return what each rule says of the counts (bad, total) per window up to now.

    A window that is missing is one without data. With little traffic one bad answer may exceed
    a short window's factor; ask for enough samples before.
    """

    def rate(window: timedelta) -> float | None:
        count = windows.get(window)
        return None if count is None else burn_rate(count, allowed)

    return tuple(
        Burn(rule=rule, long=rate(rule.long), short=rate(rule.short)) for rule in BURN_RULES
    )
