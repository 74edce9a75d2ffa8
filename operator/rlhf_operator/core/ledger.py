"""All counted series of one metric source, by model and version, each looked up once.

Fed with the answers to range queries for all models at once; asked for the counts of one
version since a mark. Late and duplicate points are ignored, so answers may overlap.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from rlhf_operator.api.measurements import Series
from rlhf_operator.api.metrics import (
    ABOUT_VERSION,
    CATEGORY,
    KIND,
    MODEL,
    NAMESPACE,
    SIGN,
    VALUE,
    VERSION,
)
from rlhf_operator.core.counters import Track
from rlhf_operator.core.indicators import Counter, Form, Measure
from rlhf_operator.core.moments import NO_VALUES, Moments

ModelKey = tuple[str, str]
_NEVER = float("inf")
_NOT_TARGET = frozenset({"__name__", ABOUT_VERSION, CATEGORY, KIND, SIGN, VALUE, "le"})


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of one version since a mark."""

    events: int
    """0 where values are summed."""
    samples: int
    at: float
    """Time of the newest point that counts."""
    moments: Moments = NO_VALUES
    scorers: frozenset[str] = frozenset()
    """What scored the values that are summed, where something did."""


@dataclass(frozen=True, slots=True)
class _Target:
    """The series of one pod that make up one measure."""

    events: tuple[Track, ...]
    samples: tuple[Track, ...]
    less: tuple[Track, ...] = ()
    squares: tuple[Track, ...] = ()

    @property
    def known_until(self) -> float:
        """Return the newest scrape of this pod that all its counters have shown.

        Each counter is read by a query of its own; a later one may already see one scrape more.
        """
        known = _NEVER
        for tracks in (self.events, self.samples, self.less, self.squares):
            if tracks:
                known = min(known, max([track.last for track in tracks]))
        return known

    def lacks_squares(self, mark: float) -> bool:
        """Return whether values were counted after a mark before their squares were.

        A program that is renewed in place begins to export squares, and goes on with the rest.
        Their sum would then be too small for so many values, and the values seem to vary less.
        """
        if not self.squares:
            return False
        counted = max(mark, min([track.born for track in self.samples], default=mark))
        return min([track.appeared for track in self.squares]) > counted


class _Arm:
    """One version's series."""

    __slots__ = ("_targets", "tracks")

    def __init__(self) -> None:
        self.tracks: dict[str, list[Track]] = {}
        self._targets: dict[str, tuple[_Target, ...]] = {}

    def add(self, name: str, track: Track) -> None:
        self.tracks.setdefault(name, []).append(track)
        self._targets.clear()

    def drop(self, name: str) -> None:
        self.tracks.pop(name, None)
        self._targets.clear()

    def targets(self, measure: Measure) -> tuple[_Target, ...]:
        found = self._targets.get(measure.key)
        if found is None:
            found = self._targets[measure.key] = self._grouped(measure)
        return found

    def _grouped(self, measure: Measure) -> tuple[_Target, ...]:
        events = self._chosen(measure.events) if measure.events else {}
        samples = self._chosen(measure.samples)
        if not samples or (measure.events and not events and not measure.absent_is_zero):
            return ()
        less = self._chosen(measure.less) if measure.less else {}
        squares = self._chosen(measure.squares) if measure.squares else {}
        targets = events.keys() | samples.keys()
        # Half of a sum is no sum: what a pod does not export in full is left out.
        for needed, found in ((measure.less, less), (measure.squares, squares)):
            if needed is not None:
                targets &= events.keys() & samples.keys() & found.keys()
        return tuple(
            _Target(*(tuple(each.get(target, ())) for each in (events, samples, less, squares)))
            for target in targets
        )

    def _chosen(self, counter: Counter) -> dict[frozenset[tuple[str, str]], list[Track]]:
        found: dict[frozenset[tuple[str, str]], list[Track]] = {}
        for track in self.tracks.get(counter.name, ()):
            if counter.chooses(track.labels):
                target = frozenset(
                    item for item in track.labels.items() if item[0] not in _NOT_TARGET
                )
                found.setdefault(target, []).append(track)
        return found


class _Book:
    """One model: its versions, the starts of its counts, and since when each counter is known."""

    __slots__ = ("arms", "known_from", "marks")

    def __init__(self) -> None:
        self.arms: dict[str, _Arm] = {}
        self.marks: tuple[float, ...] = ()
        self.known_from: dict[str, float] = {}


