"""A comparison with what stable showed before all its traffic went elsewhere at once."""

from __future__ import annotations

from functools import lru_cache
from math import exp, inf, log

from rlhf_operator.core import statistics
from rlhf_operator.core.sequential import Proof, Rate
from rlhf_operator.core.stretches import Stretch


def proof(asked: Rate, counted: Stretch, stable: Stretch) -> Proof:
    """Return the evidence on a ratio to what stable showed earlier, as its events and samples.

    Stable's rate is not known, but a confidence sequence bounds it; the canary's rate is tested
    against that bound. Half of each error is spent on the bound and half on the test, so that
    both together keep `falseRollback` and `falsePromotion`. Assumption: stable would show now
    what it showed then.
    """
    assert asked.margin is not None, "only a ratio is compared"
    return Proof(
        bound="versusStable",
        harm=_against(asked, counted, stable, harm=True),
        good=_against(asked, counted, stable, harm=False),
    )


def needed(asked: Rate, stable: statistics.Count, rate: float) -> float:
    """Return how many answers of the canary pass the comparison, at a rate; without end if none do.

    `stable` is what stable showed before, or is expected to.
    """
    ceiling = _ceiling(asked, stable.events, stable.samples, harm=False)
    if ceiling is None:
        return inf
    need = statistics.ceiling_need(
        statistics.Count(events=0, samples=0),
        ceiling=ceiling,
        exceeds=not asked.lower_is_better,
        threshold=asked.levels.good + log(2),
        rate=rate,
        bets=asked.bets,
    )
    return inf if need is None else need.responses


def _against(asked: Rate, counted: Stretch, stable: Stretch, *, harm: bool) -> float:
    """Return ln E against "no harm", or against harm, less what the bound costs."""
    shown = min(stable.events, stable.samples)
    ceiling = _ceiling(asked, shown, stable.samples, harm=harm)
    if ceiling is None:
        return 0.0
    seen, exceeds = min(counted.events, counted.samples), harm == asked.lower_is_better
    log_e = statistics.log_e_ceiling(
        seen, counted.samples, ceiling, exceeds=exceeds, bets=asked.bets
    )
    return log_e - log(2)


def _ceiling(asked: Rate, events: float, samples: float, *, harm: bool) -> float | None:
    """Return the rate against which the canary is tested; None where it can be none.

    Of what stable's rate may be, each test supposes what is hardest for it.
    """
    assert asked.margin is not None, "only a ratio is compared"
    ratio, proven = (
        (asked.harm_ratio, asked.levels.harm) if harm else (asked.margin, asked.levels.good)
    )
    bound = _stable_rate(events, samples, proven)
    ceiling = ratio * (bound.high if harm == asked.lower_is_better else bound.low)
    return ceiling if 0 < ceiling < 1 else None


@lru_cache(maxsize=256)
def _stable_rate(events: float, samples: float, proven: float) -> statistics.Interval:
    """Return what stable's rate may be, at half of the error that a proof leaves.

    Remembered: what stable showed does not change any more, and each look asks for it.
    """
    return statistics.rate_interval(events, samples, exp(-proven) / 2)
