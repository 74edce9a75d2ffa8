"""Has a rate risen above its bound, at a time that nobody knows? Windows of counts, for ever.

An e-process is begun anew with every window, and all of them are added up (Shiryaev-Roberts), so
long innocence takes nothing from the evidence of harm that begins later.
Source: Shin, Ramdas and Rinaldo 2022, E-detectors (arXiv 2203.03532); the likelihood ratios are
those of `log_e_ceiling`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from math import exp, log, log1p

from rlhf_operator.core.statistics.numerics import checked, checked_level, log_mean_exp
from rlhf_operator.core.statistics.rates import Count
from rlhf_operator.core.statistics.ratio import GRID


@dataclass(frozen=True, kw_only=True, slots=True)
class RateChange:
    """Alarms when a rate of events is no longer at most `ceiling`.

    For each alternative j of the grid (odds 1.1 to 10 times the ceiling's) M_j is kept. At the
    end of a window M_j becomes (M_j + 1)·L_j, with L_j the likelihood ratio of the window's
    counts; within an open window (M_j + 1)·L_j(so far) is the level. Alarm when its mean over j
    is at least A.

    Guarantee: as long as each response, given what came before, is an event with at most the
    ceiling's probability, P(an alarm within the first T windows) ≤ T/A, at whatever times one
    looks. For the mean less the number of windows begun is a supermartingale, so at the first
    alarm within T windows the mean has the expectation T at most.
    """

    ceiling: float
    """The highest tolerated rate, above 0 and below 1."""
    levels: tuple[float, ...] = (0.0,) * len(GRID)
    """ln(M_j + 1) of each alternative, as of the end of the last window."""

    def __post_init__(self) -> None:
        if not 0 < self.ceiling < 1:
            raise ValueError(f"a ceiling of {self.ceiling} does not lie between 0 and 1")

    def update(self, count: Count) -> RateChange:
        """Return the detector after a window; one without samples only begins a new start."""
        after = tuple(_log_plus_one(value) for value in self._with(count))
        return replace(self, levels=after)

    def level(self, count: Count) -> float:
        """Return ln of the mean level, with the counts of the window that goes on."""
        return log_mean_exp(self._with(count))

    def _with(self, count: Count) -> list[float]:
        events, samples = count.events, count.samples
        return [
            level + events * won - samples * paid
            for level, (won, paid) in zip(self.levels, _bets(self.ceiling), strict=True)
        ]


@lru_cache(maxsize=4096)
def _bets(ceiling: float) -> tuple[tuple[float, float], ...]:
    """Return what each alternative wins for an event, and what it pays for an answer, in ln E."""
    return tuple((log(factor), log1p(ceiling * (factor - 1))) for factor in GRID)


def change_threshold(
    false_alarm: float, tests: int, window: timedelta, period: timedelta = timedelta(days=30)
) -> float:
    """Return ln A with which so many detectors together alarm wrongly in a period at most so often.

    false_alarm: the probability of an alarm by any of the tests within the period, 0 to 1.
    By T/A for each test and the union bound: A = tests · (period / window) / false_alarm.
    """
    checked(tests, "the number of tests", 1)
    return log(tests * (period / window) / checked_level(false_alarm))


def _log_plus_one(level: float) -> float:
    """Return ln(exp(level) + 1)."""
    return level + log1p(exp(-level)) if level > 0 else log1p(exp(level))
