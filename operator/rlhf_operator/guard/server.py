"""The guard's HTTP server: routes, limits, errors, health, drain.

Logs name what failed by type only: an exception's text may hold a prompt.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.http_exceptions import PayloadEncodingError
from prometheus_client import exposition

from rlhf_operator.guard import (
    endpoints,
    feedback,
    golden,
    moderations,
    openai,
    openapi,
    v2,
    v2_endpoints,
)
from rlhf_operator.guard.config import Setup
from rlhf_operator.guard.remotes import roster
from rlhf_operator.guard.remotes.service import open_session
from rlhf_operator.guard.state import Call, Guard
from rlhf_operator.guard.triton import Refused, Triton, TritonError

log = logging.getLogger("rlhf_operator.guard")

REFUSED_FOR = "60"
"""Seconds after which a client may ask again while everything is refused: people decide the end."""

UNREADABLE = (web.RequestPayloadError, PayloadEncodingError)
"""What a body raises that is not coded as its headers say."""

Answering = Callable[[Guard, web.Request, Call], Awaitable[web.StreamResponse]]


def user_app(guard: Guard) -> web.Application:
    """Return the application that users reach through the gateway."""
    limits = guard.setup.config.limits
    app = web.Application(client_max_size=limits.body_bytes, middlewares=[_errors_as_json])
    complete = functools.partial(endpoints.complete, is_chat=False)
    chat = functools.partial(endpoints.complete, is_chat=True)

    async def models(_request: web.Request) -> web.StreamResponse:
        return endpoints.models(guard)

    async def model(request: web.Request) -> web.StreamResponse:
        return endpoints.model(guard, request)

    description = openapi.text(guard.setup.config).encode()

    async def described(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=description, content_type="application/json")

    async def vote(request: web.Request) -> web.StreamResponse:
        return await feedback.vote(guard, request)

    ask_triton = _limited(guard, v2_endpoints.ask_triton)

    async def triton(request: web.Request) -> web.StreamResponse:
        path = request.rel_url.raw_path
        allowed = v2.methods(path)
        if not allowed:
            raise web.HTTPNotFound(text="this part of Triton's API is closed")
        if request.method not in allowed:
            raise web.HTTPMethodNotAllowed(request.method, allowed)
        if v2.verb(path) is None:
            return await v2_endpoints.read_triton(guard, request)
        return await ask_triton(request)

    async def ready(_request: web.Request) -> web.StreamResponse:
        if guard.is_draining or not await guard.triton.is_ready():
            return web.Response(status=503, text="not ready\n")
        return web.Response(text="ready\n")

    app.router.add_post("/v1/completions", _limited(guard, complete))
    app.router.add_post("/v1/chat/completions", _limited(guard, chat))
    app.router.add_get("/v1/models", models)
    app.router.add_get("/v1/models/{name}", model)
    app.router.add_get("/openapi.json", described)
    app.router.add_post("/v1/feedback", vote)
    app.router.add_route("*", "/v2{rest:.*}", triton)
    app.router.add_get("/healthz/live", _live)
    app.router.add_get("/healthz/ready", ready)
    moderations.add_routes(app, guard)
    app.on_response_prepare.append(functools.partial(_sign, guard))
    app.on_cleanup.append(lambda _app: guard.sampler.close())
    return app


def operations_app(guard: Guard) -> web.Application:
    """Return the application for Prometheus and the operator."""
    app = web.Application(client_max_size=1024, middlewares=[_errors_as_json])

    async def metrics(request: web.Request) -> web.StreamResponse:
        encode, kind = exposition.choose_encoder(request.headers.get("Accept", ""))
        body = encode(guard.instruments.registry)
        return web.Response(body=body, headers={"Content-Type": kind})

    async def run_golden(_request: web.Request) -> web.StreamResponse:
        results = [asdict(result) for result in await golden.run(guard)]
        passed = all(result["passed"] for result in results)
        return web.json_response({"passed": passed, "results": results})

    app.router.add_get("/metrics", metrics)
    app.router.add_post("/golden", run_golden)
    app.router.add_get("/healthz/live", _live)
    return app


async def _live(_request: web.Request) -> web.StreamResponse:
    return web.Response(text="alive\n")


async def _sign(guard: Guard, request: web.Request, response: web.StreamResponse) -> None:
    """Put on every response who answers, and the arm's token where users stick to arms."""
    config = guard.setup.config
    # What another version answered in our place is passed on as its own.
    response.headers.setdefault("x-rlhf-version", config.version)
    response.headers["x-rlhf-model"] = config.model
    if guard.is_draining:
        # The gateway must not send its next request down a connection that is about to close.
        # At this point aiohttp no longer writes the header by itself.
        response.force_close()
        response.headers["Connection"] = "close"
    sticky = config.stickiness
    if sticky.mode == "None" or sticky.arm_token is None or request.path.startswith("/healthz/"):
        return
    response.headers[sticky.header_name] = sticky.arm_token
    # A token that is already there keeps its age: after maxAge the user is drawn anew.
    held = (request.cookies.get(sticky.cookie_name), request.headers.get(sticky.header_name))
    if sticky.arm_token not in held:
        response.headers.add(
            "Set-Cookie",
            f"{sticky.cookie_name}={sticky.arm_token}; Max-Age={sticky.max_age_seconds}; "
            "Path=/; HttpOnly; SameSite=Lax",
        )


