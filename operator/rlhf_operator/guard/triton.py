"""The one way to Triton: its HTTP API on the pod's own loopback.

A stream is read no faster than its events are taken; leaving it closes the connection, which is
how Triton learns that the rest is not wanted.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from rlhf_operator.guard import deltas, generation, sse, v2
from rlhf_operator.guard.generation import (
    Abilities,
    Generation,
    Parameters,
    Refused,
    TritonError,
)
from rlhf_operator.guard.health import Readiness

__all__ = ["Refused", "Reply", "Triton", "TritonError", "Unanswered"]

_READY_SECONDS = 2.0
_CONFIG_SECONDS = 5.0
_LONGEST_REPLY = 64 * 1024 * 1024
_AS_IT_COMES: dict[str, Any] = {"allow_redirects": False, "auto_decompress": False}
_PLAIN = "Are you there?"
_SOUND_SECONDS = 10.0
_SILENT_SECONDS = 60.0
"""A model whose process died leaves its streams open for ever."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """A reply as it came."""

    status: int
    content_type: str
    header_length: str | None
    body: bytes


class Unanswered(Exception):  # noqa: N818 - the reply says what is wrong
    """Triton replied to a request for a stream with something else."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"status {reply.status}")
        self.reply = reply


class Triton:
    """Asks one Triton for one model."""

    def __init__(
        self, session: aiohttp.ClientSession, *, url: str, model: str, exclude_input: bool
    ) -> None:
        self.session = session
        self._url = url.rstrip("/")
        self._model = model
        self._exclude_input = exclude_input
        self._abilities: Abilities | None = None
        self._sound = Readiness(self._answers)

    async def is_ready(self) -> bool:
        """Tell whether server and model answer that they are ready."""
        paths = ("/v2/health/ready", f"/v2/models/{self._model}/ready")
        try:
            async with asyncio.timeout(_READY_SECONDS):
                replies = [await self.forward("GET", path) for path in paths]
            is_ready = all(reply.status == 200 for reply in replies)
        except (TritonError, TimeoutError):
            is_ready = False
        if not is_ready:
            self._abilities = None  # it may come back as another one
        return is_ready

    async def is_sound(self) -> bool:
        """Tell whether the model answers a plain question; asked at most once a second."""
        return await self._sound.is_ready()

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(_SOUND_SECONDS):
                inputs = (await self.abilities()).inputs
                if inputs and v2.TEXT_INPUT not in inputs:
                    return True  # nobody knows a question that it must answer
                await self.generate(_PLAIN, Parameters(max_tokens=1))
        except TimeoutError:
            return True  # slow is not broken
        except (TritonError, Refused):
            return False
        return True

    async def abilities(self) -> Abilities:
        """Return what the model can do; asked once while Triton lives."""
        if self._abilities is None:
            try:
                async with asyncio.timeout(_CONFIG_SECONDS):
                    reply = await self.forward("GET", f"/v2/models/{self._model}/config")
            except TimeoutError:
                raise TritonError("no answer about the model's configuration") from None
            if reply.status != 200:
                return Abilities()
            self._abilities = generation.read_abilities(reply.body)
        return self._abilities

    async def generate(self, prompt: str, parameters: Parameters) -> Generation:
        """Return the whole answer to a prompt."""
        abilities = await self.abilities()
        if abilities.is_decoupled:
            # Only a stream ends when its client leaves.
            return await self._collect(prompt, parameters)
        asked = abilities.question(
            prompt, parameters, stream=False, exclude_input=self._exclude_input
        )
        path = f"/v2/models/{self._model}/generate"
        reply = await self.forward("POST", path, json.dumps(asked).encode())
        if reply.status != 200:
            raise generation.failure(reply.status, reply.body)
        return generation.read_generation(reply.body)

    async def _collect(self, prompt: str, parameters: Parameters) -> Generation:
        characters, stops = deltas.Characters(), deltas.Stops(parameters.stop)
        parts: list[str] = []
        tokens: int | None = None
        prompt_tokens: int | None = None
        async with self.stream(prompt, parameters) as stream:
            async for delta in stream:
                parts.append(stops.feed(characters.feed(delta.text)))
                tokens = generation.added(tokens, delta.tokens)
                prompt_tokens = prompt_tokens or delta.prompt_tokens
                if stops.is_over:
                    break
        parts += (stops.feed(characters.finish()), stops.finish())
        return Generation(text="".join(parts), tokens=tokens, prompt_tokens=prompt_tokens)

    @asynccontextmanager
    async def stream(
        self, prompt: str, parameters: Parameters
    ) -> AsyncIterator[AsyncIterator[Generation]]:
        """Begin an answer that comes in parts; it is cancelled where it is left before its end."""
        asked = (await self.abilities()).question(
            prompt, parameters, stream=True, exclude_input=self._exclude_input
        )
        path = f"/v2/models/{self._model}/generate_stream"
        try:
            async with self.events(path, json.dumps(asked).encode()) as events:
                yield (generation.read_delta(fields) async for fields in events)
        except Unanswered as error:
            raise generation.failure(error.reply.status, error.reply.body) from None

    @asynccontextmanager
    async def events(self, path: str, body: bytes) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """Begin a stream of events; raises Unanswered where there is none."""
        sent = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        try:
            reply = await self.session.post(
                self._url + path, data=body, headers=sent, **_AS_IT_COMES
            )
        except (aiohttp.ClientError, OSError) as error:
            raise self._lost(error) from error
        try:
            _refuse_coded(reply)
            if reply.status != 200:
                raise Unanswered(await self._whole(reply))
            if reply.content_length is None and "Transfer-Encoding" not in reply.headers:
                raise TritonError("a stream whose end cannot be told from a broken connection")
            yield self._read(reply)
        finally:
            reply.close()

    async def _read(self, reply: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
        reader = sse.Reader()
        has_text = False
        size = 0
        try:
            while True:
                async with asyncio.timeout(_SILENT_SECONDS):
                    piece = await reply.content.readany()
                if not piece:
                    break
                size += len(piece)
                if size > _LONGEST_REPLY:
                    raise TritonError("a stream is too long")
                for data in reader.feed(piece):
                    fields = generation.read_event(data)
                    has_text = has_text or v2.TEXT_OUTPUT in fields
                    yield fields
            reader.finish()
        except TimeoutError:
            raise TritonError("the stream fell silent") from None
        except sse.Broken as error:
            raise TritonError(str(error)) from None
        except (aiohttp.ClientError, OSError) as error:
            raise self._lost(error) from error
        if not has_text:
            raise TritonError("the stream ended without an answer")

    async def forward(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Return Triton's reply to a request, whatever its status."""
        sent = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        try:
            async with self.session.request(
                method,
                self._url + path,
                data=body or None,
                headers={**sent, **(headers or {})},
                **_AS_IT_COMES,
            ) as reply:
                _refuse_coded(reply)
                return await self._whole(reply)
        except (aiohttp.ClientError, OSError) as error:
            raise self._lost(error) from error

    async def _whole(self, reply: aiohttp.ClientResponse) -> Reply:
        body = bytearray()
        try:
            async for piece in reply.content.iter_any():
                body += piece
                if len(body) > _LONGEST_REPLY:
                    reply.close()
                    raise TritonError("a reply is too long")
        except (aiohttp.ClientError, OSError) as error:
            raise self._lost(error) from error
        return Reply(
            status=reply.status,
            content_type=reply.headers.get("Content-Type", "application/json"),
            header_length=reply.headers.get(v2.HEADER_LENGTH),
            body=bytes(body),
        )

    def _lost(self, error: Exception) -> TritonError:
        self._abilities = None
        return TritonError(f"no answer: {type(error).__name__}")


def _refuse_coded(reply: aiohttp.ClientResponse) -> None:
    """Raise where a reply is compressed, which nobody asked for: it may unpack without end."""
    if reply.headers.get("Content-Encoding", "identity") != "identity":
        reply.close()
        raise TritonError("a reply is compressed")
