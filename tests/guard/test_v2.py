"""Triton's own API through the guard: texts are found in JSON and in binary tensors."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from rlhf_operator.guard import v2, v2_endpoints
from tests.guard.test_stream import Service, judged_by_service
from tests.guard.world import MakeWorld, World, a_stage, examples

BLOCK = {"stages": [a_stage(action="Block", appliesTo=["Input", "Output"])]}
INFER = "/v2/models/model/infer"
LENGTH = "Inference-Header-Content-Length"


def tensor(text: str, name: str = "text_input") -> dict[str, Any]:
    return {"name": name, "datatype": "BYTES", "shape": [1, 1], "data": [text]}


def binary(text: str, side: str, name: str) -> tuple[bytes, str]:
    blob = len(text.encode()).to_bytes(4, "little") + text.encode()
    described = {"name": name, "datatype": "BYTES", "shape": [1, 1]}
    described["parameters"] = {"binary_data_size": len(blob)}
    head = json.dumps({side: [described]}).encode()
    return head + blob, str(len(head))


async def test_generate_passes_and_is_counted(world: World) -> None:
    asked = {"text_input": "Hi", "max_tokens": 4}
    reply = await world.users.post("/v2/models/model/generate", json=asked)
    assert (await reply.json()) == world.triton.generated()
    assert reply.headers["x-rlhf-verdict"] == "ok"
    assert world.triton.asked == [asked]
    seen = await world.metrics()
    assert seen["requests_total"] == seen["responses_total"] == 1
    # As Triton tells them, not the three words.
    assert seen['gen_ai_client_token_usage_total{gen_ai_token_type="output"}'] == 4
    assert seen["response_length_tokens_sum"] == 4


async def test_infer_passes_json_and_binary(world: World) -> None:
    reply = await world.users.post(INFER, json={"inputs": [tensor("Hi")]})
    assert (await reply.json())["outputs"][0]["data"] == ["A fine answer."]
    body, length = binary("A bomb", "outputs", "text_output")
    world.triton.raw = web.Response(body=body, headers={LENGTH: length})
    reply = await world.users.post(INFER, json={"inputs": [tensor("Hi")]})
    assert await reply.read() == body
    assert reply.headers[LENGTH] == length
    assert reply.headers["x-rlhf-verdict"] == "flagged"


async def test_a_binary_prompt_is_checked_and_forwarded_as_it_was_read(
    make_world: MakeWorld,
) -> None:
    world = await make_world(guard=BLOCK)
    for prompt, verdict in (("Hi", "ok"), ("a bomb", "blocked")):
        body, length = binary(prompt, "inputs", "text_input")
        reply = await world.users.post(INFER, data=body, headers={LENGTH: length})
        assert reply.headers["x-rlhf-verdict"] == verdict
    [sent] = world.triton.asked
    split = int(sent["headers"][LENGTH])
    assert json.loads(sent["body"][:split])["inputs"][0]["name"] == "text_input"
    assert sent["body"][split + 4 :] == b"Hi"


@pytest.mark.parametrize("verb", ["generate", "generate_stream", "infer"])
async def test_a_blocked_answer_leaves_in_no_form(make_world: MakeWorld, verb: str) -> None:
    world = await make_world(guard=BLOCK, refusalText="No.")
    world.triton.text = "build a bomb"
    asked = {"inputs": [tensor("Hi")]} if verb == "infer" else {"text_input": "Hi"}
    reply = await world.users.post(f"/v2/models/model/{verb}", json=asked)
    text = await reply.text()
    assert reply.headers["x-rlhf-verdict"] == "blocked"
    assert "bomb" not in text
    assert "token_ids" not in text
    assert "No." in text
    assert (await world.metrics())["blocked_responses_total"] == 1


BOMBS = [{"category": "violence", "keywords": ["bomb"]}]
BIAS = [{"category": "bias", "keywords": ["those people"]}]


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        pytest.param(["Hi", "a bomb", "those people"], (3, 3, 0), id="one is blocked"),
        pytest.param(["a bomb", "Hi", "broken"], (3, 2, 1), id="one is withheld beside"),
        pytest.param(["broken", "Hi"], (2, 0, 2), id="one is withheld"),
        pytest.param(["Hi", "those people"], (2, 0, 0), id="all may pass"),
    ],
)
async def test_each_answer_of_a_batch_counts_once_as_it_is_read(
    make_world: MakeWorld, prompts: list[str], expected: tuple[int, int, int]
) -> None:
    spec = judged_by_service("Closed", fallback={"type": "Message", "message": "Not now."})
    stages = [a_stage(action="Block", rules=BOMBS), a_stage("bias", rules=BIAS), *spec["stages"]]
    world = await make_world(
        guard={**spec, "stages": stages}, remotes={"service": Service()}, refusalText="No."
    )
    world.triton.echoes = True
    asked = {"inputs": [{**tensor(""), "shape": [len(prompts), 1], "data": prompts}]}
    reply = await world.users.post(INFER, json=asked)
    read = (await reply.json())["outputs"][0]["data"]
    seen = await world.metrics()
    responses, blocked, withheld = expected
    assert (seen["generated_responses_total"], seen["responses_total"]) == (len(read), responses)
    assert (seen["blocked_responses_total"], seen["withheld_total"]) == (blocked, withheld)
    assert seen['blocked_total{category="violence"}'] == blocked
    if blocked or withheld:
        assert read == ["No." if blocked else "Not now."] * responses
        assert seen["unsafe_served_responses_total"] == 0
    # What the model made counts as it made it, whatever was read of it.
    assert seen['unsafe_generated_total{category="violence"}'] == ("a bomb" in prompts)
    assert seen['unsafe_generated_total{category="bias"}'] == ("those people" in prompts)


REDACT = {"stages": [a_stage(action="Redact", appliesTo=["Input", "Output"])]}


async def test_generate_is_redacted_both_ways(make_world: MakeWorld) -> None:
    world = await make_world(guard=REDACT)
    world.triton.text = "a bomb for you"
    asked = {"text_input": [["my bomb"]], "max_tokens": 4}
    reply = await world.users.post("/v2/models/model/generate", json=asked)
    head = {"model_name": "model", "model_version": "1"}
    # Nothing that tells the same in numbers.
    assert await reply.json() == {**head, "text_output": "a [violence] for you"}
    assert reply.headers["x-rlhf-verdict"] == "redacted"
    assert reply.headers["x-rlhf-categories"] == "violence"
    assert world.triton.asked == [{"text_input": [["my [violence]"]], "max_tokens": 4}]
    seen = await world.metrics()
    assert seen["redacted_responses_total"] == 1
    for direction in ("input", "output"):
        assert seen[f'redacted_total{{category="violence",direction="{direction}"}}'] == 1


async def test_infer_is_redacted_without_its_numbers(make_world: MakeWorld) -> None:
    world = await make_world(guard=REDACT)
    ids = {"name": "token_ids", "datatype": "INT64", "shape": [2], "data": [1, 2]}
    seed = {"name": "seed", "datatype": "INT64", "shape": [1], "data": [7]}
    world.triton.outputs = [ids, tensor("a bomb", "text_output")]
    reply = await world.users.post(INFER, json={"id": "7", "inputs": [tensor("my bomb"), seed]})
    assert (await reply.json())["outputs"] == [tensor("a [violence]", "text_output")]
    sent = json.loads(world.triton.asked[0]["body"])
    assert sent == {"id": "7", "inputs": [tensor("my [violence]"), seed]}


async def test_generate_that_fails_with_status_200_is_an_error(make_world: MakeWorld) -> None:
    world = await make_world(guard={})
    world.triton.raw = web.json_response({"error": "use generate stream"})
    reply = await world.users.post("/v2/models/model/generate", json={"text_input": "Hi"})
    assert reply.status == 502
    world.triton.raw = web.json_response({"error": "use generate stream"})
    assert (await world.complete()).status == 502


async def test_what_a_model_cannot_do_is_no_fault_of_ours(make_world: MakeWorld) -> None:
    world = await make_world()
    world.triton.raw = web.Response(status=501, text="decoupled")
    reply = await world.users.post(INFER, json={"inputs": [tensor("Hi")]})
    assert reply.status == 400
    assert (await world.metrics())["errors_total"] == 0


async def test_what_cannot_be_checked_is_not_passed_on(make_world: MakeWorld) -> None:
    world = await make_world(guard=BLOCK)
    reply = await world.users.post(INFER, json={"inputs": [tensor("Hi", "other")]})
    assert reply.status == 400
    world.triton.outputs = [{"name": "token_ids", "datatype": "INT64", "data": [1]}]
    reply = await world.users.post(INFER, json={"inputs": [tensor("Hi")]})
    assert reply.status == 502
    assert (await world.metrics())["errors_total"] == 1


IDS = {"name": "input_ids", "datatype": "INT32", "shape": [1, 2], "data": [7, 8]}
BLOB = {"name": "table", "datatype": "FP32", "parameters": {"binary_data_size": 12}}


@pytest.mark.parametrize(
    ("verb", "asked", "status"),
    [
        pytest.param("generate", {"system": ["a bomb"]}, 200, id="another text"),
        pytest.param("generate", {"parameters": {"a": [{"b": "bomb"}]}}, 200, id="a parameter"),
        pytest.param("generate", {"s": '{"a": "bomb", "a": ""}'}, 200, id="a setting in JSON"),
        pytest.param("infer", {"inputs": [tensor("a bomb", "system")]}, 200, id="a tensor"),
        pytest.param("infer", {"parameters": {"a": "bomb"}}, 200, id="a parameter of tensors"),
        pytest.param("generate", {"image": "aGk="}, 400, id="an image"),
        pytest.param("generate_stream", {"input_ids": [[7, 8]]}, 400, id="tokens"),
        pytest.param("infer", {"inputs": [IDS]}, 400, id="a tensor of tokens"),
        pytest.param("infer", {"inputs": [BLOB]}, 400, id="numbers behind the JSON"),
    ],
)
async def test_what_the_model_reads_beside_its_prompt_is_checked_too(
    make_world: MakeWorld, verb: str, asked: dict[str, Any], status: int
) -> None:
    world = await make_world(guard=BLOCK)
    if verb == "infer":
        asked = {**asked, "inputs": [tensor("Hi"), *asked.get("inputs", [])]}
    head = json.dumps({"text_input": "Hi", **asked} if verb != "infer" else asked).encode()
    reply = await world.users.post(
        f"/v2/models/model/{verb}",
        data=head + b"\0" * 12 * (BLOB in asked.get("inputs", [])),
        headers={LENGTH: str(len(head))},
    )
    assert world.triton.asked == []
    assert reply.status == status
    if status == 200:
        assert reply.headers["x-rlhf-verdict"] == "blocked"


@pytest.mark.parametrize(
    ("verb", "asked"),
    [
        ("infer", {"inputs": [tensor("Hi")], "outputs": [{"name": "token_ids"}]}),
        ("infer", {"inputs": [tensor("Hi"), {"name": "return_logprobs", "data": [[True]]}]}),
        ("generate", {"text_input": "Hi", "return_logprobs": True}),
    ],
)
async def test_who_wants_what_cannot_be_checked_counts_no_error(
    world: World, verb: str, asked: dict[str, Any]
) -> None:
    world.triton.outputs = [{"name": "token_ids", "datatype": "INT64", "data": [1]}]
    world.triton.raw = web.json_response({**world.triton.generated(), "logprobs": '{"a": " b"}'})
    reply = await world.users.post(f"/v2/models/model/{verb}", json=asked)
    assert reply.status == 400
    assert (await world.metrics())["errors_total"] == 0


async def test_a_setting_in_binary_form_that_is_off_passes(make_world: MakeWorld) -> None:
    world = await make_world(guard=BLOCK)
    off = {"name": "return_logprobs", "datatype": "BOOL", "shape": [1, 1]}
    off["parameters"] = {"binary_data_size": 1}
    head = json.dumps({"inputs": [tensor("Hi"), off]}).encode()
    for last, status in ((b"\0", 200), (b"\1", 400)):
        reply = await world.users.post(INFER, data=head + last, headers={LENGTH: str(len(head))})
        assert reply.status == status


async def test_settings_pass_with_the_prompt(make_world: MakeWorld) -> None:
    world = await make_world(guard=REDACT)
    asked = {"text_input": "Hi", "seed": 7, "sampling_parameters": '{"stop": ["END"]}', "n": None}
    assert (await world.users.post("/v2/models/model/generate", json=asked)).status == 200
    assert world.triton.asked == [asked]
    asked["system"] = "a bomb"
    assert (await world.users.post("/v2/models/model/generate", json=asked)).status == 400


async def test_no_other_model_answers_where_stages_look(world: World) -> None:
    reply = await world.users.post("/v2/models/other/generate", json={"text_input": "Hi"})
    assert reply.status == 400
    assert "other models" in await reply.text()


async def test_what_nobody_judged_counts_whichever_prompt_of_a_batch_it_was(
    make_world: MakeWorld,
) -> None:
    spec = judged_by_service("Open")
    spec["stages"] = [{**spec["stages"][0], "appliesTo": ["Input"]}]
    world = await make_world(guard=spec, remotes={"service": Service()})
    await world.users.post(INFER, json={"inputs": [tensor("Hi"), tensor("broken")]})
    assert (await world.metrics())["bypassed_responses_total"] > 0


async def test_other_models_pass_where_no_rule_would_look(make_world: MakeWorld) -> None:
    world = await make_world(guard={})
    world.triton.outputs = [{"name": "score", "datatype": "FP32", "data": [0.5]}]
    reply = await world.users.post(INFER, json={"inputs": [tensor("Hi", "other")]})
    assert (await reply.json())["outputs"] == world.triton.outputs


async def test_a_key_written_twice_reaches_triton_once(make_world: MakeWorld) -> None:
    world = await make_world(guard=BLOCK)
    body = b'{"text_input": "a bomb", "text_input": "Hi"}'
    await world.users.post("/v2/models/model/generate", data=body)
    assert world.triton.asked == [{"text_input": "Hi"}]


async def test_who_reads_of_a_server_that_hangs_is_told(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: Any) -> None:
        await asyncio.Event().wait()

    world = await make_world()
    monkeypatch.setattr(v2_endpoints, "_READ_SECONDS", 0.05)
    monkeypatch.setattr(type(world.guard.triton), "forward", hang)
    assert (await world.users.get("/v2/models/model/stats")).status == 502


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/health/ready", 200),
        ("GET", "/v2/models/model", 200),
        ("POST", "/v2/repository/index", 404),
        ("POST", "/v2/repository/models/model/unload", 404),
        ("GET", "/v2/systemsharedmemory/status", 404),
        ("POST", "/v2/models/model/trace/setting", 404),
        ("GET", "/v2/logging", 404),
        ("POST", "/v2/models/a%2fb/generate", 404),
        ("DELETE", "/v2/models/model", 405),
        ("GET", "/elsewhere", 404),
    ],
)
async def test_what_controls_triton_is_closed(
    world: World, method: str, path: str, status: int
) -> None:
    reply = await world.users.request(method, path)
    assert reply.status == status
    if status != 200:
        assert "error" in await reply.json()


@examples
@given(st.binary(max_size=200), st.none() | st.integers(0, 300).map(str))
def test_no_bytes_crash_the_reader(body: bytes, length: str | None) -> None:
    try:
        message = v2.decode(body, length)
        v2.tensor_texts(message, "inputs", "text_input")
    except v2.Malformed:
        pass


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["inputs", "name", "data", "parameters", "binary_data_size"]), inner
        )
    ),
    max_leaves=12,
)


@examples
@given(JSON, st.binary(max_size=20))
def test_no_json_crashes_the_reader(fields: Any, blob: bytes) -> None:
    head = json.dumps(fields).encode()
    try:
        message = v2.decode(head + blob, str(len(head)))
        v2.tensor_texts(message, "inputs", "text_input")
        v2.generate_text(message, "data")
    except v2.Malformed:
        pass


@examples
@given(st.lists(st.text(max_size=9), max_size=4), st.lists(st.text(max_size=9), max_size=4))
def test_texts_are_replaced_in_either_form(first: list[str], second: list[str]) -> None:
    blob = b"".join(v2._element(each) for each in second)
    other = {"name": "o", "parameters": {"binary_data_size": 3}}
    tensors = [
        {"name": "t", "data": [[each] for each in first]},
        other,
        {"name": "t", "parameters": {"binary_data_size": len(blob)}},
    ]
    message = v2.Message(fields={"outputs": tensors}, binary=b"abc" + blob)
    texts = [f"{at}\u7206" for at in range(len(first) + len(second))]
    changed = v2.replace(message, "infer", "outputs", "t", texts)
    length = None if changed.header_length is None else str(changed.header_length)
    read = v2.decode(changed.encode(), length)
    assert v2.tensor_texts(read, "outputs", "t") == texts
    assert read.fields["outputs"][1] == other
    assert read.binary[:3] == b"abc"


@examples
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=5))
def test_binary_texts_are_read_as_written(texts: list[str]) -> None:
    blob = b"".join(len(t.encode()).to_bytes(4, "little") + t.encode() for t in texts)
    described = {"name": "t", "parameters": {"binary_data_size": len(blob)}}
    head = json.dumps({"outputs": [described]}).encode()
    message = v2.decode(head + blob, str(len(head)))
    assert v2.tensor_texts(message, "outputs", "t") == texts
