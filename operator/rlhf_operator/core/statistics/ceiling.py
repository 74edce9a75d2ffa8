"""Is a rate above an absolute bound? The same e-process as for ratios, with one arm.

Each response is a trial; under the bound it is an event with at most that probability.
"""

from __future__ import annotations

from rlhf_operator.core.statistics.numerics import checked
from rlhf_operator.core.statistics.ratio import EVENLY, Bets, log_e_shares


def log_e_ceiling(
    successes: float, trials: float, ceiling: float, *, exceeds: bool, bets: Bets = EVENLY
) -> float:
    """Return ln E against a hypothesis on a rate, from events (successes) among responses (trials).

    exceeds=True tests H0: rate ≤ ceiling, and large values say that the rate is above it.
    exceeds=False tests H0: rate ≥ ceiling, and large values say that the rate is below it.
    The alternatives are odds so many times the ceiling's odds, or that much less, as `bets` say.

    Guarantee: under H0 the probability that E ever reaches 1/alpha is at most alpha.
    Assumption: whatever came before, each response is an event with a probability on H0's side;
    it need not be constant. Raises ValueError for counts that cannot be, and for a ceiling of
    0 or 1: a rate can be neither above nor below those by chance. Source: a mixture of
    likelihood ratios, as in `log_e_ratio`; docs/statistics.md.
    """
    checked(trials, "the number of responses", 0)
    checked(successes, "the number of events", 0, trials)
    if not 0 < ceiling < 1:
        raise ValueError(f"a ceiling of {ceiling} does not lie between 0 and 1")
    return log_e_shares(((ceiling, trials),), successes, above=exceeds, bets=bets)
