"""How the process ends, in order where it was told to, and what it says of its health."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from rlhf_operator.adapters.api_error import ApiError
from rlhf_operator.controller import streams, workers
from rlhf_operator.controller.__main__ import listen
from rlhf_operator.controller.config import OperatorConfig
from rlhf_operator.controller.process import SWEEP_EVERY, Process
from rlhf_operator.core.observed import Key

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


def watches_that(monkeypatch: pytest.MonkeyPatch, *, end: bool) -> None:
    """Let the watches bring nothing, for ever or not."""

    async def follow(*_: Any) -> None:
        if not end:
            await asyncio.Event().wait()

    monkeypatch.setattr(streams, "follow", follow)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_without_an_error(
    lead: Process, sent: signal.Signals, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    watches_that(monkeypatch, end=False)
    caplog.set_level(logging.INFO)

    async def told() -> None:
        stop = asyncio.Event()
        listen(stop)
        asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), sent)
        await lead._lead(stop)
        assert stop.is_set()

    asyncio.run(told())
    assert [entry for entry in caplog.records if entry.levelno >= logging.WARNING] == []
    assert "told to stop" in caplog.text


def test_watches_that_end_by_themselves_are_an_error(
    lead: Process, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    watches_that(monkeypatch, end=True)
    asyncio.run(lead._lead(asyncio.Event()))
    (entry,) = [entry for entry in caplog.records if entry.levelno >= logging.ERROR]
    assert "watches ended" in entry.message


def test_passes_that_wait_for_nothing_do_not_hold_up_the_loop(
    lead: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    handled, turns = 0, 0

    async def nothing_to_write(_: Key) -> None:
        nonlocal handled
        handled += 1

    async def others() -> None:
        nonlocal turns
        while handled < 100:
            turns += 1
            await asyncio.sleep(0)

    async def work() -> None:
        for number in range(100):
            lead.queue.add(Key(namespace="team", name=str(number)))
        worker = asyncio.create_task(lead.workers.reconcile_models())
        await others()
        worker.cancel()

    monkeypatch.setattr(lead.workers, "_one", nothing_to_write)
    asyncio.run(work())
    assert turns > 90, "others had a turn after each pass"


def test_a_policy_whose_status_is_refused_stops_nobody(
    lead: Process, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    handled: list[str] = []

    async def reconcile(namespace: str, name: str, *_: Any) -> None:
        handled.append(name)
        if name == "refused":
            raise ApiError(403, "alignmentpolicies/status is forbidden")

    async def work() -> None:
        lead.policies.add(("shop", "refused"))
        worker = asyncio.create_task(lead.workers.reconcile_policies())
        while not handled:
            await asyncio.sleep(0)
        lead.policies.add(("shop", "another"))
        while len(handled) < 2 and not worker.done():
            await asyncio.sleep(0)
        assert not worker.done()
        assert len(lead.policies) == 1, "it is tried again later"
        worker.cancel()

    monkeypatch.setattr(workers, "reconcile_policy", reconcile)
    asyncio.run(work())
    assert handled == ["refused", "another"]
    assert "shop/refused" in caplog.text


# -- what kubelet and Prometheus are told -------------------------------------------------------


async def asked(process: Process, path: str) -> tuple[int, str]:
    async with TestClient(TestServer(process.app())) as client, client.get(path) as answer:
        return answer.status, await answer.text()


@pytest.mark.parametrize(
    ("synced", "silent", "since_sweep", "status"),
    [
        pytest.param(True, 0, 0, 200, id="it turns and sees"),
        pytest.param(True, 29, 4 * SWEEP_EVERY, 200, id="slow is not stuck"),
        pytest.param(True, 31, 0, 500, id="the loop is stuck"),
        pytest.param(True, 0, 5 * SWEEP_EVERY + 1, 500, id="no sweep has come through for long"),
        pytest.param(False, 31, 5 * SWEEP_EVERY + 1, 200, id="who waits to lead has no pulse"),
    ],
)
async def test_alive_is_who_turns_and_still_sees(
    lead: Process, synced: bool, silent: float, since_sweep: float, status: int
) -> None:
    if synced:
        lead._synced.set()
    lead._alive = time.monotonic() - silent
    lead._last_sweep = time.monotonic() - since_sweep
    assert (await asked(lead, "/healthz"))[0] == status


@pytest.mark.parametrize(
    ("election", "leads", "synced", "status"),
    [
        pytest.param(True, False, False, 200, id="who waits is ready to lead"),
        pytest.param(True, True, False, 503, id="who leads has not seen everything yet"),
        pytest.param(True, True, True, 200, id="who leads has seen everything"),
        pytest.param(False, False, False, 503, id="alone it has not seen everything yet"),
        pytest.param(False, False, True, 200, id="alone it has seen everything"),
    ],
)
async def test_ready_is_who_may_lead_or_has_seen_everything(
    lead: Process, election: bool, leads: bool, synced: bool, status: int
) -> None:
    lead.config = lead.config.model_copy(
        update={
            "leader_election": lead.config.leader_election.model_copy(update={"enabled": election})
        }
    )
    lead.elector._renewed = time.monotonic() if leads else float("-inf")
    if synced:
        lead._synced.set()
    assert (await asked(lead, "/readyz"))[0] == status


async def test_prometheus_is_told_all_families(lead: Process) -> None:
    lead.telemetry.leading.set(1)
    status, text = await asked(lead, "/metrics")
    assert status == 200
    assert "\nrlhf_operator_leader 1.0\n" in text
    assert "# TYPE rlhf_operator_objective_verdict gauge" in text
