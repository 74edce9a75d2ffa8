"""Has a mean moved, after promotion? Cumulative sums of what the windows exceed.

Source: Page 1954; the average run length is Siegmund's 1985 approximation; the head start is
Lucas and Crosier's 1982.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import expm1, sqrt

from rlhf_operator.core.statistics.numerics import checked

# By how much a sum overshoots the threshold on average, on both ends together, in deviations.
_OVERSHOOT = 1.166


@dataclass(frozen=True, kw_only=True, slots=True)
class Cusum:
    """A one-sided detector on the means of windows, against a frozen baseline.

    Assumptions: the windows' means are independent and about normal with the baseline's mean.
    Where the hours of a day differ, compare with the same hour of the week, or with the other
    arm; otherwise false alarms come sooner than `average_run_length` says.
    """

    mean: float
    """The baseline's mean of single values, from at least a week after promotion."""
    deviation: float
    """The baseline's standard deviation of single values, above 0."""
    higher_is_worse: bool
    """True for KL and rates of bad events, False for rewards."""
    slack: float = 0.5
    """Half the shift to detect, in standard deviations of a window's mean."""
    threshold: float = 5.0
    """The level above which there is an alarm."""
    level: float = 0.0
    """What the windows exceeded the slack by so far, never below 0."""

    def __post_init__(self) -> None:
        checked(self.mean, "the baseline's mean")
        checked(self.deviation, "the baseline's deviation", 5e-324)
        checked(self.slack, "the slack", 0)
        checked(self.threshold, "the threshold", 0)
        checked(self.level, "the level", 0)

    def update(self, mean: float, n: float) -> Cusum:
        """Return the detector after a window of n values; an empty window changes nothing."""
        if not checked(n, "the number of values", 0):
            return self
        z = (checked(mean, "a window's mean") - self.mean) / (self.deviation / sqrt(n))
        worse = z if self.higher_is_worse else -z
        return replace(self, level=max(0.0, self.level + worse - self.slack))

    @property
    def alarmed(self) -> bool:
        """Return whether the mean has moved for the worse."""
        return self.level > self.threshold


def head_start(cusum: Cusum) -> Cusum:
    """Return the detector set half-way to its threshold, as is wise just after a promotion."""
    return replace(cusum, level=cusum.threshold / 2)


def average_run_length(slack: float, threshold: float, shift: float) -> float:
    """Return after how many windows a one-sided Cusum alarms on average.

    shift: by how much the mean is worse, in standard deviations of a window's mean; at 0 the
    answer is the mean time between false alarms. Starting from level 0. Siegmund's
    approximation is right to about 3 % for thresholds from 4 on.
    """
    drift = shift - slack
    reach = threshold + _OVERSHOOT
    if abs(drift) * reach < 1e-5:
        return reach * reach
    return (expm1(-2 * drift * reach) + 2 * drift * reach) / (2 * drift * drift)


def two_sided_run_length(up: float, down: float) -> float:
    """Return the average run length of two one-sided detectors together."""
    return 1 / (1 / up + 1 / down)
