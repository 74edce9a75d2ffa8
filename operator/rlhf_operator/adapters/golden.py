"""Golden prompts: the guard asks them itself, before the first weight; here is who asks it to.

The operator learns names and results, never a prompt's answer. The guard also looks whether Triton
has the model ready, so nothing is asked on the users' port, which may speak HTTPS only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

import aiohttp

from rlhf_operator.api.evidence import GoldenResult

log = logging.getLogger(__name__)

READY = "/v2/models/model/ready"
"""KServe's v2 protocol: 200 where the model is ready."""
USERS_PORT = 80
OPERATIONS_PORT = 9090
_TIMEOUT = aiohttp.ClientTimeout(total=600, connect=5)
_SHORT = aiohttp.ClientTimeout(total=30, connect=5)
_AGAIN = 3.0
_REMEMBERED = 1000
_SILENT = "no answer"


class GoldenProber:
    """Has each version's golden prompts asked once a run; a lost result is asked for again."""

    def __init__(self, *, now: Callable[[], datetime], notify: Callable[[Any], None]) -> None:
        self._now = now
        self._notify = notify
        self._results: dict[tuple[Any, str, str], GoldenResult] = {}
        self._asking: dict[tuple[Any, str, str], asyncio.Task[None]] = {}

    def golden(self, key: Any, run: str, host: str) -> GoldenResult | None:
        """Return the result of a host in this run, or None while it is being asked."""
        mark = (key, run, host)
        for other in [each for each in self._asking if each[0] == key and each[1] != run]:
            self._asking.pop(other).cancel()  # an earlier run that ended meanwhile
        if mark in self._results:
            return self._results[mark]
        if mark not in self._asking:
            self._asking[mark] = asyncio.get_running_loop().create_task(self._ask(mark, host))
        return None

    async def close(self) -> None:
        """Stop asking."""
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    async def _ask(self, mark: tuple[Any, str, str], host: str) -> None:
        try:
            failures = await ask(host)
            # A wrong answer will not get better; silence may. `readyTimeout` bounds the waiting.
            while failures and all(_SILENT in failure for failure in failures):
                log.info("%s: golden prompts: %s", mark[0], failures[0])
                await asyncio.sleep(_AGAIN)
                failures = await ask(host)
        finally:
            self._asking.pop(mark, None)
        while len(self._results) >= _REMEMBERED:
            self._results.pop(next(iter(self._results)))
        self._results[mark] = GoldenResult(
            at=self._now(), passed=not failures, failures=tuple(failures[:32])
        )
        self._notify(mark[0])


async def ask(host: str) -> list[str]:
    """Return what is wrong with the answers behind a host name, by the names of the prompts."""
    url = f"http://{host}:{OPERATIONS_PORT}/golden"
    try:
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            async with session.post(url) as answer:
                if answer.status != 200:
                    return [f"{_SILENT}: the guard says {answer.status}"]
                found = await answer.json()
            wrong = [each for each in found["results"] if not each["passed"]]
            # The guards of older images, pinned with their pods, do not look, and without a prompt
            # nothing fails.
            if not found.get("ready") and not await _is_ready(session, host):
                return [f"{_SILENT}: Triton does not have the model ready"]
            return [f"{each['name']}: {each['message']}"[:1024] for each in wrong]
    except (aiohttp.ClientError, OSError, TimeoutError, KeyError, TypeError, ValueError) as error:
        return [f"{_SILENT}: {error!r}"[:500]]


async def _is_ready(session: aiohttp.ClientSession, host: str) -> bool:
    """Return whether Triton has the model ready, asked on the users' port as they would ask.

    Nothing is sent, so a certificate is not checked, as kubelet's probe checks none.
    """
    for scheme in ("http", "https"):
        url = f"{scheme}://{host}:{USERS_PORT}{READY}"
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with session.get(url, ssl=False, timeout=_SHORT) as answer:
                if answer.status == 200:
                    return True
    return False
