"""Whether the model server is ready, asked at most once a second whatever many probes come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

KEPT_SECONDS = 1.0


class Readiness:
    """The last answer of what is asked, for as long as it is fresh."""

    def __init__(
        self, ask: Callable[[], Awaitable[bool]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._asking = asyncio.Lock()
        self._known: tuple[float, bool] | None = None

    async def is_ready(self) -> bool:
        """Return the answer; who asks while it is being fetched gets the same one."""
        async with self._asking:
            if self._known is None or self._clock() - self._known[0] >= KEPT_SECONDS:
                answer = await self._ask()
                self._known = (self._clock(), answer)
            return self._known[1]
