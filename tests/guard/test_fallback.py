"""Who answers where this version's answer could not be judged."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from rlhf_operator.guard import fallback, v2
from rlhf_operator.guard.state import VERDICT_HEADER
from tests.guard.test_stream import Service, ends, judged_by_service, read_until
from tests.guard.test_v2 import binary
from tests.guard.world import MakeWorld, World

MESSAGE = "Not now."


async def pair(make_world: MakeWorld, **changes: Any) -> tuple[World, World]:
    """Return a guard that cannot judge what is broken, and its fallback, which can."""
    floor = await make_world(version="support-sft")
    floor.triton.text = "The floor answers."
    spec = judged_by_service(fallback={"type": "Version", "message": MESSAGE})
    url = str(floor.users.make_url("")).rstrip("/")
    told = {"guard": spec, "fallbackUrl": url, **changes}
    world = await make_world(remotes={"service": Service()}, **told)
    world.triton.text = "broken"
    return world, floor


@pytest.mark.parametrize("is_decoupled", [True, False])
@pytest.mark.parametrize("is_stream", [True, False])
async def test_the_fallback_version_answers_in_its_own_name(
    make_world: MakeWorld, is_stream: bool, is_decoupled: bool
) -> None:
    world, floor = await pair(make_world)
    if is_decoupled:
        world.triton.stream("bro", "ken")
    floor.triton.stream("The floor", " answers.")
    reply = await world.complete(stream=is_stream, max_tokens=7)
    text = await reply.text()
    assert ("data: [DONE]" in text) == is_stream
    assert "The floor" in text
    assert "broken" not in text
    assert reply.headers["x-rlhf-version"] == "support-sft"
    assert reply.headers["x-rlhf-verdict"] == "ok"
    assert reply.headers["x-rlhf-response-id"] in text
    assert floor.triton.asked[0]["max_tokens"] == 7
    mine, its = await world.metrics(), await floor.metrics()
    assert (mine["withheld_total"], mine["responses_total"]) == (1, 1)
    assert mine["response_length_tokens_count"] == 0
    assert mine["errors_total"] == mine["blocked_responses_total"] == 0
    assert its["responses_total"] == its["generated_responses_total"] == 1
    assert ends(mine) == ({"withheld": 1} if is_stream else {})


async def test_a_withheld_prompt_goes_to_the_fallback_too(make_world: MakeWorld) -> None:
    floor = await make_world(version="support-sft")
    spec = judged_by_service(fallback={"type": "Version", "message": MESSAGE})
    spec["stages"][0]["appliesTo"] = ["Input"]
    url = str(floor.users.make_url(""))
    world = await make_world(guard=spec, remotes={"service": Service()}, fallbackUrl=url)
    reply = await world.complete("broken")
    assert reply.headers["x-rlhf-version"] == "support-sft"
    assert (world.triton.asked, len(floor.triton.asked)) == ([], 1)


HI = {"name": "text_input", "datatype": "BYTES", "shape": [1, 1], "data": ["Hi"]}
WANTED = [{"name": "text_output", "parameters": {"binary_data": True}}]
TWO = {**HI, "shape": [2, 1], "data": ["Hi", "Ho"]}


@pytest.mark.parametrize(
    ("verb", "asked", "count"),
    [
        pytest.param("generate", {"text_input": "Hi"}, 1, id="generate"),
        pytest.param("generate_stream", {"text_input": "Hi"}, 1, id="generate_stream"),
        pytest.param("infer", {"inputs": [HI]}, 1, id="infer"),
        pytest.param("infer", {"inputs": [HI], "outputs": WANTED}, 1, id="infer, binary"),
        pytest.param("infer", {"inputs": [TWO]}, 2, id="a batch"),
    ],
)
async def test_tritons_own_api_is_answered_by_the_fallback_version_too(
    make_world: MakeWorld, verb: str, asked: dict[str, Any], count: int
) -> None:
    world, floor = await pair(make_world)
    plain = await floor.users.post(f"/v2/models/model/{verb}", json=asked)
    reply = await world.users.post(f"/v2/models/model/{verb}", json=asked)
    assert await reply.read() == await plain.read() != b""
    for name in ("Content-Type", v2.HEADER_LENGTH, "x-rlhf-version", "x-rlhf-verdict"):
        assert reply.headers.get(name) == plain.headers.get(name)
    mine = await world.metrics()
    assert (mine["withheld_total"], mine["responses_total"]) == (count, count)
    assert mine["blocked_responses_total"] == mine["errors_total"] == 0
    assert ends(mine) == ({"withheld": 1} if verb == "generate_stream" else {})


async def test_binary_tensors_reach_the_fallback_as_they_came(make_world: MakeWorld) -> None:
    world, floor = await pair(make_world)
    body, length = binary("Hi", "inputs", "text_input")
    headers = {v2.HEADER_LENGTH: length}
    reply = await world.users.post("/v2/models/model/infer", data=body, headers=headers)
    assert reply.headers["x-rlhf-version"] == "support-sft"
    assert floor.triton.asked[0]["body"].endswith(body[int(length) :])


@pytest.mark.parametrize("verb", ["generate", "generate_stream", "infer"])
async def test_where_the_fallback_fails_tritons_own_api_gives_the_message(
    make_world: MakeWorld, verb: str
) -> None:
    world, floor = await pair(make_world)
    floor.triton.status, floor.triton.is_sound = 400, False
    asked = {"inputs": [HI]} if verb == "infer" else {"text_input": "Hi"}
    reply = await world.users.post(f"/v2/models/model/{verb}", json=asked)
    assert MESSAGE in await reply.text()
    assert reply.headers["x-rlhf-version"] == "support-v7"
    seen = await world.metrics()
    assert seen["withheld_total"] == seen["responses_total"] == 1


@pytest.mark.parametrize("is_stream", [True, False])
async def test_where_the_fallback_fails_its_message_is_read(
    make_world: MakeWorld, is_stream: bool
) -> None:
    world, floor = await pair(make_world)
    floor.triton.status = 500
    reply = await world.complete(stream=is_stream)
    assert "Not" in await reply.text()
    assert reply.headers["x-rlhf-verdict"] == "withheld"
    assert reply.headers["x-rlhf-version"] == "support-v7"
    await floor.users.close()
    assert "Not" in await (await world.complete(stream=is_stream)).text()
    seen = await world.metrics()
    assert seen["withheld_total"] == seen["responses_total"] == 2


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        pytest.param({}, "Nobody judged me.", id="no verdict"),
        pytest.param({VERDICT_HEADER: "ok"}, "", id="no answer"),
    ],
)
async def test_what_no_guard_answered_is_not_passed_on(
    make_world: MakeWorld, headers: dict[str, str], body: str
) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=body, headers=headers)

    other = web.Application()
    other.router.add_post("/v1/completions", answer)
    async with TestServer(other) as server:
        world, _ = await pair(make_world, fallbackUrl=str(server.make_url("")))
        reply = await (await world.complete()).json()
    assert reply["choices"][0]["text"] == MESSAGE
    seen = await world.metrics()
    assert seen["withheld_total"] == seen["responses_total"] == 1


async def test_a_user_who_leaves_before_it_answers_is_counted_once(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone(web.StreamResponse):
        async def prepare(self, _request: web.BaseRequest) -> None:
            raise ConnectionResetError

    world, _ = await pair(make_world)
    monkeypatch.setattr(fallback, "web", SimpleNamespace(StreamResponse=Gone))
    await world.complete()
    seen = await world.metrics()
    assert seen["withheld_total"] == seen["responses_total"] == 1


async def test_a_fallback_that_breaks_off_gives_no_end(make_world: MakeWorld) -> None:
    world, floor = await pair(make_world)
    floor.triton.stream("The floor", {"error": "broken"})
    reply = await world.complete(stream=True)
    await read_until(reply, b"error")
    with pytest.raises(aiohttp.ClientPayloadError):
        await reply.read()
    assert (await world.metrics())["errors_total"] == 1


async def test_nothing_is_passed_on_twice(make_world: MakeWorld) -> None:
    world, floor = await pair(make_world)
    reply = await world.users.post(
        "/v1/completions", json={"prompt": "Hi"}, headers={fallback.HEADER: "1"}
    )
    assert (await reply.json())["choices"][0]["text"] == MESSAGE
    assert floor.triton.asked == []


async def test_without_it_the_message_is_read(make_world: MakeWorld) -> None:
    spec = judged_by_service(fallback={"type": "Message", "message": MESSAGE})
    world = await make_world(
        guard=spec, remotes={"service": Service()}, fallbackUrl="http://127.0.0.1:1"
    )
    world.triton.text = "broken"
    assert (await (await world.complete()).json())["choices"][0]["text"] == MESSAGE
