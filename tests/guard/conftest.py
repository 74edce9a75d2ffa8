"""Worlds for the guard's tests, closed after each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from rlhf_operator.guard import server
from rlhf_operator.guard.pipeline import Remote
from rlhf_operator.guard.remotes.roster import Roster
from rlhf_operator.guard.remotes.service import open_session
from rlhf_operator.guard.state import Guard
from rlhf_operator.guard.triton import Triton
from tests.guard.remotes.services import loopback
from tests.guard.world import MakeWorld, StubTriton, World, a_setup


@pytest.fixture
async def make_world() -> AsyncIterator[MakeWorld]:
    closers: list[Callable[[], Awaitable[None]]] = []

    async def make(*, remotes: Mapping[str, Remote] | None = None, **changes: Any) -> World:
        stub = StubTriton()
        model = TestServer(stub.app())
        await model.start_server()
        setup = a_setup(**changes)
        session = aiohttp.ClientSession()
        triton = Triton(session, url=str(model.make_url("")), model="model", exclude_input=False)
        outside = open_session(loopback())
        guard = Guard.of(setup, triton, remotes or Roster(session=outside).build(setup.config))
        users = TestClient(TestServer(server.user_app(guard)), cookie_jar=aiohttp.DummyCookieJar())
        operations = TestClient(TestServer(server.operations_app(guard)))
        await users.start_server()
        await operations.start_server()
        closers.extend([session.close, outside.close, model.close, operations.close, users.close])
        return World(guard=guard, triton=stub, users=users, operations=operations)

    yield make
    for close in reversed(closers):
        await close()


@pytest.fixture
async def world(make_world: MakeWorld) -> World:
    return await make_world()
