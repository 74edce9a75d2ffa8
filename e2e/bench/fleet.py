"""Many models at once: made, ready, and some of them in a run that holds at its first step."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from e2e.bench import models
from e2e.bench.api import Api, Readiness, Routes
from e2e.bench.prometheus import ScriptedPrometheus

_AT_ONCE = 8


class BenchError(Exception):
    """The bench did not get where it wanted in time."""


@dataclass
class Fleet:
    """The models by name, with the number of the version that each was last asked for."""

    api: Api
    routes: Routes
    readiness: Readiness
    prometheus: ScriptedPrometheus
    asked: dict[str, int] = field(default_factory=dict)

    async def grow(self, size: int) -> float:
        """Make models until there are so many; return the seconds until all are ready."""
        began = time.monotonic()
        fresh = [models.name_of(number) for number in range(len(self.asked), size)]
        ready = [self.readiness.when(name) for name in fresh]
        await _each(fresh, self._make)
        try:
            async with asyncio.timeout(120 + 2 * size):
                moments = await asyncio.gather(*ready)
        except TimeoutError:
            missing = sum(not each.done() or each.cancelled() for each in ready)
            raise BenchError(f"{missing} of {size} models are not ready") from None
        return max(moments) - began

    async def _make(self, name: str) -> None:
        await self.api.make(models.version(name, 0))
        self.prometheus.show(name, models.version_name(name, 0))
        await self.api.make(models.model(name))
        self.asked[name] = 0

    def canary(self, name: str) -> str:
        """Return the version that a model was last asked for."""
        return models.version_name(name, self.asked[name])

    async def commit(self, name: str) -> None:
        """Ask for a new version, which will be held at its first step."""
        if self.asked[name] > 0:
            self.prometheus.drop(name, self.canary(name))
        number = self.asked[name] + 1
        await self.api.make(models.version(name, number))
        self.asked[name] = number
        self.prometheus.show(name, self.canary(name))
        await self.api.change("RLHFModel", name, models.commit(name, number))

    async def commit_some(self, size: int) -> None:
        """Have so many models hold a run, and wait until all do."""
        chosen = list(self.asked)[:size]
        await _each([name for name in chosen if not self.is_live(name)], self.commit)
        await self.until_live(chosen)

    def is_live(self, name: str) -> bool:
        """Tell whether the newest version of a model has the weight of the step."""
        return self.asked[name] > 0 and self.routes.weight(name, self.canary(name)) > 0

    async def until_live(self, names: Iterable[str]) -> None:
        """Wait until these models hold at their step and every one was judged a few times."""
        wanted = list(names)
        deadline = time.monotonic() + 120 + 3 * len(wanted)
        while missing := [name for name in wanted if not self.is_live(name)]:
            if time.monotonic() > deadline:
                raise BenchError(f"not live: {len(missing)} of {len(wanted)}, {missing[:3]}")
            await asyncio.sleep(0.2)
        await asyncio.sleep(3)


async def _each(names: Iterable[str], act: Callable[[str], Awaitable[None]]) -> None:
    """Do something for each name, a few at a time."""
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(name: str) -> None:
        async with places:
            await act(name)

    await asyncio.gather(*(one(name) for name in names))
