"""One queue of keys: each key once, urgent ones first, then by deadline, one worker per key."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")
Rank = tuple[bool, float]
"""Whether it can wait, and the moment when it is due; the lower one comes first."""

_HELD_BACK = 3.0
"""Seconds for which others wait at most while urgent keys are handled."""


class DeadlineQueue(Generic[Item]):
    """Keys with the moment (seconds on `clock`) at which each should be handled.

    A key that is asked for again moves to the earlier of both moments. An urgent one comes before
    all that are due, for under load those may be many; and while urgent ones are handled the
    others are held back three seconds at most, for they would slow down the last of them. A key
    that is being handled is not handed out a second time; what is asked meanwhile waits until it
    is done.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._heap: list[tuple[Rank, int, Item]] = []
        self._due: dict[Item, Rank] = {}
        self._busy: set[Item] = set()
        self._urgent: set[Item] = set()
        self._calm = asyncio.Event()
        self._calm.set()
        self._held_until = 0.0
        self._count = itertools.count()
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._due)

    def add(self, item: Item, delay: float = 0.0, *, urgent: bool = False) -> None:
        """Ask for a key to be handled after `delay` seconds, or at once and before others."""
        rank = (not urgent, self._clock() + (0.0 if urgent else max(0.0, delay)))
        known = self._due.get(item)
        if known is not None and known <= rank:
            return
        self._due[item] = rank
        if urgent:
            if not self._urgent:
                self._held_until = self._clock() + _HELD_BACK
            self._urgent.add(item)
            self._calm.clear()
        if item not in self._busy:
            self._push(item, rank)

    def discard(self, item: Item) -> None:
        """Forget a key that waits."""
        self._due.pop(item, None)
        self._soothe(item)

    def is_urgent(self, item: Item) -> bool:
        """Return whether a key that was handed out is an urgent one."""
        return item in self._urgent

    @property
    def urgent(self) -> int:
        """Return how many urgent keys wait or are being handled."""
        return len(self._urgent)

    async def calm(self) -> None:
        """Wait until no urgent key waits or is being handled."""
        await self._calm.wait()

    def _soothe(self, item: Item) -> None:
        """Note that a key is urgent no more, unless it was asked for urgently again."""
        again = self._due.get(item)
        if again is None or again[0]:
            self._urgent.discard(item)
        if not self._urgent and not self._calm.is_set():
            self._calm.set()
            self._changed.set()  # who was held back may go

    async def get(self) -> tuple[Item, float]:
        """Wait for the next key; return it and how many seconds late it is."""
        while True:
            self._changed.clear()
            now = self._clock()
            while self._heap:
                rank, _, item = self._heap[0]
                if self._due.get(item) != rank or item in self._busy:
                    heapq.heappop(self._heap)
                    continue
                can_wait, due = rank
                if can_wait and self._urgent and due < self._held_until:
                    due = self._held_until
                if due > now:
                    break
                heapq.heappop(self._heap)
                del self._due[item]
                self._busy.add(item)
                return item, now - rank[1]
            timeout = due - now if self._heap else None
            try:
                await asyncio.wait_for(self._changed.wait(), timeout)
            except TimeoutError:
                continue

    def done(self, item: Item) -> None:
        """Say that a key was handled; what was asked meanwhile is due now."""
        self._busy.discard(item)
        self._soothe(item)
        rank = self._due.get(item)
        if rank is not None:
            self._push(item, rank)

    def _push(self, item: Item, rank: Rank) -> None:
        heapq.heappush(self._heap, (rank, next(self._count), item))
        if len(self._heap) > 64 + 4 * len(self._due):
            # Later wishes that an earlier one took the place of would pile up until their time.
            self._heap = [entry for entry in self._heap if self._due.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)
        self._changed.set()
