"""The model's fallback version, which answers where this one's answer could not be judged."""

from __future__ import annotations

import logging

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from rlhf_operator.api.guard import RUN_HEADER
from rlhf_operator.api.sampling import CONSENT_HEADER
from rlhf_operator.guard import v2
from rlhf_operator.guard.generation import TritonError
from rlhf_operator.guard.state import VERDICT_HEADER, Call, Guard

log = logging.getLogger("rlhf_operator.guard")

HEADER = "x-rlhf-fallback"
"""Set on what is passed on: who receives it passes nothing on."""

_PREFIX = "x-rlhf-"
_TOLD = ("content-type", "cache-control", v2.HEADER_LENGTH.lower())


async def answer(
    guard: Guard, request: web.Request, call: Call, *, count: int = 1
) -> web.StreamResponse | None:
    """Pass on what the fallback version answers, as it comes; None where it does not.

    `count` is how many answers were withheld. All versions have their model under one name.
    """
    config = guard.setup.config
    if (
        config.guard.fallback.type != "Version"
        or config.fallback_url is None
        or HEADER in request.headers
    ):
        return None
    url = config.fallback_url.rstrip("/") + request.rel_url.raw_path
    sent = CIMultiDict({"Content-Type": "application/json", HEADER: "1"})
    sampling = config.guard.sampling
    asked = sampling.consent_header if sampling is not None else None
    names = (config.guard.user_header, RUN_HEADER, CONSENT_HEADER, asked, v2.HEADER_LENGTH)
    for name in filter(None, names):
        for value in request.headers.getall(name, ()):
            sent.add(name, value)
    try:
        async with guard.triton.session.post(
            url, data=await request.read(), headers=sent, allow_redirects=False
        ) as reply:
            if reply.status != 200:
                log.warning("the fallback answered with status %d", reply.status)
                return None
            if VERDICT_HEADER not in reply.headers:
                log.warning("the fallback's answer was judged by no guard")
                return None
            return await _pass_on(guard, request, call, reply, count)
    except ConnectionResetError:
        if call.response is None:
            return None
        raise  # the user has gone
    except (aiohttp.ClientError, OSError) as error:
        if call.response is not None:
            raise TritonError(f"the fallback broke off: {type(error).__name__}") from error
        log.warning("no answer from the fallback: %s", type(error).__name__)
        return None


async def _pass_on(
    guard: Guard, request: web.Request, call: Call, reply: aiohttp.ClientResponse, count: int
) -> web.StreamResponse | None:
    first = await reply.content.readany()
    if not first:
        log.warning("the fallback answered nothing")
        return None
    told = {name: value for name, value in reply.headers.items() if _is_told(name)}
    response = web.StreamResponse(headers=told)
    await response.prepare(request)
    call.response = response
    # Not before: where its head could not leave, our own message is counted.
    guard.first_byte(call)
    guard.instruments.count_passed_on(count)
    await response.write(first)
    async for piece in reply.content.iter_any():
        await response.write(piece)
    await response.write_eof()
    return response


def _is_told(name: str) -> bool:
    name = name.lower()
    return name in _TOLD or (name.startswith(_PREFIX) and name != "x-rlhf-arm")
