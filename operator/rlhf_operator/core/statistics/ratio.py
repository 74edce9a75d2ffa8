"""Is the canary's rate of bad events higher than stable's? Evidence that may be looked at always.

Given that an event happened, it is the canary's with a probability that depends only on its share
of the responses and on the ratio of the two rates. The base rate, which changes with the hour and
with the users, cancels out.

Source: Lindon and Malek 2022 (arXiv 2011.03567) for the conditioning; the mixture over a grid of
ratios and the proof for counted shares are in docs/statistics.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import exp, fsum, inf, log, log1p
from statistics import NormalDist

from rlhf_operator.core.statistics.interval import Interval
from rlhf_operator.core.statistics.numerics import (
    boundary,
    checked,
    checked_level,
    log_mean_exp,
)

GRID = tuple(1.1 * (10 / 1.1) ** (step / 23) for step in range(24))
"""How many times worse than the bound the canary may turn out: 1.1 to 10, evenly in logarithms."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bets:
    """How many times worse, or better, than the bound the canary may be: each an equal stake."""

    higher: tuple[tuple[float, float], ...]
    """What each factor adds to a success's odds, and what it wins for one in ln E."""
    lower: tuple[tuple[float, float], ...]
    """The same for the inverse of each factor."""

    @classmethod
    def on(cls, factors: Iterable[float]) -> Bets:
        """Return bets on such factors, each above 1."""
        every = tuple(checked(factor, "a factor", 1, 1e9) for factor in factors)
        return cls(
            higher=tuple((factor - 1, log(factor)) for factor in every),
            lower=tuple((1 / factor - 1, -log(factor)) for factor in every),
        )


EVENLY = Bets.on(GRID)
"""The same stake on any factor."""

AROUND_TWO = tuple(2 ** exp(NormalDist().inv_cdf((step + 0.5) / 18) / 2) for step in range(18))
"""From 1.3 to 6.1, ten of them between 1.6 and 2.6: where a decision takes long, and matters."""

MOSTLY_TWO = Bets.on((*AROUND_TWO, *(1.1 * (10 / 1.1) ** (step / 5) for step in range(6))))
"""Three quarters of the stake around 2, a quarter on anything from 1.1 to 10. At twice the rate
it needs a tenth fewer events than `EVENLY`, at ten times two more (docs/statistics.md)."""

# Ratios beyond a million to one are reported as 0 or as infinite.
_LOG_FAR = log(1e6)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stratum:
    """The events of one stretch of a rollout in which neither weight nor guard changed.

    A stretch must be short enough for both arms to see the same mixture of users, since only
    between strata may the base rate drift away from the weight. Raises ValueError where events
    are counted of an arm that answered nothing, and for negative or non-finite numbers.
    """

    share: float
    """The canary's counted responses over all counted responses, 0 to 1; not the set weight."""
    canary: float
    """Events of the canary. Whole numbers, except in forecasts."""
    stable: float
    """Events of stable."""

    def __post_init__(self) -> None:
        checked(self.share, "the canary's share", 0, 1)
        checked(self.canary, "the canary's events", 0)
        checked(self.stable, "stable's events", 0)
        if (self.share == 0 and self.canary) or (self.share == 1 and self.stable):
            raise ValueError("events are counted of an arm that answered nothing")

    @property
    def events(self) -> float:
        """Return the events of both arms."""
        return self.canary + self.stable


def log_e_ratio(
    strata: Iterable[Stratum], ratio: float, *, harm: bool, bets: Bets = EVENLY
) -> float:
    """Return ln E against a hypothesis on R, the canary's rate over stable's.

    harm=True tests H0: R ≤ ratio, and large values say that the canary is worse than that.
    harm=False tests H0: R ≥ ratio, and large values say that it is better than that.
    Where a higher rate is better, exchange the two.

    Guarantee: under H0 the probability that E ever reaches 1/alpha is at most alpha; exact at
    the ends of strata, simulated in between (docs/statistics.md). Assumptions: within a
    stratum both arms see the same users, and how many responses an arm gave does not depend on
    what they were. Without events the answer is 0, which says nothing.
    """
    checked(ratio, "the ratio", 1e-9, 1e9)
    strata = tuple(strata)
    terms = tuple((_canary_share_of_events(each.share, ratio), each.events) for each in strata)
    seen = fsum(each.canary for each in strata)
    return log_e_shares(terms, seen, above=harm, bets=bets)


def log_e_shares(
    terms: Iterable[tuple[float, float]], successes: float, *, above: bool, bets: Bets = EVENLY
) -> float:
    """Return ln E against success probabilities, one per group of trials.

    terms: pairs of (the probability under H0, trials); successes: in all groups together.
    above=True tests "no more likely than that" against odds that are so many times as high,
    above=False tests "no less likely" against odds that are so many times as low. For each factor
    m the likelihood ratio is multiplied by m / (1 + θ(m - 1)) for a success, and by
    1 / (1 + θ(m - 1)) for a failure; E is the mean of these ratios.
    """
    # A group without trials says nothing; leaving it out is the speed of a quiet service.
    terms = [term for term in terms if term[1]]
    factors = bets.higher if above else bets.lower
    if len(terms) == 1:
        ((share, trials),) = terms
        logs = [successes * won - trials * log1p(share * gain) for gain, won in factors]
    else:
        logs = [
            successes * won - fsum([trials * log1p(share * gain) for share, trials in terms])
            for gain, won in factors
        ]
    return log_mean_exp(logs)


def _canary_share_of_events(share: float, ratio: float) -> float:
    """Return the probability that an event is the canary's."""
    return share * ratio / (share * ratio + 1 - share)


def ratio_interval(strata: Iterable[Stratum], alpha: float) -> Interval:
    """Return the confidence sequence for R, the canary's rate over stable's.

    It holds every ratio that neither the test for more nor the test for less rejects at alpha/2.
    Both change with the ratio in one direction only, so bisection finds the ends. The estimate
    is the most likely ratio. Guarantee and assumptions are those of `log_e_ratio`.
    """
    strata = tuple(strata)
    limit = log(2 / checked_level(alpha))
    estimate = _most_likely(strata)
    if estimate is None:
        return Interval(estimate=None, low=0, high=inf)
    start = min(max(log(estimate) if estimate > 0 else -inf, -_LOG_FAR), _LOG_FAR)

    def not_above(place: float) -> bool:
        return log_e_ratio(strata, exp(place), harm=True) < limit

    def not_below(place: float) -> bool:
        return log_e_ratio(strata, exp(place), harm=False) < limit

    low = boundary(not_above, start, -_LOG_FAR)
    high = boundary(not_below, start, _LOG_FAR)
    return Interval(
        estimate=estimate,
        low=0 if low == -_LOG_FAR else exp(low),
        high=inf if high == _LOG_FAR else exp(high),
    )


def _most_likely(strata: tuple[Stratum, ...]) -> float | None:
    """Return the ratio at which as many events are expected of the canary as were seen."""
    # Where only one arm answered, whose event it is was certain and says nothing.
    told = tuple(each for each in strata if 0 < each.share < 1 and each.events)
    seen = fsum(each.canary for each in told)
    if not told:
        return None
    if seen == 0 or seen == fsum(each.events for each in told):
        return 0 if seen == 0 else inf

    def too_small(place: float) -> bool:
        ratio = exp(place)
        expected = (_canary_share_of_events(each.share, ratio) * each.events for each in told)
        return fsum(expected) <= seen

    return exp(boundary(too_small, -_LOG_FAR, _LOG_FAR))
