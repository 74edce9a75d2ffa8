"""One address: JSON goes there, JSON comes back, and nothing else is trusted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from yarl import URL

from rlhf_operator.guard.pipeline import CannotJudge
from rlhf_operator.guard.remotes import answers
from rlhf_operator.guard.verdict import Unjudged

LONGEST_ANSWER = 64 * 1024
AT_ONCE = 32
"""Requests to one service side by side; more wait for their turn."""
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",  # what is packed has no size until it is unpacked
    "Content-Type": "application/json",
}


def open_session(connector: aiohttp.BaseConnector | None = None) -> aiohttp.ClientSession:
    """Return a session for services: no proxies of the environment, no cookies, no unpacking."""
    return aiohttp.ClientSession(
        # Each service has a limit of its own; the timeout is the stage's.
        connector=connector or aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """Where one stage asks; stages that ask the same host share its slots."""

    session: aiohttp.ClientSession
    url: URL
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def post(self, asked: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
        """Return the object that is answered with status 200; else CannotJudge or BadAnswer."""
        try:
            async with self.session.post(
                self.url,
                data=json.dumps(asked).encode(),
                headers={**_HEADERS, **headers},
                allow_redirects=False,
            ) as reply:
                _expect_success(reply.status)
                return answers.parse(await _body(reply))
        except (aiohttp.ClientError, OSError) as error:
            raise CannotJudge(Unjudged.UNREACHABLE) from error


def _expect_success(status: int) -> None:
    if status in (401, 403, 429):
        raise CannotJudge(Unjudged.REFUSED)
    if status >= 500:
        raise CannotJudge(Unjudged.UNREACHABLE)
    if status != 200:
        raise answers.BadAnswer(f"status {status}")


async def _body(reply: aiohttp.ClientResponse) -> bytes:
    body = b""
    async for chunk in reply.content.iter_any():
        body += chunk
        if len(body) > LONGEST_ANSWER:
            raise answers.BadAnswer("too long an answer")
    return body
