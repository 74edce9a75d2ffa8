"""Exchanges, votes and a sink for the tests of sampling."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

from rlhf_operator.api.arms import Place
from rlhf_operator.api.samples import FeedbackEvent, SampleEvent, read_batch
from rlhf_operator.guard.config import Setup
from rlhf_operator.guard.judge import Judged
from rlhf_operator.guard.sampling.exchange import Chosen, Exchange, Timing, Vote
from rlhf_operator.guard.sampling.origin import Origin
from rlhf_operator.guard.sampling.redaction import Find
from rlhf_operator.guard.tokens import ResponseId
from rlhf_operator.guard.verdict import Found, Verdict
from tests.guard.world import a_setup

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
_MAIL = re.compile(r"\b\w{1,30}@\w+\.org")


def find_mail(text: str) -> Iterable[Found]:
    """Stand in for the recognisers; breaks on a text that says so."""
    if "breaks" in text:
        raise ValueError(text)
    spans = tuple(each.span() for each in _MAIL.finditer(text))
    return (Found(category="email", spans=spans),) if spans else ()


def prepare(_recognizers: Sequence[str]) -> Find:
    return find_mail


def judged(text: str = "Hello.", **changes: Any) -> Judged:
    return Judged(**{"text": text, "asked": Verdict(), "made": Verdict(), "length": 2, **changes})


def exchange(number: int = 0, **changes: Any) -> Exchange:
    plain: dict[str, Any] = {"response_id": f"rlhf-{number}", "prompt": f"{number}?"}
    return Exchange(**{**plain, "judged": judged(), **changes})


def chosen(**changes: Any) -> Chosen:
    plain = Chosen(
        exchange=exchange(),
        place=Place(run="support-7", step=1, arm="stable"),
        probability=0.25,
        user=b"\x01\xff",
        at=NOON,
        timing=Timing(first_byte=0.25, whole=1.5),
    )
    return plain if not changes else Chosen(**{**_fields(plain), **changes})


def vote(**changes: Any) -> Vote:
    about = ResponseId(
        version="support-v8",
        identity="0123456789ab",
        nonce="n",
        issued=int(NOON.timestamp()),
        place=Place(run="support-7", step=1, arm="canary"),
    )
    return Vote(**{"response_id": "rlhf-0", "about": about, "at": NOON, "thumbs": "up", **changes})


def _fields(item: Chosen) -> dict[str, Any]:
    return {name: getattr(item, name) for name in item.__dataclass_fields__}


def nowhere(**headers: str) -> Origin:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Origin(arms=None, headers=CIMultiDict(named))


def a_sampling_setup(url: str, **changes: Any) -> Setup:
    sampling = {"provider": "sink", "share": "1", "batch": 1, **changes}
    return a_setup(guard={"sampling": sampling}, providers=[{"name": "sink", "url": url}])


@dataclass
class StubSink:
    """A sink on loopback that goes away and comes back under the same address."""

    statuses: list[int] = field(default_factory=list)
    """What is answered next; 202 once there is nothing here."""
    batches: asyncio.Queue[tuple[SampleEvent | FeedbackEvent, ...]] = field(
        default_factory=asyncio.Queue
    )
    headers: list[CIMultiDict[str]] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)
    port: int = 0
    gate: asyncio.Event | None = None
    """What it waits for before it answers."""
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/events"

    async def come(self) -> None:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/events", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    async def go(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        self._runner = None

    async def _take(self, request: web.Request) -> web.Response:
        self.headers.append(CIMultiDict(request.headers))
        if self.gate is not None:
            await self.gate.wait()
        body = await request.read()
        self.bodies.append(body.decode())
        status = self.statuses.pop(0) if self.statuses else 202
        if status == 202:
            self.batches.put_nowait(read_batch(body))
        return web.Response(status=status)


@dataclass
class Pauses:
    """Back-off that lasts until the test lets go."""

    begun: asyncio.Queue[float] = field(default_factory=asyncio.Queue)
    over: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def __call__(self, seconds: float) -> None:
        self.begun.put_nowait(seconds)
        await self.over.acquire()
