"""Limits, health, stickiness and the way out."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
from pathlib import Path

import aiohttp
import pytest
from aiohttp.test_utils import TestServer, unused_port

from rlhf_operator.api.arms import token_of
from rlhf_operator.guard import __main__ as entry
from rlhf_operator.guard import config, health, server
from rlhf_operator.guard.state import Guard
from rlhf_operator.guard.triton import Triton
from tests.guard.world import (
    KEY,
    MakeWorld,
    StubTriton,
    World,
    a_config,
    a_setup,
    until_ready,
)

RUN = {"x-rlhf-run": "support-7"}
STICKY = {"mode": "Arm", "maxAgeSeconds": 60, "armToken": "v1.canary.abc"}


async def test_ready_follows_triton_and_the_drain(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "KEPT_SECONDS", 0.0)
    assert (await world.users.get("/healthz/live")).status == 200
    assert (await world.users.get("/healthz/ready")).status == 200
    world.triton.is_ready = False
    assert (await world.users.get("/healthz/ready")).status == 503
    world.triton.is_ready = True
    world.guard.load.is_draining = True
    assert (await world.users.get("/healthz/ready")).status == 503
    reply = await world.complete()
    assert reply.status == 200
    assert reply.headers["Connection"] == "close"


async def test_an_arm_token_is_handed_out_once(make_world: MakeWorld) -> None:
    world = await make_world(stickiness=STICKY)
    token = token_of("v1.canary.abc", "support-7")
    reply = await world.users.get("/v1/models", headers=RUN)
    assert reply.headers["x-rlhf-arm"] == token
    assert reply.headers["Set-Cookie"] == (
        f"rlhf-arm={token}; Max-Age=60; Path=/; HttpOnly; SameSite=Lax"
    )
    for held in ({"Cookie": f"rlhf-arm={token}"}, {"x-rlhf-arm": token}):
        reply = await world.users.get("/v1/models", headers=RUN | held)
        assert "Set-Cookie" not in reply.headers
    reply = await world.users.get("/v1/models", headers=RUN | {"Cookie": "rlhf-arm=v1.old"})
    assert token in reply.headers["Set-Cookie"]


async def test_each_run_has_a_token_of_its_own(make_world: MakeWorld) -> None:
    world = await make_world(stickiness=STICKY)
    given = []
    for run in ("support-7", "support-8"):
        held = {"Cookie": f"rlhf-arm={given[-1]}"} if given else {}
        reply = await world.users.get("/v1/models", headers={"x-rlhf-run": run} | held)
        given.append(reply.headers["x-rlhf-arm"])
        assert given[-1] in reply.headers["Set-Cookie"]
    assert given[0] != given[1]


async def test_outside_of_a_run_nobody_gets_a_token(make_world: MakeWorld) -> None:
    world = await make_world(stickiness=STICKY)
    reply = await world.complete()
    assert "Set-Cookie" not in reply.headers and "x-rlhf-arm" not in reply.headers


async def test_no_token_without_stickiness(world: World) -> None:
    reply = await world.users.get("/v1/models", headers=RUN)
    assert "Set-Cookie" not in reply.headers
    assert "x-rlhf-arm" not in reply.headers


async def test_a_large_body_is_refused(make_world: MakeWorld) -> None:
    world = await make_world(limits={"bodyBytes": 1024})
    reply = await world.complete("x" * 2000)
    assert reply.status == 413
    assert (await reply.json())["error"]["code"] == "too_large"


async def wait_until_asked(world: World) -> None:
    while not world.triton.asked:
        await asyncio.sleep(0.001)


async def test_more_than_the_limit_in_flight_is_refused(make_world: MakeWorld) -> None:
    world = await make_world(limits={"concurrency": 1})
    world.triton.gate = asyncio.Event()
    first = asyncio.create_task(world.complete())
    await wait_until_asked(world)
    second = await world.complete()
    assert (second.status, second.headers["Retry-After"]) == (503, "1")
    world.triton.gate.set()
    assert (await first).status == 200
    seen = await world.metrics()
    assert (seen["requests_total"], seen["errors_total"]) == (2, 1)


async def test_a_slow_model_times_out_and_its_time_is_seen(make_world: MakeWorld) -> None:
    world = await make_world(limits={"timeoutSeconds": 0.05})
    world.triton.gate = asyncio.Event()
    reply = await world.complete()
    world.triton.gate.set()
    assert reply.status == 504
    seen = await world.metrics()
    assert seen["errors_total"] == seen["request_duration_seconds_count"] == 1


async def test_a_client_that_leaves_gives_its_place_back(make_world: MakeWorld) -> None:
    world = await make_world(limits={"concurrency": 1})
    world.triton.gate = asyncio.Event()
    first = asyncio.create_task(world.complete())
    await wait_until_asked(world)
    first.cancel()
    while world.guard.load.in_flight:
        await asyncio.sleep(0.001)
    world.triton.gate.set()
    assert (await world.complete()).status == 200
    seen = await world.metrics()
    assert (seen["errors_total"], seen["request_duration_seconds_count"]) == (0, 2)


async def test_a_terminated_process_finishes_what_it_began(tmp_path: Path) -> None:
    stub = StubTriton(gate=asyncio.Event())
    model = TestServer(stub.app())
    await model.start_server()
    port = unused_port()
    told = a_config(
        tritonUrl=str(model.make_url("")).rstrip("/"),
        port=port,
        operationsPort=unused_port(),
        lameDuckSeconds=0.3,
    )
    (tmp_path / "guard.json").write_text(json.dumps(told))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rlhf_operator.guard", "--config", tmp_path / "guard.json"),
        env={**os.environ, config.SIGNING_KEY: KEY},
        stderr=asyncio.subprocess.PIPE,
    )
    base = f"http://127.0.0.1:{port}"
    async with aiohttp.ClientSession(base) as client:
        await until_ready(client)
        asked = asyncio.create_task(client.post("/v1/completions", json={"prompt": "Hi"}))
        while not stub.asked:
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        while (await client.get("/healthz/ready")).status == 200:
            await asyncio.sleep(0.01)
        assert (await client.get("/v1/models")).status == 200  # still serving
        await asyncio.sleep(0.5)  # past the lame duck: only what is in flight is left
        assert process.returncode is None
        assert stub.gate is not None
        stub.gate.set()
        assert (await asked).status == 200
        _, logged = await process.communicate()
    await model.close()
    assert process.returncode == 0, logged


async def test_a_drain_lets_streams_come_to_their_end(make_world: MakeWorld) -> None:
    stub = StubTriton()
    stub.stream("one ", "two", gate_at=1, gate=asyncio.Event())
    model = TestServer(stub.app())
    await model.start_server()
    port, operations = unused_port(), unused_port()
    told = {"port": port, "operationsPort": operations, "lameDuckSeconds": 0, "drainSeconds": 20}
    setup = a_setup(**told)
    stop = asyncio.Event()
    async with aiohttp.ClientSession() as session:
        url = str(model.make_url(""))
        triton = Triton(session, url=url, model="model", exclude_input=False)
        guard = Guard.of(setup, triton)
        serving = asyncio.create_task(server.serve(guard, stop))
        base = f"http://127.0.0.1:{port}"
        while True:
            try:
                await session.get(f"{base}/healthz/live")
                break
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.01)
        asked = {"prompt": "Hi", "stream": True}
        reply = await session.post(f"{base}/v1/completions", json=asked)
        assert b"one" in await reply.content.readany()
        stop.set()
        while not guard.is_draining:
            await asyncio.sleep(0)
        await asyncio.wait([serving], timeout=0.1)
        assert not serving.done()
        assert stub.gate is not None
        stub.gate.set()
        assert (await reply.read()).endswith(b"data: [DONE]\n\n")
        await serving
    await model.close()


@pytest.mark.parametrize(
    ("file", "why"),
    [("guard.json", "refusalPatterns: pattern '('"), ("missing.json", "cannot read")],
)
def test_a_bad_configuration_stops_the_start(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    file: str,
    why: str,
) -> None:
    told = a_config(guard={"refusalPatterns": ["("]})
    (tmp_path / "guard.json").write_text(json.dumps(told))
    monkeypatch.setenv(config.SIGNING_KEY, KEY)
    monkeypatch.setattr(sys, "argv", ["rlhf-guard", "--config", str(tmp_path / file)])
    assert entry.main() == 2
    assert why in capsys.readouterr().err


def test_no_collection_walks_through_what_the_start_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "guard.json").write_text(json.dumps(a_config()))
    monkeypatch.setenv(config.SIGNING_KEY, KEY)
    monkeypatch.setattr(sys, "argv", ["rlhf-guard", "--config", str(tmp_path / "guard.json")])
    watched: list[int] = []

    async def run(_setup: config.Setup) -> None:
        watched.append(len(gc.get_objects()))

    monkeypatch.setattr(server, "run", run)
    try:
        assert entry.main() == 0
        assert watched[0] < gc.get_freeze_count() / 10
    finally:
        gc.unfreeze()
