"""Clients as the attacker."""

from __future__ import annotations

import gzip
import http.client
import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.guard.fuzz.examples import PLACES, TEXT, cut, examples, shapes, words
from tests.guard.fuzz.loopback import Loopback, head
from tests.guard.world import World

PATHS = (
    "/v1/completions",
    "/v1/chat/completions",
    "/v1/feedback",
    "/v2/models/model/generate",
    "/v2/models/model/generate_stream",
    "/v2/models/model/infer",
)
PROMPT: dict[str, Any] = {"prompt": "Hi"}
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}]}
TRITON: dict[str, Any] = {
    "text_input": "Hi",
    "inputs": [{"name": "text_input", "datatype": "BYTES", "shape": [1], "data": ["Hi"]}],
}
FITTING = {PATHS[0]: PROMPT, PATHS[1]: CHAT}
"""What may be asked where; of Triton and of votes all may be sent."""
KNOWN = {**PROMPT, **CHAT, **TRITON}
KEYS = st.sampled_from(
    words(
        "prompt messages text_input inputs model max_tokens temperature seed stop stream n id user "
        "stream_options role content type text name data parameters binary_data_size outputs input "
        "response_id thumbs task tools logit_bias"
    )
)
WRITTEN = (
    # Whole requests, except for what is written in one place.
    shapes(KEYS).map(json.dumps)
    | st.tuples(
        st.sampled_from((PROMPT, CHAT, KNOWN)), st.dictionaries(KEYS, shapes(KEYS), max_size=4)
    ).map(lambda both: json.dumps({**both[0], **both[1]}))
    | st.tuples(KEYS, shapes(KEYS), st.sampled_from((PROMPT, CHAT, KNOWN))).map(
        lambda twice: f'{{"{twice[0]}": {json.dumps(twice[1])}, {json.dumps(twice[2])[1:]}'
    )
)
BODIES = st.binary(max_size=300) | WRITTEN.map(str.encode)


def sound(loopback: Loopback, path: str, body: bytes, *headers: tuple[str, str]) -> int:
    """Return the status; every error must be the client's, and have the dialect's form."""
    said = loopback.post(path, body, headers)
    assert said.status < 500, said.body
    assert said.status == 200 or said.is_error
    return said.status


@pytest.mark.parametrize("path", PATHS)
@examples(25)
@given(body=BODIES)
def test_no_body_is_a_fault_of_the_guard(checked: Loopback, path: str, body: bytes) -> None:
    sound(checked, path, body)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "odd",
    [
        pytest.param("[" * 30_000, id="nothing but depth"),
        pytest.param('{"a":' * 10_000 + "1" + "}" * 10_000, id="deep objects"),
        *(
            pytest.param("[" * n + "]" * n, id=f"depth {n}")
            for n in (100, 330, 500, 900, 990, 2000)
        ),
        pytest.param("9" * 60_000, id="a number without end"),
        pytest.param("-" + "9" * 4300, id="a long number"),
        pytest.param("1e999999999", id="a number past all"),
        pytest.param("NaN", id="no number"),
        pytest.param('"\\ud800"', id="half a surrogate pair"),
        pytest.param('"\\u0000"', id="nothing at all"),
        pytest.param("[" + '"a",' * 15_000 + '"a"]', id="a long list"),
    ],
)
def test_no_value_is_a_fault_of_the_guard(checked: Loopback, path: str, odd: str) -> None:
    sound(checked, path, odd.encode())
    fitting = FITTING.get(path, KNOWN)
    for name in (*fitting, "stop", "more", "response_id"):
        others = json.dumps({"user": "u"} | {k: v for k, v in fitting.items() if k != name})
        sound(checked, path, f'{others[:-1]}, "{name}": {odd}}}'.encode())


@pytest.mark.parametrize("path", PATHS)
@examples(10)
@given(body=BODIES, places=PLACES, coding=st.sampled_from(["", "gzip", "deflate"]))
def test_no_framing_is_a_fault_of_the_guard(
    checked: Loopback, path: str, body: bytes, places: list[int], coding: str
) -> None:
    packed = {"": bytes, "gzip": gzip.compress, "deflate": zlib.compress}[coding](body)
    headers = [("Transfer-Encoding", "chunked"), *([("Content-Encoding", coding)] * bool(coding))]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in cut(packed, places) if each)
    whole = head("POST", path, headers) + chunks + b"0\r\n\r\n"
    [said] = checked.send(*cut(whole, [place * 7 for place in places]))
    assert said.status < 500, said.body
    plain = checked.post(path, body)
    assert said.status == plain.status or path == "/v1/feedback"


@examples(25)
@given(body=st.binary(max_size=200), coding=st.sampled_from(["gzip", "deflate", "br", "odd"]))
def test_a_false_coding_is_the_clients_fault(checked: Loopback, body: bytes, coding: str) -> None:
    said = checked.post("/v1/completions", body, [("Content-Encoding", coding)])
    assert 400 <= said.status < 500


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_what_unpacks_without_end_is_too_large(checked: Loopback, path: str, coding: str) -> None:
    bomb = b" " * 50_000_000
    packed = (gzip.compress if coding == "gzip" else zlib.compress)(bomb)
    assert len(packed) < 65_536
    said = checked.post(path, packed, [("Content-Encoding", coding)])
    assert said.status == 413


