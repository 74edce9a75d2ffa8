"""The guard's HTTP server: routes, limits, errors, health, drain.

Logs name what failed by type only: an exception's text may hold a prompt.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from prometheus_client import exposition

from rlhf_operator.api.arms import token_of
from rlhf_operator.api.guard import RUN_HEADER
from rlhf_operator.guard import (
    admission,
    connections,
    endpoints,
    feedback,
    golden,
    moderations,
    openai,
    openapi,
    reload,
    v2,
    v2_endpoints,
)
from rlhf_operator.guard.admission import UNREADABLE, problem
from rlhf_operator.guard.config import Setup
from rlhf_operator.guard.health import Readiness
from rlhf_operator.guard.pipeline import Remote
from rlhf_operator.guard.remotes.roster import Roster
from rlhf_operator.guard.remotes.service import open_session
from rlhf_operator.guard.state import Guard
from rlhf_operator.guard.tls import Certificate
from rlhf_operator.guard.tracing import Tracer
from rlhf_operator.guard.triton import Triton, TritonError

log = logging.getLogger("rlhf_operator.guard")


def user_app(guard: Guard, tracer: Tracer | None = None) -> web.Application:
    """Return the application that users reach through the gateway."""
    most = guard.setup.told.limits.body_bytes
    app = web.Application(client_max_size=most, middlewares=[_errors_as_json])
    readiness = Readiness(guard.triton.is_ready)
    complete = functools.partial(endpoints.complete, is_chat=False)
    chat = functools.partial(endpoints.complete, is_chat=True)

    async def models(_request: web.Request) -> web.StreamResponse:
        return endpoints.models(guard)

    async def model(request: web.Request) -> web.StreamResponse:
        return endpoints.model(guard, request)

    description = functools.lru_cache(maxsize=1)(openapi.text)

    async def described(_request: web.Request) -> web.StreamResponse:
        return web.Response(text=description(guard.setup.config), content_type="application/json")

    async def vote(request: web.Request) -> web.StreamResponse:
        try:
            async with admission.arrived(guard, request) as arrived_request:
                return await feedback.vote(guard, arrived_request)
        except TimeoutError:
            return admission.too_slow()
        except admission.Busy:
            return admission.busy()

    ask_triton = admission.limited(guard, v2_endpoints.ask_triton, tracer)

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
        if guard.is_draining or not await readiness.is_ready():
            return web.Response(status=503, text="not ready\n")
        return web.Response(text="ready\n")

    app.router.add_post("/v1/completions", admission.limited(guard, complete, tracer))
    app.router.add_post("/v1/chat/completions", admission.limited(guard, chat, tracer))
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
        # Without a prompt there is nothing else that fails while the model loads.
        if not await guard.triton.is_ready():
            return problem(503, "the model is not ready", code="model_server")
        results = [asdict(result) for result in await golden.run(guard)]
        passed = all(result["passed"] for result in results)
        return web.json_response({"passed": passed, "ready": True, "results": results})

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
    run = request.headers.get(RUN_HEADER)
    # Outside of a run nobody is drawn, and a token from before would spare its holder the draw.
    if sticky.mode == "None" or sticky.arm_token is None or not run:
        return
    token = token_of(sticky.arm_token, run)
    response.headers[sticky.header_name] = token
    # A token that is already there keeps its age: after maxAge the user is drawn anew.
    held = (request.cookies.get(sticky.cookie_name), request.headers.get(sticky.header_name))
    if token not in held:
        response.headers.add(
            "Set-Cookie",
            f"{sticky.cookie_name}={token}; Max-Age={sticky.max_age_seconds}; "
            "Path=/; HttpOnly; SameSite=Lax",
        )


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except openai.BadRequest as error:
        return problem(400, str(error), code="bad_request")
    except UNREADABLE:
        return problem(400, "the request body cannot be unpacked", code="bad_request")
    except web.HTTPRequestEntityTooLarge:
        return problem(413, "the request body is too large", code="too_large")
    except web.HTTPException as error:
        message = error.text if isinstance(error.text, str) else error.reason
        answer = problem(error.status, message, code=error.reason.lower().replace(" ", "_"))
        if "Allow" in error.headers:
            answer.headers["Allow"] = error.headers["Allow"]
        return answer
    except TritonError as error:
        log.warning("triton: %s", error)
        return problem(502, "the model server did not answer", code="model_server")
    except ConnectionResetError:
        raise  # the client has gone; there is nobody to tell
    except Exception as error:  # the last resort: its text may hold a prompt
        log.error(
            "%s %s failed: %s", request.method, request.match_info.route.resource, type(error)
        )
        return problem(500, "the guard failed", code="internal")


async def run(setup: Setup) -> None:
    """Serve until SIGTERM or SIGINT, then drain."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # Unlimited connections: our own limit on requests in flight comes before.
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None, connect=5)
    async with (
        aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            # What one user's answer sets must not come back with another's question.
            cookie_jar=aiohttp.DummyCookieJar(),
        ) as session,
        open_session() as outside,
    ):
        config = setup.config
        triton = Triton(
            session,
            url=config.triton_url,
            model=config.triton_model,
            exclude_input=config.exclude_input,
        )
        roster = Roster(session=outside)

        def remotes(now: Setup) -> Mapping[str, Remote]:
            return roster.build(now.config)

        guard = Guard.of(setup, triton, remotes(setup))
        async with contextlib.AsyncExitStack() as stack:
            if config.live_file is not None:
                live = reload.LiveFile(guard=guard, path=Path(config.live_file), remotes=remotes)
                await live.look()
                stack.callback(asyncio.create_task(live.follow()).cancel)
            tracer = Tracer(config, config.tracing) if config.tracing is not None else None
            if tracer is not None:
                stack.push_async_callback(tracer.flush, outside)
                stack.callback(asyncio.create_task(tracer.deliver(outside)).cancel)
            await serve(guard, stop, tracer)


async def serve(guard: Guard, stop: asyncio.Event, tracer: Tracer | None = None) -> None:
    """Serve until told to stop; then go on for a while, then finish what is in flight."""
    config = guard.setup.told
    limits = config.limits
    certificate = Certificate.of(config.tls_folder)
    options: dict[str, Any] = {
        "access_log": None,
        "handler_cancellation": True,  # who has gone does not hold a place
        "max_line_size": limits.header_bytes,
        "max_field_size": limits.header_bytes,
    }
    users = web.AppRunner(user_app(guard, tracer), shutdown_timeout=config.drain_seconds, **options)
    operations = web.AppRunner(operations_app(guard), shutdown_timeout=1, **options)
    renewal = asyncio.create_task(certificate.follow()) if certificate else None
    try:
        for runner, port in ((users, config.port), (operations, config.operations_port)):
            await runner.setup()
            context = certificate.context if certificate and runner is users else None
            await connections.Site(runner, port, limits, context).start()
        log.info("serving %s as %s", config.model, config.version)
        await stop.wait()
        guard.load.is_draining = True
        log.info("draining")
        await asyncio.sleep(config.lame_duck_seconds)
    finally:
        # Metrics stay readable until the last answer has left.
        await users.cleanup()
        await operations.cleanup()
        if renewal is not None:
            renewal.cancel()
