"""What a reward model says of the answers up to a look: sums of losses (the reward, negated).

A loss is normal with deviation 1, with mean 0 for stable and `shift` for the canary. An answer is
bad when its loss is among those that stable exceeds as seldom as the scenario's base rate says.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from e2e.bench.decisions.scenarios import Scenario
from e2e.bench.decisions.traffic import Interval, Numbers


def scored(
    seen: Interval, scenario: Scenario, rng: np.random.Generator, *, evenly: bool = False
) -> Numbers:
    """Return n, Σx and Σx² of the canary, then of stable, for each run.

    Every answer is scored; `evenly`, no more of stable's than of the canary's.
    """
    stable = np.minimum(seen.canary, seen.stable) if evenly else seen.stable
    scores = (seen.canary, stable)
    means = (scenario.shift or 0.0, 0.0)
    return np.concatenate([_sums(n, mean, rng) for n, mean in zip(scores, means, strict=True)])


def _sums(n: Numbers, mean: float, rng: np.random.Generator) -> Numbers:
    """Draw the sums of n normal values: the sum and the spread around it are independent."""
    total = n * mean + np.sqrt(n) * rng.standard_normal(n.shape)
    spread = np.where(n > 1, rng.chisquare(np.maximum(n - 1, 1)), 0.0)
    return np.stack([n, total, total**2 / np.maximum(n, 1) + spread])


def bad_share(scenario: Scenario) -> float:
    """Return the share of the canary's answers that are bad."""
    limit = NormalDist().inv_cdf(1 - scenario.base)
    return 1 - NormalDist().cdf(limit - (scenario.shift or 0.0))
