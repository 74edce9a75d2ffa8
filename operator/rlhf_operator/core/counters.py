"""Exact counting from the raw points of counters: no extrapolation, every visible reset seen.

All our counters start at 0. So a series that began after the start of a count adds its whole
value, and an older one adds what it grew since its last point before.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite

Point = tuple[float, float]


def delta(points: Iterable[Point], since: float, known_from: float = float("-inf")) -> float:
    """Return the growth of one series after `since`.

    Where nothing is known before `known_from`, a series that is there from the first moment may
    be older, and adds only what it grew since.
    """
    track: Track | None = None
    for point in points:
        if track is None:
            track = Track({}, point, known_from=known_from, marks=(since,))
        else:
            track.feed((point,))
    return 0.0 if track is None else track.growth(since)


class Track:
    """What is known of one series: its running total, and the total at each start of a count.

    Mutable, and owned by one ledger: a frozen value per point would cost more than the counting.
    """

    __slots__ = (
        "_bases",
        "_born",
        "_fresh",
        "_pending",
        "_tail",
        "_value",
        "labels",
        "last",
        "total",
    )

    def __init__(
        self, labels: Mapping[str, str], first: Point, *, known_from: float, marks: Sequence[float]
    ) -> None:
        self.labels = labels
        self.last, self._value = first
        self.total = self._value
        self._born = self.last
        self._fresh = self.last > known_from
        # Time and total of each change, one after the other: a tuple each would cost ten times
        # the memory. The first pair goes when it is out of sight.
        self._tail = array("d", first)
        self._bases: dict[float, float] = {}
        self._pending: tuple[float, ...] = ()
        self.start(marks)

    def start(self, marks: Sequence[float]) -> bool:
        """Count from these instants; False when one lies further back than is remembered."""
        bases: dict[float, float] = {}
        pending: list[float] = []
        known = True
        for mark in marks:
            if mark in self._bases:
                bases[mark] = self._bases[mark]
            elif mark >= self.last:
                pending.append(mark)
            elif (base := self._total_at(mark)) is None:
                known = False
            else:
                bases[mark] = base
        self._bases, self._pending = bases, tuple(pending)
        return known

    @property
    def born(self) -> float:
        """Return the time of the first point that is known."""
        return self._born

    @property
    def appeared(self) -> float:
        """Return when the series was there at first; minus infinity where that was not seen."""
        return self._born if self._fresh else float("-inf")

    def feed(self, points: Sequence[Point], horizon: float = float("inf")) -> bool:
        """Take in points in order of time; remember each change for so many seconds.

        Return whether anything was counted.
        """
        before, last, first = self.total, self.last, len(points)
        while first and points[first - 1][0] > last:
            first -= 1
        for time, value in points[first:] if first < len(points) else ():
            if time > self.last and isfinite(value):
                self._step(time, value, horizon)
        return self.total != before

    def _step(self, time: float, value: float, horizon: float) -> None:
        if self._pending:
            self._leave_behind(time)
        before = self._value
        if value != before:
            # A counter never falls: a smaller value is a new count from 0.
            self.total += value - before if value > before else value
            self._value = value
            tail = self._tail
            tail.extend((time, self.total))
            while len(tail) > 4 and tail[2] < time - horizon:
                del tail[:2]
        self.last = time

    def _leave_behind(self, time: float) -> None:
        """Fix the total at every start that lies before this point."""
        for mark in self._pending:
            if mark < time:
                self._bases[mark] = self.total
        self._pending = tuple(mark for mark in self._pending if mark >= time)

    def _total_at(self, time: float) -> float | None:
        """Return the total at an instant; None when it is too long ago to know."""
        tail = self._tail
        for place in range(len(tail) - 2, -1, -2):
            if tail[place] <= time:
                return tail[place + 1]
        if tail[0] != self._born:
            return None
        return 0.0 if self._fresh else tail[1]

    def growth(self, mark: float, until: float | None = None) -> float:
        """Return what was counted after a mark, up to an instant or the newest point."""
        base = self._bases.get(mark)
        if base is None:
            return 0.0
        if until is None or until >= self.last:
            return self.total - base
        total = self._total_at(until)
        return max(0.0, (self.total if total is None else total) - base)
