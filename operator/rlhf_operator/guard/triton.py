"""The one way to Triton: its HTTP API on the pod's own loopback.

The first form of generation: one request, one whole answer. Triton's error texts may repeat
a prompt, so they end here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from rlhf_operator.guard import v2

_READY_SECONDS = 2.0


_MISTAKE = "invalid request: "


class Refused(ValueError):  # noqa: N818 - the client must change the request
    """The model cannot answer this request, such as one that is too long for it."""


class TritonError(Exception):
    """Triton gave no answer that can be used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """What the model made of a prompt; tokens where the backend counts them."""

    text: str
    tokens: int | None = None
    prompt_tokens: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """A reply as it came."""

    status: int
    content_type: str
    header_length: str | None
    body: bytes


class Triton:
    """Asks one Triton for one model."""

    def __init__(
        self, session: aiohttp.ClientSession, *, url: str, model: str, exclude_input: bool
    ) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._model = model
        self._exclude_input = exclude_input

    async def is_ready(self) -> bool:
        """Tell whether server and model answer that they are ready."""
        paths = ("/v2/health/ready", f"/v2/models/{self._model}/ready")
        try:
            async with asyncio.timeout(_READY_SECONDS):
                replies = [await self.forward("GET", path) for path in paths]
        except (TritonError, TimeoutError):
            return False
        return all(reply.status == 200 for reply in replies)

    async def generate(
        self, prompt: str, *, max_tokens: int, temperature: float | None, seed: int | None
    ) -> Generation:
        """Return the whole answer to a prompt."""
        asked: dict[str, Any] = {"text_input": prompt, "max_tokens": max_tokens}
        if temperature is not None:
            asked["temperature"] = temperature
        if seed is not None:
            asked["seed"] = seed
        if self._exclude_input:
            asked["exclude_input_in_output"] = True
        path = f"/v2/models/{self._model}/generate"
        reply = await self.forward("POST", path, json.dumps(asked).encode())
        if reply.status != 200:
            mistake = client_mistake(reply.body)
            if mistake is not None:
                raise Refused(mistake)
            raise TritonError(f"generate answered with status {reply.status}")
        return read_generation(reply.body)

    async def forward(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Return Triton's reply to a request, whatever its status."""
        sent = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        try:
            async with self._session.request(
                method, self._url + path, data=body or None, headers={**sent, **(headers or {})}
            ) as reply:
                return Reply(
                    status=reply.status,
                    content_type=reply.headers.get("Content-Type", "application/json"),
                    header_length=reply.headers.get("Inference-Header-Content-Length"),
                    body=await reply.read(),
                )
        except (aiohttp.ClientError, OSError) as error:
            raise TritonError(f"no answer: {type(error).__name__}") from error


def client_mistake(body: bytes) -> str | None:
    """Return what is wrong with the request by the backend's word; None if it is not at fault.

    Triton answers 400 to every failure, a dead backend included, so the status says nothing.
    """
    try:
        said = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return None
    _, found, mistake = str(said).partition(_MISTAKE)
    return mistake[:300] if found else None


def read_generation(body: bytes) -> Generation:
    """Return the generation in a reply of the generate extension."""
    try:
        message = v2.decode(body, None)
        texts = v2.generate_text(message, v2.TEXT_OUTPUT)
    except v2.Malformed as error:
        raise TritonError(f"generate's answer cannot be read: {error}") from None
    if len(texts) != 1:
        raise TritonError(f"generate's answer has {len(texts)} texts, not one")
    return Generation(
        text=texts[0],
        tokens=_count(message.fields),
        prompt_tokens=_number(message.fields.get("input_tokens")),
    )


def _count(fields: dict[str, Any]) -> int | None:
    for name in ("token_ids", "token_logprobs"):
        if name in fields:
            # Triton writes a tensor of one element without brackets.
            return len(fields[name]) if isinstance(fields[name], list) else 1
    return _number(fields.get("output_tokens"))


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
