"""Sampling as users meet it: what was served is offered, and serving stays as it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from rlhf_operator.api.samples import SampleEvent
from rlhf_operator.guard import server
from rlhf_operator.guard.remotes.inquiry import NotSetUp
from tests.guard.samples import StubSink, find_mail
from tests.guard.world import MakeWorld, World, a_stage


@pytest.fixture
async def sink() -> AsyncIterator[StubSink]:
    made = StubSink()
    await made.come()
    yield made
    await made.go()


async def a_world(
    make_world: MakeWorld, sink: StubSink, stage: dict[str, Any] | None = None, **changes: Any
) -> World:
    guard = {
        "stages": [stage or a_stage()],
        "sampling": {"provider": "sink", "share": "1", "batch": 1, **changes.pop("sampling", {})},
        "userHeader": "x-user",
        **changes.pop("guard", {}),
    }
    providers = [{"name": "sink", "url": sink.url}]
    world = await make_world(guard=guard, providers=providers, **changes)
    world.guard.sampler._prepare = lambda _recognizers: find_mail
    world.guard.sampler.take(world.guard.setup)
    return world


async def sample(sink: StubSink) -> SampleEvent:
    (event,) = await sink.batches.get()
    assert isinstance(event, SampleEvent)
    return event


@pytest.mark.parametrize(
    ("stream", "parts"),
    [
        pytest.param(False, (), id="whole"),
        pytest.param(True, (), id="whole, sent as a stream"),
        pytest.param(True, ("those people wri", "te to ", "joe@do", "e.org"), id="as it is made"),
    ],
)
async def test_an_answer_that_left_becomes_a_sample(
    make_world: MakeWorld, sink: StubSink, stream: bool, parts: tuple[str, ...]
) -> None:
    world = await a_world(make_world, sink)
    world.triton.text = "those people write to joe@doe.org"
    if parts:
        world.triton.stream(*({"text_output": part, "token_ids": [7]} for part in parts))
    reply = await world.users.post(
        "/v1/chat/completions",
        json={
            "messages": [{"role": "user", "content": "I am jane@doe.org"}],
            "max_tokens": 4,
            "seed": 3,
            "temperature": 0,
            "stream": stream,
        },
        headers={"x-user": "jane", "x-rlhf-arms": "support-v8=50;step=0;run=support-7"},
    )
    await reply.read()
    event = await sample(sink)
    said = event.data
    assert event.subject == reply.headers["x-rlhf-response-id"]
    assert said.prompt == "User: I am [email]\nAssistant:"
    assert said.answer == "those people write to [email]"
    assert (said.about.version, said.about.arm, said.about.step) == ("support-v7", "stable", 0)
    assert (said.probability, said.is_streamed, said.finish_reason) == (1.0, stream, "length")
    assert (said.max_tokens, said.seed, said.temperature, said.answer_tokens) == (4, 3, 0, 4)
    assert said.outcome == "flagged" and said.answer_verdict is not None
    assert said.answer_verdict.categories == ("bias",)
    assert said.user is not None and len(said.user) == 32 and "jane" not in sink.bodies[0]
    assert said.first_byte_seconds is not None and said.seconds >= said.first_byte_seconds >= 0
    await world.guard.sampler.close()
    assert (await world.metrics())['samples_total{outcome="sent"}'] == 1


async def test_tritons_own_api_is_sampled_too(make_world: MakeWorld, sink: StubSink) -> None:
    world = await a_world(make_world, sink)
    reply = await world.users.post("/v2/models/model/generate", json={"text_input": "Hello"})
    event = await sample(sink)
    assert event.subject == reply.headers["x-rlhf-response-id"]
    assert (event.data.prompt, event.data.answer) == ("Hello", world.triton.text)


async def test_a_refused_prompt_is_a_sample_of_its_own(
    make_world: MakeWorld, sink: StubSink
) -> None:
    world = await a_world(make_world, sink, a_stage(appliesTo=["Input"], action="Block"))
    await world.complete("a bomb")
    said = (await sample(sink)).data
    assert (said.outcome, said.prompt_verdict.categories) == ("blocked", ("violence",))
    assert said.answer_verdict is None
    assert said.finish_reason == "content_filter"


@pytest.mark.parametrize(
    ("path", "body", "streams"),
    [
        ("/v1/completions", {"prompt": "a bomb?"}, False),
        ("/v1/completions", {"prompt": "a bomb?", "stream": True}, True),
        ("/v2/models/model/generate", {"text_input": "a bomb?"}, False),
        ("/v2/models/model/generate_stream", {"text_input": "a bomb?"}, True),
    ],
)
async def test_the_sink_is_not_told_what_a_stage_keeps_from_model_or_user(
    make_world: MakeWorld, sink: StubSink, path: str, body: dict[str, Any], streams: bool
) -> None:
    stage = a_stage(appliesTo=["Input", "Output"], action="Redact")
    world = await a_world(make_world, sink, stage)
    world.triton.text = "no bomb here"
    if streams:
        world.triton.stream("no bo", "mb he", "re")
    await (await world.users.post(path, json=body)).read()
    said = (await sample(sink)).data
    assert (said.prompt, said.answer) == ("a [violence]?", "no [violence] here")
    assert (said.outcome, said.is_streamed) == ("redacted", streams)


async def test_a_stream_that_is_stopped_is_a_sample_of_what_had_left(
    make_world: MakeWorld, sink: StubSink
) -> None:
    world = await a_world(
        make_world, sink, a_stage(action="Block"), guard={"streaming": {"holdBack": 10}}
    )
    left = "It is a long story. " * 5
    world.triton.stream(left, "Take a bomb", " and go")
    await (await world.complete(stream=True)).read()
    said = (await sample(sink)).data
    assert said.outcome == "blocked" and said.finish_reason == "content_filter"
    assert said.answer and f"{left}Take a ".startswith(said.answer)


async def test_a_stream_that_breaks_off_is_no_sample(make_world: MakeWorld, sink: StubSink) -> None:
    world = await a_world(make_world, sink)
    world.triton.stream("It is a long story. " * 50, "and", breaks_at=1)
    with pytest.raises(aiohttp.ClientError):
        await (await world.complete(stream=True)).read()
    world.triton.stream("the only one")
    await (await world.complete(stream=True)).read()
    assert (await sample(sink)).data.answer == "the only one"
    assert len(sink.bodies) == 1


async def test_the_fallback_version_hears_of_consent(make_world: MakeWorld, sink: StubSink) -> None:
    heard: list[list[str]] = []

    async def answer(request: web.Request) -> web.Response:
        heard.append(request.headers.getall("x-rlhf-consent") + request.headers.getall("x-ok"))
        return web.json_response({})

    app = web.Application()
    app.router.add_post("/v1/completions", answer)
    async with TestServer(app) as other:
        remote = {"service": {"name": "nobody", "port": 1}, "contract": "OpenAIModeration"}
        world = await a_world(
            make_world,
            sink,
            {
                "name": "remote", "type": "External", "appliesTo": ["Output"], "action": "Block",
                "external": remote,
            },
            guard={"fallback": {"type": "Version"}},
            sampling={"consentHeader": "x-ok"},
            fallback_url=str(other.make_url("")),
            remotes={"remote": NotSetUp()},
        )  # fmt: skip
        await world.users.post(
            "/v1/completions",
            json={"prompt": "Hi"},
            headers=[("x-rlhf-consent", "no"), ("x-ok", "yes"), ("x-ok", "no")],
        )
    assert heard == [["no", "yes", "no"]]


async def test_personal_data_does_not_leave_with_the_guards_own_recognisers(
    make_world: MakeWorld, sink: StubSink
) -> None:
    personal = ("jane@doe.org", "4111 1111 1111 1111", "+49 30 901820")
    world = await make_world(
        guard={"sampling": {"provider": "sink", "share": "1", "batch": 1}},
        providers=[{"name": "sink", "url": sink.url}],
    )
    world.triton.text = f"Pay with {personal[1]}, or call me at {personal[2]}."
    await world.complete(f"I am {personal[0]}")
    await world.guard.sampler.close()
    assert not [each for each in personal if each in "".join(sink.bodies)]
    seen = await world.metrics()
    ends = ("sent", "not_redacted")
    assert [seen[f'samples_total{{outcome="{end}"}}'] for end in ends] == [1, 0]


async def test_errors_and_golden_prompts_are_no_samples(
    make_world: MakeWorld, sink: StubSink
) -> None:
    world = await a_world(make_world, sink)
    world.triton.status = 500
    assert (await world.complete()).status == 502
    assert (await world.operations.post("/golden")).status == 200
    world.triton.status = 200
    await world.complete("the only one")
    assert (await sample(sink)).data.prompt == "the only one"
    assert len(sink.bodies) == 1


async def test_a_dead_sink_changes_no_answer(make_world: MakeWorld, sink: StubSink) -> None:
    world = await a_world(make_world, sink, sampling={"queue": 1})
    await sink.go()
    statuses = [(await world.complete()).status for _ in range(5)]
    assert statuses == [200] * 5
    # One is on its way, one waits, and what comes on top is dropped.
    assert (await world.metrics())['samples_total{outcome="dropped"}'] >= 3
    await world.guard.sampler._sender.close(within=0)


async def test_the_last_samples_leave_before_metrics_and_triton_stop(
    make_world: MakeWorld, sink: StubSink
) -> None:
    operations = unused_port()
    world = await a_world(
        make_world, sink, sampling={"batch": 50, "maxDelay": "1h"}, operationsPort=operations
    )
    sink.gate = asyncio.Event()
    stop = asyncio.Event()
    serving = asyncio.create_task(server.serve(world.guard, stop))
    # It would wait for more.
    await (await world.complete()).read()
    stop.set()
    async with aiohttp.ClientSession() as session:
        while not sink.headers:
            await asyncio.sleep(0.01)
        # Triton waits for the end of this port.
        seen = await (await session.get(f"http://127.0.0.1:{operations}/metrics")).text()
        assert 'rlhf_guard_samples_total{outcome="sent"} 0.0' in seen
        sink.gate.set()
        await serving
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(f"http://127.0.0.1:{operations}/metrics")
    assert (await world.metrics())['samples_total{outcome="sent"}'] == 1
