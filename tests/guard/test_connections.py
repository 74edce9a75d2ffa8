"""What is not yet a request: connections, headers, and bytes that are none."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from rlhf_operator.api.operation import GuardLimits
from rlhf_operator.guard import admission, connections, server
from tests.guard.world import MakeWorld, World

OK = b"GET /healthz/live HTTP/1.1\r\nHost: guard\r\n\r\n"


@contextlib.asynccontextmanager
async def listening(world: World, **limits: Any) -> AsyncIterator[int]:
    """Serve on a port of the machine, as the process does."""
    runner = web.AppRunner(server.user_app(world.guard), access_log=None, handler_cancellation=True)
    await runner.setup()
    site = connections.Site(runner, 0, GuardLimits(**limits), host="127.0.0.1")
    await site.start()
    try:
        yield site.port
    finally:
        await runner.cleanup()


async def read(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of one answer."""
    status = int((await reader.readline()).split()[1])
    headers = {}
    while (line := (await reader.readline()).decode().strip()) != "":
        name, _, value = line.partition(": ")
        headers[name.lower()] = value
    body = await reader.readexactly(int(headers["content-length"]))
    return status, headers, body


async def closes(reader: asyncio.StreamReader) -> bool:
    return await reader.read() == b""


async def test_more_connections_than_allowed_are_told_so(world: World) -> None:
    async with listening(world, connections=1) as port:
        first, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(OK)
        assert (await read(first))[0] == 200
        second, other = await asyncio.open_connection("127.0.0.1", port)
        other.write(OK)
        status, headers, body = await read(second)
        assert (status, headers["retry-after"]) == (503, "1")
        assert json.loads(body)["error"]["code"] == "overloaded"
        assert await closes(second)
        writer.write(OK)  # who was there first goes on
        assert (await read(first))[0] == 200
        writer.close()
        other.close()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: guard\r\nX-Slow: "])
async def test_headers_that_do_not_come_end_the_connection(world: World, sent: bytes) -> None:
    async with listening(world, header_seconds=0.05) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        assert await closes(reader)
        writer.close()


async def test_headers_of_a_second_request_have_their_time_too(world: World) -> None:
    async with listening(world, header_seconds=1) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(OK)
        assert (await read(reader))[0] == 200
        writer.write(b"GET / HTTP/1.1\r\nHost")
        assert await closes(reader)
        writer.close()


async def test_an_answer_may_take_longer_than_headers(world: World) -> None:
    world.triton.gate = asyncio.Event()
    async with listening(world, header_seconds=0.5) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = b'{"prompt": "Hello"}'
        head = b"POST /v1/completions HTTP/1.1\r\nHost: guard\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % len(body) + body)
        await asyncio.sleep(1)
        world.triton.gate.set()
        assert (await read(reader))[0] == 200
        writer.close()


