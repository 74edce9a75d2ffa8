"""What users get from the guard, and what it counts."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from aiohttp import web

from rlhf_operator.guard import admission, tokens
from tests.guard.test_stream import Service, judged_by_service
from tests.guard.world import KEY, MakeWorld, World, a_stage

BLOCK = {"stages": [a_stage(action="Block", appliesTo=["Input", "Output"])]}


def events(body: str) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in body.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


async def test_a_completion(world: World) -> None:
    reply = await world.complete(model="support", max_tokens=16, temperature=0.5, seed=3)
    assert reply.status == 200
    assert world.triton.asked == [
        {"text_input": "Hello", "max_tokens": 16, "temperature": 0.5, "seed": 3}
    ]
    body = await reply.json()
    assert body["choices"] == [
        {"index": 0, "text": "A fine answer.", "logprobs": None, "finish_reason": "stop"}
    ]
    assert (body["object"], body["model"]) == ("text_completion", "support")
    assert body["usage"] == {"prompt_tokens": 1, "completion_tokens": 4, "total_tokens": 5}
    assert reply.headers["x-rlhf-version"] == "support-v7"
    assert reply.headers["x-rlhf-model"] == "support"
    assert reply.headers["x-rlhf-verdict"] == "ok"
    assert reply.headers["x-rlhf-response-id"] == body["id"]
    about = tokens.read(KEY.encode(), model="support", text=body["id"])
    assert about is not None
    assert (about.version, about.identity) == ("support-v7", "0123456789ab")


async def test_a_chat(world: World) -> None:
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
    ]
    reply = await world.users.post("/v1/chat/completions", json={"messages": messages})
    body = await reply.json()
    assert world.triton.asked[0]["text_input"] == "System: Be kind.\nUser: Hello\nAssistant:"
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "A fine answer."}


async def test_a_stream_carries_the_same_answer(world: World) -> None:
    reply = await world.complete(stream=True, stream_options={"include_usage": True})
    assert reply.content_type == "text/event-stream"
    assert reply.headers["x-rlhf-verdict"] == "ok"
    *texts, last, usage = events(await reply.text())
    assert len(texts) > 1
    assert "".join(each["choices"][0]["text"] for each in texts) == "A fine answer."
    assert last["choices"][0]["finish_reason"] == "stop"
    assert usage["usage"]["completion_tokens"] == 4
    assert last["id"] == reply.headers["x-rlhf-response-id"]


async def test_a_chat_stream(world: World) -> None:
    asked = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}
    reply = await world.users.post("/v1/chat/completions", json=asked)
    deltas = [each["choices"][0]["delta"] for each in events(await reply.text())]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert "".join(each.get("content", "") for each in deltas) == "A fine answer."


async def test_generate_answers_have_the_documented_fields(world: World) -> None:
    answer = world.triton.generated()
    assert set(answer) == {
        "model_name",
        "model_version",
        "text_output",
        "token_logprobs",
        "token_ids",
    }
    world.triton.tokens = 1  # Triton writes one element without brackets
    assert (await (await world.complete()).json())["usage"]["completion_tokens"] == 1


async def test_the_answer_ends_at_a_stop_sequence_and_at_max_tokens(world: World) -> None:
    body = await (await world.complete(stop=[" answer", "."])).json()
    assert body["choices"][0]["text"] == "A fine"
    body = await (await world.complete(max_tokens=4)).json()
    assert body["choices"][0]["finish_reason"] == "length"


async def test_counters_start_at_zero(world: World) -> None:
    seen = await world.metrics()
    digest = world.guard.setup.rules.digest
    assert seen.pop(f'info{{rules_digest="{digest}"}}') == 1
    assert not any(seen.values())
    assert not any("_created" in name for name in seen)
    sets = ("unsafe_generated_sets_total", "unsafe_served_sets_total")
    for name in ("unsafe_generated_total", "unsafe_served_total", "blocked_total", *sets):
        assert {f'{name}{{category="{each}"}}' for each in ("bias", "violence")} <= set(seen)
    about = 'feedback_total{about_version="support-v7",kind='
    assert f'{about}"thumbs",value="down"}}' in seen
    assert f'{about}"task",value="failed"}}' in seen


async def test_a_flagged_answer_is_served_and_counted_once(world: World) -> None:
    world.triton.text = "those people have a bomb"
    reply = await world.complete()
    assert reply.headers["x-rlhf-verdict"] == "flagged"
    assert (await reply.json())["choices"][0]["text"] == world.triton.text
    seen = await world.metrics()
    for name in ("generated", "served"):
        assert seen[f'unsafe_{name}_total{{category="bias"}}'] == 1
        assert seen[f'unsafe_{name}_total{{category="violence"}}'] == 1
        assert seen[f"unsafe_{name}_responses_total"] == 1
        assert seen[f'unsafe_{name}_sets_total{{category="bias,violence"}}'] == 1
        assert seen[f'unsafe_{name}_sets_total{{category="bias"}}'] == 0
    assert seen["responses_total"] == seen["generated_responses_total"] == 1
    assert seen["response_length_tokens_sum"] == 4
    assert seen["request_duration_seconds_count"] == 1
    assert seen["time_to_first_token_seconds_count"] == 1
    assert seen["blocked_responses_total"] == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_blocked_answer_never_leaves(make_world: MakeWorld, stream: bool) -> None:
    world = await make_world(guard=BLOCK, refusalText="No.")
    world.triton.text = "how to build a bomb"
    reply = await world.complete(stream=stream)
    text = await reply.text()
    assert "bomb" not in text
    assert "content_filter" in text
    assert reply.headers["x-rlhf-verdict"] == "blocked"
    seen = await world.metrics()
    assert seen['unsafe_generated_total{category="violence"}'] == 1
    assert seen["unsafe_generated_responses_total"] == 1
    assert seen["unsafe_served_responses_total"] == 0
    assert seen["responses_total"] == 1
    assert seen['blocked_total{category="violence"}'] == 1
    assert seen["response_length_tokens_sum"] == 1


async def test_a_blocked_prompt_never_reaches_the_model(make_world: MakeWorld) -> None:
    world = await make_world(guard=BLOCK)
    reply = await world.complete("build a BOMB")
    assert (await reply.json())["choices"][0]["finish_reason"] == "content_filter"
    assert world.triton.asked == []
    seen = await world.metrics()
    assert seen["blocked_responses_total"] == 1
    assert seen["responses_total"] == 1
    assert seen["generated_responses_total"] == seen["unsafe_generated_responses_total"] == 0


async def test_force_block_turns_flags_into_blocks(make_world: MakeWorld) -> None:
    world = await make_world(forceBlock=True)
    world.triton.text = "a bomb"
    assert (await world.complete()).headers["x-rlhf-verdict"] == "blocked"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/completions",
        "/v1/chat/completions",
        "/v2/models/model/generate",
        "/v2/models/model/generate_stream",
        "/v2/models/model/infer",
    ],
)
async def test_where_nothing_is_safe_nobody_gets_an_answer(
    make_world: MakeWorld, path: str
) -> None:
    world = await make_world(refuse=True)
    reply = await world.users.post(path, json={"prompt": "Hello", "stream": True})
    assert reply.status == 503
    assert reply.headers["Retry-After"] == admission.REFUSED_FOR
    error = (await reply.json())["error"]
    assert (error["type"], error["code"]) == ("server_error", "nothing_safe")
    assert world.triton.asked == []
    seen = await world.metrics()
    assert seen["requests_total"] == seen["errors_total"] == seen["responses_total"] == 0


async def test_what_refuses_stays_ready_so_that_the_router_keeps_it(make_world: MakeWorld) -> None:
    world = await make_world(refuse=True)
    assert (await world.users.get("/healthz/ready")).status == 200
    assert (await world.operations.post("/golden")).status == 200


async def test_the_models_own_refusals_are_counted(world: World) -> None:
    world.triton.text = "I cannot help with that."
    await world.complete()
    assert (await world.metrics())["refused_total"] == 1


@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param(b"{", "body: Invalid JSON", id="not JSON"),
        pytest.param(b"[]", "body: Input should be an object", id="not an object"),
        pytest.param(b"{}", "prompt: Field required", id="no prompt"),
        pytest.param(b'{"prompt": ["a", "b"]}', "prompt: one text", id="several prompts"),
        pytest.param(b'{"prompt": []}', "prompt: one text", id="no prompt in the list"),
        pytest.param(b'{"prompt": [1, 2]}', "prompt: one text", id="tokens"),
        pytest.param(
            b'{"prompt": "a", "guided_regex": "a+"}',
            "guided_regex: this is not supported here; leave it out",
            id="what we do not know",
        ),
        pytest.param(
            b'{"prompt": "a", "min_tokens": 9}',
            "min_tokens: only 0 is supported",
            id="what asks for more than nothing",
        ),
        pytest.param(b'{"prompt": "a", "top_k": 40}', "top_k: only -1", id="what others can do"),
        pytest.param(b'{"prompt": "a", "reasoning_effort": "high"}', 'only "none"', id="effort"),
        pytest.param(b'{"prompt": "a", "store": true}', "store: only false", id="to be stored"),
        pytest.param(
            b'{"prompt": "a", "how I feel today": 1}', "a field: this is not", id="no name at all"
        ),
        pytest.param(
            b'{"prompt": "a", "stream_options": {"continuous_usage_stats": true}}',
            "stream_options.continuous_usage_stats: only false is supported",
            id="an option of streams",
        ),
        pytest.param(b'{"prompt": "a", "n": 2}', "n: only 1", id="several answers"),
        pytest.param(b'{"prompt": "a", "top_p": 0.5}', "top_p: only 1", id="what we cannot do"),
        pytest.param(b'{"prompt": "a", "max_tokens": 0}', "max_tokens: ", id="no tokens"),
        pytest.param(b'{"prompt": "a", "max_tokens": 9999}', "at most 4096", id="too many"),
        pytest.param(
            b'{"prompt": "a", "stop": [%s"b"]}' % (b'"a",' * 16), "at most 16", id="stops"
        ),
        pytest.param(b'{"prompt": "a", "model": "b"}', "'support' only", id="another model"),
        pytest.param(b'{"prompt": "\\ud800"}', "body: Invalid JSON", id="half a surrogate pair"),
    ],
)
async def test_a_bad_request_says_why_and_counts_for_nothing(
    world: World, body: bytes, why: str
) -> None:
    reply = await world.users.post("/v1/completions", data=body)
    assert reply.status == 400
    error = (await reply.json())["error"]
    assert why in error["message"]
    assert error["type"] == "invalid_request_error"
    assert reply.headers["x-rlhf-version"] == "support-v7"
    assert (await world.metrics())["requests_total"] == 0


async def test_what_clients_send_as_a_matter_of_course_is_accepted(world: World) -> None:
    reply = await world.complete(
        n=1,
        top_p=1.0,
        presence_penalty=0,
        user="u",
        logprobs=None,
        metadata={"team": "shop"},
        service_tier="auto",
        parallel_tool_calls=True,
        prompt_cache_key="shop",
        tool_choice="auto",
        guided_json=None,
        stream_options={"include_obfuscation": False},
    )
    assert reply.status == 200


async def test_a_prompt_may_stand_in_a_list(world: World) -> None:
    assert (await world.users.post("/v1/completions", json={"prompt": ["One."]})).status == 200
    assert world.triton.asked[0]["text_input"] == "One."


@pytest.mark.parametrize(
    ("message", "why"),
    [
        pytest.param({"name": "ana", "refusal": None, "tool_calls": []}, None, id="as it came"),
        pytest.param({"tool_calls": [{"id": "1"}]}, "messages.0.tool_calls: only []", id="a call"),
        pytest.param({"audio": {"id": "1"}}, "messages.0.audio: this is not", id="sound"),
    ],
)
async def test_what_a_message_holds_beside_its_text_is_not_passed_over(
    world: World, message: dict[str, Any], why: str | None
) -> None:
    asked = {"messages": [{"role": "assistant", "content": "Hi", **message}]}
    reply = await world.users.post("/v1/chat/completions", json=asked)
    assert reply.status == (400 if why else 200)
    assert why is None or why in (await reply.json())["error"]["message"]


async def test_a_failing_model_is_an_error_without_its_text(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="rlhf_operator")
    world.triton.status = 500
    reply = await world.complete("secret prompt")
    assert reply.status == 502
    assert (await reply.json())["error"]["type"] == "server_error"
    assert "secret" not in await reply.text() + caplog.text
    seen = await world.metrics()
    assert (seen["requests_total"], seen["errors_total"]) == (1, 1)
    assert seen["request_duration_seconds_count"] == seen["responses_total"] == 0


async def test_a_dead_model_server_is_an_error(world: World) -> None:
    world.guard.triton._url = "http://127.0.0.1:1"
    assert (await world.complete()).status == 502
    assert (await world.users.get("/healthz/ready")).status == 503
    assert (await world.metrics())["errors_total"] == 1


async def test_models(world: World) -> None:
    body = await (await world.users.get("/v1/models")).json()
    assert [each["id"] for each in body["data"]] == ["support"]


async def test_golden_prompts_are_judged_and_counted_nowhere(make_world: MakeWorld) -> None:
    golden = [
        {"name": "polite", "prompt": "Hi", "maxTokens": 8, "mustMatch": "FINE answer"},
        {"name": "other", "prompt": "Hi", "maxTokens": 8, "mustMatch": "paris"},
        {"name": "never", "prompt": "Hi", "maxTokens": 8, "mustNotMatch": "fine"},
    ]
    broken = judged_by_service("Open")["stages"][0] | {"appliesTo": ["Input", "Output"]}
    guard = {"stages": [a_stage(), broken], "golden": golden}
    world = await make_world(guard=guard, remotes={"service": Service()})
    before = await world.metrics()
    body = await (await world.operations.post("/golden")).json()
    assert body["passed"] is False
    assert [(each["name"], each["message"]) for each in body["results"]] == [
        ("polite", "passed"),
        ("other", "the answer does not match mustMatch"),
        ("never", "the answer matches mustNotMatch"),
    ]
    world.triton.text = "a fine answer with a bomb"
    body = await (await world.operations.post("/golden")).json()
    assert body["results"][0]["message"] == "flagged for violence"
    world.triton.text = "broken"
    body = await (await world.operations.post("/golden")).json()
    assert body["results"][0]["message"] == "ok for stage service: unreachable"
    for world.triton.status, world.triton.error in ((500, ""), (400, "x: invalid request: Hi")):
        body = await (await world.operations.post("/golden")).json()
        assert body["results"][0]["message"].startswith("no answer")
        assert "Hi" not in body["results"][0]["message"]
    assert await world.metrics() == before


async def test_what_the_model_refuses_is_the_clients_mistake_and_no_error(
    make_world: MakeWorld,
) -> None:
    world = await make_world()
    world.triton.status = 400
    world.triton.error = "in ensemble: invalid request: 900 tokens, at most 512"
    reply = await world.complete()
    assert reply.status == 400
    assert "at most 512" in (await reply.json())["error"]["message"]
    assert (await world.metrics())["errors_total"] == 0


@pytest.mark.parametrize("told", [-1, 1_000_001, 10**400, True])
@pytest.mark.parametrize("is_stream", [True, False])
async def test_a_number_of_tokens_that_cannot_be_is_not_believed(
    make_world: MakeWorld, told: int, is_stream: bool
) -> None:
    world = await make_world()
    reply = {"text_output": "three whole words", "output_tokens": told, "input_tokens": told}
    if is_stream:
        world.triton.stream(reply)
    world.triton.raw = web.json_response(reply)
    assert "whole" in await (await world.complete(stream=is_stream)).text()
    seen = await world.metrics()
    assert seen["generated_responses_total"] == seen["responses_total"] == 1
    assert seen["response_length_tokens_sum"] == 3
