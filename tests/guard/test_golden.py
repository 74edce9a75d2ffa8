"""The operator asks real guards their golden prompts, whether or not users are served HTTPS."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port

from rlhf_operator.adapters import golden
from rlhf_operator.api.operation import GuardLimits
from rlhf_operator.guard import connections, server
from rlhf_operator.guard.tls import Certificate
from tests.guard.test_tls import issue, needs_openssl
from tests.guard.world import MakeWorld, StubTriton, World

HOST = "127.0.0.1"
NOT_READY = ["no answer: Triton does not have the model ready"]
PROMPTS = [
    {"name": "polite", "prompt": "Hi", "maxTokens": 8, "mustMatch": "fine answer"},
    {"name": "capital", "prompt": "Hi", "maxTokens": 8, "mustMatch": "paris"},
]
SCHEMES = pytest.mark.parametrize("tls", [False, pytest.param(True, marks=needs_openssl)])


@pytest.fixture(autouse=True)
def ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have guards listen where a test may."""
    monkeypatch.setattr(golden, "USERS_PORT", unused_port())
    monkeypatch.setattr(golden, "OPERATIONS_PORT", unused_port())


@pytest.fixture
def folder(tls: bool, tmp_path: Path) -> str | None:
    """Return where the certificate lies, if there is one."""
    if tls:
        issue(tmp_path, "support")
    return str(tmp_path) if tls else None


@contextlib.asynccontextmanager
async def a_guard(
    make_world: MakeWorld, folder: str | None, *prompts: dict[str, object]
) -> AsyncIterator[World]:
    """Serve as a guard's process does."""
    world = await make_world(
        guard={"golden": list(prompts)},
        tlsFolder=folder,
        port=golden.USERS_PORT,
        operationsPort=golden.OPERATIONS_PORT,
    )
    stop = asyncio.Event()
    serving = asyncio.create_task(server.serve(world.guard, stop))
    while not await _listens(golden.OPERATIONS_PORT):
        await asyncio.sleep(0.01)
    yield world
    stop.set()
    await serving


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    return True


@contextlib.asynccontextmanager
async def an_older_guard(triton: StubTriton, folder: str | None) -> AsyncIterator[None]:
    """Serve as guards did that answer on the operations port without a look at Triton."""

    async def passed(_request: web.Request) -> web.Response:
        return web.json_response({"passed": True, "results": []})

    operations = web.Application()
    operations.router.add_post("/golden", passed)
    certificate = Certificate.of(folder)
    async with contextlib.AsyncExitStack() as stack:
        for app, port, context in (
            (triton.app(), golden.USERS_PORT, certificate and certificate.context),
            (operations, golden.OPERATIONS_PORT, None),
        ):
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await connections.Site(runner, port, GuardLimits(), context, host=HOST).start()
        yield


@SCHEMES
async def test_a_guard_tells_which_prompts_are_answered_wrongly(
    make_world: MakeWorld, folder: str | None
) -> None:
    async with a_guard(make_world, folder, *PROMPTS):
        assert await golden.ask(HOST) == ["capital: the answer does not match mustMatch"]


@SCHEMES
async def test_a_guard_passes_nothing_while_the_model_loads(
    make_world: MakeWorld, folder: str | None
) -> None:
    async with a_guard(make_world, folder) as world:
        world.triton.is_ready = False
        assert await golden.ask(HOST) == ["no answer: the guard says 503"]
        world.triton.is_ready = True
        assert await golden.ask(HOST) == []


@SCHEMES
async def test_a_guard_of_an_older_image_passes_nothing_while_the_model_loads(
    folder: str | None,
) -> None:
    triton = StubTriton(is_ready=False)
    async with an_older_guard(triton, folder):
        assert await golden.ask(HOST) == NOT_READY
        triton.is_ready = True
        assert await golden.ask(HOST) == []


async def test_where_nobody_listens_there_is_no_answer() -> None:
    (found,) = await golden.ask(HOST)
    assert found.startswith("no answer: ClientConnectorError")
