"""Stretches: what was counted of both versions at one weight for a while, and their records.

A stretch ends at each change of weight or of the guard's rules, and every few minutes. A run's
past is its stretches; a record is a stretch as it stands in the rollout's status.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rlhf_operator.api.evidence import FirstCounts, SLOResult, StratumRecord
from rlhf_operator.core import statistics
from rlhf_operator.core.moments import NO_VALUES, Moments, moments_of, summed, sums_of


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
        return total((self, other))

    @property
    def unit(self) -> Stretch:
        """Return it with each user's first event alone, where that is known."""
        return self.firsts or self

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
    every = tuple(parts)
    if len(every) == 1:
        return every[0]
    firsts = tuple(part.firsts for part in every if part.firsts is not None)
    return Stretch(
        events=sum([part.events for part in every]),
        samples=sum([part.samples for part in every]),
        stable_events=sum([part.stable_events for part in every]),
        stable_samples=sum([part.stable_samples for part in every]),
        firsts=total(firsts) if firsts else None,
        moments=summed(part.moments for part in every),
        stable_moments=summed(part.stable_moments for part in every),
    )


NO_PAST = Past()


def by_unit(parts: Sequence[Stretch]) -> Sequence[Stretch]:
    """Return the stretches as they are judged: each user once, where that is known of all.

    Where users stay with their version, chance assigned the user: docs/decisions-bench.md. One
    stretch without them, as of an older guard, would mix two units; then answers are judged.
    """
    if all(part.firsts is None for part in parts) or mixes_units(parts):
        return parts
    return tuple(part.unit for part in parts)


def mixes_units(parts: Sequence[Stretch]) -> bool:
    """Return whether users are known of some stretches, and not of all: answers are judged."""
    return any(part.firsts is not None for part in parts) and any(
        part.firsts is None for part in parts if part.samples and part.stable_samples
    )
