"""The sender: cleans what waits and brings it to the sink, in its own time and within bounds."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Literal

import aiohttp

from rlhf_operator.api.sampling import FLUSH_SECONDS
from rlhf_operator.guard.remotes.service import open_session
from rlhf_operator.guard.sampling.buffer import Buffer
from rlhf_operator.guard.sampling.counts import SampleCounts
from rlhf_operator.guard.sampling.exchange import Chosen, Vote
from rlhf_operator.guard.sampling.plan import Plan
from rlhf_operator.guard.sampling.record import Written, write
from rlhf_operator.guard.sampling.sink import Taken, post

log = logging.getLogger("rlhf_operator.guard.sampling")

MOST_BYTES = 32 * 1024 * 1024
"""What may wait in memory, beside the number that the team sets."""
MOST_CHARACTERS = 262_144
"""Longer exchanges are dropped: recognisers would take seconds, and others wait for the CPU."""
BATCH_BYTES = 4 * 1024 * 1024
"""About the largest request; a single larger event goes alone."""
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds between the tries of one batch; after the last it has failed."""

Pause = Callable[[float], Awaitable[None]]
_Outcome = Literal["sent", "dropped", "failed", "not_redacted"]


class Sender:
    """Owned by one loop. Begins to work with the first event."""

    def __init__(self, counts: SampleCounts, pause: Pause) -> None:
        self.plan: Plan | None = None
        self._counts = counts
        self._pause = pause
        self._buffer: Buffer[Chosen | Vote] = Buffer(most_bytes=MOST_BYTES)
        self._in_hand: list[Chosen | Vote] = []
        self._task: asyncio.Task[None] | None = None
        self._is_failing = False

    def add(self, item: Chosen | Vote, *, most: int) -> bool:
        """Let an event wait, and tell whether there was room."""
        if item.characters > MOST_CHARACTERS or not self._buffer.put(item, most=most):
            self._count((item,), "dropped")
            return False
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="sampling")
        return True

    async def close(self, within: float = FLUSH_SECONDS) -> None:
        """Send what is left, but not for longer than `within` seconds."""
        self._buffer.close()
        task, self._task = self._task, None
        if task is None:
            return
        try:
            async with asyncio.timeout(within):
                await task
        except TimeoutError:
            log.warning("the sink did not take in time what was left")
        self._count(self._buffer.clear(), "failed")

    async def _run(self) -> None:
        async with open_session() as session:
            while batch := await self._next():
                self._in_hand = list(batch)
                try:
                    await self._send(session, batch)
                except Exception as error:  # whatever it is, it must not end all sampling
                    log.error("a batch was lost: %s", type(error).__name__)
                finally:
                    self._settle(self._in_hand, "failed")

    async def _next(self) -> tuple[Chosen | Vote, ...]:
        most, seconds = (self.plan.sampling.batch, self.plan.seconds) if self.plan else (1, 0.0)
        return await self._buffer.take(most=most, most_bytes=BATCH_BYTES, seconds=seconds)

    async def _send(self, session: aiohttp.ClientSession, batch: tuple[Chosen | Vote, ...]) -> None:
        if self.plan is None:  # sampling was switched off meanwhile
            self._settle(batch, "dropped")
            return
        # Recognisers take their time; answers go on meanwhile.
        written = await asyncio.to_thread(write, batch, self.plan.setup.config, self.plan.find)
        self._settle(written.refused, "not_redacted")
        if written.events:
            is_sent = await self._deliver(session, written)
            self._settle(written.events, "sent" if is_sent else "failed")

    async def _deliver(self, session: aiohttp.ClientSession, written: Written) -> bool:
        for pause in (*PAUSES, None):
            if self.plan is None or self.plan.sink is None:
                return False
            taken = await post(session, self.plan.sink, written.body)
            self._tell(taken)
            if taken is not Taken.NOT_NOW or pause is None:
                return taken is Taken.YES
            # Many pods lose one sink together; they are not to come back all at once.
            await self._pause(pause * random.uniform(0.5, 1.0))  # noqa: S311
        return False

    def _tell(self, taken: Taken) -> None:
        is_failing = taken is not Taken.YES
        if is_failing != self._is_failing:
            log.warning("the sink %s", "takes nothing" if is_failing else "takes samples again")
        self._is_failing = is_failing

    def _settle(self, items: Iterable[Chosen | Vote], outcome: _Outcome) -> None:
        """Count what became of events in hand, once each."""
        settled = {id(item) for item in items}
        self._count((item for item in self._in_hand if id(item) in settled), outcome)
        self._in_hand = [item for item in self._in_hand if id(item) not in settled]

    def _count(self, items: Iterable[Chosen | Vote], outcome: _Outcome) -> None:
        for item in items:
            if isinstance(item, Chosen):
                self._counts.samples(outcome)
            else:
                self._counts.feedback(outcome)