class Ledger:
    """Mutable, and owned by one task."""

    def __init__(self, horizon: float) -> None:
        # How far back, in seconds, totals can be asked for.
        self._horizon = horizon
        self._books: dict[ModelKey, _Book] = {}
        self._index: dict[str, dict[int, Track]] = {}
        self._order: dict[str, list[tuple[Mapping[str, str], Track | None]]] = {}
        self._grown: dict[str, set[ModelKey]] = {}

    def start(self, model: ModelKey, marks: Sequence[float]) -> None:
        """Count a model from these instants; what is not known that far back must be read again."""
        book = self._books.setdefault(model, _Book())
        book.marks = tuple(sorted(set(marks)))
        for name, known_from in list(book.known_from.items()):
            tracks = [each for arm in book.arms.values() for each in arm.tracks.get(name, ())]
            known = [track.start(book.marks) for track in tracks]
            if not all(known) or (book.marks and book.marks[0] < known_from):
                self._close(book, name)

    def forget(self, model: ModelKey) -> None:
        """Drop a model and all its series."""
        book = self._books.pop(model, None)
        if book is not None:
            for name in list(book.known_from):
                self._close(book, name)

    def knows(self, model: ModelKey) -> bool:
        """Return whether this model is counted; one that is forgotten is not."""
        return model in self._books

    def unread(self, model: ModelKey, name: str) -> bool:
        """Return whether a counter of this model must be read from its marks on."""
        return name not in self._books[model].known_from

    def counts_others(self, models: Sequence[ModelKey], name: str) -> bool:
        """Return whether a counter is known of other models than these."""
        mine = set(models)
        return any(
            name in book.known_from for model, book in self._books.items() if model not in mine
        )

    def earliest(self, model: ModelKey) -> float:
        """Return the oldest mark of a model."""
        return min(self._books[model].marks)

    def open(self, model: ModelKey, name: str, known_from: float) -> None:
        """Expect a counter's points from an instant on, the value at that instant among them."""
        if (book := self._books.get(model)) is not None:
            self._close(book, name)
            book.known_from[name] = known_from
            self._order.pop(name, None)

    def close(self, model: ModelKey, name: str) -> None:
        """Take an opening back: the points could not be read to the end."""
        if (book := self._books.get(model)) is not None:
            self._close(book, name)

    def _close(self, book: _Book, name: str) -> None:
        book.known_from.pop(name, None)
        index = self._index.get(name, {})
        for arm in book.arms.values():
            for track in arm.tracks.get(name, ()):
                index.pop(_identity(track.labels), None)
            arm.drop(name)
        self._order.pop(name, None)

    def feed(self, name: str, answer: Sequence[Series], *, whole: bool = True) -> None:
        """Take in the points of one counter, of all models or of some."""
        order = self._order.get(name, [])
        seen: list[tuple[Mapping[str, str], Track | None]] = []
        grown = self._grown[name] = set[ModelKey]()
        for place, series in enumerate(answer):
            labels = series.labels
            # Prometheus mostly answers in the same order: comparing is cheaper than hashing.
            if place < len(order) and order[place][0] == labels:
                seen.append(order[place])
                track = order[place][1]
            else:
                track = self._index.setdefault(name, {}).get(_identity(labels))
                seen.append((track.labels if track else labels, track))
            if track is not None:
                if track.feed(series.points, self._horizon):
                    grown.add(_model(labels))
            elif (born := self._first_seen(name, series)) is not None:
                seen[-1] = (born.labels, born)
                if born.total:
                    grown.add(_model(labels))
        if whole:
            self._order[name] = seen

    def grown(self, name: str) -> Collection[ModelKey]:
        """Return of which models a counter has grown in the newest answer."""
        return self._grown.get(name, ())

    def _first_seen(self, name: str, series: Series) -> Track | None:
        labels = series.labels
        book = self._books.get(_model(labels))
        known_from = None if book is None else book.known_from.get(name)
        version = labels.get(ABOUT_VERSION) or labels.get(VERSION)
        points = [
            point
            for point in series.points
            if known_from is not None and point[0] >= known_from and isfinite(point[1])
        ]
        if book is None or known_from is None or not version or not points:
            return None
        kept = {sys.intern(key): sys.intern(value) for key, value in labels.items()}
        track = Track(kept, points[0], known_from=known_from, marks=book.marks)
        track.feed(points[1:], self._horizon)
        self._index.setdefault(name, {})[_identity(kept)] = track
        book.arms.setdefault(version, _Arm()).add(name, track)
        return track

    def tally(
        self,
        model: ModelKey,
        version: str,
        measure: Measure,
        mark: float,
        until: float | None = None,
    ) -> Tally | None:
        """Return exact counts since a mark, or None when the version has no such series."""
        book = self._books.get(model)
        arm = None if book is None else book.arms.get(version)
        targets = () if arm is None else arm.targets(measure)
        if not targets:
            return None
        events = less = squares = samples = newest = 0.0
        scorers = set()
        for target in targets:
            end = target.known_until
            newest = max(newest, end)
            if target.lacks_squares(mark):
                continue
            end = end if until is None else min(until, end)
            events += _growth(target.events, mark, end)
            less += _growth(target.less, mark, end)
            squares += _growth(target.squares, mark, end)
            grown = _growth(target.samples, mark, end)
            samples += grown
            if measure.scorer is not None and grown:
                scorers |= {track.labels.get(measure.scorer, "") for track in target.samples}
        if measure.form is not Form.MEAN:
            return Tally(max(0, round(events - less)), round(samples), newest)
        moments = Moments(events - less, squares)
        return Tally(0, round(samples), newest, moments, frozenset(scorers))


def _growth(tracks: Iterable[Track], mark: float, end: float) -> float:
    total = 0.0
    for track in tracks:
        total += track.growth(mark, end)
    return total


def _model(labels: Mapping[str, str]) -> ModelKey:
    return labels.get(NAMESPACE, ""), labels.get(MODEL, "")


def _identity(labels: Mapping[str, str]) -> int:
    return hash(frozenset(labels.items()))
