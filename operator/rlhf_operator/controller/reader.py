"""Reads counters from one metric source, for all models at once, and never counts twice or short.

Each read asks for the points since the last good one, and a little more, because a scrape becomes
visible only when it is complete. A model that is new here, or whose count began before what is
remembered, is read from its mark on: that is also all that a restart takes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import floor
from typing import Protocol

from rlhf_operator.api.measurements import Answer, Problem, Series, Silence
from rlhf_operator.api.metrics import GUARD_INFO, MODEL, NAMESPACE, RULES_DIGEST, VERSION
from rlhf_operator.core.analysis import stale_after
from rlhf_operator.core.indicators import range_query
from rlhf_operator.core.ledger import Ledger, ModelKey

Rules = Mapping[tuple[str, str, str], Collection[str]]
"""By namespace, model and version."""
LONGEST = timedelta(hours=1)
# A large answer is read in pieces: each must fit the source's limits, and our memory, where a
# point takes 200 bytes while it is read.
_CHUNK = timedelta(minutes=2)
_SCRAPES = 30
# A pod that was not scraped for so long is taken for a new one.
_BASELINE = "10m"
FEW = 100
"""The answer for so many models is not asked of all."""
_NOT_READ = Silence(Problem.TOO_EARLY, "the counts since the last weight change are being read")


class MetricSource(Protocol):
    """One Prometheus, asked about all models at once."""

    @property
    def scrape_interval(self) -> timedelta:
        """Return how often its targets are scraped."""

    async def range_vector(self, query: str, at: datetime) -> Answer:
        """Return the raw points that a range selector yields."""

    async def instant(self, query: str, at: datetime) -> Answer:
        """Return the values of one of our own expressions, one point a series."""

    async def expression(self, query: str, at: datetime) -> Answer:
        """Return the values of a team's expression; one that keeps failing is asked rarely."""


class Observer(Protocol):
    """Who is told how the engine itself does."""

    def queried(self, source: str, query: str, seconds: float, problem: Problem | None) -> None:
        """Note one query, its duration, and why it yielded nothing."""

    def judged(self, subjects: int, seconds: float, late: float) -> None:
        """Note one round: how many subjects, how long it took, how late it began."""


