"""How much is still needed until a decision, if the rates are as assumed.

The evidence is followed along the expected path: each response adds its expected events. Chance
helps more often than it hurts, so about two runs of three are decided a little sooner, and the
rest later. Where the answer exceeds `maxHold`, a decision within it is not to be counted on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from math import ceil

from rlhf_operator.core.statistics.ceiling import log_e_ceiling
from rlhf_operator.core.statistics.means import (
    LEAST,
    TUNED_FOR,
    MeanStratum,
    Sums,
    log_e_mean_difference,
)
from rlhf_operator.core.statistics.numerics import boundary, checked
from rlhf_operator.core.statistics.rates import Count
from rlhf_operator.core.statistics.ratio import EVENLY, Bets, Stratum, log_e_ratio

_FOREVER = 1e12


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What is still missing until a test decides, on the expected path."""

    responses: int
    """Further responses, of all arms that the test counts."""
    events: float
    """Further events that these are expected to bring."""

    def lasts(self, responses_per_second: float) -> timedelta | None:
        """Return how long this takes with such traffic; None without traffic, or for centuries."""
        checked(responses_per_second, "the traffic", 0)
        if not self.responses:
            return timedelta(0)
        if self.responses > responses_per_second * 1e10:
            return None
        return timedelta(seconds=self.responses / responses_per_second)


def ratio_need(
    strata: Iterable[Stratum],
    *,
    ratio: float,
    harm: bool,
    threshold: float,
    share: float,
    canary_rate: float,
    stable_rate: float,
    bets: Bets = EVENLY,
) -> Need | None:
    """Return what `log_e_ratio(strata, ratio, harm=harm)` still needs to reach a threshold.

    share: of the responses to come, those of the canary; threshold: ln E, from
    `rollback_threshold` or `advance_threshold`; rates: assumed events per response. None when
    rates like these never lead there.
    """
    checked(canary_rate, "the canary's rate", 0, 1)
    checked(stable_rate, "stable's rate", 0, 1)
    seen = tuple(strata)

    def after(responses: float) -> float:
        coming = Stratum(
            share=share,
            canary=responses * share * canary_rate,
            stable=responses * (1 - share) * stable_rate,
        )
        return log_e_ratio((*seen, coming), ratio, harm=harm, bets=bets)

    return _need(after, threshold, share * canary_rate + (1 - share) * stable_rate)


def difference_need(
    strata: Iterable[MeanStratum],
    *,
    margin: float,
    harm: bool,
    threshold: float,
    share: float,
    variance: float,
    difference: float = 0.0,
    tuned_for: float = TUNED_FOR,
    least: float = LEAST,
) -> Need | None:
    """Return what `log_e_mean_difference(strata, margin, harm=harm)` needs to reach a threshold.

    variance: of single values, in either arm; difference: assumed between the means of the values
    to come. None when that never leads there.
    """
    checked(variance, "the variance", 0)
    seen = tuple(strata)

    def coming(number: float, mean: float) -> Sums:
        # The unbiased variance divides by one less than the number of values.
        spread = variance * max(0.0, number - 1)
        return Sums(n=number, total=number * mean, squares=number * mean * mean + spread)

    def after(responses: float) -> float:
        canary = coming(responses * share, difference)
        stratum = MeanStratum(canary=canary, stable=coming(responses * (1 - share), 0.0))
        return log_e_mean_difference(
            (*seen, stratum), margin, harm=harm, tuned_for=tuned_for, least=least
        )

    return _need(after, threshold, 0.0)


def ceiling_need(
    seen: Count,
    *,
    ceiling: float,
    exceeds: bool,
    threshold: float,
    rate: float,
    bets: Bets = EVENLY,
) -> Need | None:
    """Return what `log_e_ceiling` still needs to reach a threshold, at an assumed rate.

    None when such a rate never leads there. Responses are the one arm's own.
    """
    checked(rate, "the rate", 0, 1)

    def after(responses: float) -> float:
        events, samples = seen.events + responses * rate, seen.samples + responses
        return log_e_ceiling(events, samples, ceiling, exceeds=exceeds, bets=bets)

    return _need(after, threshold, rate)


def _need(
    log_e: Callable[[float], float], threshold: float, events_per_response: float
) -> Need | None:
    # Along a straight path each alternative's ln E is a line, and the ln of their mean is
    # convex: below the threshold now, it crosses it once or never.
    if log_e(0) >= threshold:
        return Need(responses=0, events=0)
    most = 1.0
    while log_e(most) < threshold:
        most *= 2
        if most > _FOREVER:
            return None
    responses = ceil(boundary(lambda place: log_e(place) < threshold, 0, most))
    return Need(responses=responses, events=responses * events_per_response)
