"""Stub services on loopback, closed after each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from rlhf_operator.guard.remotes.service import open_session
from tests.guard.remotes.services import StubService, loopback

MakeService = Callable[[], Awaitable[StubService]]


@pytest.fixture
async def make_service() -> AsyncIterator[MakeService]:
    servers: list[TestServer] = []

    async def make() -> StubService:
        stub = StubService()
        server = TestServer(stub.app(), shutdown_timeout=0)
        await server.start_server()
        assert server.port is not None
        stub.port = server.port
        servers.append(server)
        return stub

    yield make
    for server in servers:
        await server.close()


@pytest.fixture
async def service(make_service: MakeService) -> StubService:
    return await make_service()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session(loopback()) as session:
        yield session
