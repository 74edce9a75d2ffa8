"""How many answers each bound of an objective still needs, if the canary equals stable.

What is known of stable is a range, and of that the end is taken which decides soonest: what is
doubted all the same is doubted for good.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from rlhf_operator.core import earlier, mean, statistics
from rlhf_operator.core.mean import Mean
from rlhf_operator.core.sequential import Rate


@dataclass(frozen=True, kw_only=True, slots=True)
class Before:
    """What stable shows before all its traffic goes to the canary at once."""

    events: float
    samples: float
    is_awaited: bool
    """Whether the switch is still to come, and this is what it is expected to rest on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """What is known of an objective's counts where nothing is wrong."""

    low: float
    """Events per sample are no fewer, as far as is known."""
    high: float
    """And no more."""
    per_second: float
    """Samples of both versions together; above 0."""
    share: float | None = None
    """The canary's share of them, where it is not that of the traffic."""
    sampled: float | None = None
    """The share of all answers that is scored, evenly of both arms; None where all count."""
    said: str = ""
    """The counts behind the rate, for people."""
    before: Before | None = None
    """What there is to compare with, where stable does not answer beside the canary."""

    def soonest(self, bound: str, *, lower_is_better: bool) -> float:
        """Return the rate at which a bound is passed soonest.

        A comparison is the faster the more events there are, a bound the faster the fewer are
        bad. So is the comparison with what stable has shown for good.
        """
        known = self.before is not None and not self.before.is_awaited
        if bound == "versusStable" and not known:
            return self.high
        return self.low if lower_is_better else self.high

    def told(self, bound: str, *, lower_is_better: bool) -> str:
        """Return what was supposed, for people."""
        rate = self.soonest(bound, lower_is_better=lower_is_better)
        sign = "" if self.low == self.high else "at most " if rate == self.high else "at least "
        told = f"a rate of {sign}{100 * rate:.3g} %{self.said}"
        if bound != "versusStable" or self.before is None:
            return told
        return f"{told}, against {self.before.samples:.0f} answers of stable before the switch,"


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanPace:
    """What is known of an objective's values where nothing is wrong."""

    deviation: float
    """The standard deviation of single values is no smaller, as far as is known; above 0."""
    per_second: float
    """Values of both versions together; above 0."""
    sampled: float | None = None
    """The share of all answers that is scored, evenly of both arms; None where all count."""
    said: str = ""
    """The values behind it, for people."""

    def told(self, _: str, *, lower_is_better: bool) -> str:
        """Return what was supposed, for people; the direction does not matter."""
        sign = "at least " if self.said else ""
        return f"a deviation of {sign}{self.deviation:g}{self.said}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """What was counted at an earlier weight."""

    share: float
    """The canary's."""
    number: float
    """Of both versions."""


def needs(
    asked: Rate | Mean, known: Pace | MeanPace, seen: tuple[Answers, ...], share: float
) -> dict[str, float]:
    """Return how many answers of both versions each bound still needs: the fewest they may be."""
    if isinstance(asked, Mean):
        assert isinstance(known, MeanPace), "a mean has values"
        return {"versusStable": _difference(asked, known, seen, share)}
    assert isinstance(known, Pace), "a rate has events"
    found = {}
    if asked.margin is not None:
        found["versusStable"] = _ratio(asked, asked.margin, known, seen, share)
    if asked.ceiling is not None:
        name = "max" if asked.lower_is_better else "min"
        found[name] = _ceiling(asked, asked.ceiling, known, seen, share)
    return found


def _ratio(
    asked: Rate, margin: float, known: Pace, seen: tuple[Answers, ...], share: float
) -> float:
    rate = known.soonest("versusStable", lower_is_better=asked.lower_is_better)
    if known.before is not None:
        stable = statistics.Count(events=known.before.events, samples=known.before.samples)
        return earlier.needed(asked, stable, rate) / share
    strata = tuple(
        statistics.Stratum(
            share=each.share,
            canary=each.number * rate * each.share,
            stable=each.number * rate * (1 - each.share),
        )
        for each in seen
    )
    need = statistics.ratio_need(
        strata,
        ratio=margin,
        harm=not asked.lower_is_better,
        threshold=asked.levels.good,
        share=share,
        canary_rate=rate,
        stable_rate=rate,
        bets=asked.bets,
    )
    return need.responses if need else inf


def _ceiling(
    asked: Rate, ceiling: float, known: Pace, seen: tuple[Answers, ...], share: float
) -> float:
    rate = known.soonest("max", lower_is_better=asked.lower_is_better)
    bad = rate if asked.lower_is_better else 1 - rate
    answers = sum(each.number * each.share for each in seen)  # the canary's up to here
    need = statistics.ceiling_need(
        statistics.Count(events=answers * bad, samples=answers),
        ceiling=ceiling,
        exceeds=False,
        threshold=asked.levels.good,
        rate=bad,
        bets=asked.bets,
    )
    return need.responses / share if need else inf


def _difference(asked: Mean, known: MeanPace, seen: tuple[Answers, ...], share: float) -> float:
    variance = known.deviation**2
    strata = tuple(
        statistics.MeanStratum(
            canary=_values(each.number * each.share, variance),
            stable=_values(each.number * (1 - each.share), variance),
        )
        for each in seen
    )
    side = 1 if asked.lower_is_better else -1
    need = statistics.difference_need(
        strata,
        margin=side * asked.margin,
        harm=not asked.lower_is_better,
        threshold=asked.levels.good,
        share=share,
        variance=variance,
        tuned_for=mean.TUNED_FOR,
        least=mean.LEAST,
    )
    return need.responses if need else inf


def _values(number: float, variance: float) -> statistics.Sums:
    """Return so many values; around which mean does not matter."""
    return statistics.Sums(n=number, total=0.0, squares=variance * max(0.0, number - 1))
