"""The shared SLO engine: each distinct query once per interval, for all models at once.

Nothing that matters lives here alone: after a restart it counts on from the checkpoints in the
rollouts' status and from the points that Prometheus keeps.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from rlhf_operator.api.evidence import Checkpoint
from rlhf_operator.api.plan import PinnedPolicy
from rlhf_operator.controller import checkpoints, trial
from rlhf_operator.controller.assessment import Assessment
from rlhf_operator.controller.estimates import Estimate, estimates
from rlhf_operator.controller.followed import Followed
from rlhf_operator.controller.goal import Beat, Values
from rlhf_operator.controller.reader import MetricSource, Observer, Reader
from rlhf_operator.controller.recall import recall
from rlhf_operator.core.observed import Key
from rlhf_operator.core.subject import Subject

__all__ = ["Assessment", "Engine", "MetricSource", "Observer", "Subject"]

_LOG = logging.getLogger(__name__)
# Judging gives way to other work after so many subjects.
_BATCH = 50
_PUT_OFF = timedelta(seconds=0.2)
_PATIENCE = 15
"""How often judging what was promoted is put off while many failures wait to be acted on: for
three seconds, as passes over them are."""


class _Nobody:
    """An observer that notes nothing."""

    def queried(self, *_: object) -> None:
        """Note nothing."""

    def judged(self, *_: object) -> None:
        """Note nothing."""


class Engine:
    """Follows subjects, reads metrics for all of them, and tells when verdicts change."""

    def __init__(
        self,
        *,
        sources: Mapping[str, MetricSource],
        now: Callable[[], datetime],
        notify: Callable[[Key, bool], None],
        observer: Observer | None = None,
        crowded: Callable[[], bool] = lambda: False,
    ) -> None:
        """Judge by these sources; rounds are put off while `crowded` says so.

        Then many failures wait to be acted on, and what a round found would wait behind them.
        """
        self._now = now
        self._crowded = crowded
        self._notify = notify
        self._observer: Observer = observer or _Nobody()
        self._readers = {
            name: Reader(name, source, now, self._observer) for name, source in sources.items()
        }
        self._followed: dict[Key, tuple[Followed, ...]] = {}
        self._members: dict[Beat, dict[Followed, None]] = {}
        self._due: dict[Beat, datetime] = {}
        self._running: dict[Beat, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()

    # -- whom to follow -----------------------------------------------------------------------

    def follow(self, first: Subject, *others: Subject) -> None:
        """Judge these subjects of one model from now on; the same again change nothing.

        There are others where a run tests several versions at once.
        """
        key, subjects = first.key, (first, *others)
        known = self._followed.get(key, ())
        about = [each.subject.question for each in known]
        if about == [each.question for each in subjects]:
            return
        self._leave(known)
        before = known[0] if known else None
        followed = tuple(Followed(each, self._now(), before) for each in subjects)
        self._followed[key] = followed
        for name, reader in self._readers.items():
            marks = {mark for each in followed for mark in each.marks(name)}
            if marks:
                reader.ledger.start(_model(key), tuple(marks))
            else:
                reader.ledger.forget(_model(key))
        for each in followed:
            for beat in each.beats:
                self._members.setdefault(beat, {})[each] = None
                self._due.setdefault(beat, _next(self._now(), beat.interval))
        self._changed.set()

    def forget(self, key: Key) -> None:
        """Stop judging a model."""
        followed = self._followed.pop(key, ())
        if followed:
            self._leave(followed)
            for reader in self._readers.values():
                reader.ledger.forget(_model(key))

    def _leave(self, followed: Iterable[Followed]) -> None:
        for each in followed:
            for beat in each.beats:
                members = self._members[beat]
                del members[each]
                if not members:
                    del self._members[beat], self._due[beat]

    def _of(self, key: Key, version: str | None) -> Followed | None:
        """Return what follows a version of a model; the first, where none is named."""
        found = self._followed.get(key, ())
        return next((each for each in found if version in (None, each.subject.version)), None)

    # -- what was found -----------------------------------------------------------------------

    def results(self, key: Key, version: str | None = None) -> Assessment | None:
        """Return the newest assessment of a version; of the first, where none is named.

        None until each SLO was judged once, unless one has failed already.
        """
        followed = self._of(key, version)
        return None if followed is None else followed.assessment(self._now())

    def estimates(self) -> Iterator[Estimate]:
        """Yield what is known now of every version that is tested in a run."""
        now = self._now()
        for followed in list(self._followed.values()):
            yield from estimates(followed, now)

    def checkpoint(self, key: Key, at: datetime, version: str | None = None) -> Checkpoint | None:
        """Return exact counts as of an instant not after `at`; None when there is nothing yet.

        The instant lies a little back: only then were all its points visible, and a successor
        that counts on from it misses nothing and counts nothing twice.
        """
        followed = self._of(key, version)
        return None if followed is None else checkpoints.counted(followed, self._readers, at)

    # -- the loop -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Read and judge for ever."""
        try:
            while True:
                self._start_due()
                wait = min(self._due.values(), default=self._now() + timedelta(seconds=1))
                with suppress(TimeoutError):
                    left = max(0.0, (wait - self._now()).total_seconds())
                    await asyncio.wait_for(self._changed.wait(), left)
                self._changed.clear()
        finally:
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _start_due(self) -> None:
        """Start every round that is due; one that is still going is not started twice."""
        now = self._now()
        for beat, due in list(self._due.items()):
            running = self._running.get(beat)
            if running is not None and running.done():
                if running.exception() is not None:
                    _LOG.error("a round of %s failed", beat, exc_info=running.exception())
                running = None
            if due <= now and self._crowded():
                self._due[beat] = now + _PUT_OFF
            elif due <= now:
                self._due[beat] = _next(now, beat.interval)
                if running is None:
                    self._running[beat] = asyncio.create_task(self.beat(beat, due))

    async def tick(self) -> None:
        """Run one round of everything that is followed, whether due or not."""
        for is_query in (False, True):
            beats = [beat for beat in self._members if beat.is_query is is_query]
            await asyncio.gather(*(self.beat(beat, self._now()) for beat in beats))

    async def beat(self, beat: Beat, due: datetime) -> None:
        """Read what one beat needs, once for all its members, and judge them."""
        began = self._now()
        members = list(self._members.get(beat, ()))
        reader = self._readers.get(beat.source)
        values: Mapping[str, Values] = {}
        if reader is not None and beat.is_query:
            values = await self._values(reader, members, beat)
        elif reader is not None:
            await self._counters(reader, members, beat)
            # After the counts: rules that changed between the two are seen with them.
            rules = await reader.rules(self._now())
            for followed in members if rules is not None else ():
                followed.note_rules(rules or {})
        promoted = [each for each in members if each.subject.promoted]
        tested = [each for each in members if not each.subject.promoted]
        if reader is not None:
            tested = _news_first(tested, beat, reader)
        await self._judge(tested, beat, reader, values)
        if promoted:
            await self._give_way()
            await self._judge(promoted, beat, reader, values)
        took = (self._now() - began).total_seconds()
        self._observer.judged(len(members), took, (began - due).total_seconds())
        if reader is not None and not beat.is_query:
            at, settle = self._now(), reader.settle
            gaps = [gap for followed in members for gap in followed.gaps(beat, at, settle)]
            await recall(reader, gaps, at)

    async def _judge(
        self,
        members: Iterable[Followed],
        beat: Beat,
        reader: Reader | None,
        values: Mapping[str, Values],
    ) -> None:
        for place, followed in enumerate(members):
            if place % _BATCH == _BATCH - 1:
                await asyncio.sleep(0)
            if followed in self._followed.get(followed.subject.key, ()):
                followed.judge(beat, reader, values, self._now())
                if followed.has_news():
                    self._notify(followed.subject.key, followed.has_failed())
                    if followed.has_failed():
                        await asyncio.sleep(0)  # what takes its weight away begins at once

    async def _give_way(self) -> None:
        """Wait three seconds at most while many failures wait to be acted on."""
        for _ in range(_PATIENCE):
            if not self._crowded():
                return
            await asyncio.sleep(_PUT_OFF.total_seconds())

    async def _counters(self, reader: Reader, members: Iterable[Followed], beat: Beat) -> None:
        models: dict[str, dict[tuple[str, str], None]] = {}
        for followed in members:
            for name in followed.names(beat):
                models.setdefault(name, {})[followed.model] = None
        at = self._now()
        await asyncio.gather(*(reader.read(name, tuple(who), at) for name, who in models.items()))

    async def _values(
        self, reader: Reader, members: Iterable[Followed], beat: Beat
    ) -> Mapping[str, Values]:
        texts = sorted({text for followed in members for text in followed.texts(beat)})
        at = self._now()
        answers = await asyncio.gather(
            *(reader.ask(reader.source.expression, text, at) for text in texts)
        )
        return {text: Values.of(answer) for text, answer in zip(texts, answers, strict=True)}

    # -- before the first weight ----------------------------------------------------------------

    async def try_queries(
        self, policies: tuple[PinnedPolicy, ...], namespace: str, model: str, version: str
    ) -> tuple[str, ...]:
        """Ask each query of the teams' own once for a version; return what is wrong."""
        who = (namespace, model, version)
        return await trial.problems(policies, self._readers, who, self._now())


def _news_first(members: list[Followed], beat: Beat, reader: Reader) -> list[Followed]:
    """Return them with those first of whom events were just counted: one of them may be unsafe."""
    names = {goal.events for followed in members for goal in followed.on(beat)}
    news = {model for name in names if name for model in reader.ledger.grown(name)}
    return sorted(members, key=lambda followed: followed.model not in news)


def _model(key: Key) -> tuple[str, str]:
    return key.namespace, key.name


def _next(now: datetime, interval: timedelta) -> datetime:
    """Return the next multiple of the interval: equal intervals share their rounds."""
    seconds = interval.total_seconds()
    return datetime.fromtimestamp((now.timestamp() // seconds + 1) * seconds, UTC)
