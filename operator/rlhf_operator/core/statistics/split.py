"""Does traffic really split as it should? A share of responses that is off means a broken setup.

Then no comparison can be trusted, whatever it says: the rollout holds until somebody looks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import fsum, log, log1p

from rlhf_operator.core.statistics.numerics import checked, log_beta

CONCENTRATION = 100.0
"""How close to the set share the alternatives lie: like the share in 100 earlier responses."""
MISMATCH = log(1000)
"""ln E from which on the split is called wrong: one false alarm in 1000 rollouts at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Units of each arm while one weight was in force; a unit is what is assigned by chance."""

    share: float
    """The canary's share that was set, between 0 and 1, both excluded."""
    canary: float
    stable: float

    def __post_init__(self) -> None:
        checked(self.canary, "the canary's units", 0)
        checked(self.stable, "stable's units", 0)
        if not 0 < self.share < 1:
            raise ValueError(f"a share of {self.share} does not lie between 0 and 1")


def log_e_split(splits: Iterable[Split], concentration: float = CONCENTRATION) -> float:
    """Return ln E against H0: in each split, each unit was the canary's with the set share.

    The alternatives of a split follow Beta(Kθ, K(1 - θ)) around its share θ, K = concentration;
    two-sided; the evidence of several splits adds up in logarithms.

    Guarantee: under H0 the probability that E ever reaches 1/alpha is at most alpha.
    Assumption: units are assigned independently. Count users where arms are sticky. A gateway
    that splits by a fixed schedule strays less than chance, which does no harm.
    Source: Lindon and Malek 2022 (arXiv 2011.03567), in its Beta-binomial case.
    """
    checked(concentration, "the concentration", 1e-9)
    return fsum(_log_e(each, concentration) for each in splits)


def _log_e(split: Split, concentration: float) -> float:
    a, b = concentration * split.share, concentration * (1 - split.share)
    expected = split.canary * log(split.share) + split.stable * log1p(-split.share)
    return log_beta(a + split.canary, b + split.stable) - log_beta(a, b) - expected
