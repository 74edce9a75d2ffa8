"""The guard's stages as a service, asked by the real OpenAI client and in LiteLLM's form."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from tests.guard.remotes.conftest import make_service as make_service
from tests.guard.remotes.conftest import service as service
from tests.guard.remotes.services import OPENAI, StubService, litellm
from tests.guard.remotes.services import openai as moderation
from tests.guard.remotes.test_inquiry import a_stage as a_service_stage
from tests.guard.world import MakeWorld, World, a_stage

BOTH = ["Input", "Output"]
LITELLM = "/beta/litellm_basic_guardrail_api"


def stages(*given: dict[str, Any]) -> dict[str, Any]:
    return {"stages": list(given)}


async def moderated(world: World, given: Any, **extra: Any) -> Any:
    """Ask by OpenAI's own client."""
    url = str(world.users.make_url("/v1"))
    async with openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as client:
        return await client.moderations.create(input=given, extra_body=extra or None)


async def test_the_openai_client_reads_the_answer(make_world: MakeWorld) -> None:
    world = await make_world(guard=stages(a_stage(appliesTo=BOTH)))
    answer = await moderated(world, "how to build a bomb")
    (result,) = answer.results
    assert (answer.model, answer.id[:5], result.flagged) == ("support", "modr-", True)
    told = result.to_dict()
    assert told["categories"] == {"bias": False, "violence": True}
    assert told["category_scores"] == {"bias": 0.0, "violence": 1.0}
    assert told["category_applied_input_types"] == {"bias": ["text"], "violence": ["text"]}


@pytest.mark.parametrize(
    ("given", "flagged"),
    [
        pytest.param("hello", [False], id="a text"),
        pytest.param(["hello", "a bomb", ""], [False, True, False], id="several texts"),
        pytest.param([{"type": "text", "text": "a"}, {"type": "text", "text": "bomb"}], [True],
                     id="parts of one message"),
    ],
)  # fmt: skip
async def test_each_input_has_its_result(
    make_world: MakeWorld, given: Any, flagged: list[bool]
) -> None:
    world = await make_world(guard=stages(a_stage(appliesTo=BOTH)))
    answer = await moderated(world, given)
    assert [result.flagged for result in answer.results] == flagged


async def test_the_direction_chooses_the_stages(make_world: MakeWorld) -> None:
    world = await make_world(guard=stages(a_stage(appliesTo=["Output"])))
    for extra, flagged in (({}, False), ({"direction": "input"}, False),
                           ({"direction": "Output"}, True)):  # fmt: skip
        answer = await moderated(world, "a bomb", **extra)
        assert answer.results[0].flagged is flagged
        assert set(answer.results[0].to_dict()["categories"]) == {"bias", "violence"}


@pytest.mark.parametrize(
    "body",
    [
        {}, {"input": None}, {"input": []}, {"input": [1]}, {"input": ["x"] * 65},
        {"input": [{"type": "image_url", "image_url": {"url": "data:"}}]},
        {"input": ["a", {"type": "text", "text": "b"}]},
        {"input": "secret words", "direction": "sideways"}, {"input": "secret words", "unknown": 1},
    ],
)  # fmt: skip
async def test_what_cannot_be_judged_is_refused(world: World, body: dict[str, Any]) -> None:
    reply = await world.users.post("/v1/moderations", json=body)
    assert reply.status == 400
    assert "secret words" not in await reply.text()


async def test_a_text_of_any_size_is_not_taken(make_world: MakeWorld) -> None:
    world = await make_world(limits={"bodyBytes": 1024})
    for path in ("/v1/moderations", LITELLM):
        reply = await world.users.post(path, json={"input": "x" * 2000, "texts": ["x" * 2000]})
        assert reply.status == 413


async def test_real_scores_are_told(make_world: MakeWorld, service: StubService) -> None:
    service.answer = lambda _: moderation("hate", score=0.4)
    categories = [{"category": "hate"}, {"category": "violence", "atLeast": "0.5"}]
    given = {**OPENAI, "categories": categories}
    world = await make_world(
        guard=stages(a_stage(appliesTo=BOTH), a_service_stage(given, service.port))
    )
    told = (await moderated(world, "a bomb")).results[0].to_dict()
    assert told["categories"] == {"bias": False, "hate": True, "other": False, "violence": True}
    assert told["category_scores"] == {"bias": 0.0, "hate": 0.4, "other": 0.0, "violence": 1.0}


