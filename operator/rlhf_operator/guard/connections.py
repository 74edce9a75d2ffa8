"""Connections before there is a request: how many, and how long its headers may take.

aiohttp bounds what a request holds. Neither does it bound the connections, nor the time that
headers take to arrive, and what it cannot parse it answers as HTML that quotes it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from rlhf_operator.api.operation import GuardLimits
from rlhf_operator.guard import openai

log = logging.getLogger("rlhf_operator.guard")

_BACKLOG = 128


def _busy() -> bytes:
    said = openai.error("too many connections", kind="server_error", code="overloaded")
    body = json.dumps(said).encode()
    return (
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
        b"Retry-After: 1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    )


BUSY = _busy()


class Connection(RequestHandler):
    """One connection: as aiohttp's, with a time limit for headers."""

    def __init__(self, manager: web.Server, *, limits: GuardLimits, **given: Any) -> None:
        super().__init__(manager, **given)
        self._limits = limits
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or say that there are too many."""
        assert self._manager is not None
        if len(self._manager.connections) >= self._limits.connections:
            assert isinstance(transport, asyncio.Transport)
            self._force_close = True  # what it sends is not looked at
            transport.write(BUSY)
            transport.close()
            return
        super().connection_made(transport)
        self._expect_headers()

    def data_received(self, data: bytes) -> None:
        """Take bytes; whole headers end the time limit, a part of some begins it."""
        before = self._request_count
        super().data_received(data)
        if self._request_count != before:
            self._stop_waiting()
        elif self._waiter is not None and self._deadline is None:
            self._expect_headers()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return what a client reads that sent no HTTP; nothing of it is quoted or logged."""
        if status >= 500:
            log.error("a request failed: %s", type(exc).__name__)
        kind = "server_error" if status >= 500 else "invalid_request_error"
        said = "the guard failed" if status >= 500 else "this is no request that can be read"
        code = "internal" if status >= 500 else "bad_request"
        response = web.json_response(openai.error(said, kind=kind, code=code), status=status)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log that a connection broke by our fault, by type: its text may hold a prompt."""
        log.error("a connection broke: %s", type(kw.get("exc_info")).__name__)

    def _expect_headers(self) -> None:
        self._deadline = self._loop.call_later(self._limits.header_seconds, self._too_late)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        self._deadline = None
        if self._waiter is not None:  # no request is being answered
            self.force_close()


class Site(web.BaseSite):
    """A port of a runner whose connections keep the limits, by HTTPS where a context is given."""

    def __init__(
        self,
        runner: web.AppRunner,
        port: int,
        limits: GuardLimits,
        context: ssl.SSLContext | None = None,
        host: str | None = None,
    ) -> None:
        super().__init__(runner, ssl_context=context, backlog=_BACKLOG)
        self._host = host
        self._port = port
        self._limits = limits

    @property
    def name(self) -> str:
        """Return where it listens."""
        return f"port {self._port}"

    @property
    def port(self) -> int:
        """Return the port that it listens on, once started."""
        assert isinstance(self._server, asyncio.Server)
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen from now on."""
        await super().start()
        manager = self._runner.server
        assert manager is not None
        loop = asyncio.get_running_loop()

        def connect() -> Connection:
            return Connection(manager, loop=loop, limits=self._limits, **manager._kwargs)

        self._server = await loop.create_server(
            connect,
            self._host,
            self._port,
            ssl=self._ssl_context,
            backlog=self._backlog,
            ssl_handshake_timeout=self._limits.header_seconds if self._ssl_context else None,
        )
