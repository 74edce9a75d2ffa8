"""What a user gets of an answer that streams, what is counted, and what becomes of the model."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from rlhf_operator.guard import stream as guard_stream
from rlhf_operator.guard import triton as guard_triton
from rlhf_operator.guard.pipeline import CannotJudge
from rlhf_operator.guard.verdict import Found, Judgement, Unjudged
from tests.guard.world import MakeWorld, World, a_stage

BOTH = ["Input", "Output"]
V2 = "/v2/models/model/generate_stream"


def guarding(action: str, words: list[str], patterns: list[str] | None = None) -> dict[str, Any]:
    rules = [{"category": "bad", "keywords": words, "patterns": patterns or []}]
    return {"stages": [a_stage(action=action, appliesTo=BOTH, rules=rules)]}


BLOCK, REDACT, FLAG = (guarding(action, ["bomb"]) for action in ("Block", "Redact", "Flag"))


async def ask(world: World, **changes: Any) -> aiohttp.ClientResponse:
    asked = {"messages": [{"role": "user", "content": "Hi"}], "stream": True, **changes}
    return await world.users.post("/v1/chat/completions", json=asked)


async def read(reply: aiohttp.ClientResponse) -> tuple[str, list[Any], bool]:
    """Return the text, all events, and whether the stream had a proper end."""
    try:
        lines = [line for line in (await reply.text()).split("\n\n") if line]
        is_whole = lines[-1] == "data: [DONE]"
    except aiohttp.ClientPayloadError:
        return "", [], False
    data = [json.loads(line.removeprefix("data: ")) for line in lines if "[DONE]" not in line]
    choices = [event["choices"][0] for event in data if event.get("choices")]
    return "".join(each["delta"].get("content", "") for each in choices), data, is_whole


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


async def read_until(reply: aiohttp.ClientResponse, end: bytes) -> bytes:
    seen = b""
    while end not in seen:
        piece = await reply.content.readany()
        assert piece, seen
        seen += piece
    return seen


def ends(seen: dict[str, float]) -> dict[str, float]:
    prefix = 'streams_total{end="'
    return {
        name.removeprefix(prefix)[:-2]: value
        for name, value in seen.items()
        if name.startswith(prefix) and value
    }


async def test_text_leaves_while_the_model_goes_on(make_world: MakeWorld) -> None:
    world = await make_world(guard=FLAG)
    world.triton.stream("Hello", " there", ".", gate_at=2, gate=asyncio.Event())
    reply = await ask(world, max_tokens=8)
    first = await read_until(reply, b"there")
    assert b"[DONE]" not in first
    assert world.triton.asked == [
        {"text_input": "User: Hi\nAssistant:", "max_tokens": 8, "stream": True}
    ]
    assert world.triton.gate is not None
    world.triton.gate.set()
    assert b"[DONE]" in await reply.read()
    seen = await world.metrics()
    assert ends(seen) == {"complete": 1}
    assert seen["time_to_first_token_seconds_count"] == seen["responses_total"] == 1


async def test_a_stream_has_what_a_whole_answer_has(make_world: MakeWorld) -> None:
    world = await make_world(guard=BLOCK)
    opening = {"text_output": "", "input_tokens": 7}
    steps = [
        {"text_output": "A fine", "token_ids": [1, 2]},
        {"text_output": " answer", "token_ids": 3},
    ]
    world.triton.stream(opening, *steps)
    reply = await ask(world, stream_options={"include_usage": True})
    text, events, is_whole = await read(reply)
    assert (text, is_whole) == ("A fine answer", True)
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert events[-2]["choices"][0]["finish_reason"] == "stop"
    assert events[-2]["rlhf"] == {"verdict": "ok", "categories": []}
    assert events[-1]["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    assert {event["id"] for event in events} == {reply.headers["x-rlhf-response-id"]}
    assert reply.headers["x-rlhf-verdict"] == "ok"
    seen = await world.metrics()
    assert seen['gen_ai_client_token_usage_total{gen_ai_token_type="input"}'] == 7
    assert seen['gen_ai_client_token_usage_total{gen_ai_token_type="output"}'] == 3
    assert seen["gen_ai_server_time_per_output_token_seconds_count"] == 1
    assert seen["response_length_tokens_sum"] == 3
    assert seen["generated_responses_total"] == 1


async def test_a_blocked_stream_ends_and_is_cancelled(make_world: MakeWorld) -> None:
    world = await make_world(guard=BLOCK)
    fine = "all is well. " * 9
    world.triton.stream(fine, "then a bo", "mb and", " more words to", " come", gate_at=4)
    world.triton.gate = asyncio.Event()
    reply = await ask(world, stream_options={"include_usage": True})
    text, events, is_whole = await read(reply)
    assert is_whole
    assert text
    assert f"{fine}then a ".startswith(text)
    assert events[-2]["choices"][0]["finish_reason"] == "content_filter"
    assert events[-2]["rlhf"] == {"verdict": "blocked", "categories": ["bad"]}
    assert events[-1]["usage"]["completion_tokens"] == len(text.split())
    await until(lambda: world.triton.left == 1)
    seen = await world.metrics()
    assert ends(seen) == {"blocked": 1}
    assert seen["blocked_responses_total"] == seen["responses_total"] == 1
    assert seen["unsafe_generated_responses_total"] == 1
    assert seen["unsafe_served_responses_total"] == 0
    assert seen["streams_escaped_total"] == 0
    assert seen["errors_total"] == 0


async def test_where_nothing_had_left_the_refusal_is_read(make_world: MakeWorld) -> None:
    world = await make_world(guard=BLOCK, refusalText="No.")
    world.triton.stream("a bomb")
    reply = await ask(world)
    text, events, is_whole = await read(reply)
    assert (text, is_whole) == ("No.", True)
    assert events[-1]["choices"][0]["finish_reason"] == "content_filter"
    assert reply.headers["x-rlhf-verdict"] == "blocked"
    assert reply.headers["x-rlhf-categories"] == "bad"
    seen = await world.metrics()
    assert ends(seen) == {"blocked": 1}
    assert seen["responses_total"] == seen["blocked_responses_total"] == 1


async def test_a_blocked_prompt_never_reaches_the_model(make_world: MakeWorld) -> None:
    world = await make_world(guard=BLOCK)
    world.triton.stream("fine")
    reply = await ask(world, messages=[{"role": "user", "content": "a bomb"}])
    assert (await read(reply))[2]
    assert reply.headers["x-rlhf-verdict"] == "blocked"
    assert world.triton.asked == []
    assert ends(await world.metrics()) == {"blocked": 1}


async def test_what_escaped_is_counted_as_served_and_logged_without_its_text(
    make_world: MakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="rlhf_operator")
    world = await make_world(
        guard={**guarding("Block", [], [r"start.{61}stop\b"]), "streaming": {"holdBack": 20}}
    )
    world.triton.stream(*"fine start ", *"-/" * 30, "stop", " right here, ", "and on", " " * 30)
    text, events, is_whole = await read(await ask(world))
    assert is_whole
    assert events[-1]["choices"][0]["finish_reason"] == "content_filter"
    assert "stop" not in text
    seen = await world.metrics()
    assert seen["streams_escaped_total"] == 1
    assert seen['unsafe_served_total{category="bad"}'] == 1
    assert seen["unsafe_served_responses_total"] == seen["blocked_responses_total"] == 1
    assert f"{len(text) - len('fine ')} characters" in caplog.text
    assert "start" not in caplog.text


async def test_redacted_parts_are_replaced_as_they_pass(make_world: MakeWorld) -> None:
    world = await make_world(guard=REDACT)
    world.triton.stream("one bo", "mb, two", " bombs, a bomb", "; ", "fine " * 9, "bomb")
    text, events, _ = await read(await ask(world))
    assert text == "one [bad], two bombs, a [bad]; " + "fine " * 9 + "[bad]"
    assert events[-1]["rlhf"] == {"verdict": "redacted", "categories": ["bad"]}
    seen = await world.metrics()
    assert seen["redacted_responses_total"] == seen["unsafe_generated_responses_total"] == 1
    assert seen['redacted_total{category="bad",direction="output"}'] == 1
    assert seen["unsafe_served_responses_total"] == 0


async def test_flagged_text_leaves_and_is_counted(make_world: MakeWorld) -> None:
    world = await make_world(guard=FLAG)
    world.triton.stream("a bo", "mb")
    reply = await ask(world)
    text, events, _ = await read(reply)
    assert text == "a bomb"
    assert events[-1]["rlhf"] == {"verdict": "flagged", "categories": ["bad"]}
    seen = await world.metrics()
    assert seen["unsafe_served_responses_total"] == seen["unsafe_generated_responses_total"] == 1
    assert seen['stage_decisions_total{decision="flagged",direction="output",stage="words"}'] == 1


@pytest.mark.parametrize(
    ("parts", "changes"),
    [
        pytest.param(["word " * 9, {"error": "secret prompt"}], {}, id="an error"),
        pytest.param(["word " * 9, "more"], {"breaks_at": 1}, id="a broken connection"),
        pytest.param(["word " * 9, {"error": "x: invalid request: secret"}], {}, id="a refusal"),
        pytest.param(["word " * 9, b"data: {"], {}, id="half an event"),
        pytest.param(["word " * 9, b"data: []\n\n"], {}, id="what is no event"),
        pytest.param(["word " * 9, {"text_output": ["a", "b"]}], {}, id="two texts"),
        pytest.param(["word " * 9, "more"], {"gate_at": 1}, id="silence"),
    ],
)
async def test_a_model_that_fails_midway_gives_no_end(
    make_world: MakeWorld,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    parts: list[Any],
    changes: dict[str, Any],
) -> None:
    monkeypatch.setattr(guard_triton, "_SILENT_SECONDS", 0.2)
    world = await make_world(guard=FLAG)
    world.triton.stream(*parts, gate=asyncio.Event(), **changes)
    reply = await ask(world)
    seen = await read_until(reply, b'"error"')
    with pytest.raises(aiohttp.ClientPayloadError):
        await reply.read()
    last = json.loads(seen.split(b"\n\n")[-2].removeprefix(b"data: "))
    assert last["error"]["type"] == "server_error"
    assert b"[DONE]" not in seen
    assert "secret" not in seen.decode() + caplog.text
    counted = await world.metrics()
    assert ends(counted) == {"model_error": 1}
    assert counted["errors_total"] == counted["requests_total"] == 1
    assert counted["request_duration_seconds_count"] == 0
    # What had left was read, and counts.
    assert counted["responses_total"] == counted["generated_responses_total"] == 1


@pytest.mark.parametrize(
    ("parts", "changes", "status"),
    [
        pytest.param([{"error": "secret prompt"}], {}, 502, id="an error at first"),
        pytest.param([], {"status": 400}, 502, id="a failure as Triton tells it"),
        pytest.param([], {"status": 400, "error": "x: invalid request: long"}, 400, id="refused"),
        pytest.param([b""], {}, 502, id="nothing at all"),
        pytest.param([{"output": "bomb"}], {}, 502, id="events without a text"),
        pytest.param(["short", "more"], {"breaks_at": 1}, 502, id="before anything left"),
    ],
)
@pytest.mark.parametrize("is_stream", [True, False])
async def test_what_fails_before_anything_left_has_a_status(
    make_world: MakeWorld, parts: list[Any], changes: dict[str, Any], status: int, is_stream: bool
) -> None:
    world = await make_world(guard=BLOCK)
    world.triton.stream(*parts, **changes)
    reply = await ask(world, stream=is_stream)
    assert reply.status == status
    error = (await reply.json())["error"]
    assert "secret" not in error["message"]
    seen = await world.metrics()
    assert seen["errors_total"] == (status == 502)
    assert seen["responses_total"] == 0
    assert ends(seen) == ({"model_error": 1} if is_stream and status == 502 else {})


@pytest.mark.parametrize("is_stream", [True, False])
async def test_a_model_that_never_ends_fills_no_memory(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, is_stream: bool
) -> None:
    monkeypatch.setattr(guard_triton, "_LONGEST_REPLY", 10_000)
    world = await make_world(guard=guarding("Block", [], ["a{1,1000}b"]))
    world.triton.stream(*["x" * 100] * 200)
    reply = await ask(world, stream=is_stream)
    if is_stream:
        assert b"[DONE]" not in await read_until(reply, b'"error"')
    else:
        assert reply.status == 502
    assert (await world.metrics())["errors_total"] == 1


async def test_it_ends_at_a_stop_sequence_wherever_that_was_cut(make_world: MakeWorld) -> None:
    world = await make_world(guard=BLOCK)
    world.triton.stream("one, t", "wo EN", "D three", gate_at=3, gate=asyncio.Event())
    text, events, _ = await read(await ask(world, stop=["END", "never"]))
    assert text == "one, two "
    assert events[-1]["choices"][0]["finish_reason"] == "stop"
    await until(lambda: world.triton.left == 1)
    assert ends(await world.metrics()) == {"complete": 1}


async def test_a_whole_answer_ends_there_too(make_world: MakeWorld) -> None:
    world = await make_world(guard=BLOCK)
    world.triton.stream("one, t", "wo EN", "D three", gate_at=3, gate=asyncio.Event())
    body = await (await ask(world, stream=False, stop="END")).json()
    assert body["choices"][0]["message"]["content"] == "one, two "
    await until(lambda: world.triton.left == 1)


async def test_a_user_who_leaves_ends_the_models_work(make_world: MakeWorld) -> None:
    world = await make_world(guard=FLAG)
    world.triton.stream("a bomb ", "b", gate_at=1, gate=asyncio.Event())
    reply = await ask(world)
    await read_until(reply, b"bomb")
    reply.close()
    await until(lambda: world.triton.left == 1)
    await until(lambda: world.guard.load.in_flight == 0)
    seen = await world.metrics()
    assert ends(seen) == {"client_gone": 1}
    assert seen["errors_total"] == 0
    assert seen["request_duration_seconds_count"] == 1
    # It was read, whoever left then.
    assert seen["unsafe_served_responses_total"] == seen["responses_total"] == 1


async def test_a_user_who_leaves_before_the_first_word_counts_for_nothing(
    make_world: MakeWorld,
) -> None:
    world = await make_world(guard=BLOCK)
    world.triton.stream("a", "b", gate_at=1, gate=asyncio.Event())
    asked = asyncio.create_task(ask(world))
    await until(lambda: world.triton.sent == 1)
    asked.cancel()
    await until(lambda: world.triton.left == 1)
    await until(lambda: world.guard.load.in_flight == 0)
    seen = await world.metrics()
    assert ends(seen) == {"client_gone": 1}
    assert seen["responses_total"] == seen["generated_responses_total"] == 0


async def test_a_user_who_leaves_a_whole_answer_ends_the_models_work(
    make_world: MakeWorld,
) -> None:
    world = await make_world(guard=FLAG)
    world.triton.stream("a ", "b", gate_at=1, gate=asyncio.Event())
    asked = asyncio.create_task(ask(world, stream=False))
    await until(lambda: world.triton.sent == 1)
    assert world.triton.asked[0]["stream"] is True
    asked.cancel()
    await until(lambda: world.triton.left == 1)


async def test_a_whole_answer_of_a_model_that_streams(make_world: MakeWorld) -> None:
    world = await make_world(guard=FLAG)
    world.triton.stream({"text_output": "a ", "token_ids": [1, 2]}, "b")
    body = await (await ask(world, stream=False)).json()
    assert body["choices"][0]["message"]["content"] == "a b"
    assert body["usage"]["completion_tokens"] == 2


async def test_a_stream_that_takes_too_long_breaks_off(make_world: MakeWorld) -> None:
    world = await make_world(guard=FLAG, limits={"timeoutSeconds": 2})
    world.triton.stream("word ", "more", gate_at=1, gate=asyncio.Event())
    reply = await ask(world)
    with pytest.raises((aiohttp.ClientPayloadError, ConnectionResetError)):
        await reply.read()
    await until(lambda: world.triton.left == 1)
    seen = await world.metrics()
    assert ends(seen) == {"timeout": 1}
    assert seen["errors_total"] == seen["request_duration_seconds_count"] == 1


@pytest.mark.parametrize(("size", "count"), [(100_000, 600), (4_000, 15_000)])
async def test_a_model_is_read_no_faster_than_its_user_reads(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, size: int, count: int
) -> None:
    monkeypatch.setattr(guard_stream, "_STALLED_SECONDS", 1.0)
    world = await make_world(guard=FLAG)
    world.triton.stream(*["x" * size] * count)
    reply = await ask(world)
    # The user takes nothing: what is between it and the model fills up, and no more.
    await until(lambda: world.triton.left == 1)
    assert 0 < world.triton.sent < count * 2 // 3
    seen = await world.metrics()
    assert ends(seen) == {"client_gone": 1}
    assert seen["errors_total"] == 0
    reply.close()


async def test_a_slow_user_gets_all_of_it(make_world: MakeWorld) -> None:
    world = await make_world(guard=BLOCK)
    world.triton.stream(*["word " * 2000] * 100)
    reply = await ask(world)
    seen = b""
    async for piece in reply.content.iter_chunked(4096):
        seen += piece
        await asyncio.sleep(0)
    assert seen.count(b"word ") == 200_000
    assert ends(await world.metrics()) == {"complete": 1}


async def test_halves_of_characters_become_whole_before_they_are_checked(
    make_world: MakeWorld,
) -> None:
    world = await make_world(guard=guarding("Block", ["\u7206\u5f3e"]))
    first, last = "\u7206\u5f3e".encode()[:4], "\u7206\u5f3e".encode()[4:]
    parts = [b'data: {"text_output":"' + each + b'"}\n\n' for each in (first, last)]
    world.triton.stream(*parts)
    assert (await ask(world)).headers["x-rlhf-verdict"] == "blocked"
    world.triton.parts = [b'data: {"text_output":"a\xe7"}\n\n', "\ud83d", "\ude00!"]
    assert (await read(await ask(world)))[0] == "a\ufffd\U0001f600!"


class Service:
    """A classifier that finds a word, and fails at another."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def judge(self, text: str, _direction: str, _said: object) -> Judgement:
        self.asked.append(text)
        if "broken" in text:
            raise CannotJudge(Unjudged.UNREACHABLE)
        return Judgement(found=(Found(category="other"),) if "evil" in text else ())