@pytest.mark.parametrize("policy", ["Closed", "Open"])
async def test_what_was_not_judged_is_never_called_harmless(
    make_world: MakeWorld, service: StubService, policy: str
) -> None:
    service.status = 503
    stage = a_service_stage(OPENAI, service.port, failurePolicy=policy)
    world = await make_world(guard=stages(stage))
    rail = await world.users.post(LITELLM, json={"texts": ["hello"], "input_type": "request"})
    if policy == "Closed":
        with pytest.raises(openai.InternalServerError) as caught:
            await moderated(world, "hello")
        assert caught.value.status_code == 503
        assert (await rail.json())["action"] == "BLOCKED"
    else:
        told = (await moderated(world, "hello")).results[0].to_dict()
        assert (told["flagged"], told["unjudged_by"]) == (False, ["asked"])
        assert (await rail.json())["action"] == "NONE"


async def test_nothing_is_counted(make_world: MakeWorld, service: StubService) -> None:
    service.status = 503
    stage = a_service_stage(OPENAI, service.port, failurePolicy="Open")
    world = await make_world(guard=stages(a_stage(appliesTo=BOTH), stage))
    before = await world.metrics()
    await moderated(world, "a bomb")
    await world.users.post(LITELLM, json={"texts": ["a bomb"], "input_type": "response"})
    assert await world.metrics() == before
    assert len(service.asked) == 2


async def test_requests_in_flight_are_limited_with_all_others(
    make_world: MakeWorld, service: StubService
) -> None:
    service.gate = asyncio.Event()
    stage = a_service_stage(OPENAI, service.port, timeout="30s")
    world = await make_world(guard={"stages": [stage], "budget": "30s"}, limits={"concurrency": 1})
    first = asyncio.create_task(moderated(world, "hello"))
    while not service.asked:
        await asyncio.sleep(0.005)
    for path in ("/v1/moderations", LITELLM, "/v1/completions"):
        reply = await world.users.post(path, json={"input": "x"})
        assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
        assert (await reply.json())["error"]["code"] == "overloaded"
    service.gate.set()
    assert (await first).results[0].flagged is False
    assert (await moderated(world, "hello")).results[0].flagged is False


async def test_judging_has_a_longest_time(make_world: MakeWorld, service: StubService) -> None:
    service.is_dead = True
    stage = a_service_stage(OPENAI, service.port, timeout="30s")
    world = await make_world(
        guard={"stages": [stage], "budget": "30s"}, limits={"timeoutSeconds": 0.05}
    )
    reply = await world.users.post("/v1/moderations", json={"input": "x"})
    assert (reply.status, (await reply.json())["error"]["code"]) == (504, "timeout")
    assert world.guard.load.in_flight == 0


@pytest.mark.parametrize("path", ["/v1/moderations", LITELLM, "/v1/completions"])
async def test_a_body_that_does_not_come_is_not_waited_for(
    make_world: MakeWorld, path: str
) -> None:
    world = await make_world(limits={"bodySeconds": 0.05})

    async def endless() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    reply = await world.users.post(path, data=endless())
    assert (reply.status, (await reply.json())["error"]["code"]) == (408, "timeout")
    assert world.guard.load.in_flight == 0


async def test_it_goes_on_while_answers_are_refused(make_world: MakeWorld) -> None:
    block = a_stage(appliesTo=BOTH, action="Block")
    world = await make_world(guard=stages(block), refuse=True)
    assert (await world.complete()).status == 503
    assert (await moderated(world, "a bomb")).results[0].flagged is True
    asked = {"texts": ["a bomb"], "input_type": "request"}
    reply = await world.users.post(LITELLM, json=asked)
    assert (reply.status, (await reply.json())["action"]) == (200, "BLOCKED")
    assert world.triton.asked == []


CALL = {"id": "c", "type": "function", "function": {"name": "send", "arguments": '{"a": "bomb"}'}}


