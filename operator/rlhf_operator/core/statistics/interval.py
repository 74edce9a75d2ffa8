"""An interval that holds at every look, and the difference of two of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """What a number may be, as one member of a confidence sequence.

    With probability 1 - alpha *all* intervals of the sequence hold the true number, so looking
    after every scrape and stopping when it pleases costs nothing.
    """

    estimate: float | None
    """The best guess; None without any data."""
    low: float
    """The lower bound; -inf (for rates and ratios 0) while nothing is known."""
    high: float
    """The upper bound; +inf (for rates 1) while nothing is known."""


def difference(canary: Interval, stable: Interval) -> Interval:
    """Return canary - stable by the union bound.

    Where each of the two fails with probability alpha/2 at most, the result fails with
    probability alpha at most, however traffic was assigned and whatever they share.
    """
    estimate = None
    if canary.estimate is not None and stable.estimate is not None:
        estimate = canary.estimate - stable.estimate
    return Interval(estimate=estimate, low=canary.low - stable.high, high=canary.high - stable.low)
