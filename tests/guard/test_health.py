"""Readiness that many probes share."""

from __future__ import annotations

import asyncio

from rlhf_operator.guard.health import Readiness


async def test_the_model_server_is_asked_once_a_second() -> None:
    now, asked, ready = [0.0], [0], [True]

    async def ask() -> bool:
        asked[0] += 1
        return ready[0]

    readiness = Readiness(ask, clock=lambda: now[0])
    assert await asyncio.gather(*(readiness.is_ready() for _ in range(50))) == [True] * 50
    ready[0], now[0] = False, 0.9
    assert await readiness.is_ready()
    assert asked == [1]
    now[0] = 1.0
    assert not await readiness.is_ready()
    assert asked == [2]