NAMES = st.sampled_from(
    words(
        "x-user Cookie x-rlhf-arm x-rlhf-run x-rlhf-arms Accept traceparent Content-Type Range "
        "Inference-Header-Content-Length Expect x-request-id Accept-Encoding If-None-Match Upgrade"
    )
)
VALUES = st.text(st.characters(exclude_characters="\r\n\0"), max_size=20) | st.sampled_from(
    [*words("-1 ٣ 0 rlhf-arm=v1.canary.abc rlhf-arm =;= 100-continue text/html ;; h2c"), "9" * 5000]
)
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=4)


@pytest.mark.parametrize("path", PATHS)
@examples(25)
@given(headers=HEADERS)
def test_no_header_is_a_fault_of_the_guard(
    checked: Loopback, path: str, headers: list[tuple[str, str]]
) -> None:
    said = checked.post(
        path,
        FITTING.get(path, KNOWN),
        [(n, v.encode("utf-8", "replace").decode()) for n, v in headers],
    )
    assert said.status < 500, said.body


@examples(40)
@given(raw=st.binary(max_size=200) | TEXT.map(lambda text: text.encode("utf-8", "replace")))
def test_what_is_no_request_is_refused_or_cut_off(checked: Loopback, raw: bytes) -> None:
    for begun in (b"", b"POST /v1/completions HTTP/1.1\r\n", head("POST", "/v1/completions")[:-2]):
        try:
            said = checked.send(begun + raw + b"\r\n\r\n", leave=True)
        except (http.client.HTTPException, ConnectionError):
            continue
        assert 400 <= said[0].status < 500
    assert checked.is_alive()


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([("Content-Length", "-1")], id="negative"),
        pytest.param([("Content-Length", "1e3")], id="no number"),
        pytest.param([("Content-Length", "9" * 100)], id="past all"),
        pytest.param([("Content-Length", "5"), ("Content-Length", "6")], id="two lengths"),
        pytest.param(
            [("Content-Length", "5"), ("Transfer-Encoding", "chunked")], id="length and chunks"
        ),
        pytest.param([("Transfer-Encoding", "gzip, chunked, chunked")], id="codings"),
        pytest.param([("Expect", "the best")], id="an expectation"),
        pytest.param([("x", "y" * 10_000)], id="a long header"),
        *(pytest.param([(f"x{n}", "y") for n in range(m)], id=f"{m} headers") for m in (500, 5000)),
    ],
)
def test_bad_framing_is_refused(checked: Loopback, headers: list[tuple[str, str]]) -> None:
    [said] = checked.send(head("POST", "/v1/completions", headers) + b"xxxxxx")
    assert 400 <= said.status < 500


@examples(15)
@given(bodies=st.lists(BODIES, min_size=2, max_size=5), places=PLACES, data=st.data())
def test_requests_in_a_row_are_answered_in_their_order(
    checked: Loopback, bodies: list[bytes], places: list[int], data: st.DataObject
) -> None:
    paths = [data.draw(st.sampled_from(PATHS[:2] + PATHS[3:])) for _ in bodies]
    each = [checked.post(path, body).status for path, body in zip(paths, bodies, strict=True)]
    row = b"".join(
        head("POST", path, [("Content-Length", str(len(body)))]) + body
        for path, body in zip(paths, bodies, strict=True)
    )
    said = checked.send(*cut(row, places), answers=len(bodies))
    assert [one.status for one in said] == each


@examples(60)
@given(
    response_id=st.text(st.characters(exclude_categories=["Cs"]), max_size=600)
    | st.binary(max_size=80).map(lambda raw: "rlhf-" + raw.hex())
    | st.text("ABCabc012-_=", max_size=80).map("rlhf-".__add__),
    vote=st.sampled_from([{"thumbs": "up"}, {"task": "done"}]),
)
def test_no_invented_id_is_accepted(checked: Loopback, response_id: str, vote: Any) -> None:
    said = checked.post("/v1/feedback", {"response_id": response_id, **vote})
    assert said.status in (400, 403)
    assert said.is_error


@examples(40)
@given(place=st.integers(0, 200), char=st.characters(exclude_categories=["Cs"]))
def test_no_altered_id_is_accepted(checked: Loopback, place: int, char: str) -> None:
    issued = json.loads(checked.post("/v1/completions", PROMPT).body)["id"]
    at = place % len(issued)
    altered = issued[:at] + char + issued[at + 1 :]
    if altered != issued:
        said = checked.post("/v1/feedback", {"response_id": altered, "thumbs": "up"})
        assert said.status in (400, 403)


@pytest.mark.parametrize("path", PATHS)
def test_a_body_that_does_not_come_is_not_waited_for(hasty: Loopback, path: str) -> None:
    [said] = hasty.send(head("POST", path, [("Content-Length", "50")]) + b"{")
    assert said.status == 408
    assert said.is_error


async def test_a_body_that_does_not_unpack_is_no_fault_of_the_version(world: World) -> None:
    headers = {"Content-Encoding": "gzip"}
    reply = await world.users.post("/v1/completions", data=b"no gzip", headers=headers)
    assert reply.status == 400
    seen = await world.metrics()
    assert (seen["requests_total"], seen["errors_total"]) == (0, 0)
