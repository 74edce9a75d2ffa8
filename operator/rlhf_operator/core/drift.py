"""Tells whether a mean of a promoted version has moved since its first hour.

For means and expressions with `versusStable.difference`: cumulative sums of what the windows'
means exceed, against the first twelve windows, which are frozen in the record.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import exp, fsum, sqrt

from rlhf_operator.api.evidence import BaselineRecord
from rlhf_operator.api.plan import PinnedPolicy
from rlhf_operator.api.policy import SLO
from rlhf_operator.core import statistics
from rlhf_operator.core.indicators import Better, Form, Measure, measure
from rlhf_operator.core.statistics import Cusum
from rlhf_operator.core.windows import WINDOW

BASELINE = 12
"""So many windows make a baseline: an hour."""
# What twelve values leave open, each at 97.5 %: Student's t over the root of 12 for the mean, and
# the root of 11 over chi squared's 2.5 % quantile for the deviation.
_MEAN_OFF = 2.201 / sqrt(BASELINE)
_DEVIATION_OFF = sqrt((BASELINE - 1) / 3.816)
_SLACK, _LEAST, _STEEPEST = 0.5, 4.0, 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftTest:
    """What is asked of one mean of a promoted version."""

    difference: float
    """How much worse than its baseline it may be; half of that is tolerated for ever."""
    higher_is_worse: bool
    run_length: float
    """The wanted average number of windows between false alarms."""
    known: BaselineRecord | None = None
    """The baseline that is on record."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """The windows of one mean so far: a baseline that grows, then a detector."""

    test: DriftTest
    means: tuple[float, ...] = ()
    """Of the first windows."""
    scorer: str | None = None
    """What scored the values, where something did."""
    level: float = 0.0
    """What the later windows exceeded, in deviations."""

    @property
    def known(self) -> BaselineRecord | None:
        """Return the baseline on record, where the same scorer made it."""
        known = self.test.known
        return known if known is not None and known.scorer == self.scorer else None

    @property
    def baseline(self) -> tuple[float, float] | None:
        """Return the mean and the deviation of the windows' means; None until they are known."""
        known = self.known
        if known is not None and known.mean is not None and known.deviation is not None:
            return float(known.mean), float(known.deviation)
        if len(self.means) < BASELINE:
            return None
        mean = fsum(self.means) / BASELINE
        squares = fsum((value - mean) ** 2 for value in self.means)
        return mean, sqrt(squares / (BASELINE - 1))

    def detector(self) -> Cusum | None:
        """Return the detector as it stands.

        Twelve windows say little: the baseline counts as bad, and as wide, as they allow.
        """
        if self.baseline is None:
            return None
        (mean, deviation), test = self.baseline, self.test
        off = _MEAN_OFF * deviation
        floor = max(test.difference / (2 * _STEEPEST), abs(mean) * 1e-9, 1e-12)
        wide = max(_DEVIATION_OFF * deviation, floor)
        slack = max(_SLACK, test.difference / (2 * wide))
        return Cusum(
            mean=mean + off if test.higher_is_worse else mean - off,
            deviation=wide,
            higher_is_worse=test.higher_is_worse,
            slack=slack,
            threshold=_threshold(slack, test.run_length),
            level=self.level,
        )

    def scored_by(self, scorer: str | None) -> Drift:
        """Return it for values of this scorer; those of two have nothing to do with each other."""
        return self if scorer == self.scorer else Drift(test=self.test, scorer=scorer)

    def update(self, mean: float) -> Drift:
        """Return it after one more window; the first ones become the baseline."""
        detector = self.detector()
        if detector is None:
            return replace(self, means=(*self.means, mean))
        return replace(self, level=detector.update(mean, 1).level)


def drift_test(
    policy: PinnedPolicy, slo: SLO, count: int, known: BaselineRecord | None
) -> DriftTest | None:
    """Return the test of one SLO; None where no mean is compared.

    `count` tests share the false rollbacks of thirty days.
    """
    found, margin = measure(slo), slo.versus_stable
    if not compares(slo, found) or margin is None or margin.difference is None:
        return None
    proven = statistics.change_threshold(float(policy.false_rollback), max(1, count), WINDOW)
    asked = measured_by(slo, found)
    return DriftTest(
        difference=float(margin.difference),
        higher_is_worse=found.better is Better.LOWER,
        run_length=exp(proven),
        known=known if known is not None and _is_mean_of(known, asked) else None,
    )


def _is_mean_of(known: BaselineRecord, asked: str) -> bool:
    return known.measure == asked and None not in (known.mean, known.deviation)


def measured_by(slo: SLO, found: Measure) -> str:
    """Return what a baseline is of, as a formula."""
    return slo.query.text if slo.query and found.form is Form.QUERY else str(found)


def compares(slo: SLO, found: Measure) -> bool:
    """Return whether the mean of an SLO is compared."""
    margin = slo.versus_stable
    means = found.form in (Form.MEAN, Form.QUERY)
    return means and margin is not None and margin.difference is not None


@lru_cache(maxsize=4096)
def _threshold(slack: float, run_length: float) -> float:
    """Return the least threshold at which false alarms are so rare, by Siegmund's formula."""
    low, high = _LEAST, max(2 * _LEAST, 300 / slack)
    if statistics.average_run_length(slack, low, 0) >= run_length:
        return low
    for _ in range(60):
        middle = (low + high) / 2
        if statistics.average_run_length(slack, middle, 0) >= run_length:
            high = middle
        else:
            low = middle
    return high
