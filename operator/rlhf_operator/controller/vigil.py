"""One SLO of a promoted version, window by window: what has ended, and what still goes on."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import ceil, fsum

from rlhf_operator.core.drift import Drift, DriftTest
from rlhf_operator.core.moments import Moments
from rlhf_operator.core.objective import Judgement, Reading
from rlhf_operator.core.statistics import RateChange
from rlhf_operator.core.watch import SPANS, Found, Watch, find
from rlhf_operator.core.windows import (
    KEPT,
    WINDOW,
    FirstHour,
    Windows,
    first_whole,
    slot,
    start_of,
)


class Vigil:
    """The windows of one SLO, and the detectors that have seen them. Mutable; owned by the engine.

    Windows end by the clock, the first one begins with the weight. One that nobody could read
    the end of goes on into the next.
    """

    __slots__ = ("_asked", "_changes", "_doubtful", "_found", "_looks", "_not_before",
                 "_rules_since", "_spans", "_windows", "drift", "ends", "lacking",
                 "start")  # fmt: skip

    def __init__(
        self,
        asked: Watch | None,
        since: datetime,
        now: datetime,
        drift: Drift | None = None,
        *,
        reach: int = 0,
        rules_since: datetime | None = None,
    ) -> None:
        """Begin with the window of `now`, and so many before it that are one with it.

        rules_since: when the guards took other rules than those of the version's own run.
        """
        self._asked = asked
        self._rules_since = rules_since
        self._doubtful: frozenset[int] = frozenset()
        self.drift = drift
        """What the means of the windows show; from before a restart what is on record."""
        self._looks = array("d")
        newest = slot(now)
        self.start = max(since.timestamp(), start_of(newest - reach))
        """When the window that goes on began, in Unix seconds."""
        self.ends = start_of(newest + 1)
        first = first_whole(since, newest - 1)
        self.lacking = range(first, newest) if asked is not None else range(0)
        """The numbers of the windows that must still be read from the metric source."""
        self._not_before: datetime | None = None
        self._windows = Windows()
        self._reckon()

    def retuned(
        self, asked: Watch | None, drift: DriftTest | None, rules_since: datetime | None = None
    ) -> None:
        """Go on with other tests: what was counted is judged by them anew.

        Means that were counted by other rules are forgotten.
        """
        renewed, self._rules_since = rules_since != self._rules_since, rules_since
        if drift is None:
            self.drift = None
        elif self.drift is None or renewed or self.drift.test.difference != drift.difference:
            self.drift = Drift(test=drift)
            del self._looks[:]
        else:
            self.drift = replace(self.drift, test=drift)
        if asked == self._asked:
            return
        self._asked = asked
        self._reckon()

    def _reckon(self) -> None:
        """Judge all windows that are remembered."""
        self._changes: tuple[RateChange, ...] = ()
        if self._asked is not None:
            windows = self._windows
            self._changes = self._asked.changes(windows.each(), windows.oldest, self._doubtful)
        self._summed()

    def _summed(self) -> None:
        self._spans = {count: self._windows.last(count) for count in SPANS}
        self._found: tuple[tuple[int, int, bool], Found] | None = None

    # -- windows that end ---------------------------------------------------------------------

    def is_over(self, settled: datetime | None) -> bool:
        """Return whether all points of the window that goes on were seen."""
        return settled is not None and settled.timestamp() >= self.ends

    def close(
        self, events: int, samples: int, now: datetime, moments: Moments | None = None
    ) -> None:
        """End the window that goes on, with its exact counts; of a mean, with its values' sums.

        These are None where several have scored the values.
        """
        number, doubtful = self._number, self.is_doubtful
        if self._asked is not None:
            self._windows.add(number, events, samples)
            counts = max(0, events), max(0, samples)
            self._changes = self._asked.after(self._changes, *counts, number, doubtful=doubtful)
            self._summed()
        if self.drift is not None and not doubtful:
            if moments is not None:
                self.drift = self.drift.counted(samples, moments)
            if self._looks:
                self.drift = self.drift.update(fsum(self._looks) / len(self._looks))
        del self._looks[:]
        if self._doubtful:
            self._doubtful = frozenset(each for each in self._doubtful if each > number - KEPT)
        self.start, self.ends = self.ends, start_of(slot(now) + 1)

    # -- guards that take new rules -------------------------------------------------------------

    @property
    def _number(self) -> int:
        return slot(self.ends) - 1

    @property
    def is_doubtful(self) -> bool:
        """Return whether the window that goes on is of other rules, at least in part."""
        before = self._rules_since is not None and self.start < self._rules_since.timestamp()
        return before or self._number in self._doubtful

    def doubt(self) -> None:
        """Compare the window that goes on with nothing: guards take other rules in it."""
        self._doubtful |= {self._number}

    def first_hour(self, least: int) -> FirstHour | None:
        """Return what the first hour under new rules showed; None while it lasts, or without."""
        if self._rules_since is None or self._asked is None or self.lacking:
            return None
        first = ceil(self._rules_since.timestamp() / WINDOW.total_seconds())
        return self._windows.first_hour(first, least, self._doubtful)

    # -- windows from before a restart --------------------------------------------------------

    def lacks(self, now: datetime, settle: timedelta) -> bool:
        """Return whether there are windows to be read that can be read by now."""
        if not self.lacking or (self._not_before is not None and now < self._not_before):
            return False
        return now >= datetime.fromtimestamp(start_of(self.lacking.stop), UTC) + settle

    def postpone(self, now: datetime) -> None:
        """Try again to read them when the next window is over."""
        self._not_before = now + WINDOW

    def recall(self, events: Sequence[int], samples: Sequence[int]) -> None:
        """Take in the windows that were lacking, in their order."""
        self._windows.precede(self.lacking.start, events, samples)
        self.lacking = range(0)
        self._reckon()

    def look(self, judged: Judgement, least: int, *, averaged: bool) -> None:
        """Take in the mean of the window so far; an expression's value is averaged instead.

        What rests on too few samples is left out.
        """
        value = judged.reading.value
        if self.drift is None or not judged.measured or value is None:
            return
        drift = self.drift.scored_by(judged.reading.scorer)
        if drift is not self.drift:
            self.drift = drift
            del self._looks[:]
        if (judged.reading.samples or 0) >= least:
            if not averaged:
                del self._looks[:]
            self._looks.append(value)

    # -- what they show -----------------------------------------------------------------------

    def found(self, reading: Reading) -> Found | None:
        """Return what the rate shows, as far as was seen; None where no rate is tested.

        Nothing is reckoned anew while the counts stay as they are.
        """
        if self._asked is None:
            return None
        counts = (reading.events or 0, reading.samples or 0)
        if reading.problem is not None:
            counts = self._found[0][:2] if self._found is not None else (0, 0)
        if self._found is None or self._found[0] != (*counts, self.is_doubtful):
            doubtful = self.is_doubtful
            found = find(self._asked, self._changes, self._spans, *counts, doubtful=doubtful)
            self._found = ((*counts, doubtful), found)
        return self._found[1]
