"""What services answer, as they document it, and a stub that answers so on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from rlhf_operator.api.categories import AZURE_LABELS, OPENAI_LABELS

OPENAI: dict[str, Any] = {"contract": "OpenAIModeration"}
AZURE: dict[str, Any] = {"contract": "AzureContentSafety"}


def litellm(**changes: Any) -> dict[str, Any]:
    return {"contract": "LiteLLM", **changes}


def mapping(**changes: Any) -> dict[str, Any]:
    return {"flagged": "/verdict/bad", **changes}


def openai(*labels: str, flagged: bool | None = None, score: float = 0.01, **changes: Any) -> Any:
    """Return an answer of OpenAI's moderation API."""
    everything = sorted({*OPENAI_LABELS, *labels})
    return {
        "id": "modr-1",
        "model": "omni-moderation-latest",
        "results": [
            {
                "flagged": bool(labels) if flagged is None else flagged,
                "categories": {label: label in labels for label in everything} | changes,
                "category_scores": dict.fromkeys(everything, score) | changes,
                "category_applied_input_types": {label: ["text"] for label in everything},
            }
        ],
    }


def azure(**severities: Any) -> Any:
    """Return an answer of Azure AI Content Safety."""
    return {
        "blocklistsMatch": [],
        "categoriesAnalysis": [
            {"category": label, "severity": severities.get(label, 0)} for label in AZURE_LABELS
        ],
    }


def infer(*scores: Any, shape: list[int] | None = None, **changes: Any) -> Any:
    """Return an answer of Triton's infer."""
    tensor = {
        "name": "scores",
        "datatype": "FP32",
        "shape": shape or [1, len(scores)],
        "data": list(scores),
    }
    return {"model_name": "m", "model_version": "1", "outputs": [{**tensor, **changes}]}


def llama(word: str) -> Any:
    """Return an answer of Triton's generate."""
    return {"model_name": "m", "model_version": "1", "text_output": word}


Answer = Callable[[dict[str, Any]], Any]


@dataclass
class StubService:
    """Answers every POST; what it is asked stands in `asked`."""

    answer: Answer = field(default=lambda _asked: openai())
    status: int = 200
    is_dead: bool = False
    """Whether it takes requests and never answers."""
    raw: Callable[[], web.StreamResponse] | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    gate: asyncio.Event | None = None
    port: int = 0

    def app(self) -> web.Application:
        app = web.Application(client_max_size=4 << 20)
        app.router.add_route("*", "/{rest:.*}", self._handle)
        return app

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        self.asked.append(asked)
        self.paths.append(request.rel_url.raw_path_qs)
        self.headers.append({key.lower(): value for key, value in request.headers.items()})
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.is_dead:
                await asyncio.Event().wait()
            if self.gate is not None:
                await self.gate.wait()
        finally:
            self.at_once -= 1
        if self.raw is not None:
            return self.raw()
        return web.json_response(self.answer(asked), status=self.status)


class Loopback(AbstractResolver):
    """Finds every name on loopback, as the cluster's DNS would find its Services."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0
            )
        ]

    async def close(self) -> None: ...


def loopback() -> aiohttp.TCPConnector:
    return aiohttp.TCPConnector(limit=0, resolver=Loopback())
