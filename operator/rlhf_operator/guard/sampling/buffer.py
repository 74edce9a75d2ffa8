"""What waits for the sink: bounded in number and in bytes, and never waited for by who adds."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """Something that takes memory."""

    @property
    def size(self) -> int:
        """Return about how many bytes it takes."""
        ...


Item = TypeVar("Item", bound=Sized)


class Buffer(Generic[Item]):
    """A queue for many who add and one who takes. Owned by one loop."""

    def __init__(self, *, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._items: deque[Item] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item, *, most: int) -> bool:
        """Add what comes, and tell whether there was room: the newest is what is dropped."""
        if self._is_closed or len(self._items) >= most:
            return False
        if self._bytes + item.size > self._most_bytes:
            return False
        self._items.append(item)
        self._bytes += item.size
        self._changed.set()
        return True

    async def take(self, *, most: int, most_bytes: int, seconds: float) -> tuple[Item, ...]:
        """Return the oldest items, as soon as there are `most` or the first waited `seconds`.

        Empty only once the buffer is closed and everything was taken.
        """
        while not self._items and not self._is_closed:
            await self._change()
        try:
            async with asyncio.timeout(seconds):
                while len(self._items) < most and not self._is_closed:
                    await self._change()
        except TimeoutError:
            pass
        taken: list[Item] = []
        room = most_bytes
        while self._items and len(taken) < most:
            if taken and self._items[0].size > room:
                break
            item = self._items.popleft()
            self._bytes -= item.size
            room -= item.size
            taken.append(item)
        return tuple(taken)

    def close(self) -> None:
        """Take nothing more in, and let nobody wait for more."""
        self._is_closed = True
        self._changed.set()

    def clear(self) -> tuple[Item, ...]:
        """Return what still waits, and forget it."""
        left = tuple(self._items)
        self._items.clear()
        self._bytes = 0
        return left

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
