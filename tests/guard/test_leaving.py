"""A client that closes its connection ends, at once, all that is under way for it.

Both ends are plain sockets here: a client that asks and goes, and a model server that says no more
than it is told and sees whether anybody still listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from rlhf_operator.api.stages import Direction
from rlhf_operator.guard.triton import Triton
from rlhf_operator.guard.verdict import Judgement
from tests.guard.test_connections import listening
from tests.guard.test_stream import judged_by_service
from tests.guard.world import MakeWorld, World

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Hi"}], "stream": True},
    "/v1/completions": {"prompt": "Hi"},
    "/v2/models/model/generate": {"text_input": "Hi"},
    "/v2/models/model/generate_stream": {"text_input": "Hi"},
    "/v2/models/model/infer": {
        "inputs": [{"name": "text_input", "datatype": "BYTES", "shape": [1, 1], "data": ["Hi"]}]
    },
}
PATHS = pytest.mark.parametrize("path", ASKED)


@dataclass
class Silent:
    """A model server that tells its configuration, and of an answer no more than `said`."""

    said: bytes = b""
    tells: bool = True
    port: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Nobody listens any more to what was asked for."""

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Silent]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                if head.startswith(b"GET") and self.tells:
                    body = json.dumps({"model_transaction_policy": {"decoupled": True}}).encode()
                    length = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
                    writer.write(length.encode() + body)
                    continue
                writer.write(self.said)
                self.asked.set()
                while await reader.read(1000):
                    pass
                break
        if self.asked.is_set():
            self.left.set()
        writer.close()


@contextlib.asynccontextmanager
async def asking(world: World, path: str) -> AsyncIterator[socket.socket]:
    """Send a request by a plain socket, which may be closed within."""
    body = json.dumps(ASKED[path]).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: guard\r\nContent-Length: {len(body)}\r\n\r\n"
    loop = asyncio.get_running_loop()
    async with listening(world) as port:
        with socket.create_connection(("127.0.0.1", port)) as link:
            link.setblocking(False)
            await loop.sock_sendall(link, head.encode() + body)
            yield link


async def all_is_over(world: World) -> None:
    while world.guard.load.in_flight:
        await asyncio.sleep(0.001)


async def behind(make_world: MakeWorld, model: Silent, **changes: Any) -> World:
    world = await make_world(**changes)
    world.guard.triton._url = f"http://127.0.0.1:{model.port}"
    return world


@PATHS
@pytest.mark.parametrize("said", [b"", HEAD], ids=["before its head", "before its first event"])
@pytest.mark.parametrize("how", ["FIN", "RST"])
async def test_who_leaves_before_the_model_answers_ends_its_work(
    make_world: MakeWorld, path: str, said: bytes, how: str
) -> None:
    async with Silent(said=said).serving() as model:
        world = await behind(make_world, model)
        async with asking(world, path) as link:
            await model.asked.wait()
            assert world.guard.load.in_flight == 1
            if how == "RST":
                link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            link.close()
            await model.left.wait()
            await all_is_over(world)
        seen = await world.metrics()
    assert (seen["requests_total"], seen["errors_total"], seen["responses_total"]) == (1, 0, 0)


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
async def test_who_leaves_before_the_model_tells_what_it_can_is_not_waited_for(
    make_world: MakeWorld, path: str
) -> None:
    async with Silent(tells=False).serving() as model:
        world = await behind(make_world, model)
        async with asking(world, path) as link:
            await model.asked.wait()
            link.close()
            await model.left.wait()
            await all_is_over(world)


class _Lost(AbstractResolver):
    """Finds no name, and does not say so."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.set()
        await asyncio.Event().wait()
        return []

    async def close(self) -> None: ...


@PATHS
async def test_who_leaves_before_there_is_a_connection_is_not_waited_for(
    make_world: MakeWorld, path: str
) -> None:
    world, lost = await make_world(), _Lost()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=lost)) as session:
        url = "http://model.server:1"
        world.guard.triton = Triton(session, url=url, model="model", exclude_input=False)
        async with asking(world, path) as link:
            await lost.asked.wait()
            link.close()
            await all_is_over(world)


class _Thinker:
    """A service that never says what it thinks."""

    def __init__(self, *, of: Direction) -> None:
        self.of = of
        self.asked, self.left = asyncio.Event(), asyncio.Event()

    async def judge(self, _text: str, direction: Direction, _said: object) -> Judgement:
        if direction != self.of:
            return Judgement()
        self.asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.left.set()
        return Judgement()


@PATHS
@pytest.mark.parametrize("direction", ["Input", "Output"])
async def test_who_leaves_while_a_stage_judges_is_not_judged_any_more(
    make_world: MakeWorld, path: str, direction: Direction
) -> None:
    guard = judged_by_service()
    guard["stages"][0] |= {"appliesTo": ["Input", "Output"], "timeout": "30s"}
    thinker = _Thinker(of=direction)
    world = await make_world(guard=guard, remotes={"service": thinker})
    async with asking(world, path) as link:
        await thinker.asked.wait()
        link.close()
        await thinker.left.wait()
        await all_is_over(world)
    assert len(world.triton.asked) == (direction == "Output")