def judged_by_service(policy: str = "Closed", **changes: Any) -> dict[str, Any]:
    stage = {
        "name": "service",
        "type": "External",
        "appliesTo": ["Output"],
        "action": "Block",
        "failurePolicy": policy,
        "external": {
            "service": {"name": "moderation", "port": 80},
            "contract": "OpenAIModeration",
        },
    }
    return {"stages": [stage], "streaming": {"chunk": 20, "context": 5}, **changes}


async def test_text_waits_until_the_service_said_that_it_may_pass(make_world: MakeWorld) -> None:
    service = Service()
    world = await make_world(guard=judged_by_service(), remotes={"service": service})
    world.triton.stream("0123456789", "abcdefghij", "ABC", "evil", "more")
    text, events, is_whole = await read(await ask(world))
    assert service.asked == ["0123456789abcdefghij", "fghijABCevilmore"]
    assert (text, is_whole) == ("0123456789abcdefghij", True)
    assert events[-1]["rlhf"] == {"verdict": "blocked", "categories": ["other"]}
    assert ends(await world.metrics()) == {"blocked": 1}


@pytest.mark.parametrize(("policy", "left"), [("Closed", 20), ("Open", 26)])
async def test_what_the_service_cannot_judge_goes_by_its_policy(
    make_world: MakeWorld, policy: str, left: int
) -> None:
    world = await make_world(guard=judged_by_service(policy), remotes={"service": Service()})
    world.triton.stream("0123456789", "abcdefghij", "broken")
    text, events, is_whole = await read(await ask(world))
    assert (len(text), is_whole) == (left, True)
    closed = policy == "Closed"
    assert events[-1]["choices"][0]["finish_reason"] == ("content_filter" if closed else "stop")
    assert events[-1]["rlhf"]["verdict"] == ("withheld" if closed else "ok")
    seen = await world.metrics()
    assert ends(seen) == ({"withheld": 1} if closed else {"complete": 1})
    assert seen["withheld_total"] == closed
    assert seen["bypassed_responses_total"] == (not closed)
    assert seen["blocked_responses_total"] == 0


