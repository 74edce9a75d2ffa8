"""Tells whether a mean of a promoted version has moved since its first hour.

For means and expressions with `versusStable.difference`: cumulative sums of what the windows'
means exceed, against the first twelve windows, which are frozen in the record. The first twelve
are compared with what the version showed in its own run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import exp, log, sqrt

from rlhf_operator.api.evidence import BaselineRecord, DriftRecord
from rlhf_operator.api.plan import PinnedPolicy
from rlhf_operator.api.policy import SLO
from rlhf_operator.core import statistics
from rlhf_operator.core.indicators import Better, Form, Measure, measure
from rlhf_operator.core.mean import LEAST, TUNED_FOR
from rlhf_operator.core.moments import (
    NO_VALUES,
    Moments,
    contradicts,
    decimal_text,
    moments_of,
    sums_of,
)
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
    """What is on record: what its own run showed, the baseline, or both."""

    @property
    def proven(self) -> float:
        """Return ln E from which on the first hour is proven to be worse than its own run."""
        return log(self.run_length)


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """The windows of one mean so far: a baseline that grows, then a detector.

    While it grows, all values are compared with those of the version's own run, so that a fall in
    the first hour does not become what later ones are compared with.
    """

    test: DriftTest
    scorer: str | None = None
    """What scored the values, where something did."""
    windows: int = 0
    """How many windows of the baseline are there."""
    mean: float = 0.0
    """The mean of their means."""
    spread: float = 0.0
    """The sum of their squared distances from it."""
    samples: int = 0
    """The values since the promotion, while the baseline grows."""
    moments: Moments = NO_VALUES
    level: float = 0.0
    """What the later windows exceeded, in deviations."""

    @property
    def known(self) -> BaselineRecord | None:
        """Return what is on record, where the same scorer made it."""
        known = self.test.known
        return known if known is not None and known.scorer == self.scorer else None

    @property
    def baseline(self) -> tuple[float, float] | None:
        """Return the mean and the deviation of the windows' means; None until they are known."""
        known = self.known
        if known is not None and known.mean is not None and known.deviation is not None:
            return float(known.mean), float(known.deviation)
        if self.windows < BASELINE:
            return None
        return self.mean, sqrt(self.spread / (self.windows - 1))

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

    def own_run(self) -> statistics.Sums | None:
        """Return what its own run showed, while the first hour is compared with it."""
        known = self.known
        if known is None or known.sums is None or known.samples is None:
            return None
        return moments_of(known.sums).of(known.samples) if self.baseline is None else None

    def fall(self, samples: int = 0, moments: Moments = NO_VALUES) -> float:
        """Return ln E that it is worse than in its own run by more than half the difference.

        By all values of the finished windows and these, which are of the one that goes on.
        """
        before = self.own_run()
        if before is None or self.samples + samples < 1:
            return 0.0
        now = (self.moments + moments).of(self.samples + samples)
        tolerated, worse = self.test.difference / 2, self.test.higher_is_worse
        return statistics.log_e_mean_difference(
            [statistics.MeanStratum(canary=now, stable=before)],
            tolerated if worse else -tolerated,
            harm=worse,
            tuned_for=TUNED_FOR,
            least=LEAST,
        )

    def counted(self, samples: int, moments: Moments) -> Drift:
        """Return it with the values of a window that has ended."""
        if self.own_run() is None or contradicts(moments, samples):
            return self
        return replace(self, samples=self.samples + samples, moments=self.moments + moments)

    def update(self, mean: float) -> Drift:
        """Return it after one more window; the first ones become the baseline.

        Not while they are proven to be worse than the version's own run.
        """
        detector = self.detector()
        if detector is not None:
            return replace(self, level=detector.update(mean, 1).level)
        if self.fall() >= self.test.proven:
            return self
        windows, off = self.windows + 1, mean - self.mean
        grown = self.mean + off / windows
        spread = self.spread + off * (mean - grown)
        return replace(self, windows=windows, mean=grown, spread=spread)


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
    if known is not None and found.squares is None:
        known = known.model_copy(update={"samples": None, "sums": None})
    asked = measured_by(slo, found)
    return DriftTest(
        difference=float(margin.difference),
        higher_is_worse=found.better is Better.LOWER,
        run_length=exp(proven),
        known=known if known is not None and _is_mean_of(known, asked) else None,
    )


def _is_mean_of(known: BaselineRecord, asked: str) -> bool:
    of_windows = None not in (known.mean, known.deviation)
    return known.measure == asked and (of_windows or None not in (known.samples, known.sums))


def resumed(test: DriftTest, asked: str, known: DriftRecord | None) -> Drift:
    """Return the windows that are on record; none where something else was counted."""
    if known is None or known.measure != asked:
        return Drift(test=test)
    spread = float(known.deviation or 0) ** 2 * known.windows
    return Drift(
        test=test,
        scorer=known.scorer,
        windows=known.windows,
        mean=float(known.mean or 0),
        spread=spread,
        samples=known.samples or 0,
        moments=moments_of(known.sums),
        level=float(known.level or 0),
    )


def record_of(slo: str, asked: str, drift: Drift) -> DriftRecord | None:
    """Return the windows as they go on record; None where they say nothing yet."""
    grows = drift.baseline is None and drift.windows > 0
    compared = drift.own_run() is not None and drift.samples > 0
    if not grows and not compared and not drift.level:
        return None
    deviation = sqrt(drift.spread / drift.windows) if grows else None
    return DriftRecord(
        slo=slo,
        measure=asked,
        scorer=drift.scorer,
        windows=drift.windows if grows else 0,
        mean=decimal_text(drift.mean) if grows else None,
        deviation=decimal_text(deviation),
        samples=drift.samples if compared else None,
        sums=sums_of(drift.moments) if compared else None,
        level=decimal_text(drift.level) if drift.level else None,
    )


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
