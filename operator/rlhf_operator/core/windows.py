"""Counts of a promoted version in windows of five minutes by the clock, for the last six hours.

For three days they are kept by the hour as well, which is enough for slow burns.

A restarted operator takes the windows that ended before from the metric source, by one subquery
a counter. There a pod is known by its value at each end of a window, so what a pod counted in
its last five minutes at most, before it went, is lost. What the operator sees itself is exact.
"""

from __future__ import annotations

from array import array
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil

from rlhf_operator.api.measurements import Series
from rlhf_operator.api.metrics import ABOUT_VERSION, MODEL, NAMESPACE, VERSION
from rlhf_operator.core.indicators import Counter

WINDOW = timedelta(minutes=5)
"""So often a window ends, and a stretch of a run: both arms surely see the same users only for a
while. What is spent on false alarms is reckoned in these."""
KEPT = 72
"""So many windows are remembered: the longest that a page rule of burn rates looks at."""
HOURS_KEPT = 72
"""So many hours are: the longest that a ticket rule looks at."""
PER_HOUR = timedelta(hours=1) // WINDOW
_SECONDS = WINDOW.total_seconds()

Who = tuple[str, str, str]
"""Namespace, model and version."""


def slot(at: datetime | float) -> int:
    """Return the number of the window in which an instant lies; it counts from 1970."""
    return int((at.timestamp() if isinstance(at, datetime) else at) // _SECONDS)


def start_of(number: int) -> float:
    """Return when a window begins, in Unix seconds."""
    return number * _SECONDS


def first_whole(since: datetime, newest: int) -> int:
    """Return the oldest window to look back to: it began after `since`, and is remembered."""
    return max(ceil(since.timestamp() / _SECONDS), newest - KEPT + 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class FirstHour:
    """What a version showed in its first hour under new rules."""

    events: int
    samples: int
    until: datetime
    """When it was over."""


class Windows:
    """The counts of one measure on one version. Mutable, and owned by one engine.

    A thousand models have several of these each, so counts stand in arrays: 2 kB at most.
    """

    __slots__ = ("_events", "_hour", "_hourly_events", "_hourly_samples", "_newest", "_samples")

    def __init__(self) -> None:
        self._events, self._samples = array("q"), array("q")
        self._newest = -1
        self._hourly_events, self._hourly_samples = array("q"), array("q")
        self._hour = -1

    def __len__(self) -> int:
        return len(self._samples)

    def add(self, number: int, events: int, samples: int) -> None:
        """Take in a window that ended; those between it and the newest were not told apart."""
        missing = number - self._newest - 1 if self._samples else 0
        for counts, count in ((self._events, events), (self._samples, samples)):
            counts.extend([0] * min(missing, KEPT))
            counts.append(max(0, count))
            del counts[:-KEPT]
        self._newest = number
        self._add_to_hour(number, events, samples)

    def precede(self, first: int, events: Sequence[int], samples: Sequence[int]) -> None:
        """Take in windows from before the oldest known one, from number `first` on."""
        oldest = self._newest - len(self) + 1 if self._samples else first + len(samples)
        lasts = max(0, oldest - first)
        for counts, earlier in ((self._events, events), (self._samples, samples)):
            kept = list(earlier[:lasts])
            counts[:0] = array("q", kept + [0] * (lasts - len(kept)))
            del counts[:-KEPT]
        if self._newest < 0:
            self._newest = first + len(samples) - 1
        for place in range(min(lasts, len(samples))):
            self._add_to_hour(first + place, events[place], samples[place])

    def _add_to_hour(self, number: int, events: int, samples: int) -> None:
        hour = number // PER_HOUR
        ahead = hour - self._hour if self._hourly_samples else 1
        for counts, count in ((self._hourly_events, events), (self._hourly_samples, samples)):
            counts.extend([0] * min(ahead, HOURS_KEPT))
            counts[:0] = array("q", [0] * (1 - ahead - len(counts)))
            counts[-1 + min(ahead, 0)] += max(0, count)
            del counts[:-HOURS_KEPT]
        self._hour = max(self._hour, hour)

    def last(self, count: int) -> tuple[int, int]:
        """Return events and samples of the newest windows together.

        Of more than are remembered, those of so many hours by the clock, the one that goes on
        among them.
        """
        if count > KEPT:
            hours = count // PER_HOUR
            return sum(self._hourly_events[-hours:]), sum(self._hourly_samples[-hours:])
        return sum(self._events[-count:]), sum(self._samples[-count:])

    @property
    def oldest(self) -> int:
        """Return the number of the oldest window; there must be one."""
        return self._newest - len(self) + 1

    def each(self) -> Iterable[tuple[int, int]]:
        """Return events and samples of every window, the oldest first."""
        return zip(self._events, self._samples, strict=True)

    def first_hour(self, first: int, least: int, without: Container[int]) -> FirstHour | None:
        """Return the first hour from window number `first` on, as soon as it is over.

        It lasts for as long as so many samples take; windows that are to be left out do not count.
        """
        found = events = samples = 0
        for number, (bad, seen) in enumerate(self.each(), self.oldest):
            if number < first or number in without:
                continue
            found, events, samples = found + 1, events + bad, samples + seen
            if found >= PER_HOUR and samples >= max(1, least):
                until = datetime.fromtimestamp(start_of(number + 1), UTC)
                return FirstHour(events=events, samples=samples, until=until)
        return None


def subquery(name: str, count: int, matchers: str = "") -> str:
    """Return what yields a counter's value at each end of so many windows, and at the first start.

    Asked at the end of the last one. Subqueries are aligned to multiples of their step.
    """
    return f"{name}{matchers}[{int((count + 1) * _SECONDS) - 1}s:{int(_SECONDS)}s]"


def grown(
    answer: Iterable[Series], counter: Counter, first: int, count: int
) -> Mapping[Who, array[int]]:
    """Return what each version counted in windows from number `first` on, from a subquery.

    A counter never falls: a smaller value is a new count from 0. A series that is not there at
    the first start was born later, and its first value counts as a whole.
    """
    found: dict[Who, array[int]] = {}
    begin = start_of(first)
    for series in answer:
        get = series.labels.get
        if not all(get(label, "") in values for label, values in counter.where):
            continue
        version = get(ABOUT_VERSION) or get(VERSION)
        who = (get(NAMESPACE, ""), get(MODEL, ""), version or "")
        counts = found.setdefault(who, array("q", [0] * count))
        before = 0.0
        for time, value in series.points[:]:
            place = slot(time) - first - 1
            if time > begin and place < count:
                counts[place] += round(value - before if value >= before else value)
            before = value
    return found
