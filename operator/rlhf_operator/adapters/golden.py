"""Golden prompts: asked through the guard, in the background, before the first weight.

Readiness is asked with tritonclient, the prompts with plain HTTP as users send them.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import aiohttp
from tritonclient.http.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from rlhf_operator.api.guard import GoldenPrompt
from rlhf_operator.api.rollout import GoldenResult

_TIMEOUT = aiohttp.ClientTimeout(total=120, connect=5)
TRITON_MODEL = "model"


class GoldenProber:
    """Asks each run's golden prompts once; a lost result is simply asked again."""

    def __init__(
        self, *, now: Callable[[], datetime], notify: Callable[[Any], None], tries: int = 3
    ) -> None:
        self._now = now
        self._notify = notify
        self._tries = tries
        self._results: dict[tuple[Any, str], GoldenResult] = {}
        self._asking: dict[tuple[Any, str], asyncio.Task[None]] = {}

    def golden(
        self, key: Any, run: str, url: str, prompts: Sequence[GoldenPrompt]
    ) -> GoldenResult | None:
        """Return the result for this run, or None while it is being asked."""
        mark = (key, run)
        if mark in self._results:
            return self._results[mark]
        if mark not in self._asking:
            task = asyncio.get_running_loop().create_task(self._ask(mark, url, tuple(prompts)))
            self._asking[mark] = task
        return None

    async def close(self) -> None:
        """Stop asking."""
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    async def _ask(self, mark: tuple[Any, str], url: str, prompts: Sequence[GoldenPrompt]) -> None:
        failures: list[str] = []
        for turn in range(self._tries):
            failures = await ask(url, prompts)
            # Only silence is worth another try: a wrong answer will not get better.
            if not failures or not all("no answer" in failure for failure in failures):
                break
            await asyncio.sleep(2.0 * (turn + 1))
        while len(self._results) > 1000:
            self._results.pop(next(iter(self._results)))
        self._results[mark] = GoldenResult(
            at=self._now(), passed=not failures, failures=tuple(failures[:32])
        )
        self._asking.pop(mark, None)
        self._notify(mark[0])


async def ask(url: str, prompts: Sequence[GoldenPrompt]) -> list[str]:
    """Return what is wrong with the answers, by the names of the prompts."""
    problem = await _triton_problem(url)
    if problem:
        return [problem]
    failures = []
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        for prompt in prompts:
            failure = await _one(session, url, prompt)
            if failure:
                failures.append(f"{prompt.name}: {failure}")
    return failures


async def _triton_problem(url: str) -> str | None:
    """Return why Triton does not have the model ready, behind the guard."""
    client = InferenceServerClient(url.removeprefix("http://"), conn_timeout=5)
    try:
        if not await client.is_model_ready(TRITON_MODEL):
            return "no answer: Triton does not have the model ready"
    except (InferenceServerException, aiohttp.ClientError, OSError, TimeoutError) as error:
        return f"no answer: {error!r}"[:500]
    finally:
        await client.close()
    return None


async def _one(session: aiohttp.ClientSession, url: str, prompt: GoldenPrompt) -> str | None:
    body = {
        "model": "golden",
        "prompt": prompt.prompt,
        "max_tokens": prompt.max_tokens,
        "temperature": 0,
    }
    try:
        async with session.post(f"{url}/v1/completions", json=body) as answer:
            if answer.status != 200:
                return f"no answer: status {answer.status}"
            verdict = answer.headers.get("x-rlhf-verdict", "ok")
            text = (await answer.json())["choices"][0]["text"]
    except (aiohttp.ClientError, OSError, TimeoutError, KeyError, IndexError, ValueError) as error:
        return f"no answer: {error!r}"[:300]
    if verdict != "ok":
        return f"the guard says {verdict}"
    if prompt.must_match and not re.search(prompt.must_match, text, re.IGNORECASE):
        return "the answer lacks what it must contain"
    if prompt.must_not_match and re.search(prompt.must_not_match, text, re.IGNORECASE):
        return "the answer contains what it must not"
    return None
