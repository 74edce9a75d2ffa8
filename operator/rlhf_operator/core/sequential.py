"""Judging a rate by evidence that may be looked at always (`core/statistics`).

Each bound of a rate is two tests. One proves harm: it rolls back, and a crossing is final. The
other refutes harm: only when it has crossed for every bound may a weight rise. Between the two
lies silence, which is neither. Safety is proven harmful against stable itself, other classes
against their margin.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from math import exp

from rlhf_operator.api.evidence import FirstCounts, SLOResult, StratumRecord
from rlhf_operator.api.policy import SLO
from rlhf_operator.api.rollout import PinnedPolicy
from rlhf_operator.core import statistics
from rlhf_operator.core.indicators import Better, Form, Measure
from rlhf_operator.core.moments import NO_VALUES, Moments, moments_of, sums_of

_LARGEST = 25.0
"""ln E beyond which a number is only "more than 10^10"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Levels:
    """How much evidence a run asks for, as ln E; fixed at its start."""

    harm: float
    """Harm is proven from here on: the run's `falseRollback`, shared over all its harm tests."""
    good: float
    """Harm is refuted from here on: `falsePromotion`, in full for every test."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """The sequential tests of one SLO."""

    ceiling: float | None
    """The highest tolerated rate of what is bad."""
    margin: float | None
    """How many times stable's rate the canary's may be; less than 1 where higher is better."""
    lower_is_better: bool
    is_safety: bool
    levels: Levels

    @property
    def harm_ratio(self) -> float:
        """Return the ratio beyond which harm is proven: any at all for Safety."""
        assert self.margin is not None
        return 1.0 if self.is_safety else self.margin


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """Exact counts of both arms in a time in which neither weight nor guard changed."""

    events: int
    samples: int
    stable_events: int = 0
    stable_samples: int = 0
    firsts: Stretch | None = None
    """The same time with each user's first event alone; None where users are not told apart."""
    moments: Moments = NO_VALUES
    """Of a mean: the canary's values, in place of events."""
    stable_moments: Moments = NO_VALUES

    def __sub__(self, earlier: Stretch) -> Stretch:
        """Return what came after; late points may make a count smaller, never negative."""
        samples = max(0, self.samples - earlier.samples)
        stable_samples = max(0, self.stable_samples - earlier.stable_samples)
        return Stretch(
            events=max(0, self.events - earlier.events),
            samples=samples,
            stable_events=max(0, self.stable_events - earlier.stable_events),
            stable_samples=stable_samples,
            firsts=self.firsts - (earlier.firsts or NOTHING) if self.firsts else None,
            moments=self.moments - earlier.moments if samples else NO_VALUES,
            stable_moments=(
                self.stable_moments - earlier.stable_moments if stable_samples else NO_VALUES
            ),
        )

    def __add__(self, other: Stretch) -> Stretch:
        return Stretch(
            events=self.events + other.events,
            samples=self.samples + other.samples,
            stable_events=self.stable_events + other.stable_events,
            stable_samples=self.stable_samples + other.stable_samples,
            firsts=(self.firsts or NOTHING) + (other.firsts or NOTHING)
            if self.firsts or other.firsts
            else None,
            moments=self.moments + other.moments,
            stable_moments=self.stable_moments + other.stable_moments,
        )

    def stratum(self) -> statistics.Stratum | None:
        """Return it for the comparison; None where an arm is silent, which compares nothing.

        Two counters are read one after the other, so an event may be seen before its answer.
        """
        if not self.samples or not self.stable_samples:
            return None
        return statistics.Stratum(
            share=self.samples / (self.samples + self.stable_samples),
            canary=min(self.events, self.samples),
            stable=min(self.stable_events, self.stable_samples),
        )


