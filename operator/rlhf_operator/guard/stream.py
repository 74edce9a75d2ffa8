"""One answer on its way from the model to its user while it is being made.

What a user reads has passed all stages. An answer that ends early never looks like a whole one:
a blocked one says so in its last event, and after a failure of the model the connection breaks off
behind an event with the error. Leaving the model's stream cancels what is still being made.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field
from typing import Protocol

from aiohttp import web

from rlhf_operator.guard.chain import Chain
from rlhf_operator.guard.conversation import Conversation
from rlhf_operator.guard.deltas import Characters, Stops
from rlhf_operator.guard.generation import Generation, Refused, TritonError, added
from rlhf_operator.guard.judge import Judged
from rlhf_operator.guard.state import Call, Guard, verdict_headers
from rlhf_operator.guard.text import count_words
from rlhf_operator.guard.verdict import Verdict

log = logging.getLogger("rlhf_operator.guard")

_STALLED_SECONDS = 20.0
"""A user who takes nothing for so long has left: Triton would go on and keep all in its memory."""

_FITS = 8 * 1024
"""Bytes that wait to be sent, below which nobody waits: asyncio has writers wait from 64 KiB on
until 16 KiB are left."""

Deltas = AbstractAsyncContextManager[AsyncIterator[Generation]]


@dataclass(kw_only=True, slots=True)
class Passage:
    """The text of one answer between the model and its user."""

    guard: Guard
    prompt: str
    asked: Verdict
    stops: Stops
    chain: Chain
    made: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    tokens: int | None = None
    prompt_tokens: int | None = None
    read: Judged | None = None  # what became of the answer, once its end has left
    _characters: Characters = field(default_factory=Characters)
    _last_token: float | None = None

    @classmethod
    def of(
        cls,
        guard: Guard,
        prompt: str,
        asked: Verdict,
        conversation: Conversation,
        stop: tuple[str, ...] = (),
    ) -> Passage:
        """Return the way of an answer that has not begun."""
        chain = Chain(guard.pipeline, guard.setup.config.guard.streaming, conversation)
        return cls(guard=guard, prompt=prompt, asked=asked, stops=Stops(stop), chain=chain)

    @property
    def is_over(self) -> bool:
        """Tell whether nothing more of what the model makes is wanted."""
        return self.chain.is_stopped or self.stops.is_over

    async def pieces(self, deltas: Deltas) -> AsyncGenerator[str, None]:
        """Yield what may leave, as soon as it may."""
        async with deltas as stream:
            async for delta in stream:
                self._count(delta)
                text = self.stops.feed(self._characters.feed(delta.text))
                self.made.append(text)
                if piece := await self.chain.feed(text):
                    yield piece
                if self.is_over:
                    break
        rest = self.stops.feed(self._characters.finish()) + self.stops.finish()
        self.made.append(rest)
        piece = await self.chain.feed(rest)
        if not self.chain.is_stopped:
            piece += await self.chain.finish()
        if piece and not self.chain.is_stopped:
            yield piece

    def _count(self, delta: Generation) -> None:
        self.tokens = added(self.tokens, delta.tokens)
        self.prompt_tokens = self.prompt_tokens or delta.prompt_tokens
        if not delta.tokens and not delta.text:
            return  # it opens the stream, or holds back half a character
        now = time.monotonic()
        if self._last_token is not None:
            self.guard.instruments.streams.took(now - self._last_token, delta.tokens or 1)
        self._last_token = now

    def judged(self, *, is_whole: bool) -> Judged:
        """Return what became of the answer."""
        text, left = "".join(self.made), "".join(self.left)
        made = self.chain.conclude()
        is_early = bool(left) and not (is_whole and not made.is_stopped)
        length = count_words(left) if is_early or self.tokens is None else self.tokens
        if made.is_stopped and not left:
            left = self.guard.setup.instead.of(made)
            length = count_words(left)
        return Judged(
            text=left,
            asked=self.asked,
            made=made,
            is_refusal=self.guard.setup.rules.is_refusal(text),
            length=length,
            reached=self.chain.reached(len(left)) if is_early or self.chain.escaped else None,
        )

    def read_tokens(self) -> int:
        """Return the tokens of the prompt; words where nobody told."""
        return count_words(self.prompt) if self.prompt_tokens is None else self.prompt_tokens

    def made_tokens(self) -> int:
        """Return the tokens that the model made; words where it does not tell."""
        return count_words("".join(self.made)) if self.tokens is None else self.tokens


class Dialect(Protocol):
    """How a stream is written."""

    def head(self) -> Mapping[str, str]:
        """Return the headers that are known before the first text leaves."""
        ...

    def piece(self, text: str) -> bytes:
        """Return an event with more text."""
        ...

    def end(self, judged: Judged, *, prompt_tokens: int, is_cut: bool, has_left: bool) -> bytes:
        """Return the last events; with the text in place of an answer of which nothing left."""
        ...

    def error(self) -> bytes:
        """Return the event that tells of a failure."""
        ...


@dataclass(kw_only=True, slots=True)
class Courier:
    """Brings events to one user."""

    guard: Guard
    request: web.Request
    call: Call
    dialect: Dialect

    async def begin(self, known: Verdict | Judged) -> web.StreamResponse:
        """Send the head, which tells the verdict as far as it is known."""
        headers = {**self.dialect.head(), **verdict_headers(known)}
        response = web.StreamResponse(headers={**headers, "Cache-Control": "no-cache"})
        response.content_type = "text/event-stream"
        await response.prepare(self.request)
        self.call.response = response
        return response

    async def send(self, data: bytes) -> None:
        """Send events, no faster than the user takes them."""
        assert self.call.response is not None
        transport = self.request.transport
        if transport is not None and transport.get_write_buffer_size() + len(data) < _FITS:
            # It waits for nothing then, and a timer would cost more than the event.
            await self.call.response.write(data)
            return
        try:
            async with asyncio.timeout(_STALLED_SECONDS):
                await self.call.response.write(data)
        except TimeoutError:
            if self.request.transport is not None:
                self.request.transport.abort()
            raise ConnectionResetError("the user takes nothing") from None

    async def break_off(self) -> None:
        """Send an error, and nothing that would pass for the end of the answer."""
        await self.send(self.dialect.error())
        if self.request.transport is not None:
            self.request.transport.close()


async def send(courier: Courier, passage: Passage, deltas: Deltas) -> Judged | None:
    """Send an answer while it is being made; return what became of it if nothing has left yet.

    Then it is for the caller to say what the user gets: the answer was stopped.
    """
    guard, call = courier.guard, courier.call
    try:
        async with aclosing(passage.pieces(deltas)) as pieces:
            async for piece in pieces:
                if call.response is None:
                    guard.first_byte(call)
                    await courier.begin(passage.asked)
                passage.left.append(piece)
                await courier.send(courier.dialect.piece(piece))
        judged = passage.judged(is_whole=True)
        _count(courier, passage, judged, "complete")
        if judged.is_stopped and call.response is None:
            return judged
        if call.response is None:
            guard.first_byte(call)
            await courier.begin(judged)
        await courier.send(_end(courier, passage, judged))
        passage.read = judged
    except (TritonError, Refused) as error:
        if isinstance(error, TritonError) or passage.left:
            _count_early(courier, passage, "model_error")
        if call.response is None:
            raise
        # What was refused may repeat a prompt.
        log.warning("triton: %s", error if isinstance(error, TritonError) else "refused midway")
        guard.fail(call)
        await courier.break_off()
    except (asyncio.CancelledError, ConnectionResetError) as error:
        is_late = time.monotonic() - call.started >= guard.setup.config.limits.timeout_seconds
        is_cancelled = isinstance(error, asyncio.CancelledError)
        end = "timeout" if is_cancelled and (is_late or guard.is_draining) else "client_gone"
        _count_early(courier, passage, end)
        raise
    except Exception:
        # A fault of ours, such as a bug in a stage: what was read counts nevertheless.
        if passage.left:
            _count_early(courier, passage, "model_error")
        raise
    return None


def _end(courier: Courier, passage: Passage, judged: Judged) -> bytes:
    return courier.dialect.end(
        judged,
        prompt_tokens=passage.read_tokens(),
        is_cut=passage.stops.is_over,
        has_left=bool(passage.left),
    )


def _count_early(courier: Courier, passage: Passage, end: str) -> None:
    """Count an answer that ended before it was whole; what nobody has read does not count."""
    if courier.call.is_answered:
        return
    if passage.left:
        _count(courier, passage, passage.judged(is_whole=False), end)
    else:
        courier.guard.instruments.streams.ended(end)


def _count(courier: Courier, passage: Passage, judged: Judged, end: str) -> None:
    guard, call = courier.guard, courier.call
    call.is_answered = True
    if end == "complete" and judged.is_stopped:
        end = "blocked" if judged.is_blocked else "withheld"
    escaped = passage.chain.escaped if passage.left else {}
    for category, many in escaped.items():
        log.warning("%d characters of what was found as %s had left", many, category)
    guard.instruments.streams.ended(end, has_escaped=bool(escaped))
    guard.instruments.count_generated(judged, call.counted)
    call.prompt_tokens, call.answer_tokens = passage.read_tokens(), passage.made_tokens()
    call.became(judged)
    guard.instruments.count_tokens(prompt=call.prompt_tokens, answer=call.answer_tokens)
    if passage.left or not judged.is_stopped:
        guard.instruments.count_served(judged, call.counted)
