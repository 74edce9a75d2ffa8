"""A comparison with what stable showed before all its traffic went elsewhere at once."""

from __future__ import annotations

from math import exp, log

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


def _against(asked: Rate, counted: Stretch, stable: Stretch, *, harm: bool) -> float:
    """Return ln E against "no harm", or against harm, less what the bound costs."""
    assert asked.margin is not None, "only a ratio is compared"
    ratio, proven = (
        (asked.harm_ratio, asked.levels.harm) if harm else (asked.margin, asked.levels.good)
    )
    bound = statistics.rate_interval(
        min(stable.events, stable.samples), stable.samples, exp(-proven) / 2
    )
    # Of what stable's rate may be, each test supposes what is hardest for it.
    exceeds = harm == asked.lower_is_better
    ceiling = ratio * (bound.high if exceeds else bound.low)
    if not 0 < ceiling < 1:
        return 0.0
    seen = min(counted.events, counted.samples)
    return statistics.log_e_ceiling(seen, counted.samples, ceiling, exceeds=exceeds) - log(2)
