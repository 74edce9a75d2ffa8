"""Clients that people use, as they are: openai, tritonclient, and bare HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import openai
import pytest
import tritonclient.http as triton_http

from tests.guard.world import INPUTS, MakeWorld, World, a_stage

HELLO: Any = [{"role": "user", "content": "Hello"}]
BLOCK = {"stages": [a_stage(action="Block", appliesTo=["Input", "Output"])]}
REDACT = {"stages": [a_stage(action="Redact", appliesTo=["Input", "Output"])]}


def client(world: World, kind: Any = openai.AsyncOpenAI) -> Any:
    return kind(base_url=str(world.users.make_url("/v1")), api_key="any", max_retries=0)


async def aside(world: World, ask: Callable[[openai.OpenAI], Any]) -> Any:
    """Ask by the client that blocks, beside the loop in which the guard runs."""
    with client(world, openai.OpenAI) as blocking:
        return await asyncio.to_thread(ask, blocking)


async def test_openai_chat_and_completion(make_world: MakeWorld) -> None:
    world = await make_world()
    async with client(world) as ask:
        chat = await ask.chat.completions.create(model="support", messages=HELLO, temperature=0.5)
        assert chat.choices[0].message.content == "A fine answer."
        assert chat.usage.total_tokens == 7
        raw = await ask.completions.with_raw_response.create(model="support", prompt="Hi", n=1)
        assert raw.headers["x-rlhf-version"] == "support-v7"
        assert raw.headers["x-rlhf-verdict"] == "ok"
        completion = raw.parse()
        assert completion.id == raw.headers["x-rlhf-response-id"]
        assert completion.choices[0].finish_reason == "stop"

    def blocking(ask: openai.OpenAI) -> Any:
        return ask.completions.create(model="support", prompt="Hi", seed=3).choices[0].text

    assert await aside(world, blocking) == "A fine answer."


@pytest.mark.parametrize("is_decoupled", [True, False])
async def test_openai_streams(make_world: MakeWorld, is_decoupled: bool) -> None:
    world = await make_world()
    if is_decoupled:
        world.triton.stream("A fine", " answer", ".")
    options = {"include_usage": True}
    async with client(world) as ask:
        stream = await ask.chat.completions.create(
            model="support", messages=HELLO, stream=True, stream_options=options
        )
        chunks = [chunk async for chunk in stream]
        completions = await ask.completions.create(model="support", prompt="Hi", stream=True)
        texts = [chunk.choices[0].text async for chunk in completions]
    said = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(each.delta.content or "" for each in said) == "A fine answer."
    assert said[0].delta.role == "assistant"
    assert said[-1].finish_reason == "stop"
    assert chunks[-1].usage.completion_tokens in (3, 4)
    assert "".join(texts) == "A fine answer."

    def blocking(ask: openai.OpenAI) -> str:
        stream = ask.chat.completions.create(model="support", messages=HELLO, stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    assert await aside(world, blocking) == "A fine answer."


async def test_openai_sees_that_an_answer_was_filtered(make_world: MakeWorld) -> None:
    world = await make_world(guard=BLOCK)
    world.triton.stream("a fine day " * 5, "for a bomb", " and more of it")
    async with client(world) as ask:
        stream = await ask.chat.completions.create(model="support", messages=HELLO, stream=True)
        chunks = [chunk async for chunk in stream]
    assert chunks[-1].choices[0].finish_reason == "content_filter"
    assert chunks[-1].rlhf == {"verdict": "blocked", "categories": ["violence"]}


async def test_openai_raises_what_breaks_midway(make_world: MakeWorld) -> None:
    world = await make_world()
    world.triton.stream("A fine", {"error": "broken"})
    seen = []

    async def listen() -> None:
        stream = await ask.chat.completions.create(model="support", messages=HELLO, stream=True)
        async for chunk in stream:
            seen.append(chunk.choices[0].delta.content)  # noqa: PERF401 - it breaks off

    async with client(world) as ask:
        with pytest.raises(openai.APIError, match="the model server failed"):
            await listen()
    assert seen == ["", "A fine"]

    def blocking(ask: openai.OpenAI) -> None:
        list(ask.completions.create(model="support", prompt="Hi", stream=True))

    with pytest.raises(openai.APIError, match="the model server failed"):
        await aside(world, blocking)


@pytest.mark.parametrize(
    ("asked", "changes", "raised"),
    [
        pytest.param({"n": 2}, {}, openai.BadRequestError, id="what we cannot do"),
        pytest.param({"top_p": 0.5}, {}, openai.BadRequestError, id="what the backend cannot do"),
        pytest.param({"model": "other"}, {}, openai.BadRequestError, id="another model"),
        pytest.param(
            {}, {"status": 400, "error": "x: invalid request: too long"}, openai.BadRequestError,
            id="what the model refuses",
        ),
        pytest.param({}, {"status": 500}, openai.InternalServerError, id="a failing model"),
        pytest.param({"prompt": "x" * 2_000_000}, {}, openai.APIStatusError, id="too large"),
    ],
)  # fmt: skip
async def test_openai_raises_its_own_errors(
    make_world: MakeWorld, asked: dict[str, Any], changes: dict[str, Any], raised: type[Exception]
) -> None:
    world = await make_world()
    for name, value in changes.items():
        setattr(world.triton, name, value)
    async with client(world) as ask:
        for is_stream in (False, True):
            with pytest.raises(raised) as error:
                await ask.completions.create(
                    **{"model": "support", "prompt": "Hi", "stream": is_stream, **asked}
                )
            assert error.value.body["message"]  # type: ignore[attr-defined]


async def test_openai_lists_models(make_world: MakeWorld) -> None:
    world = await make_world()
    async with client(world) as ask:
        assert [each.id async for each in await ask.models.list()] == ["support"]
        assert (await ask.models.retrieve("support")).owned_by == "rlhf"
        with pytest.raises(openai.NotFoundError):
            await ask.models.retrieve("other")


async def test_what_vllm_can_do_is_passed_to_it(make_world: MakeWorld) -> None:
    world = await make_world()
    inputs = ("text_input", "stream", "sampling_parameters", "exclude_input_in_output")
    world.triton.stream("A fine", " answer", inputs=inputs)
    async with client(world) as ask:
        await ask.completions.create(
            model="support", prompt="Hi", top_p=0.5, presence_penalty=1, stop=["x"], max_tokens=9
        )
    [asked] = world.triton.asked
    assert json.loads(asked.pop("sampling_parameters")) == {
        "max_tokens": 9, "top_p": 0.5, "presence_penalty": 1.0, "stop": ["x"],
    }  # fmt: skip
    assert asked == {"text_input": "Hi", "stream": True}
    # Another Triton may have come up with another model.
    world.triton.is_ready = False
    await world.users.get("/healthz/ready")
    world.triton.stream("A fine", " answer", inputs=(*INPUTS, "top_p"))
    async with client(world) as ask:
        await ask.completions.create(model="support", prompt="Hi", top_p=0.5)
    assert world.triton.asked[-1]["top_p"] == 0.5


def infer(address: str, prompts: list[str], *, is_binary: bool) -> list[str]:
    with triton_http.InferenceServerClient(address) as ask:
        given = triton_http.InferInput("text_input", [len(prompts), 1], "BYTES")
        texts = np.array([[each.encode()] for each in prompts], dtype=np.object_)
        given.set_data_from_numpy(texts, binary_data=is_binary)
        wanted = [triton_http.InferRequestedOutput("text_output", binary_data=is_binary)]
        found = ask.infer("model", [given], outputs=wanted).as_numpy("text_output")
        return [each if isinstance(each, str) else each.decode() for each in found.reshape(-1)]


@pytest.mark.parametrize("is_binary", [True, False])
async def test_tritonclient_infers_through_the_guard(
    make_world: MakeWorld, is_binary: bool
) -> None:
    world = await make_world(guard=REDACT)
    address = f"{world.users.host}:{world.users.port}"
    world.triton.echoes = True
    world.triton.text = "you said"
    for prompts, texts in (
        (["Hello", "there"], ["you said Hello", "you said there"]),
        (["a bomb", "fine"], ["you said a [violence]", "you said fine"]),
    ):
        found = await asyncio.to_thread(infer, address, prompts, is_binary=is_binary)
        assert found == texts
    # What the model makes is redacted as well, in the form in which it came.
    world.triton.text = "slur \u00e9, bomb \u7206 and"
    found = await asyncio.to_thread(infer, address, ["Hello", "x"], is_binary=is_binary)
    redacted = "[bias] \u00e9, [violence] \u7206 and"
    assert found == [f"{redacted} Hello", f"{redacted} x"]
    seen = await world.metrics()
    assert seen["redacted_responses_total"] == 2
    assert seen["unsafe_served_responses_total"] == 0


async def spoken(world: World, sent: bytes) -> bytes:
    """Say this on a bare connection; return all that comes until it is closed."""
    reader, writer = await asyncio.open_connection(world.users.host, world.users.port)
    writer.write(sent)
    said = await reader.read()
    writer.close()
    return said


def a_request(body: dict[str, Any], version: str = "1.1") -> bytes:
    data = json.dumps(body).encode()
    head = (
        f"POST /v1/completions HTTP/{version}\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + data


async def test_bare_http_sees_where_a_stream_ends_and_where_it_breaks(
    make_world: MakeWorld,
) -> None:
    world = await make_world()
    world.triton.stream("A fine", " answer")
    said = await spoken(world, a_request({"prompt": "Hi", "stream": True}))
    assert said.startswith(b"HTTP/1.1 200 OK\r\n")
    assert said.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    world.triton.stream("A fine", {"error": "broken"})
    said = await spoken(world, a_request({"prompt": "Hi", "stream": True}))
    assert b'data: {"error"' in said
    assert not said.endswith(b"0\r\n\r\n")
    assert b"[DONE]" not in said


async def test_bare_http_of_the_old_version_gets_a_stream_too(make_world: MakeWorld) -> None:
    world = await make_world()
    world.triton.stream("A fine", " answer")
    said = await spoken(world, a_request({"prompt": "Hi", "stream": True}, "1.0"))
    assert said.endswith(b"data: [DONE]\n\n")
