"""Every crash, and every pair of crashes, at each write of a story.

A world is what is stored, the time, and what the process remembers. From each world one pass
is made, and after each of its writes the process may die (its memory is gone) or the answer
may get lost (the pass ends, the memory stays); dying before a write is dying after the one
before. Worlds that are the same are gone on from once, so the search is exhaustive and short.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from rlhf_operator.controller.store import MemoryStore
from tests.reconcile.stage import START, Stage

_KINDS = (
    "RLHFModel", "RLHFModelVersion", "AlignmentPolicy", "RLHFRollout", "RLHFDecision",
    "Deployment", "Service", "ConfigMap", "NetworkPolicy", "ControllerRevision", "HTTPRoute",
)  # fmt: skip
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
_FAR = timedelta(minutes=5)
Event = Callable[[Stage], None]
"""What happens in the world by itself: a look at the stage and, once, an edit of it."""


@dataclass(frozen=True)
class Snapshot:
    """A world, and how it came about."""

    objects: tuple[dict[str, Any], ...]
    now: datetime
    memory: tuple[Any, ...]
    quiet: bool
    path: tuple[str, ...]


@dataclass
class Search:
    """All worlds that a story can come to with a number of crashes."""

    stage: Stage
    event: Event
    start: Snapshot | None = None
    visited: dict[str, int] = field(default_factory=dict)
    ends: dict[str, tuple[str, ...]] = field(default_factory=dict)
    passes: int = 0
    crashes: int = 0
    _marks: dict[int, tuple[dict[str, Any], str]] = field(default_factory=dict)

    def run(self, crashes: int) -> None:
        """Go through every world, with up to this many crashes on the way."""
        if self.start is None:
            self.start = self.take(())
        todo = [(self.start, crashes)]
        while todo:
            world, left = todo.pop()
            key = self.key(world)
            if self.visited.get(key, -1) >= left:
                continue
            self.visited[key] = left
            todo += self.passes_from(world, left)

    def passes_from(self, world: Snapshot, left: int) -> list[tuple[Snapshot, int]]:
        """Make one pass and return the worlds after it, and after each crash in it."""
        self.restore(world)
        self.event(self.stage)
        cuts = [self.objects()]
        self.stage.cluster.written = lambda: cuts.append(self.objects())
        before = self.memory()
        wake = self.stage._pass()
        self.stage.cluster.written = lambda: None
        self.passes += 1
        assert self.stage.broken == [], (world.path, self.stage.broken)
        after = self.after(world, wake)
        found = [(after, left)] if after else []
        if left > 0:
            found += [(crashed, left - 1) for crashed in self.crashed(world, cuts, before)]
        return found

    def after(self, world: Snapshot, wake: datetime | None) -> Snapshot | None:
        """Return the world when the next pass is due; none at the end of the story."""
        stage = self.stage
        notified = self.memory() != world.memory  # the engine tells of a first judgement
        if stage.cluster.settle() or notified or (wake and wake <= world.now and not stage.quiet):
            return self.take(world.path)
        if stage.quiet and (wake is None or wake >= world.now + _FAR):
            self.ends.setdefault(self.outcome(), world.path)
            return None
        assert wake is not None
        stage.now = max(wake, world.now + timedelta(milliseconds=100))
        assert stage.now < START + timedelta(hours=2), ("no end", world.path)
        return self.take(world.path)

    def crashed(self, world: Snapshot, cuts: list[Any], memory: tuple[Any, ...]) -> list[Snapshot]:
        made = []
        for index, objects in enumerate(cuts):
            where = f"{world.now:%H:%M:%S} write {index} of {len(cuts) - 1}"
            for how, kept in (("died", ()), ("lost", memory)):
                if how == "lost" and index == 0:
                    continue
                self.crashes += 1
                path = (*world.path, f"{how} after {where}")
                made.append(Snapshot(objects, world.now, kept, False, path))
        return [self.settled(each) for each in made]

    def settled(self, world: Snapshot) -> Snapshot:
        self.restore(world)
        self.stage.cluster.settle()
        return self.take(world.path)

    # -- worlds -----------------------------------------------------------------------------

    def objects(self) -> tuple[dict[str, Any], ...]:
        store = self.stage.world.store
        return tuple(raw for kind in _KINDS for raw in store.in_namespace(kind, None))  # type: ignore[misc]

    def memory(self) -> tuple[Any, ...]:
        return tuple(self.stage.slos.subjects.items())

    def take(self, path: tuple[str, ...]) -> Snapshot:
        stage = self.stage
        return Snapshot(self.objects(), stage.now, self.memory(), stage.quiet, path)

    def restore(self, world: Snapshot) -> None:
        store = self.stage.world.store
        assert isinstance(store, MemoryStore)
        store.__init__()  # type: ignore[misc]
        for raw in world.objects:
            store.put(raw)
        self.stage.now, self.stage.quiet = world.now, world.quiet
        self.stage.slos.subjects = dict(world.memory)

    def key(self, world: Snapshot) -> str:
        parts = sorted(self.mark(raw) for raw in world.objects)
        return "\n".join([*parts, str(world.now), str(world.quiet), repr(world.memory)])

    def mark(self, raw: dict[str, Any]) -> str:
        """Return an object as text, without what differs between equal worlds."""
        known = self._marks.get(id(raw))
        if known is None:
            known = raw, json.dumps(self.plain(raw), sort_keys=True)
            self._marks[id(raw)] = known
        return known[1]

    @staticmethod
    def plain(raw: dict[str, Any]) -> dict[str, Any]:
        metadata = copy.copy(raw["metadata"])
        for name in ("uid", "resourceVersion"):
            metadata.pop(name, None)
        return {**raw, "metadata": metadata}

    def outcome(self) -> str:
        """Return the end of the story as text, without times and without counts of writes."""
        parts = []
        for raw in map(self.plain, self.objects()):
            if not raw["kind"].startswith("RLHF"):
                raw["metadata"].pop("generation", None)
                raw.pop("status", None)
            parts.append(json.dumps(raw, sort_keys=True))
        parts.sort()
        return _TIME.sub("TIME", "\n".join(parts))