async def test_a_service_that_redacts_sees_what_it_changed_before(make_world: MakeWorld) -> None:
    class Redactor:
        async def judge(self, text: str, _direction: str, _said: object) -> Judgement:
            if "name" not in text:
                return Judgement()
            found = (Found(category="other"),)
            return Judgement(found=found, replacement=text.replace("name", "****"))

    spec = judged_by_service()
    spec["stages"][0] |= {"action": "Redact"}
    spec["stages"][0]["external"] |= {"contract": "LiteLLM"}
    world = await make_world(guard=spec, remotes={"service": Redactor()})
    world.triton.stream("my name is not mine ", "na", "me it is, and my name", " all")
    text, events, _ = await read(await ask(world))
    assert text == "my **** is not mine **** it is, and my **** all"
    assert events[-1]["rlhf"] == {"verdict": "redacted", "categories": ["other"]}
    # What began in text that has passed takes the rest of its chunk along.
    world.triton.parts = ["0123456789012345678na", "meandtherestofit"]
    assert (await read(await ask(world)))[0] == "0123456789012345678n[other]"


async def test_all_stages_are_passed_one_after_the_other(make_world: MakeWorld) -> None:
    service = Service()
    spec = judged_by_service()
    redact = a_stage("names", action="Redact", rules=[{"category": "evil", "keywords": ["bob"]}])
    block = a_stage("late", action="Block", rules=[{"category": "late", "patterns": [r"evil\]"]}])
    world = await make_world(
        guard={**spec, "stages": [redact, block]}, remotes={"service": service}
    )
    world.triton.stream("to b", "ob and others who stand there")
    assert (await ask(world)).headers["x-rlhf-categories"] == "evil,late"
    world = await make_world(
        guard={**spec, "stages": [redact, *spec["stages"]]}, remotes={"service": service}
    )
    world.triton.stream("to b", "ob and others")
    assert (await ask(world)).headers["x-rlhf-verdict"] == "blocked"
    assert "[evil]" in service.asked[0]


