"""What one arm's rate may be, and by how much two rates differ: exact, from counts alone."""

from __future__ import annotations

from dataclasses import dataclass
from math import log, log1p

from rlhf_operator.core.statistics.interval import Interval, difference
from rlhf_operator.core.statistics.numerics import boundary, checked, checked_level, log_beta


@dataclass(frozen=True, kw_only=True, slots=True)
class Count:
    """Events among samples of one arm; ValueError unless 0 ≤ events ≤ samples."""

    events: float
    samples: float

    def __post_init__(self) -> None:
        checked(self.samples, "the number of samples", 0)
        checked(self.events, "the number of events", 0, self.samples)

    @property
    def rate(self) -> float | None:
        """Return events per sample; None without samples."""
        return self.events / self.samples if self.samples else None


def rate_interval(successes: float, trials: float, alpha: float) -> Interval:
    """Return the Beta-binomial confidence sequence for a rate.

    All rates p whose likelihood is more than alpha times its mean over the prior Beta(½, ½):
    p^k (1 - p)^(n - k) > alpha · B(½ + k, ½ + n - k) / B(½, ½), k = successes, n = trials.

    Guarantee: all intervals of the sequence hold the rate with probability 1 - alpha, exactly.
    Assumption: every response is an event with the same probability, whatever came before.
    Source: Robbins 1970; as in Howard et al. 2021 (arXiv 1810.08240).
    """
    count = Count(events=successes, samples=trials)
    if not trials:
        return Interval(estimate=None, low=0, high=1)
    failures, estimate = trials - successes, successes / trials
    least = (
        log(checked_level(alpha)) + log_beta(0.5 + successes, 0.5 + failures) - log_beta(0.5, 0.5)
    )

    def likely(rate: float) -> bool:
        # 0 · ln 0 is 0: what was never seen says nothing against a rate of 0.
        hits = successes * log(rate) if successes and rate > 0 else 0.0
        misses = failures * log1p(-rate) if failures and rate < 1 else 0.0
        impossible = (rate == 0 and successes) or (rate == 1 and failures)
        return not impossible and hits + misses > least

    return Interval(
        estimate=count.rate, low=boundary(likely, estimate, 0), high=boundary(likely, estimate, 1)
    )


def rate_difference(canary: Count, stable: Count, alpha: float) -> Interval:
    """Return the confidence sequence for the canary's rate minus stable's, by the union bound.

    Each arm's sequence is taken at alpha/2. Conservative, but exact for any assignment of users.
    Assumptions are those of `rate_interval` in each arm; a ramping weight does not matter as
    long as neither rate changes with time. Where rates do, ask for the ratio by strata.
    """
    return difference(
        rate_interval(canary.events, canary.samples, alpha / 2),
        rate_interval(stable.events, stable.samples, alpha / 2),
    )
