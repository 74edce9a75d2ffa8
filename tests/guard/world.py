"""A guard before a stub of Triton, and what tests ask of both."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestClient
from hypothesis import HealthCheck, settings
from prometheus_client import CollectorRegistry

from rlhf_operator.api.stages import Direction
from rlhf_operator.guard import config, pipeline, triton, v2
from rlhf_operator.guard.instruments import StageInstruments
from rlhf_operator.guard.state import Guard
from rlhf_operator.guard.verdict import Verdict

# A busy machine is no failure, so time is not judged.
examples = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
INPUTS = ("text_input", "max_tokens", "temperature", "seed", "stream")
LENGTH = "Inference-Header-Content-Length"
KEY = "a key for tests, long enough"


def a_stage(name: str = "words", **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "type": "Rules",
        "appliesTo": ["Output"],
        "action": "Flag",
        "rules": [
            {"category": "bias", "keywords": ["those people"], "patterns": [r"\bslurs?\b"]},
            {"category": "violence", "keywords": ["bomb"]},
        ],
        **changes,
    }


def a_config(**changes: Any) -> dict[str, Any]:
    if "guard" in changes:
        # A busy machine is no failure.
        changes["guard"] = {"budget": "30s", **changes["guard"]}
    return {
        "model": "support",
        "version": "support-v7",
        "identity": "sha256:" + "0123456789ab" * 5 + "cdef",
        "tritonModel": "model",
        "guard": {"stages": [a_stage()], "refusalPatterns": ["^i cannot help"]},
        "lameDuckSeconds": 0,
        "drainSeconds": 5,
        "port": 0,
        "operationsPort": 0,
        **changes,
    }


def a_setup(**changes: Any) -> config.Setup:
    return config.parse(json.dumps(a_config(**changes)), {config.SIGNING_KEY: KEY})


async def until_ready(client: aiohttp.ClientSession) -> None:
    """Wait until a guard that starts as a process says that it is ready."""
    while True:
        try:
            if (await client.get("/healthz/ready")).status == 200:
                return
        except aiohttp.ClientConnectionError:
            await asyncio.sleep(0.02)


def checked(setup: config.Setup, text: str, direction: Direction = "Output") -> Verdict:
    """Return the verdict of a guard whose stages are all of type Rules."""
    counts = StageInstruments(CollectorRegistry())
    force = setup.config.force_block
    stages = pipeline.prepare(setup.config.guard, setup.rules, {}, counts, force_block=force)
    return asyncio.run(stages.check(text, direction))


@dataclass
class StubTriton:
    """Answers as Triton does, by the generate extension and by infer."""

    text: str = "A fine answer."
    tokens: int = 4
    status: int = 200
    error: str = "secret prompt"
    is_ready: bool = True
    is_sound: bool = True
    """Whether it answers plain questions, whatever its status for others."""
    plain: int = 0
    """Plain questions so far; they are not among what was asked."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    gate: asyncio.Event | None = None
    outputs: list[dict[str, Any]] | None = None
    raw: web.Response | None = None
    config: dict[str, Any] | None = None
    parts: list[Any] = field(default_factory=list)
    """What a stream consists of: texts, whole events, and bytes as they are."""
    gate_at: int | None = None
    """The part before which the gate is waited for."""
    breaks_at: int | None = None
    """The part before which the connection breaks off."""
    echoes: bool = False
    """Whether infer repeats the prompt behind the text."""
    sent: int = 0
    left: int = 0
    """Streams that nobody wanted to the end."""

    def stream(self, *parts: Any, inputs: Sequence[str] = INPUTS, **changes: Any) -> None:
        """Become a model that answers so, part by part."""
        self.config = {
            "input": [{"name": name} for name in inputs],
            "model_transaction_policy": {"decoupled": True},
        }
        self.parts = list(parts)
        for name, value in changes.items():
            setattr(self, name, value)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v2/health/ready", self._ready)
        app.router.add_get("/v2/models/model/ready", self._ready)
        app.router.add_get("/v2/models/model", self._metadata)
        app.router.add_get("/v2/models/model/config", self._config)
        app.router.add_post("/v2/models/model/generate", self._generate)
        app.router.add_post("/v2/models/model/generate_stream", self._generate_stream)
        app.router.add_post("/v2/models/model/infer", self._infer)
        return app

    async def _ready(self, _request: web.Request) -> web.Response:
        return web.Response(status=200 if self.is_ready else 400)

    async def _metadata(self, _request: web.Request) -> web.Response:
        return web.json_response({"name": "model"})

    async def _config(self, _request: web.Request) -> web.Response:
        config = {"input": [{"name": name} for name in INPUTS]}
        return web.json_response(self.config or config)

    def _take(self, asked: dict[str, Any]) -> bool:
        """Take a question in, and tell whether it is answered."""
        if self._is_plain(asked):
            self.plain += 1
            return self.is_sound
        self.asked.append(asked)
        return self.status == 200

    @staticmethod
    def _is_plain(asked: dict[str, Any]) -> bool:
        return bool(asked["text_input"] == triton._PLAIN)

    async def _generate(self, request: web.Request) -> web.Response:
        asked = await request.json()
        is_answered, raw = self._take(asked), None if self._is_plain(asked) else self.raw
        if self.gate is not None:
            await self.gate.wait()
        if not is_answered:
            return web.json_response({"error": self.error}, status=self.status)
        return raw or web.json_response(self.generated())

    def generated(self) -> dict[str, Any]:
        numbers: list[float] = [-0.5] * self.tokens
        return {
            "model_name": "model",
            "model_version": "1",
            "text_output": self.text,
            "token_logprobs": numbers[0] if self.tokens == 1 else numbers,
            "token_ids": 7 if self.tokens == 1 else [7] * self.tokens,
        }

    async def _generate_stream(self, request: web.Request) -> web.StreamResponse:
        if not self._take(await request.json()):
            text = f"data: {json.dumps({'error': self.error})}\n\n"
            kind = "text/event-stream"
            return web.Response(text=text, status=self.status, content_type=kind)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            for at, part in enumerate(self.parts or [f"{word} " for word in self.text.split()]):
                if at == self.gate_at and self.gate is not None:
                    await self.gate.wait()
                if at == self.breaks_at:
                    assert request.transport is not None
                    request.transport.close()
                    return response
                await response.write(an_event(part))
                self.sent += 1
            if self.gate_at == len(self.parts) and self.gate is not None:
                await self.gate.wait()
        except (asyncio.CancelledError, ConnectionResetError):
            self.left += 1
            raise
        return response

    async def _infer(self, request: web.Request) -> web.Response:
        self.asked.append({"body": await request.read(), "headers": dict(request.headers)})
        if self.status != 200:
            return web.json_response({"error": self.error}, status=self.status)
        if self.raw is not None:
            return self.raw
        if self.outputs is None:
            return self._inferred(self.asked[-1]["body"], request.headers.get(LENGTH))
        return web.json_response({"model_name": "model", "outputs": self.outputs})

    def _inferred(self, body: bytes, length: str | None) -> web.Response:
        """Return a text for each prompt, in binary form if that is wanted."""
        message = v2.decode(body, length)
        prompts = v2.tensor_texts(message, "inputs", "text_input")
        wanted = message.fields.get("outputs", [{}])[0].get("parameters", {})
        said = [f"{self.text} {each}" if self.echoes else self.text for each in prompts]
        tensor = {"name": "text_output", "datatype": "BYTES", "shape": [len(said), 1]}
        ids = {"name": "token_ids", "datatype": "INT64", "shape": [1], "data": [7]}
        head = {"model_name": "model", "model_version": "1"}
        if not wanted.get("binary_data"):
            return web.json_response({**head, "outputs": [{**tensor, "data": said}, ids]})
        blob = b"".join(len(t.encode()).to_bytes(4, "little") + t.encode() for t in said)
        described = {**tensor, "parameters": {"binary_data_size": len(blob)}}
        text = json.dumps({**head, "outputs": [ids, described]}).encode()
        return web.Response(body=text + blob, headers={LENGTH: str(len(text))})


def an_event(part: Any) -> bytes:
    if isinstance(part, bytes):
        return part
    fields = {"text_output": part} if isinstance(part, str) else part
    return f"data: {json.dumps({'model_name': 'model', **fields})}\n\n".encode()


@dataclass
class World:
    """A running guard and its stub."""

    guard: Guard
    triton: StubTriton
    users: TestClient[web.Request, web.Application]
    operations: TestClient[web.Request, web.Application]

    async def complete(self, prompt: str = "Hello", **changes: Any) -> aiohttp.ClientResponse:
        return await self.users.post("/v1/completions", json={"prompt": prompt, **changes})

    async def metrics(self) -> dict[str, float]:
        text = await (await self.operations.get("/metrics")).text()
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name.removeprefix("rlhf_guard_"): float(value) for name, value in lines}


MakeWorld = Callable[..., Awaitable[World]]