def _problem(status: int, message: str, *, code: str) -> web.Response:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return web.json_response(openai.error(message, kind=kind, code=code), status=status)


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except (openai.BadRequest, Refused) as error:
        return _problem(400, str(error), code="bad_request")
    except UNREADABLE:
        return _problem(400, "the request body cannot be unpacked", code="bad_request")
    except web.HTTPRequestEntityTooLarge:
        return _problem(413, "the request body is too large", code="too_large")
    except web.HTTPException as error:
        message = error.text if isinstance(error.text, str) else error.reason
        answer = _problem(error.status, message, code=error.reason.lower().replace(" ", "_"))
        if "Allow" in error.headers:
            answer.headers["Allow"] = error.headers["Allow"]
        return answer
    except TritonError as error:
        log.warning("triton: %s", error)
        return _problem(502, "the model server did not answer", code="model_server")
    except ConnectionResetError:
        raise  # the client has gone; there is nobody to tell
    except Exception as error:  # the last resort: its text may hold a prompt
        log.error(
            "%s %s failed: %s", request.method, request.match_info.route.resource, type(error)
        )
        return _problem(500, "the guard failed", code="internal")


def _limited(
    guard: Guard, answer: Answering
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return a handler that keeps the limits and counts what fails."""
    limits = guard.setup.config.limits

    async def handle(request: web.Request) -> web.StreamResponse:
        if guard.setup.config.refuse:
            # Neither an answer nor a fault of this version, so it counts as neither.
            refused = _problem(503, "no safe version of this model is left", code="nothing_safe")
            refused.headers["Retry-After"] = REFUSED_FOR
            return refused
        call = guard.call(request)
        if guard.in_flight >= limits.concurrency:
            guard.fail(call)
            busy = _problem(503, "too many requests in flight", code="overloaded")
            busy.headers["Retry-After"] = "1"
            return busy
        guard.in_flight += 1
        try:
            return await _in_time(guard, request, call, answer)
        finally:
            guard.in_flight -= 1

    return handle


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
    except (openai.BadRequest, Refused, *UNREADABLE, web.HTTPException, ConnectionResetError):
        raise
    except Exception:
        guard.fail(call)
        if call.response is not None:
            return _break_off(request, call.response)
        raise


def _too_late(guard: Guard, request: web.Request, call: Call) -> web.StreamResponse:
    if not call.is_counted:
        return _problem(408, "the request body took too long to arrive", code="timeout")
    guard.fail(call)
    _observe(guard, call)
    if call.response is None:
        return _problem(504, "the model server took too long", code="timeout")
    return _break_off(request, call.response)


def _break_off(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    # A clean end would pass for the end of the answer.
    if request.transport is not None:
        request.transport.abort()
    return response


def _observe(guard: Guard, call: Call) -> None:
    if call.is_counted:
        guard.instruments.duration.observe(time.monotonic() - call.started)


async def run(setup: Setup) -> None:
    """Serve until SIGTERM or SIGINT, then drain."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # Unlimited connections: our own limit on requests in flight comes before.
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None, connect=5)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
        open_session() as outside,
    ):
        config = setup.config
        triton = Triton(
            session,
            url=config.triton_url,
            model=config.triton_model,
            exclude_input=config.exclude_input,
        )
        await serve(Guard.of(setup, triton, roster.build(config, outside)), stop)


async def serve(guard: Guard, stop: asyncio.Event) -> None:
    """Serve until told to stop; then go on for a while, then finish what is in flight."""
    config = guard.setup.config
    options: dict[str, Any] = {
        "access_log": None,
        "handler_cancellation": True,  # who has gone does not hold a place
        "max_line_size": config.limits.header_bytes,
        "max_field_size": config.limits.header_bytes,
    }
    users = web.AppRunner(user_app(guard), shutdown_timeout=config.drain_seconds, **options)
    operations = web.AppRunner(operations_app(guard), shutdown_timeout=1, **options)
    try:
        for runner, port in ((users, config.port), (operations, config.operations_port)):
            await runner.setup()
            await web.TCPSite(runner, port=port).start()
        log.info("serving %s as %s", config.model, config.version)
        await stop.wait()
        guard.is_draining = True
        log.info("draining")
        await asyncio.sleep(config.lame_duck_seconds)
    finally:
        # Metrics stay readable until the last answer has left.
        await users.cleanup()
        await operations.cleanup()
