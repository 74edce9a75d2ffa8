"""Reads a streamed answer as a browser would, event by event."""

import asyncio
import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp

_TOKENS = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """What came back for one question that was streamed."""

    text: str
    finish: str = ""
    """Why it ended, by the guard's word; empty where no word of an end came."""
    is_whole: bool = False
    """Whether the last event came that says there is no more."""
    error: str = ""
    version: str = ""
    first_byte: float = 0.0
    """Seconds until the first words."""
    seconds: float = 0.0


def read_stream(
    url: str, host: str, question: str, *, leave_after: int | None = None, timeout: float = 120
) -> Stream:
    """Ask one question and read its answer to the end, or leave after so many pieces of text."""
    return asyncio.run(_read(url, host, question, leave_after, timeout))


async def _read(
    url: str, host: str, question: str, leave_after: int | None, timeout: float
) -> Stream:
    started = time.monotonic()
    body = {
        "messages": [{"role": "user", "content": question}], "stream": True,
        "max_tokens": _TOKENS, "temperature": 0,
    }  # fmt: skip
    text: list[str] = []
    finish, is_whole, error, first = "", False, "", 0.0
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout)) as session,
        session.post(f"{url}/v1/chat/completions", json=body, headers={"Host": host}) as reply,
    ):
        version = reply.headers.get("x-rlhf-version", "")
        if reply.status != 200:
            error = f"{reply.status}: {(await reply.read())[:200]!r}"
        else:
            try:
                async for line in reply.content:
                    if not line.startswith(b"data:"):
                        continue
                    if line[5:].strip() == b"[DONE]":
                        is_whole = True
                        break
                    event = json.loads(line[5:])
                    error = error or str(event.get("error", ""))
                    for choice in event.get("choices", ()):
                        piece = choice["delta"].get("content") or ""
                        finish = choice.get("finish_reason") or finish
                        if piece:
                            first = first or time.monotonic() - started
                            text.append(piece)
                    if leave_after is not None and len(text) >= leave_after:
                        reply.close()
                        break
            except aiohttp.ClientError as broken:
                error = error or f"{type(broken).__name__}: {broken}"
    return Stream(
        text="".join(text), finish=finish, is_whole=is_whole, error=error, version=version,
        first_byte=first, seconds=time.monotonic() - started,
    )  # fmt: skip


@dataclass
class Streams:
    """Reads one streamed answer after the other in a thread, from `with` to its end."""

    url: str
    host: str
    question: str = "tell me"
    all: list[Stream] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Streams":
        self._thread = threading.Thread(target=self._go_on, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._over.set()
        self._thread.join(timeout=130)

    def _go_on(self) -> None:
        while not self._over.is_set():
            self.all.append(read_stream(self.url, self.host, self.question))