class Reader:
    """The counters of one source. Mutable; used by one event loop."""

    def __init__(
        self, name: str, source: MetricSource, now: Callable[[], datetime], observer: Observer
    ) -> None:
        self.name = name
        self.source = source
        # Points older than this are complete: their scrape can no longer be under way.
        self.settle = stale_after(source.scrape_interval)
        self._chunk = min(_CHUNK, _SCRAPES * source.scrape_interval)
        self.ledger = Ledger(horizon=2 * self.settle.total_seconds() + 10)
        self._silences: dict[str, Silence] = {}
        self._not_opened: dict[str, Silence] = {}
        self.read_at: dict[str, datetime] = {}
        self._opening: set[tuple[ModelKey, str]] = set()
        self._busy: set[str] = set()
        self._now = now
        self._observer = observer

    async def rules(self, at: datetime) -> Rules | None:
        """Return the digests of the guards' rules by version; None where nothing is answered."""
        answer = await self.ask(self.source.instant, GUARD_INFO.name, at)
        if isinstance(answer, Silence):
            return None
        found: dict[tuple[str, str, str], set[str]] = {}
        for series in answer:
            get = series.labels.get
            who = (get(NAMESPACE, ""), get(MODEL, ""), get(VERSION, ""))
            found.setdefault(who, set()).add(get(RULES_DIGEST, ""))
        return found

    def ready(self, model: ModelKey, name: str) -> bool:
        """Return whether a counter of this model was read from its mark on."""
        return not self.ledger.unread(model, name) and (model, name) not in self._opening

    def silence(self, model: ModelKey, name: str) -> Silence | None:
        """Return why a counter of this model cannot be used now, if so."""
        if not self.ready(model, name):
            return self._not_opened.get(name, _NOT_READ)
        return self._silences.get(name)

    def settled_until(self, name: str) -> datetime | None:
        """Return the instant up to which every point of a counter was seen."""
        read_at = self.read_at.get(name)
        return None if read_at is None else read_at - self.settle

    async def read(self, name: str, models: Sequence[ModelKey], at: datetime) -> None:
        """Bring one counter up to date for these models; `silence` tells of trouble."""
        if name in self._busy:
            return
        self._busy.add(name)
        # A model may have been forgotten between the round's start and this read.
        models = [model for model in models if self.ledger.knows(model)]
        try:
            unread = [model for model in models if self.ledger.unread(model, name)]
            if unread:
                _note(self._not_opened, name, await self._open(name, unread, at))
            if len(unread) < len(models):
                _note(self._silences, name, await self._follow_up(name, at))
            elif name not in self._not_opened and not self.ledger.counts_others(models, name):
                self.read_at[name] = at
                _note(self._silences, name, None)
        finally:
            self._busy.discard(name)

    async def _follow_up(self, name: str, at: datetime) -> Silence | None:
        """Read what came since the last good read."""
        start = max(self.read_at.get(name, at) - self.settle, at - LONGEST)
        silence = await self._points(name, start, at, "")
        if silence is None:
            self.read_at[name] = at
        return silence

    async def _open(self, name: str, models: Sequence[ModelKey], at: datetime) -> Silence | None:
        """Read these models from the oldest of their marks on."""
        mark = min(self.ledger.earliest(model) for model in models)
        oldest = max(mark, (at - LONGEST).timestamp())
        start = floor(min(oldest, (at - self.settle).timestamp()) * 1000) / 1000
        chosen = "|".join(sorted({model for _, model in models}))
        matchers = f'{{rlhf_model=~"{chosen}"}}' if len(models) <= FEW else ""
        opening = {(model, name) for model in models}
        self._opening |= opening
        try:
            silence = await self._from(name, models, start, at, matchers)
        finally:
            self._opening -= opening
        return silence

    async def _from(
        self, name: str, models: Sequence[ModelKey], start: float, at: datetime, matchers: str
    ) -> Silence | None:
        begin = datetime.fromtimestamp(start, UTC)
        # A series that is older than the start is known by its last value up to there.
        query = f"last_over_time({name}{matchers}[{_BASELINE}])"
        before = await self.ask(self.source.instant, query, begin)
        if isinstance(before, Silence):
            return before
        for model in models:
            self.ledger.open(model, name, start)
        known = [
            Series({**each.labels, "__name__": name}, [(start, each.points[-1][1])])
            for each in before
            if each.points
        ]
        self.ledger.feed(name, known, whole=False)
        silence = await self._points(name, begin, at, matchers)
        if silence is not None:
            for model in models:
                self.ledger.close(model, name)
        return silence

    async def _points(
        self, name: str, start: datetime, at: datetime, matchers: str
    ) -> Silence | None:
        """Read all points of a time, in pieces where it is long."""
        while True:
            end = min(start + self._chunk, at)
            answer = await self.ask(
                self.source.range_vector, range_query(name, end - start, matchers), end
            )
            if isinstance(answer, Silence):
                return answer
            self.ledger.feed(name, answer, whole=not matchers)
            if end >= at:
                return None
            start = end

    async def ask(
        self, verb: Callable[[str, datetime], Awaitable[Answer]], query: str, at: datetime
    ) -> Answer:
        """Ask the source and tell the observer how it went."""
        began = self._now()
        answer = await verb(query, at)
        problem = answer.problem if isinstance(answer, Silence) else None
        self._observer.queried(self.name, query, (self._now() - began).total_seconds(), problem)
        return answer


def _note(silences: dict[str, Silence], name: str, silence: Silence | None) -> None:
    if silence is None:
        silences.pop(name, None)
    else:
        silences[name] = silence
