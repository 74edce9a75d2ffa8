"""How the process ends: told to, it ends in order; otherwise that is an error."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from typing import Any

import kopf
import pytest

from rlhf_operator.controller import process
from rlhf_operator.controller.config import OperatorConfig
from rlhf_operator.controller.process import Process

CONFIG = OperatorConfig.model_validate(
    {
        "images": {"triton": "t", "guard": "g", "artifacts": "a"},
        "leaderElection": {"enabled": False},
    }
)


@pytest.fixture
def lead(monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    """A process that leads, with no API server behind it."""
    made = Process(CONFIG, None, "me")  # type: ignore[arg-type]

    async def forever() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(made, "_sweeps", forever)
    kept = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    yield made
    for each, handler in kept.items():
        signal.signal(each, handler)


def kopf_that(monkeypatch: pytest.MonkeyPatch, *, ends: bool = False) -> None:
    """Let kopf take the signals, as it does, and watch nothing."""

    async def spawn(**given: Any) -> list[asyncio.Task[None]]:
        ended = asyncio.Event()
        for each in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(each, ended.set)
        if ends:
            ended.set()
        return [asyncio.create_task(_first(ended, given["stop_flag"]))]

    monkeypatch.setattr(kopf, "spawn_tasks", spawn)


async def _first(*events: asyncio.Event) -> None:
    waits = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_without_an_error(
    lead: Process, sent: signal.Signals, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    kopf_that(monkeypatch)
    caplog.set_level(logging.INFO)

    async def told() -> None:
        stop = asyncio.Event()
        process.listen(stop)
        asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), sent)
        await asyncio.wait_for(lead._lead(stop), 10)
        assert stop.is_set()

    asyncio.run(told())
    assert [entry for entry in caplog.records if entry.levelno >= logging.WARNING] == []
    assert "told to stop" in caplog.text


def test_watches_that_end_by_themselves_are_an_error(
    lead: Process, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    async def run(tasks: list[asyncio.Task[None]], **_: Any) -> None:
        await asyncio.gather(*tasks)

    kopf_that(monkeypatch, ends=True)
    monkeypatch.setattr(kopf, "run_tasks", run)  # the true one waits for stragglers
    asyncio.run(asyncio.wait_for(lead._lead(asyncio.Event()), 10))
    (entry,) = [entry for entry in caplog.records if entry.levelno >= logging.ERROR]
    assert "watches ended" in entry.message
