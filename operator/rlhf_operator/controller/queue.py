"""One queue of keys: each key once, the earliest deadline first, one worker per key."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class DeadlineQueue(Generic[Item]):
    """Keys with the moment (seconds on `clock`) at which each should be handled.

    A key that is asked for again moves to the earlier of both moments. A key that is being
    handled is not handed out a second time; what is asked meanwhile waits until it is done.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Item]] = []
        self._due: dict[Item, float] = {}
        self._busy: set[Item] = set()
        self._count = itertools.count()
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._due)

    def add(self, item: Item, delay: float = 0.0) -> None:
        """Ask for a key to be handled after `delay` seconds."""
        due = self._clock() + max(0.0, delay)
        known = self._due.get(item)
        if known is not None and known <= due:
            return
        self._due[item] = due
        if item not in self._busy:
            self._push(item, due)

    def discard(self, item: Item) -> None:
        """Forget a key that waits."""
        self._due.pop(item, None)

    async def get(self) -> tuple[Item, float]:
        """Wait for the next key; return it and how many seconds late it is."""
        while True:
            self._changed.clear()
            now = self._clock()
            while self._heap:
                due, _, item = self._heap[0]
                if self._due.get(item) != due or item in self._busy:
                    heapq.heappop(self._heap)
                    continue
                if due > now:
                    break
                heapq.heappop(self._heap)
                del self._due[item]
                self._busy.add(item)
                return item, now - due
            timeout = self._heap[0][0] - now if self._heap else None
            try:
                await asyncio.wait_for(self._changed.wait(), timeout)
            except TimeoutError:
                continue

    def done(self, item: Item) -> None:
        """Say that a key was handled; what was asked meanwhile is due now."""
        self._busy.discard(item)
        due = self._due.get(item)
        if due is not None:
            self._push(item, due)

    def _push(self, item: Item, due: float) -> None:
        heapq.heappush(self._heap, (due, next(self._count), item))
        if len(self._heap) > 64 + 4 * len(self._due):
            # Later wishes that an earlier one took the place of would pile up until their time.
            self._heap = [entry for entry in self._heap if self._due.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)
        self._changed.set()