NOTHING = Stretch(events=0, samples=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Past:
    """What a run has shown of one rate or mean before the stretch that goes on now."""

    before: tuple[Stretch, ...] = ()
    """At earlier weights."""
    closed: tuple[Stretch, ...] = ()
    """At this weight; what is counted since its start includes them."""
    stable_before: Stretch | None = None
    """What stable showed before it fell silent, as its own events and samples; None while it
    answers beside the canary."""
    change: statistics.RateChange | None = None
    """What the stretches at this weight show of a version that was promoted beside a control arm,
    against its absolute bound (`core/onset`)."""
    _counted: Stretch = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Each look takes it off, and a day has hundreds of stretches.
        object.__setattr__(self, "_counted", total(self.closed))

    def until(self, counted: Stretch) -> tuple[Stretch, ...]:
        """Return all stretches, given what is counted at this weight so far; the newest last."""
        return (*self.before, *self.closed, self.open(counted))

    def is_under(self, parts: Sequence[Stretch]) -> bool:
        """Return whether stretches were reckoned on this past, and not on less of it.

        A verdict that is final, or the last one before nothing could be seen, keeps its own: the
        newest of those has its place in the past already.
        """
        return len(parts) == len(self.before) + len(self.closed) + 1

    def open(self, counted: Stretch) -> Stretch:
        """Return what is counted at this weight and belongs to no finished stretch."""
        return counted - self._counted


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """The evidence on one bound, as ln E."""

    bound: str
    harm: float
    good: float


def record_of(slo: str, stretch: Stretch) -> StratumRecord:
    """Return a stretch of one SLO (policy/objective) as it goes on record."""
    return StratumRecord(
        slo=slo,
        events=stretch.events,
        samples=stretch.samples,
        stable_events=stretch.stable_events,
        stable_samples=stretch.stable_samples,
        firsts=firsts_of(stretch),
        sums=sums_of(stretch.moments),
        stable_sums=sums_of(stretch.stable_moments),
    )


def firsts_of(stretch: Stretch) -> FirstCounts | None:
    """Return what a stretch has of users as it goes on record."""
    if stretch.firsts is None:
        return None
    return FirstCounts(
        events=stretch.firsts.events,
        samples=stretch.firsts.samples,
        stable_events=stretch.firsts.stable_events,
        stable_samples=stretch.firsts.stable_samples,
    )


def remembered(counts: FirstCounts | None) -> Stretch | None:
    """Return what is on record of users."""
    if counts is None:
        return None
    return Stretch(
        events=counts.events,
        samples=counts.samples,
        stable_events=counts.stable_events,
        stable_samples=counts.stable_samples,
    )


def stretch_of(counted: StratumRecord | SLOResult) -> Stretch:
    """Return the counts in a record as a stretch; what a result could not count is none."""
    return Stretch(
        events=counted.events or 0,
        samples=counted.samples or 0,
        stable_events=counted.stable_events or 0,
        stable_samples=counted.stable_samples or 0,
        firsts=remembered(counted.firsts),
        moments=moments_of(counted.sums),
        stable_moments=moments_of(counted.stable_sums),
    )


def stretches(records: Iterable[StratumRecord], slo: str) -> tuple[Stretch, ...]:
    """Return what is on record of one SLO (policy/objective)."""
    return tuple(stretch_of(each) for each in records if each.slo == slo)


def condensed(records: Sequence[StratumRecord], most: int) -> tuple[StratumRecord, ...]:
    """Return records of which no more than `most` stand apart.

    Where there are more, pairs of neighbours of one SLO become one stratum. Both have the share
    of users that their counts show; only a base rate that moved between them blurs.
    """
    kept = tuple(records)
    while len(kept) > most:
        found: list[StratumRecord] = []
        for name in dict.fromkeys(each.slo for each in kept):
            mine = stretches(kept, name)
            pairs = [total(mine[place : place + 2]) for place in range(0, len(mine), 2)]
            found += (record_of(name, pair) for pair in pairs)
        if len(found) == len(kept):
            break
        kept = tuple(found)
    return kept


def total(parts: Iterable[Stretch]) -> Stretch:
    """Return the counts of all stretches together."""
    return sum(parts, NOTHING)


NO_PAST = Past()


def compared(parts: Sequence[Stretch]) -> Sequence[Stretch]:
    """Return the stretches by which two versions are compared: each user once, where all know it.

    Where users stay with their version, chance assigned the user: docs/decisions-bench.md. One
    stretch without them, as of an older guard, would mix two units; then answers are compared.
    """
    both = tuple(part for part in parts if part.samples and part.stable_samples)
    firsts = tuple(part.firsts for part in both if part.firsts is not None)
    return firsts if firsts and len(firsts) == len(both) else parts


def mixes_units(parts: Sequence[Stretch]) -> bool:
    """Return whether users are known of some stretches, and not of all: answers are compared."""
    return (
        any(part.firsts is not None for part in parts)
        and compared(parts) is parts
        and any(part.firsts is None for part in parts if part.samples and part.stable_samples)
    )


def strata_of(parts: Iterable[Stretch]) -> tuple[statistics.Stratum, ...]:
    """Return the stretches in which both versions answered, for the comparison."""
    return tuple(found for part in parts if (found := part.stratum()) is not None)


def is_sequential(slo: SLO, measure: Measure) -> bool:
    """Return whether an SLO is judged by evidence: rates are, unless plain numbers are asked for.

    `failureLimit` asks for plain numbers: a sequential crossing needs no second one. Of a mean it
    is the difference from stable's that is judged; its max and min are plain numbers.
    """
    if measure.form is Form.MEAN:
        return measure.squares is not None
    if measure.form is not Form.RATE or slo.failure_limit is not None:
        return False
    if slo.versus_stable is not None and slo.versus_stable.method == "Threshold":
        return False
    if slo.versus_stable is not None and slo.versus_stable.difference is not None:
        return False
    bound, other = (slo.max, slo.min) if measure.better is Better.LOWER else (slo.min, slo.max)
    return other is None and (bound is None or 0 < float(bound) < 1)


def tests(slo: SLO, measure: Measure) -> int:
    """Return how many tests of harm an SLO makes; those that only inform make none."""
    if slo.class_ == "Informational" or not is_sequential(slo, measure):
        return 0
    if measure.form is Form.MEAN:
        return 1
    bounds = (slo.max, slo.min, slo.versus_stable)
    return sum(bound is not None for bound in bounds)


def levels(policy: PinnedPolicy, count: int) -> Levels:
    """Return how much evidence a run with so many tests of harm asks for."""
    return Levels(
        harm=statistics.rollback_threshold(float(policy.false_rollback), max(1, count)),
        good=statistics.advance_threshold(float(policy.false_promotion)),
    )


def rate(slo: SLO, measure: Measure, wanted: Levels) -> Rate:
    """Return the tests of an SLO that is judged by evidence."""
    lower = measure.better is Better.LOWER
    ceiling = None
    if lower and slo.max is not None:
        ceiling = float(slo.max)
    elif slo.min is not None:
        ceiling = 1 - float(slo.min)
    margin = None
    if slo.versus_stable is not None and slo.versus_stable.ratio is not None:
        margin = float(slo.versus_stable.ratio)
    return Rate(
        ceiling=ceiling,
        margin=margin if lower or margin is None else 1 / margin,
        lower_is_better=lower,
        is_safety=slo.class_ == "Safety",
        levels=wanted,
    )


def proofs(asked: Rate, parts: Sequence[Stretch], *, compares: bool) -> tuple[Proof, ...]:
    """Return the evidence on each bound; without `compares` there is no stable beside it."""
    found = []
    if asked.ceiling is not None:
        counted = total(parts)
        seen = min(counted.events, counted.samples)
        bad = seen if asked.lower_is_better else counted.samples - seen
        harm, good = (
            statistics.log_e_ceiling(bad, counted.samples, asked.ceiling, exceeds=exceeds)
            for exceeds in (True, False)
        )
        found.append(Proof(bound="max" if asked.lower_is_better else "min", harm=harm, good=good))
    if asked.margin is not None and compares:
        strata = strata_of(compared(parts))
        worse = asked.lower_is_better
        found.append(
            Proof(
                bound="versusStable",
                harm=statistics.log_e_ratio(strata, asked.harm_ratio, harm=worse),
                good=statistics.log_e_ratio(strata, asked.margin, harm=not worse),
            )
        )
    return tuple(found)


def directions(strata: Sequence[statistics.Stratum]) -> tuple[float, float]:
    """Return the evidence that the canary's rate is higher than stable's, and that it is lower."""
    return (
        statistics.log_e_ratio(strata, 1, harm=True),
        statistics.log_e_ratio(strata, 1, harm=False),
    )


def odds(log_e: float) -> str:
    """Return evidence as people read it: so many to 1."""
    if log_e >= _LARGEST:
        return "more than 10^10 to 1"
    value = exp(log_e)
    return f"{value:.0f} to 1" if value >= 10 else f"{value:.2g} to 1"


def needed(
    asked: Rate, parts: Sequence[Stretch], proof: Proof, per_second: float
) -> tuple[int, timedelta | None] | None:
    """Return about how many answers of both arms a bound still needs, and how long they take.

    Supposing that the rates stay as they are; None where such rates never lead there.
    """
    counted, last = total(parts), parts[-1] if parts else NOTHING
    if not counted.samples or proof.good >= asked.levels.good:
        return None
    bad = min(counted.events, counted.samples)
    if proof.bound != "versusStable":
        assert asked.ceiling is not None
        bad = bad if asked.lower_is_better else counted.samples - bad
        count = statistics.Count(events=bad, samples=counted.samples)
        need = statistics.ceiling_need(
            count,
            ceiling=asked.ceiling,
            exceeds=False,
            threshold=asked.levels.good,
            rate=bad / counted.samples,
        )
        both = last.samples + last.stable_samples
        share = last.samples / both if both else 1.0
        if need is None or not share:
            return None
        answers = round(need.responses / share)
    else:
        shown = compared(parts)
        counted, stratum = total(shown), shown[-1].stratum()
        if stratum is None or asked.margin is None or not asked.lower_is_better:
            return None
        pooled = (counted.events + counted.stable_events) / max(
            1, counted.samples + counted.stable_samples
        )
        need = statistics.ratio_need(
            strata_of(shown),
            ratio=asked.margin,
            harm=False,
            threshold=asked.levels.good,
            share=stratum.share,
            canary_rate=min(1.0, pooled),
            stable_rate=min(1.0, pooled),
        )
        if need is None:
            return None
        answers = need.responses
    lasts = timedelta(seconds=answers / per_second) if per_second > 0 else None
    return answers, lasts