async def test_requests_in_one_go_are_answered_one_by_one(world: World) -> None:
    async with listening(world) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(OK * 200)
        assert [(await read(reader))[0] for _ in range(200)] == [200] * 200
        writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"MARKER\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: guard\r\nMARKER\r\n\r\n",
        b"GET /" + b"MARKER" * 3000 + b" HTTP/1.1\r\nHost: guard\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: guard\r\nX-Long: " + b"MARKER" * 3000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X-Many: MARKER\r\n" * 2000 + b"\r\n",
        b"POST / HTTP/1.1\r\nHost: guard\r\nContent-Length: MARKER\r\n\r\n",
    ],
    ids=["no HTTP", "a bad header", "a long line", "a long header", "many headers", "no length"],
)
async def test_what_is_no_request_is_refused_and_not_quoted(
    world: World, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    caplog.set_level(logging.DEBUG)
    async with listening(world) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        status, _headers, body = await read(reader)
        assert status == 400
        assert json.loads(body)["error"]["type"] == "invalid_request_error"
        assert b"MARKER" not in body
        assert "MARKER" not in caplog.text
        writer.close()


async def test_a_body_that_does_not_come_takes_no_place(make_world: MakeWorld) -> None:
    world = await make_world(limits={"concurrency": 1, "bodySeconds": 0.2})
    async with listening(world) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: guard\r\nContent-Length: 9\r\n\r\n{")
        assert (await world.complete()).status == 200
        status, _, body = await read(reader)
        assert (status, json.loads(body)["error"]["code"]) == (408, "timeout")
        writer.close()
    seen = await world.metrics()
    assert (seen["requests_total"], seen["errors_total"]) == (1, 0)


HALF = b"POST %s HTTP/1.1\r\nHost: guard\r\nContent-Length: 20000\r\n\r\n" + b" " * 10_000


@pytest.mark.parametrize("path", [b"/v1/completions", b"/v1/moderations", b"/v1/feedback"])
async def test_bodies_that_are_half_there_take_no_more_than_there_is_room_for(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, path: bytes
) -> None:
    monkeypatch.setattr(admission, "BODIES_BYTES", 100_000)
    monkeypatch.setattr(admission, "SMALL_BYTES", 9_000)
    world = await make_world(limits={"bodyBytes": 50_000})
    load, most = world.guard.load, 0
    async with listening(world) as port:
        links = [await asyncio.open_connection("127.0.0.1", port) for _ in range(40)]
        for _, writer in links:
            writer.write(HALF % path)
        waiting = {asyncio.create_task(read(reader)) for reader, _ in links}
        refused: list[tuple[int, dict[str, str], bytes]] = []
        while len(refused) < 30:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            refused += [task.result() for task in done]
            most = max(most, load.body_bytes)
        assert {(status, headers["retry-after"]) for status, headers, _ in refused} == {(503, "1")}
        assert {json.loads(body)["error"]["code"] for *_, body in refused} == {"overloaded"}
        assert most == load.body_bytes == 100_000
        assert (await world.complete()).status == 200, "a short prompt always has room"
        assert (await world.metrics())["errors_total"] == 0, "it says nothing of the version"
        for task in waiting:
            task.cancel()
        for _, writer in links:
            writer.close()
        while load.body_bytes:
            await asyncio.sleep(0.001)
        assert (await world.complete()).status == 200
    assert load.body_bytes == 0


async def test_a_body_takes_room_as_it_is_unpacked(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "BODIES_BYTES", 1_000_000)
    world = await make_world(limits={"bodyBytes": 900_000})
    packed = gzip.compress(b" " * 800_000)
    assert len(packed) < 1000
    head = (
        b"POST /v1/completions HTTP/1.1\r\nHost: guard\r\nContent-Encoding: gzip\r\n"
        b"Content-Length: %d\r\n\r\n" % (len(packed) + 1)
    )
    async with listening(world) as port:
        _, first = await asyncio.open_connection("127.0.0.1", port)
        first.write(head + packed)
        while world.guard.load.body_bytes < 800_000:
            await asyncio.sleep(0.001)
        other, second = await asyncio.open_connection("127.0.0.1", port)
        second.write(head + packed)
        status, headers, _ = await read(other)
        assert (status, headers["retry-after"]) == (503, "1")
        assert world.guard.load.body_bytes == 800_000
        first.close()
        second.close()


async def test_an_open_stream_ends_whole_when_the_process_drains(
    world: World, tmp_path: Path
) -> None:
    world.triton.gate = asyncio.Event()
    runner = web.AppRunner(
        server.user_app(world.guard), access_log=None, handler_cancellation=True, shutdown_timeout=5
    )
    await runner.setup()
    site = connections.Site(runner, 0, GuardLimits(), host="127.0.0.1")
    await site.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    body = b'{"prompt": "Hello", "stream": true}'
    head = b"POST /v1/completions HTTP/1.1\r\nHost: guard\r\nContent-Length: %d\r\n\r\n"
    writer.write(head % len(body) + body)
    while not world.triton.asked:
        await asyncio.sleep(0.001)
    world.guard.load.is_draining = True
    leaving = asyncio.create_task(runner.cleanup())
    await asyncio.sleep(0.05)
    assert not leaving.done()
    world.triton.gate.set()
    answer = await reader.read()
    assert b"data: [DONE]" in answer
    assert b"Connection: close" in answer
    await leaving
    writer.close()
