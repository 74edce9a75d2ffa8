"""Traces: what they tell, and that they stand in nobody's way."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from rlhf_operator.api.operation import GuardTracing
from rlhf_operator.guard import server, tracing
from rlhf_operator.guard.tracing import Tracer
from tests.guard.world import MakeWorld, World, a_stage

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"
SAMPLED, LEFT_OUT = PARENT + "01", PARENT + "00"


class Collector:
    """Takes spans as a collector does."""

    def __init__(self) -> None:
        self.batches: list[dict[str, Any]] = []

    async def take(self, request: web.Request) -> web.Response:
        self.batches.append(await request.json())
        return web.json_response({})

    @property
    def spans(self) -> list[dict[str, Any]]:
        scopes = [each["resourceSpans"][0]["scopeSpans"][0] for each in self.batches]
        return [span for scope in scopes for span in scope["spans"]]


@contextlib.asynccontextmanager
async def traced(
    world: World, *, chance: float = 0.0
) -> AsyncIterator[tuple[TestClient[Any, Any], Tracer, Collector]]:
    collector, app = Collector(), web.Application()
    app.router.add_post("/v1/traces", collector.take)
    async with TestServer(app) as there:
        told = GuardTracing(endpoint=str(there.make_url("/")), share="0.5")
        tracer = Tracer(world.guard.setup.config, told, chance=lambda: chance)
        users = server.user_app(world.guard, tracer)
        async with TestClient(TestServer(users)) as client:
            yield client, tracer, collector


async def delivered(tracer: Tracer) -> None:
    async with aiohttp.ClientSession() as session:
        await tracer.flush(session)


def attributes(span: dict[str, Any]) -> dict[str, Any]:
    """Return a span's attributes, each as its only value."""
    return {each["key"]: next(iter(each["value"].values())) for each in span["attributes"]}


async def test_a_chat_is_told_with_the_names_of_opentelemetry(world: World) -> None:
    asked = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 9}
    async with traced(world) as (client, tracer, collector):
        reply = await client.post(
            "/v1/chat/completions", json=asked, headers={"traceparent": SAMPLED}
        )
        name = (await reply.json())["id"]
        await delivered(tracer)
    (span,) = collector.spans
    assert span["traceId"] == "0af7651916cd43dd8448eb211c80319c"
    assert span["parentSpanId"] == "b7ad6b7169203331"
    assert span["name"] == "chat support"
    assert int(span["endTimeUnixNano"]) >= int(span["startTimeUnixNano"])
    assert "status" not in span
    assert attributes(span) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "support",
        "gen_ai.response.model": "support-v7",
        "gen_ai.response.id": name,
        "gen_ai.response.finish_reasons": {"values": [{"stringValue": "stop"}]},
        "gen_ai.usage.input_tokens": attributes(span)["gen_ai.usage.input_tokens"],
        "gen_ai.usage.output_tokens": "4",
        "http.response.status_code": "200",
        "rlhf.version": "support-v7",
        "rlhf.verdict": "ok",
    }


@pytest.mark.parametrize(
    ("headers", "chance", "many"),
    [
        ({"traceparent": SAMPLED}, 0.9, 1),
        ({"traceparent": LEFT_OUT}, 0.1, 0),
        ({}, 0.1, 1),
        ({}, 0.9, 0),
        ({"traceparent": "00-nonsense"}, 0.1, 1),
        ({"traceparent": "00-" + "0" * 32 + "-b7ad6b7169203331-01"}, 0.9, 0),
    ],
    ids=["chosen", "left out", "by chance", "not by chance", "no context", "an empty context"],
)
async def test_the_caller_says_what_is_traced_else_chance(
    world: World, headers: dict[str, str], chance: float, many: int
) -> None:
    async with traced(world, chance=chance) as (client, tracer, _):
        await client.post("/v1/completions", json={"prompt": "Hello"}, headers=headers)
        assert len(tracer.waiting) == many


async def test_a_blocked_answer_and_a_failure_are_told_without_what_was_said(
    make_world: MakeWorld,
) -> None:
    world = await make_world(guard={"stages": [a_stage(action="Block")]})
    world.triton.text = "They have a bomb, Whisper."
    async with traced(world) as (client, tracer, collector):
        for stream in (False, True):
            await client.post("/v1/completions", json={"prompt": "Whisper", "stream": stream})
        world.triton.status = 500
        await client.post("/v1/completions", json={"prompt": "Whisper"})
        await client.post("/v1/completions", json={"prompt": ["Whisper", 3]})
        await client.post("/v2/models/model/infer", json={"inputs": "Whisper"})
        await delivered(tracer)
    blocked, streamed, failed, *_ = map(attributes, collector.spans)
    for each in (blocked, streamed):
        assert each["rlhf.verdict"] == "blocked"
        assert each["gen_ai.response.finish_reasons"] == {
            "values": [{"stringValue": "content_filter"}]
        }
    assert failed["error.type"] == "TritonError"
    assert collector.spans[2]["status"] == {"code": 2}
    assert len(collector.spans) == 5
    assert "Whisper" not in json.dumps(collector.batches)


async def test_what_waits_is_bounded_and_a_collector_that_is_away_holds_nobody_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "MOST_WAITING", 2)
    told = GuardTracing(endpoint="http://127.0.0.1:1")
    tracer = Tracer(world.guard.setup.config, told, chance=lambda: 0.0)
    async with TestClient(TestServer(server.user_app(world.guard, tracer))) as client:
        for _ in range(3):
            assert (await client.post("/v1/completions", json={"prompt": "Hi"})).status == 200
        assert len(tracer.waiting) == 2
        await delivered(tracer)
        assert not tracer.waiting
        assert (await client.post("/v1/completions", json={"prompt": "Hi"})).status == 200
