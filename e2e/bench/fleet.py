"""Many models at once: made, promoted, and kept in a run that holds at its first step."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from e2e.bench import models
from e2e.bench.api import Api, Routes
from e2e.bench.prometheus import ScriptedPrometheus

_AT_ONCE = 8


class BenchError(Exception):
    """The bench did not get where it wanted in time."""


@dataclass
class Fleet:
    """The models by name, with the number of the version that each was last asked for."""

    api: Api
    routes: Routes
    prometheus: ScriptedPrometheus
    asked: dict[str, int] = field(default_factory=dict)

    async def grow(self, size: int) -> float:
        """Make models until there are so many; return the seconds until all are promoted."""
        began = time.monotonic()
        fresh = [models.name_of(number) for number in range(len(self.asked), size)]
        await _each(fresh, self._make)
        wanted = set(fresh)
        await self.until("promoted", lambda found: _promoted(found, wanted), 120 + 3 * size)
        for name in fresh:
            self.prometheus.drop(name, models.version_name(name, 0))
        return time.monotonic() - began

    async def _make(self, name: str) -> None:
        for number in (0, 1):
            await self.api.make(models.version(name, number))
            self.prometheus.show(name, models.version_name(name, number))
        await self.api.make(models.model(name))
        self.asked[name] = 1

    def canary(self, name: str) -> str:
        """Return the version that a model was last asked for."""
        return models.version_name(name, self.asked[name])

    async def commit(self, name: str) -> None:
        """Ask for a new version, which will be held at its first step."""
        if self.asked[name] > 1:
            self.prometheus.drop(name, self.canary(name))
        number = self.asked[name] + 1
        await self.api.make(models.version(name, number))
        self.asked[name] = number
        self.prometheus.show(name, self.canary(name))
        await self.api.change("RLHFModel", name, models.commit(name, number))

    async def commit_all(self) -> None:
        """Have every model that holds no run hold one, and wait until all do."""
        idle = [name for name in self.asked if not self.is_live(name)]
        await _each(idle, self.commit)
        await self.until_live(self.asked)

    def is_live(self, name: str) -> bool:
        """Tell whether the newest version of a model has the weight of the step."""
        return self.asked[name] > 1 and self.routes.weight(name, self.canary(name)) > 0

    async def until_live(self, names: Iterable[str]) -> None:
        """Wait until these models hold at their step and every one was judged a few times."""
        wanted = list(names)
        deadline = time.monotonic() + 120 + 3 * len(wanted)
        while missing := [name for name in wanted if not self.is_live(name)]:
            if time.monotonic() > deadline:
                raise BenchError(f"not live: {len(missing)} of {len(wanted)}, {missing[:3]}")
            await asyncio.sleep(0.2)
        await asyncio.sleep(3)

    async def until(
        self, what: str, reached: Callable[[list[dict[str, Any]]], int], seconds: float
    ) -> None:
        """Wait until no model is missing."""
        deadline = time.monotonic() + seconds
        while missing := reached(await self.api.everything("RLHFModel")):
            if time.monotonic() > deadline:
                raise BenchError(f"{missing} models are not {what} after {seconds:.0f} s")
            await asyncio.sleep(1)


def _promoted(found: list[dict[str, Any]], wanted: set[str]) -> int:
    """Return how many of the wanted models do not rest on their version 1 yet."""
    resting = 0
    for raw in found:
        name, status = raw["metadata"]["name"], raw.get("status") or {}
        stable = (status.get("stable") or {}).get("name")
        if name in wanted and stable == models.version_name(name, 1) and not status.get("canary"):
            resting += 1
    return len(wanted) - resting


async def _each(names: Iterable[str], act: Callable[[str], Awaitable[None]]) -> None:
    """Do something for each name, a few at a time."""
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(name: str) -> None:
        async with places:
            await act(name)

    await asyncio.gather(*(one(name) for name in names))
