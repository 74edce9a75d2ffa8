"""Whose fault it is that Triton refuses what a client sent by its own API."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from rlhf_operator.guard import triton
from tests.guard.world import MakeWorld, World, a_stage

MODEL = "/v2/models/model"
INFER = {"inputs": [{"name": "text_input", "datatype": "BYTES", "shape": [1, 1], "data": ["Hi"]}]}
VERBS: dict[str, Any] = {
    "generate": {"text_input": "Hi", "temperature": -7},
    "generate_stream": {"text_input": "Hi", "max_tokens": "many"},
    "infer": INFER,
}
EACH_VERB = pytest.mark.parametrize("verb", VERBS)


async def ask(world: World, verb: str) -> tuple[int, str]:
    reply = await world.users.post(f"{MODEL}/{verb}", json=VERBS[verb])
    return reply.status, await reply.text()


@EACH_VERB
@pytest.mark.parametrize("is_decoupled", [False, True])
@pytest.mark.parametrize("status", [400, 404, 429, 500])
async def test_where_the_model_answers_others_the_request_was_wrong(
    world: World, verb: str, is_decoupled: bool, status: int
) -> None:
    if is_decoupled:
        world.triton.stream("Yes.")
    world.triton.status, world.triton.error = status, "temperature: at least 0"
    told, text = await ask(world, verb)
    assert (told, world.triton.plain) == (400, 1)
    assert "at least 0" in text
    seen = await world.metrics()
    # The plain question is nobody's.
    assert (seen["requests_total"], seen["errors_total"], seen["responses_total"]) == (1, 0, 0)


@EACH_VERB
@pytest.mark.parametrize("is_decoupled", [False, True])
@pytest.mark.parametrize("status", [400, 500])
async def test_where_the_model_answers_nobody_the_version_is_at_fault(
    world: World, verb: str, is_decoupled: bool, status: int
) -> None:
    if is_decoupled:
        world.triton.stream("Yes.")
    world.triton.status, world.triton.is_sound = status, False
    told, text = await ask(world, verb)
    assert (told, "secret prompt" in text) == (502, False)
    seen = await world.metrics()
    assert (seen["requests_total"], seen["errors_total"]) == (1, 1)


async def test_wrong_requests_ask_the_model_no_more_than_once_a_second(world: World) -> None:
    now = 0.0
    world.guard.triton._sound._clock = lambda: now
    world.triton.status = 400
    for _ in range(5):
        assert [each for each, _ in await asyncio.gather(*(ask(world, v) for v in VERBS))] == [
            400
        ] * 3
    assert world.triton.plain == 1
    now, world.triton.is_sound = 1.0, False
    assert (await ask(world, "infer"))[0] == 502
    assert world.triton.plain == 2


async def test_a_model_without_prompts_is_not_asked(make_world: MakeWorld) -> None:
    world = await make_world(guard={})
    world.triton.config = {"input": [{"name": "pixels"}]}
    world.triton.status, world.triton.is_sound = 400, False
    assert (await ask(world, "infer"))[0] == 400
    assert world.triton.plain == 0


async def test_a_model_that_is_slow_is_not_broken(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triton, "_SOUND_SECONDS", 0.05)
    world.triton.raw = web.Response(status=501, text="decoupled")
    world.triton.gate = asyncio.Event()
    assert (await ask(world, "infer"))[0] == 400
    assert (await world.metrics())["errors_total"] == 0


async def test_who_reads_what_is_not_there_costs_the_model_nothing(world: World) -> None:
    assert (await world.users.get("/v2/models/other")).status == 400
    assert world.triton.plain == 0


async def test_what_triton_says_passes_the_stages(make_world: MakeWorld) -> None:
    world = await make_world(guard={"stages": [a_stage(action="Block")]})
    world.triton.status, world.triton.error = 400, "no bomb today"
    assert "bomb" not in (await ask(world, "infer"))[1]
