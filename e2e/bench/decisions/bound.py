"""How few bad answers a canary can serve before any sequential test knows that it is worse.

Whatever the rule, if it rolls equal versions back with probability alpha at most and bad ones
surely, the logarithm of the likelihood ratio has the expectation ln(1/alpha) at least when it
does (Wald; by data processing). The null that is hardest to tell from the truth has the rate of
both arms together, for nobody knows stable's rate beforehand: so it is the information of one
event given that it happened, and of one reward of the canary beside stable's. The rule may know
how bad the canary is.
"""

from __future__ import annotations

from math import log

from e2e.bench.decisions import rewards
from e2e.bench.decisions.scenarios import Scenario, Trait

ALPHA = 0.01


def least_bad(scenario: Scenario, alpha: float = ALPHA) -> float | None:
    """Return the expected bad answers below which no such rule can be; None for equal versions."""
    if not scenario.is_bad:
        return None
    if scenario.shift is not None:
        # Two means that differ by the shift, deviation 1, the canary's values being such a share
        # of all: shift² (1 - share) / 2 for each value of the canary.
        told = scenario.shift**2 * (1 - min(scenario.steps)) / 2
        return log(1 / alpha) / told * rewards.bad_share(scenario)
    told = max(_told(share * _times(scenario), scenario.factor) for share in scenario.steps)
    # Where users stay, how often one of unknown temper is flagged again tells nothing of others.
    repeats = 2 if scenario.trait is Trait.HEAVY_STICKY else 1
    return repeats * log(1 / alpha) / told


def _times(scenario: Scenario) -> float:
    return 1.4 if scenario.trait is Trait.SPLIT else 1.0


def _told(share: float, factor: float) -> float:
    """Return the information of a bad answer of the canary, stable's beside it included."""
    equal = share
    worse = share * factor / (share * factor + 1 - share)
    of_event = worse * log(worse / equal) + (1 - worse) * log((1 - worse) / (1 - equal))
    return of_event / worse
