"""By how much two means differ (reward, length, latency): asymptotic, from n, Σx and Σx² alone.

Strata keep a ramping weight from mixing the hours of the day into the comparison. Source:
Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2021 (arXiv 2103.06476), equations 9, 134 and 161.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import fsum, inf, sqrt

from rlhf_operator.core.statistics import mixture
from rlhf_operator.core.statistics.interval import Interval
from rlhf_operator.core.statistics.numerics import checked, checked_level

# Below this part of the mean square, a variance is the rounding of the sums.
_ROUNDING = 1e-12
TUNED_FOR = 5000
"""The number of values, both arms together, at which the interval is about tightest."""
LEAST = 100
"""Values per arm below which nothing is claimed: sums are not yet normal enough."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sums:
    """What is known of one arm's values: their number, their sum, the sum of their squares.

    A value is one independent unit: a conversation, or a user, not a turn of one. Raises
    ValueError for negative numbers of values or squares, and for anything not finite.
    """

    n: float
    total: float
    squares: float

    def __post_init__(self) -> None:
        checked(self.n, "the number of values", 0)
        checked(self.total, "the sum")
        checked(self.squares, "the sum of squares", 0)

    @property
    def mean(self) -> float:
        """Return the mean; there must be values."""
        return self.total / self.n

    @property
    def variance(self) -> float:
        """Return the unbiased variance; there must be two values at least.

        Unbiased, so that the errors of many small strata do not add up in one direction.
        """
        spread = self.squares - self.total * self.total / self.n
        return spread / (self.n - 1) if spread > _ROUNDING * self.squares else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanStratum:
    """Both arms' values in one stretch of a rollout in which neither weight nor guard changed."""

    canary: Sums
    stable: Sums


@dataclass(frozen=True, slots=True)
class _Pooled:
    """The stratified difference, with N values and s², the variance of N times its error."""

    estimate: float
    n: float
    variance: float


def mean_difference(
    strata: Iterable[MeanStratum],
    alpha: float,
    *,
    one_sided: bool = False,
    tuned_for: float = TUNED_FOR,
    least: float = LEAST,
) -> Interval:
    """Return the confidence sequence for the canary's mean minus stable's.

    With one_sided each end holds at alpha on its own, so only one of them may be used; else both
    hold together. Each stratum's difference counts by its share of all values. With fewer than
    `least` values in an arm, or values that never vary, the interval is without bounds.

    Guarantee: asymptotic. Of ever later starts, the probability that any later interval misses
    tends to alpha at most. Assumptions: units are independent, with finite variance; the arms of
    a stratum see the same users. The formulas are in docs/statistics.md.
    """
    checked_level(2 * alpha if one_sided else alpha)
    pooled = _pool(strata, least)
    if pooled is None:
        return Interval(estimate=None, low=-inf, high=inf)
    prior = mixture.tightest_prior(tuned_for, alpha, one_sided=one_sided)
    reach = mixture.boundary_of_sum(pooled.n, prior, alpha, one_sided=one_sided)
    half = reach * sqrt(pooled.variance) / pooled.n
    return Interval(
        estimate=pooled.estimate, low=pooled.estimate - half, high=pooled.estimate + half
    )


def log_e_mean_difference(
    strata: Iterable[MeanStratum],
    margin: float,
    *,
    harm: bool,
    alpha: float = 0.05,
    tuned_for: float = TUNED_FOR,
    least: float = LEAST,
) -> float:
    """Return ln E against a hypothesis on the canary's mean minus stable's.

    harm=True tests H0: difference ≤ margin; large values say that the canary's mean is higher.
    harm=False tests H0: difference ≥ margin; large values say that it is lower. Where a higher
    mean is better, exchange the two. `alpha` only tunes where the test is sharpest. 0, which
    says nothing, without enough values. Guarantee and assumptions as for `mean_difference`.
    """
    checked(margin, "the margin")
    pooled = _pool(strata, least)
    if pooled is None:
        return 0.0
    prior = mixture.tightest_prior(tuned_for, alpha, one_sided=True)
    deviation = _standardised(pooled, margin)
    return mixture.log_mixture(deviation if harm else -deviation, pooled.n, prior, one_sided=True)


def log_e_mean_change(
    strata: Iterable[MeanStratum],
    *,
    alpha: float = 0.05,
    tuned_for: float = TUNED_FOR,
    least: float = LEAST,
) -> float:
    """Return ln E against H0: both means are equal; two-sided.

    It reaches ln(1/alpha) exactly where 0 leaves the two-sided interval of `mean_difference`.
    """
    pooled = _pool(strata, least)
    if pooled is None:
        return 0.0
    prior = mixture.tightest_prior(tuned_for, alpha, one_sided=False)
    return mixture.log_mixture(_standardised(pooled, 0), pooled.n, prior, one_sided=False)


def _standardised(pooled: _Pooled, margin: float) -> float:
    return pooled.n * (pooled.estimate - margin) / sqrt(pooled.variance)


def _pool(strata: Iterable[MeanStratum], least: float) -> _Pooled | None:
    """Return the difference over all strata; None when there is too little to go by."""
    # One value tells nothing of its spread. Which strata stay depends on numbers alone.
    told = tuple(each for each in strata if min(each.canary.n, each.stable.n) >= 2)
    arms = (fsum(each.canary.n for each in told), fsum(each.stable.n for each in told))
    if min(arms) < max(least, 2):
        return None
    everything = sum(arms)
    estimate, squared_error = [], []
    for each in told:
        canary, stable = each.canary, each.stable
        weight = (canary.n + stable.n) / everything
        estimate.append(weight * (canary.mean - stable.mean))
        squared_error.append(weight**2 * (canary.variance / canary.n + stable.variance / stable.n))
    variance = everything * fsum(squared_error)
    # Values that never varied do not prove that they never will.
    return _Pooled(fsum(estimate), everything, variance) if variance > 0 else None