@pytest.mark.parametrize(
    ("action", "asked", "expected"),
    [
        pytest.param("Block", {"texts": ["hello"]}, {"action": "NONE"}, id="harmless"),
        pytest.param("Flag", {"texts": ["a bomb"]}, {"action": "NONE"}, id="flagged"),
        pytest.param("Block", {"texts": ["hello", "a bomb"]},
                     {"action": "BLOCKED", "blocked_reason": "found: violence"}, id="blocked"),
        pytest.param("Redact", {"texts": ["hello", "a bomb!"]},
                     {"action": "GUARDRAIL_INTERVENED", "texts": ["hello", "a [violence]!"]},
                     id="redacted, in the order of the texts"),
        pytest.param("Redact", {"texts": ["hello"], "tool_calls": [CALL]},
                     {"action": "BLOCKED",
                      "blocked_reason": "the call of a tool would have to be rewritten"},
                     id="a tool's call cannot be redacted"),
        pytest.param("Block", {"texts": [], "tool_calls": [CALL]},
                     {"action": "BLOCKED", "blocked_reason": "found: violence"}, id="tools"),
        pytest.param("Block", {"texts": [], "tool_calls": [{"custom": {"input": "a bomb"}}]},
                     {"action": "BLOCKED", "blocked_reason": "found: violence"},
                     id="a tool of another type"),
        pytest.param("Block", {"texts": [], "tools": [{"function": {"parameters": {"bomb": {}}}}]},
                     {"action": "BLOCKED", "blocked_reason": "found: violence"},
                     id="the description of a tool"),
        pytest.param("Flag", {"texts": ["hello"], "images": ["aGk="]},
                     {"action": "BLOCKED", "blocked_reason": "images cannot be judged"},
                     id="an image"),
        pytest.param("Block", {"texts": [], "images": [], "tool_calls": None, "tools": []},
                     {"action": "NONE"}, id="nothing at all"),
    ],
)  # fmt: skip
async def test_what_litellm_is_told(
    make_world: MakeWorld, action: str, asked: dict[str, Any], expected: dict[str, Any]
) -> None:
    world = await make_world(guard=stages(a_stage(appliesTo=BOTH, action=action)))
    reply = await world.users.post(
        LITELLM, json={"input_type": "request", "request_data": {}, "litellm_version": "1", **asked}
    )
    assert (reply.status, await reply.json()) == (200, expected)


@pytest.mark.parametrize("kind", ["request", "response"])
async def test_litellm_says_whose_words_they_are(make_world: MakeWorld, kind: str) -> None:
    world = await make_world(guard=stages(a_stage(appliesTo=["Output"], action="Block")))
    reply = await world.users.post(LITELLM, json={"texts": ["a bomb"], "input_type": kind})
    assert (await reply.json())["action"] == ("BLOCKED" if kind == "response" else "NONE")


@pytest.mark.parametrize(
    "body",
    [{}, {"texts": ["a bomb"]}, {"input_type": "request"},
     {"texts": None, "input_type": "request"}, {"texts": "a bomb", "input_type": "request"},
     {"texts": ["a bomb"], "input_type": "both"}, {"texts": ["x"] * 1001, "input_type": "request"},
    {"texts": [], "tool_calls": [{}] * 1001, "input_type": "request"},
     {"texts": [], "input_type": "request", "tool_calls": [{"function": {"arguments": {}}}]}],
)  # fmt: skip
async def test_what_litellm_must_not_leave_out(world: World, body: dict[str, Any]) -> None:
    reply = await world.users.post(LITELLM, json=body)
    assert reply.status == 400
    assert "bomb" not in await reply.text()


async def test_one_guard_can_ask_another(make_world: MakeWorld) -> None:
    """Both sides of LiteLLM's contract are ours, so they must understand each other."""
    asked = await make_world(guard=stages(a_stage(appliesTo=BOTH, action="Redact")))
    stage = a_service_stage(litellm(), asked.users.port or 0, action="Redact", appliesTo=["Output"])
    world = await make_world(guard=stages(stage))
    for text, served in (("a bomb!", "a [violence]!"), ("a fine day", "a fine day")):
        world.triton.text = text
        assert (await (await world.complete()).json())["choices"][0]["text"] == served