async def test_a_stage_that_has_a_bug_lets_nothing_pass_and_hides_nothing(
    make_world: MakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    class Bug:
        async def judge(self, text: str, _direction: str, _said: object) -> Judgement:
            if "secret" in text:
                raise ZeroDivisionError(text)
            return Judgement()

    flag = a_stage("flags", rules=[{"category": "bad", "keywords": ["bomb"]}])
    spec = judged_by_service("Open")
    spec["stages"] += [flag]
    world = await make_world(guard=spec, remotes={"service": Bug()})
    world.triton.stream("a bomb for all of them ", "secret " * 9)
    reply = await ask(world)
    with pytest.raises(aiohttp.ClientPayloadError):
        assert b"secret" not in await reply.read()
    seen = await world.metrics()
    # What had left was read.
    assert seen["unsafe_served_responses_total"] == seen["responses_total"] == 1
    assert seen["generated_responses_total"] == seen["errors_total"] == 1
    assert ends(seen) == {"model_error": 1}
    assert (await ask(world, stream=False)).status == 500
    assert "secret" not in caplog.text


async def test_generate_stream_goes_the_same_way(make_world: MakeWorld) -> None:
    world = await make_world(guard=BLOCK, refusalText="No.")
    step = {"text_output": "all is well. " * 5, "token_ids": [1, 2, 3]}
    world.triton.stream(step, "a bomb and", " so on and on and on", "x", gate_at=3)
    world.triton.gate = asyncio.Event()
    reply = await world.users.post(V2, json={"text_input": "Hi"})
    text = await reply.text()
    data = [json.loads(line[6:]) for line in text.split("\n\n") if line]
    said = "".join(each["text_output"] for each in data)
    assert said.endswith(". No.")
    assert step["text_output"].startswith(said.removesuffix("No."))
    assert data[-1]["rlhf"] == {"verdict": "blocked", "categories": ["bad"]}
    assert "token_ids" not in text
    await until(lambda: world.triton.left == 1)
    assert ends(await world.metrics()) == {"blocked": 1}


async def test_generate_stream_leaves_as_it_was_made_where_stages_only_flag(
    make_world: MakeWorld,
) -> None:
    world = await make_world(guard=FLAG)
    steps = [{"text_output": "", "input_tokens": 3}, {"text_output": "a", "token_ids": 7}]
    world.triton.stream(*steps, {"text_output": " bomb", "token_ids": [8, 9]})
    reply = await world.users.post(V2, json={"text_input": "Hi", "stream": True})
    data = [json.loads(line[6:]) for line in (await reply.text()).split("\n\n") if line]
    head = {"model_name": "model", "model_version": "1"}
    assert data == [
        {**head, "text_output": "a", "token_ids": 7, "input_tokens": 3},
        {**head, "text_output": " bomb", "token_ids": [8, 9]},
        {**head, "text_output": "", "rlhf": {"verdict": "flagged", "categories": ["bad"]}},
    ]
    assert world.triton.asked == [{"text_input": "Hi", "stream": True}]


async def test_no_other_text_goes_with_the_events_that_stages_flag(make_world: MakeWorld) -> None:
    world = await make_world(guard=FLAG)
    world.triton.stream({"text_output": "fine", "thoughts": "a bomb, unseen"})
    reply = await world.users.post(V2, json={"text_input": "Hi"})
    assert reply.status == 502
    assert "bomb" not in await reply.text()


async def test_generate_stream_that_fails_tells_so_and_breaks_off(make_world: MakeWorld) -> None:
    world = await make_world(guard=FLAG)
    world.triton.stream("one", {"error": "secret prompt"})
    reply = await world.users.post(V2, json={"text_input": "Hi"})
    assert b"secret" not in await read_until(reply, b'{"error": "the model server failed"}')
    with pytest.raises(aiohttp.ClientPayloadError):
        await reply.read()
    world.triton.stream("one", status=400, error="x: invalid request: long")
    reply = await world.users.post(V2, json={"text_input": "Hi"})
    assert reply.status == 400
    assert "invalid request: long" in await reply.text()
