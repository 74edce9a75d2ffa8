"""The mean of values between 0 and 1, without asymptotics, batch by batch.

Each batch is judged with a bet and a guess that were fixed before it came, so only its number,
sum and sum of squares are needed. Source: Waudby-Smith and Ramdas 2024 (arXiv 2010.09686),
the predictable plug-in empirical-Bernstein sequence, here for batches.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import log, log1p, sqrt

from rlhf_operator.core.statistics.interval import Interval
from rlhf_operator.core.statistics.means import Sums
from rlhf_operator.core.statistics.numerics import checked_level

_LARGEST_BET = 0.5


def bounded_mean(batches: Iterable[Sums], alpha: float) -> Interval:
    """Return the confidence sequence for a mean after these batches, in the order they came.

    Guarantee: exact; all intervals hold the mean with probability 1 - alpha. Assumptions: every
    value lies in [0, 1] (scale and clip first, and count what was clipped), and has the same
    mean, whatever came before. Where low > high the mean has changed: the interval is empty.
    Raises ValueError for a batch whose sums values in [0, 1] cannot have.
    """
    cost = log(2 / checked_level(alpha))
    from_below, from_above = _Bets(cost), _Bets(cost)
    low, high, n, total = 0.0, 1.0, 0.0, 0.0
    for batch in batches:
        if not batch.n:
            continue
        if not 0 <= batch.squares <= batch.total + 1e-9 * batch.n <= batch.n * (1 + 2e-9):
            raise ValueError(f"{batch} are not the sums of values between 0 and 1")
        low = max(low, from_below.take(batch))
        high = min(high, 1 - from_above.take(_reflected(batch)))
        n, total = n + batch.n, total + batch.total
    return Interval(estimate=total / n if n else None, low=low, high=high)


def _reflected(batch: Sums) -> Sums:
    """Return the sums of 1 - x."""
    return Sums(
        n=batch.n,
        total=batch.n - batch.total,
        squares=max(0.0, batch.n - 2 * batch.total + batch.squares),
    )


class _Bets:
    """The bets that the mean is higher than a bound, so far. Lives within one call only."""

    def __init__(self, cost: float) -> None:
        self._cost = cost
        self._n = self._total = self._squares = 0.0
        self._staked = self._won = self._paid = 0.0

    def take(self, batch: Sums) -> float:
        """Return the lower bound with this batch."""
        n, m = self._n, batch.n
        guess = (0.5 + self._total) / (n + 1)
        variance = (0.25 + self._squares - 2 * guess * self._total + n * guess**2) / (n + 1)
        time = n + m / 2
        bet = min(_LARGEST_BET, sqrt(2 * self._cost / (variance * time * log1p(time))))
        self._staked += bet * m
        self._won += bet * batch.total
        spread = batch.squares - 2 * guess * batch.total + m * guess**2
        self._paid += (-log1p(-bet) - bet) * spread
        self._n, self._total, self._squares = (
            n + m,
            self._total + batch.total,
            self._squares + batch.squares,
        )
        return (self._won - self._cost - self._paid) / self._staked
