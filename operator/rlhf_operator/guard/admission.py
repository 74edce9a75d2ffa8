"""What is taken on: bodies, places in flight, time. What fails on the way is counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.http_exceptions import PayloadEncodingError

from rlhf_operator.guard import openai
from rlhf_operator.guard.state import Call, Guard
from rlhf_operator.guard.tracing import Tracer
from rlhf_operator.guard.triton import Refused

REFUSED_FOR = "60"
"""Seconds after which a client may ask again while everything is refused: people decide the end."""

BODIES_BYTES = 64 << 20
"""Bytes that the bodies of all requests may take together, or one body if it may be larger: each
takes about four times as much again while it is read."""
SMALL_BYTES = 16 << 10
"""Up to here a body has room in any case: who fills it with large ones keeps no prompt out."""

UNREADABLE = (web.RequestPayloadError, PayloadEncodingError)
"""What a body raises that is not coded as its headers say."""

Answering = Callable[[Guard, web.Request, Call], Awaitable[web.StreamResponse]]
Judging = Callable[[Guard, web.Request], Awaitable[web.StreamResponse]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def problem(status: int, message: str, *, code: str) -> web.Response:
    """Return an error as clients of the dialect know it."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return web.json_response(openai.error(message, kind=kind, code=code), status=status)


def too_slow() -> web.Response:
    """Return what is answered to a body that does not come."""
    return problem(408, "the request body took too long to arrive", code="timeout")


def limited(guard: Guard, answer: Answering, tracer: Tracer | None = None) -> Handler:
    """Return a handler that keeps the limits and counts what fails."""

    async def handle(request: web.Request) -> web.StreamResponse:
        mine = guard.as_now()
        if mine.setup.config.refuse:
            # Neither an answer nor a fault of this version, so it counts as neither.
            refused = problem(503, "no safe version of this model is left", code="nothing_safe")
            refused.headers["Retry-After"] = REFUSED_FOR
            return refused
        call = mine.call(request)
        span = tracer.begin(request) if tracer is not None else None
        if tracer is None or span is None:
            return await _admit(mine, request, call, answer)
        status = error = None
        try:
            response = await _admit(mine, request, call, answer)
            status = response.status
            error = str(status) if status >= 400 or call.is_failed else None
            return response
        except BaseException as broken:  # a task that was cancelled too
            error = type(broken).__name__
            raise
        finally:
            tracer.end(span, call, status, error)

    return handle


def uncounted(guard: Guard, answer: Judging) -> Handler:
    """Return a handler that keeps the same limits and counts nothing; `answer` asks no model."""

    async def handle(request: web.Request) -> web.StreamResponse:
        mine = guard.as_now()
        try:
            async with _placed(mine, request) as arrived_request:
                try:
                    async with asyncio.timeout(mine.setup.config.limits.timeout_seconds):
                        return await answer(mine, arrived_request)
                except TimeoutError:
                    return problem(504, "judging took too long", code="timeout")
        except TimeoutError:
            return too_slow()
        except Busy:
            return busy()

    return handle


class Busy(Exception):  # noqa: N818 - it names what is
    """There is no place for one more request."""


class NoRoom(Busy):
    """There is no room for more of a large body."""


async def _admit(
    mine: Guard, request: web.Request, call: Call, answer: Answering
) -> web.StreamResponse:
    try:
        async with _placed(mine, request) as arrived_request:
            return await _in_time(mine, arrived_request, call, answer)
    except TimeoutError:
        return _too_late(mine, request, call)
    except NoRoom:
        return busy()  # others fill the room: that says nothing of the version
    except Busy:
        mine.fail(call)
        return busy()


@asynccontextmanager
async def _placed(mine: Guard, request: web.Request) -> AsyncIterator[web.Request]:
    """Give a request whose body has arrived a place in flight.

    Raises TimeoutError where the body does not come, Busy where all places are taken.
    """
    async with arrived(mine, request) as arrived_request:
        if mine.load.in_flight >= mine.setup.config.limits.concurrency:
            raise Busy
        mine.load.in_flight += 1
        try:
            yield arrived_request
        finally:
            mine.load.in_flight -= 1


def busy() -> web.Response:
    """Return what is answered where there is no room for a request."""
    response = problem(503, "too many requests in flight", code="overloaded")
    response.headers["Retry-After"] = "1"
    return response


@asynccontextmanager
async def arrived(mine: Guard, request: web.Request) -> AsyncIterator[web.Request]:
    """Give the request with its body read: who sends slowly takes no place meanwhile.

    Raises TimeoutError where the body does not come, Busy where there is no room for it.
    """
    limits, load = mine.setup.config.limits, mine.load
    if (request.content_length or 0) > limits.body_bytes:
        raise web.HTTPRequestEntityTooLarge(limits.body_bytes, request.content_length or 0)
    request = request.clone(client_max_size=limits.body_bytes)
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_seconds):
            while chunk := await request.content.readany():
                body += chunk
                load.body_bytes += len(chunk)
                if len(body) > limits.body_bytes:
                    raise web.HTTPRequestEntityTooLarge(limits.body_bytes, len(body))
                crowded = load.body_bytes > max(BODIES_BYTES, limits.body_bytes)
                if crowded and len(body) > SMALL_BYTES:
                    raise NoRoom
        request._read_bytes = bytes(body)
        yield request
    finally:
        load.body_bytes -= len(body)


async def _in_time(
    guard: Guard, request: web.Request, call: Call, answer: Answering
) -> web.StreamResponse:
    try:
        async with asyncio.timeout(guard.setup.config.limits.timeout_seconds):
            response = await answer(guard, request, call)
        if response.status == 200 and not call.is_failed:
            _observe(guard, call)
        return response
    except TimeoutError:
        return _too_late(guard, request, call)
    except asyncio.CancelledError:
        # The client gave up, or the drain ended. It took at least so long.
        _observe(guard, call)
        if guard.is_draining:
            guard.fail(call)
        raise
    except Refused as error:
        raise openai.BadRequest(await guard.checked_mistake(str(error))) from None
    except (openai.BadRequest, *UNREADABLE, web.HTTPException, ConnectionResetError):
        raise
    except Exception:
        guard.fail(call)
        if call.response is not None:
            return _break_off(request, call.response)
        raise


def _too_late(guard: Guard, request: web.Request, call: Call) -> web.StreamResponse:
    if not call.is_counted:
        return too_slow()
    guard.fail(call)
    _observe(guard, call)
    if call.response is None:
        return problem(504, "the model server took too long", code="timeout")
    return _break_off(request, call.response)


def _break_off(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    # A clean end would pass for the end of the answer.
    if request.transport is not None:
        request.transport.abort()
    return response


def _observe(guard: Guard, call: Call) -> None:
    if call.is_counted:
        guard.instruments.duration.observe(time.monotonic() - call.started)
