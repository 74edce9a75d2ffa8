"""The e-processes of core/statistics for many runs at once, with numpy.

The same formulas, arranged so that a look costs the same however many strata there were: what a
closed stratum takes from each of the 24 bets is kept as a sum. `agreement` proves them equal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import log_ndtr

from e2e.bench.decisions.traffic import Flags, Numbers
from rlhf_operator.core.mean import LEAST, TUNED_FOR
from rlhf_operator.core.statistics import MOSTLY_TWO, mixture

_FACTORS = np.array([1 + gain for gain, _ in MOSTLY_TWO.higher])
_LOG_FACTORS = np.log(_FACTORS)
_MOST = _LOG_FACTORS.max()


def _mean(logs: Numbers) -> Numbers:
    """Return the logarithm of the mean of exp(logs) over the bets."""
    top = logs.max(axis=1, keepdims=True)
    found: Numbers = top[:, 0] + np.log(np.exp(logs - top).mean(axis=1))
    return found


def log_e_ceiling(events: Numbers, answers: Numbers, ceiling: float, *, exceeds: bool) -> Numbers:
    """Return for each run what `core.statistics.log_e_ceiling` does."""
    gain = _FACTORS - 1 if exceeds else 1 / _FACTORS - 1
    won = _LOG_FACTORS if exceeds else -_LOG_FACTORS
    return _mean(events[:, None] * won - answers[:, None] * np.log1p(ceiling * gain))


def ceiling_reaches(
    events: Numbers, answers: Numbers, ceiling: float, threshold: float, *, exceeds: bool
) -> Flags:
    """Return where `log_e_ceiling` is at least this high, which is above 0.

    No bet on a higher rate has won anything while the rate is at the ceiling or below.
    """
    found: Flags = events > answers * ceiling if exceeds else events < answers * ceiling
    may = np.flatnonzero(found)
    log_e = log_e_ceiling(events[may], answers[may], ceiling, exceeds=exceeds)
    found[may] = log_e >= threshold
    return found


class RatioEvidence:
    """ln E on the canary's rate over stable's, against one ratio and in one direction."""

    def __init__(self, runs: int, ratio: float, *, harm: bool) -> None:
        self._ratio, self._sign = ratio, 1 if harm else -1
        self._gain = _FACTORS - 1 if harm else 1 / _FACTORS - 1
        self._won = _LOG_FACTORS if harm else -_LOG_FACTORS
        self._paid = np.zeros((runs, len(_FACTORS)))
        self._seen, self._expected = np.zeros(runs), np.zeros(runs)
        # Of the open stratum: the answers and the events, the canary's and stable's.
        self._open = np.zeros((4, runs))

    def add(self, canary: Numbers, stable: Numbers, x: Numbers, y: Numbers) -> None:
        """Count more answers of both arms, and the events among them."""
        self._open += np.stack([canary, stable, x, y])
        self._seen += x

    def close(self, which: Flags) -> None:
        """End the stratum of these runs."""
        ended = np.flatnonzero(which)
        chance, events = self._of_open(ended)
        self._paid[ended] += self._owed(chance, events)
        self._expected[ended] += chance * events
        self._open[:, ended] = 0

    def keep(self, going: Flags) -> None:
        """Forget the runs that are over."""
        self._paid, self._open = self._paid[going], self._open[:, going]
        self._seen, self._expected = self._seen[going], self._expected[going]

    def reaches(self, threshold: float) -> Flags:
        """Return where ln E is at least this high; reckoned only where it can be.

        ln(1 + θ(m - 1)) ≥ θ ln m, so no bet wins more than (seen - expected) ln m.
        """
        chance, events = self._of_open(slice(None))
        excess = self._sign * (self._seen - self._expected - chance * events)
        found: Flags = excess * _MOST >= threshold
        may = np.flatnonzero(found)
        found[may] = self.log_e(may) >= threshold
        return found

    def log_e(self, which: Any = slice(None)) -> Numbers:
        """Return ln E of each run, or of some, the open stratum included."""
        owed = self._owed(*self._of_open(which))
        return _mean(self._seen[which, None] * self._won - self._paid[which] - owed)

    def _of_open(self, which: Any) -> tuple[Numbers, Numbers]:
        """Return the chance that an event of the open stratum is the canary's, and the events."""
        canary, stable, x, y = self._open[:, which]
        share = canary / np.maximum(canary + stable, 1)
        return share * self._ratio / (share * self._ratio + 1 - share), x + y

    def _owed(self, chance: Numbers, events: Numbers) -> Numbers:
        owed: Numbers = events[:, None] * np.log1p(chance[:, None] * self._gain)
        return owed


class MeanEvidence:
    """ln E on the canary's mean minus stable's, for values with a known number in each arm."""

    def __init__(self, runs: int) -> None:
        # Of the strata that are closed: values of canary and stable, Σ N·Δ, Σ N²·(v/n + v/n).
        self._closed = np.zeros((4, runs))
        # Of the open one: n, Σx and Σx² of the canary, then of stable.
        self._open = np.zeros((6, runs))

    def add(self, sums: Numbers) -> None:
        """Count more values: n, Σx and Σx² of the canary, then of stable."""
        self._open += sums

    def close(self, which: Flags) -> None:
        """End the stratum of these runs."""
        self._closed[:, which] += self._told()[:, which]
        self._open[:, which] = 0

    def keep(self, going: Flags) -> None:
        """Forget the runs that are over."""
        self._closed, self._open = self._closed[:, going], self._open[:, going]

    def log_e(self, margin: float, *, harm: bool, alpha: float = 0.05) -> Numbers:
        """Return for each run what `core.statistics.log_e_mean_difference` does as it is built."""
        canary, stable, differences, errors = self._closed + self._told()
        enough = (np.minimum(canary, stable) >= LEAST) & (errors > 0)
        everything = np.where(enough, canary + stable, 1.0)
        # N(Δ - δ)/s with s² = N · Σ (N_s/N)² (v/n + v/n).
        spread = np.sqrt(np.where(enough, errors, 1.0) / everything)
        deviation = (differences - margin * everything) / spread
        deviation = deviation if harm else -deviation
        prior = mixture.tightest_prior(TUNED_FOR, alpha, one_sided=True)
        width = everything + prior
        fit = deviation**2 / (2 * width) + np.log(prior / width) / 2
        found = fit + np.log(2) + log_ndtr(deviation / np.sqrt(width))
        return np.where(enough, found, 0.0)

    def _told(self) -> Numbers:
        n, m = self._open[0], self._open[3]
        told = np.minimum(n, m) >= 2
        means, errors = [], []
        for values, total, squares in (self._open[:3], self._open[3:]):
            size = np.maximum(values, 2)
            means.append(total / size)
            errors.append(np.maximum(squares - total**2 / size, 0) / (size - 1) / size)
        found = np.stack(
            [n, m, (n + m) * (means[0] - means[1]), (n + m) ** 2 * (errors[0] + errors[1])]
        )
        return np.where(told, found, 0.0)
