"""The model server as the attacker: what it sends becomes an error of its own, or is an answer."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.guard.fuzz.examples import PLACES, cut, examples, shapes, words
from tests.guard.fuzz.loopback import Framing, Loopback, Told
from tests.guard.fuzz.reading import texts

ASK: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": "Hi"},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Hi"}]},
    "/v2/models/model/generate": {"text_input": "Hi"},
    "/v2/models/model/generate_stream": {"text_input": "Hi"},
    "/v2/models/model/infer": {
        "inputs": [{"name": "text_input", "datatype": "BYTES", "shape": [1], "data": ["Hi"]}]
    },
}
CALLS = [
    *((path, asked) for path, asked in ASK.items()),
    *((path, {**asked, "stream": True}) for path, asked in ASK.items() if "/v1/" in path),
]
KEYS = st.sampled_from(
    words(
        "text_output outputs name datatype shape data parameters binary_data_size error id "
        "model_name model_version token_ids token_logprobs output_tokens input_tokens"
    )
)
OUTPUT = {"name": "text_output", "datatype": "BYTES", "shape": [1], "data": ["Fine."]}
FIELDS = shapes(KEYS) | st.dictionaries(KEYS, shapes(KEYS), max_size=4).map(
    lambda odd: {"text_output": "Fine.", "outputs": [OUTPUT], **odd}
)
LINES = st.sampled_from([b"data:", b"data: ", b"event: x", b": hm", b"id: 1", b"retry: 0", b"data"])
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n", b"\r\n\r\n", b"\r\r", b""])
STREAMS = st.lists(
    st.tuples(LINES, FIELDS.map(json.dumps).map(str.encode) | st.binary(max_size=20), ENDS).map(
        b"".join
    ),
    max_size=6,
).map(b"".join)
BODIES = FIELDS.map(json.dumps).map(str.encode) | st.binary(max_size=200) | STREAMS
HEADERS = st.fixed_dictionaries(
    {"Content-Type": st.sampled_from(words("application/json text/event-stream text/html a/b;;"))},
    optional={
        "Inference-Header-Content-Length": st.sampled_from([*words("0 1 20 -1 x ²"), "9" * 5000]),
        "Content-Encoding": st.sampled_from(words("gzip deflate br odd")),
        "Location": st.just("/v2/models/model/config"),
        "Set-Cookie": st.just("a=b"),
    },
).map(lambda given: tuple(given.items()))
STATUSES = st.sampled_from([200] * 8 + [201, 204, 206, 301, 307, 400, 404, 429, 500, 501, 503, 599])


def sound(loopback: Loopback, path: str, asked: Any) -> None:
    """Ask, and find an answer of which everything is as it must be."""
    said = loopback.post(path, asked)
    assert said.status in (200, 400, 502), (said, loopback.model.told)
    assert "Set-Cookie" not in {name for name in said.headers if said.headers[name] == "a=b"}
    if said.status != 200:
        assert said.is_error
    else:
        assert said.headers["x-rlhf-verdict"] or "stream" in path + str(asked)
        texts(said)


@pytest.mark.parametrize(("path", "asked"), CALLS)
@examples(12)
@given(
    body=BODIES,
    places=PLACES,
    status=STATUSES,
    headers=HEADERS,
    framing=st.sampled_from(["length", "chunked", "close"]),
)
def test_no_reply_is_a_fault_of_the_guard(
    guarded: Loopback,
    path: str,
    asked: Any,
    body: bytes,
    places: list[int],
    status: int,
    headers: tuple[tuple[str, str], ...],
    framing: Framing,
) -> None:
    pieces = cut(body, places)
    guarded.model.told = Told(pieces=pieces, status=status, headers=headers, framing=framing)
    sound(guarded, path, asked)
    assert guarded.is_alive()


@pytest.mark.parametrize(("path", "asked"), CALLS)
@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x00" * 100, id="no HTTP"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}", id="cut short"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", id="chunks"),
        pytest.param(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\n\r\n", id="long header"),
        pytest.param(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", id="an upgrade"),
    ],
)
def test_what_is_no_reply_is_the_model_servers_fault(
    guarded: Loopback, path: str, asked: Any, raw: bytes
) -> None:
    guarded.model.told = Told(pieces=(), raw=raw)
    sound(guarded, path, asked)
    assert guarded.post(path, asked).status == 502


BOMB = gzip.compress(json.dumps({"text_output": "a" * 20_000_000}).encode())


@pytest.mark.parametrize(("path", "asked"), CALLS)
@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
def test_a_reply_that_unpacks_without_end_is_refused(
    guarded: Loopback, path: str, asked: Any, kind: str
) -> None:
    headers = (("Content-Type", kind), ("Content-Encoding", "gzip"))
    guarded.model.told = Told(pieces=(BOMB,), headers=headers)
    assert guarded.post(path, asked).status == 502


@pytest.mark.parametrize("path", ["/v1/completions", "/v2/models/model/infer"])
def test_a_reply_without_end_is_cut_off(guarded: Loopback, path: str) -> None:
    guarded.model.told = Told(pieces=(b"data: " + b"a" * 1_000_000,) * 100, framing="chunked")
    assert guarded.post(path, ASK[path]).status == 502
    assert guarded.model.sent < 100


@examples(60)
@given(
    sizes=st.lists(st.integers(-2, 40) | st.just(2**31), max_size=3),
    names=st.lists(st.sampled_from(["text_output", "other"]), min_size=3, max_size=3),
    kinds=st.lists(st.sampled_from(["BYTES", "INT32", "odd"]), min_size=3, max_size=3),
    blob=st.binary(max_size=40) | st.just((5).to_bytes(4, "little") + b"Fine."),
    length=st.none() | st.integers(-3, 3),
)
def test_no_sizes_of_tensors_are_a_fault_of_the_guard(
    guarded: Loopback,
    sizes: list[int],
    names: list[str],
    kinds: list[str],
    blob: bytes,
    length: int | None,
) -> None:
    tensors = [
        {"name": n, "datatype": k, "shape": [1], "parameters": {"binary_data_size": size}}
        for n, k, size in zip(names, kinds, sizes, strict=False)
    ]
    head = json.dumps({"outputs": tensors}).encode()
    headers = [("Content-Type", "application/octet-stream")]
    if length is not None:
        headers.append(("Inference-Header-Content-Length", str(len(head) + length)))
    guarded.model.told = Told(pieces=(head, blob), headers=tuple(headers))
    sound(guarded, "/v2/models/model/infer", ASK["/v2/models/model/infer"])
