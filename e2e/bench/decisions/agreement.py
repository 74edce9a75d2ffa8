"""Are the vectorised e-processes those of core/statistics? Compared run by run, look by look."""

from __future__ import annotations

import numpy as np

from e2e.bench.decisions import evidence
from e2e.bench.decisions.traffic import Numbers
from rlhf_operator.core import statistics
from rlhf_operator.core.mean import LEAST, TUNED_FOR
from rlhf_operator.core.statistics import MeanStratum, Stratum, Sums

_RATIO, _CEILING, _MARGIN = 1.5, 0.1, 0.1
_LOOKS = 40
_PROOF = 3.0
"""Who is told to have reached this must have, and nobody else."""


def largest_difference(runs: int = 100, seed: int = 1) -> float:
    """Return by how much ln E differs at most, over all looks of all tests of so many runs.

    Weights, rates and the ends of strata are drawn anew for each run, silent minutes included.
    """
    rng = np.random.default_rng(seed)
    return max(_rates(runs, rng), _means(runs, rng))


def _rates(runs: int, rng: np.random.Generator) -> float:
    harm = evidence.RatioEvidence(runs, 1.0, harm=True)
    good = evidence.RatioEvidence(runs, _RATIO, harm=False)
    counts: list[list[Numbers]] = [[np.zeros(4)] for _ in range(runs)]
    weight, rate = rng.uniform(0.02, 0.6, runs), rng.uniform(0.002, 0.1, runs)
    worse = rng.uniform(0.5, 3, runs)
    found = 0.0
    for _ in range(_LOOKS):
        answers = rng.poisson(rng.choice([0.0, 20.0, 2000.0], runs))
        canary = rng.binomial(answers, weight)
        x, y = rng.binomial(canary, rate * worse), rng.binomial(answers - canary, rate)
        told = np.stack([canary, answers - canary, x, y]).astype(float)
        harm.add(*told)
        good.add(*told)
        for run in range(runs):
            counts[run][-1] = counts[run][-1] + told[:, run]
        ours = np.stack([
            harm.log_e(), good.log_e(), *(
                evidence.log_e_ceiling(*_canary(counts), _CEILING, exceeds=above)
                for above in (True, False)
            ),
        ])  # fmt: skip
        exact = np.array([_exact_rates(each) for each in counts]).T
        found = max(found, float(np.abs(ours - exact).max()))
        for test, log_e in zip((harm, good), ours[:2], strict=True):
            if not np.array_equal(test.reaches(_PROOF), log_e >= _PROOF):
                return float("inf")
        for log_e, above in zip(ours[2:], (True, False), strict=True):
            reached = evidence.ceiling_reaches(*_canary(counts), _CEILING, _PROOF, exceeds=above)
            if not np.array_equal(reached, log_e >= _PROOF):
                return float("inf")
        ended = rng.random(runs) < 0.2
        harm.close(ended)
        good.close(ended)
        for run in np.flatnonzero(ended).tolist():
            counts[run].append(np.zeros(4))
            weight[run] = rng.uniform(0.02, 0.6)
    return found


def _canary(counts: list[list[Numbers]]) -> tuple[Numbers, Numbers]:
    """Return each run's events and answers of the canary."""
    sums = np.array([np.sum(each, axis=0) for each in counts])
    return sums[:, 2], sums[:, 0]


def _exact_rates(counts: list[Numbers]) -> list[float]:
    strata = [
        Stratum(share=canary / (canary + stable) if canary + stable else 0, canary=x, stable=y)
        for canary, stable, x, y in counts
    ]
    canary, _, x, _ = np.sum(counts, axis=0)
    bets = statistics.MOSTLY_TWO
    return [
        statistics.log_e_ratio(strata, 1, harm=True, bets=bets),
        statistics.log_e_ratio(strata, _RATIO, harm=False, bets=bets),
        statistics.log_e_ceiling(x, canary, _CEILING, exceeds=True, bets=bets),
        statistics.log_e_ceiling(x, canary, _CEILING, exceeds=False, bets=bets),
    ]


def _means(runs: int, rng: np.random.Generator) -> float:
    ours = evidence.MeanEvidence(runs)
    sums: list[list[Numbers]] = [[np.zeros(6)] for _ in range(runs)]
    shift = rng.uniform(-0.3, 0.6, runs)
    found = 0.0
    for _ in range(_LOOKS):
        told = np.zeros((6, runs))
        for run in range(runs):
            for arm, mean in enumerate((shift[run], 0.0)):
                values = rng.normal(mean, 1, rng.integers(0, 30))
                told[3 * arm : 3 * arm + 3, run] = len(values), values.sum(), (values**2).sum()
            sums[run][-1] = sums[run][-1] + told[:, run]
        ours.add(told)
        looked = np.stack([ours.log_e(_MARGIN, harm=harm) for harm in (True, False)])
        exact = np.array([_exact_means(each) for each in sums]).T
        found = max(found, float(np.abs(looked - exact).max()))
        ended = rng.random(runs) < 0.2
        ours.close(ended)
        for run in np.flatnonzero(ended).tolist():
            sums[run].append(np.zeros(6))
    return found


def _exact_means(sums: list[Numbers]) -> list[float]:
    strata = [
        MeanStratum(
            canary=Sums(n=each[0], total=each[1], squares=each[2]),
            stable=Sums(n=each[3], total=each[4], squares=each[5]),
        )
        for each in sums
    ]
    return [
        statistics.log_e_mean_difference(
            strata, _MARGIN, harm=harm, tuned_for=TUNED_FOR, least=LEAST
        )
        for harm in (True, False)
    ]
