"""No prefix of any answer holds a word that a rule blocks, however hidden and however cut."""

from __future__ import annotations

import itertools
import json
import unicodedata
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.guard.fuzz.conftest import CHECKED, MARK
from tests.guard.fuzz.examples import PLACES, cut, examples
from tests.guard.fuzz.loopback import Framing, Loopback, Said, Told
from tests.guard.fuzz.reading import events, texts
from tests.guard.fuzz.test_replies import ASK, CALLS
from tests.guard.world import a_setup, checked

SETUP = a_setup(**CHECKED)

# Between the letters of the word, or around them; none of it shows, or means another word.
HIDDEN = st.sampled_from(["", "", "", "\u200b", "\u00ad", "\u2060\u200d", "\ufe0f", "\U000e0061"])
ALSO = st.sampled_from(["\u0301", "\u0308", "\ud83d", ".", " ", "\u202e", "\x00"])
FORMS = {
    "plain": str,
    "upper": str.upper,
    "wide": lambda word: "".join(chr(ord(char) + 0xFEE0) for char in word),
    "bold": lambda word: "".join(chr(0x1D41A + ord(char) - ord("a")) for char in word),
}
SAFE = st.text(st.sampled_from("ab de. ,é中😀\n\u0301\u200b\\\"'"), max_size=40)
FRAMINGS: st.SearchStrategy[Framing] = st.sampled_from(["length", "chunked"])


@st.composite
def disguised(draw: st.DrawFn, *, between: st.SearchStrategy[str] = HIDDEN) -> str:
    """Return the word in one of its forms, with something between its letters."""
    word = FORMS[draw(st.sampled_from(sorted(FORMS)))](MARK)
    return "".join(char + draw(between) for char in word)


@st.composite
def answers(draw: st.DrawFn) -> str:
    """Return what a model says: the word, surely found or perhaps, among other text."""
    between = draw(st.sampled_from([HIDDEN, HIDDEN | ALSO]))
    return f"{draw(SAFE)} {draw(disguised(between=between))} {draw(SAFE)}"


def letters(text: str) -> str:
    """Return the letters of a text, in one form and without what stands above or between them."""
    text = text.encode("utf-8", "replace").decode()
    plain = unicodedata.normalize("NFKD", text).casefold()
    return "".join(char for char in plain if unicodedata.category(char)[0] not in "MC")


def parts(text: str, places: Sequence[int]) -> list[bytes]:
    """Return a text in the parts of a stream, cut between any two bytes."""
    return list(cut(text.encode("utf-8", "surrogatepass"), list(places))) or [b""]


def streamed(pieces: Sequence[bytes], end: bytes = b"\n\n") -> bytes:
    """Return events with these bytes as their texts, which need not be whole characters."""
    escaped = (
        piece.replace(b"\\", b"\\\\")
        .replace(b'"', b'\\"')
        .replace(b"\n", b"\\n")
        .replace(b"\0", b"")
        for piece in pieces
    )
    return b"".join(b'data: {"text_output": "%b"}%b' % (each, end) for each in escaped)


def replied(path: str, text: str, *, ascii_only: bool, binary: bool) -> tuple[bytes, Any]:
    """Return Triton's reply with a text, and its headers."""
    tensor: dict[str, Any] = {"name": "text_output", "datatype": "BYTES", "shape": [1]}
    if "infer" not in path:
        said = json.dumps({"text_output": text}, ensure_ascii=ascii_only)
        return said.encode("utf-8", "surrogatepass"), ()
    if not binary:
        said = json.dumps({"outputs": [{**tensor, "data": [text]}]}, ensure_ascii=ascii_only)
        return said.encode("utf-8", "surrogatepass"), ()
    element = text.encode("utf-8", "surrogatepass")
    blob = len(element).to_bytes(4, "little") + element
    tensor["parameters"] = {"binary_data_size": len(blob)}
    head = json.dumps({"outputs": [tensor]}).encode()
    return head + blob, (("Inference-Header-Content-Length", str(len(head))),)


def found(text: str) -> bool:
    """Tell whether the rules find the word in a whole text as a client would read it."""
    return checked(SETUP, text.encode("utf-8", "replace").decode()).is_stopped


def tight(said: Said, text: str) -> None:
    """Find nothing of the word in an answer, if the rules find it in the whole text."""
    assert said.status in (200, 502), said
    if said.status == 502:
        assert said.is_error
        return
    read = " ".join(texts(said))
    assert not found(read)
    if found(text):
        assert "z" not in letters(read), read
        assert said.headers.get("x-rlhf-verdict", "blocked") == "blocked"


@pytest.mark.parametrize("form", sorted(FORMS))
def test_the_word_is_found_in_all_its_forms(form: str) -> None:
    assert found(f"a {FORMS[form](MARK)} b")
    assert found("a " + "\u200b".join(FORMS[form](MARK)) + " b")
    assert not found("ab de")


@pytest.mark.parametrize(("path", "asked"), CALLS)
@examples(25)
@given(text=answers(), ascii_only=st.booleans(), binary=st.booleans(), places=PLACES)
def test_a_whole_reply_leaks_nothing(
    checked: Loopback,
    path: str,
    asked: Any,
    text: str,
    ascii_only: bool,
    binary: bool,
    places: list[int],
) -> None:
    if path.endswith("generate_stream"):
        return
    body, headers = replied(path, text, ascii_only=ascii_only, binary=binary)
    checked.model.told = Told(pieces=cut(body, places), headers=headers)
    tight(checked.post(path, asked), text)


@pytest.mark.parametrize(("path", "asked"), [each for each in CALLS if "infer" not in each[0]])
@examples(25)
@given(
    text=answers(),
    places=st.lists(st.integers(0, 2**16), max_size=20),
    end=st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r\r"]),
    segments=PLACES,
    framing=FRAMINGS,
)
def test_a_stream_leaks_nothing(
    streaming: Loopback,
    path: str,
    asked: Any,
    text: str,
    places: list[int],
    end: bytes,
    segments: list[int],
    framing: Framing,
) -> None:
    if path.endswith("/generate"):
        return
    body = streamed(parts(text, places), end)
    headers = (("Content-Type", "text/event-stream"),)
    streaming.model.told = Told(pieces=cut(body, segments), headers=headers, framing=framing)
    tight(streaming.post(path, asked), text.replace("\0", ""))


@examples(40)
@given(text=answers() | SAFE, one=st.lists(st.integers(0, 2**16), max_size=20), other=PLACES)
def test_however_an_answer_is_cut_it_is_the_same(
    streaming: Loopback, text: str, one: list[int], other: list[int]
) -> None:
    text = text.encode("utf-8", "replace").decode().replace("\0", "")
    read = []
    for places, path in itertools.product(
        (one, other, []), ("/v1/completions", "/v1/chat/completions")
    ):
        body = streamed(parts(text, places))
        streaming.model.told = Told(
            pieces=(body,), headers=(("Content-Type", "text/event-stream"),)
        )
        for stream in (True, False):
            said = streaming.post(path, {**ASK[path], "stream": stream})
            assert said.status == 200
            assert not said.is_broken
            read.append(("".join(texts(said)), _end(said)))
    assert len(set(read)) == 1
    if not found(text):
        assert read[0][0] == text


def _end(said: Said) -> str:
    """Return why an answer ended."""
    whole = (
        [json.loads(said.body)] if said.headers.get_content_type() != "text/event-stream" else []
    )
    choices = [choice for event in whole or events(said) for choice in event["choices"]]
    return str(choices[-1]["finish_reason"])


@pytest.mark.parametrize("binary", [False, True])
def test_no_half_of_a_character_hides_what_is_read_without_it(
    checked: Loopback, binary: bool
) -> None:
    path = "/v2/models/model/infer"
    body, headers = replied(path, f"a {MARK[:4]}\ud83d{MARK[4:]}", ascii_only=True, binary=binary)
    checked.model.told = Told(pieces=(body,), headers=headers)
    [read, *_] = [text for text in texts(checked.post(path, ASK[path])) if text.startswith("a ")]
    assert "\ufffd" in read or "?" in read


PHRASE = f"the {MARK}"
TENSOR = {"name": "text_output", "datatype": "BYTES", "shape": [1], "data": ["Fine."]}
OTHER = {"name": "other", "datatype": "BYTES", "shape": [1], "data": [PHRASE]}
PLACED: list[Any] = [
    pytest.param(f'{{"text_output": "{PHRASE}", "text_output": "Fine."}}', id="a key twice"),
    pytest.param(json.dumps({"text_output": "Fine.", "reasoning": PHRASE}), id="another field"),
    pytest.param(json.dumps({"text_output": "Fine.", PHRASE: 1}), id="a field's name"),
    pytest.param(json.dumps({"text_output": "Fine.", "id": {"a": [PHRASE]}}), id="deep inside"),
    pytest.param(json.dumps({"outputs": [TENSOR, OTHER]}), id="another tensor"),
    pytest.param(
        json.dumps({"outputs": [{**TENSOR, "parameters": {"a": PHRASE}}]}), id="parameters"
    ),
    pytest.param(json.dumps({"outputs": [{**TENSOR, "shape": [PHRASE]}]}), id="a shape"),
    pytest.param(json.dumps({"outputs": [{**TENSOR, "name": PHRASE}, TENSOR]}), id="a name"),
    pytest.param(json.dumps({"outputs": [TENSOR], "text_output": PHRASE}), id="a field beside"),
    pytest.param(json.dumps({"error": PHRASE}), id="an error"),
    pytest.param(json.dumps({"error": f"invalid request: {PHRASE}"}), id="the client's mistake"),
    pytest.param(json.dumps({"text_output": "Fine."}) + PHRASE, id="behind the end"),
    pytest.param(f'data: {{"text_output": "Fine."}}\n\n: {PHRASE}\n\n', id="a comment"),
    pytest.param(f'event: {PHRASE}\ndata: {{"text_output": "Fine."}}\n\n', id="an event's name"),
    pytest.param(
        f'data: {{"text_output": "Fine."}}\n\ndata: [DONE]\n\n{PHRASE}\n\n', id="after all"
    ),
]


@pytest.mark.parametrize(("path", "asked"), CALLS)
@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("body", PLACED)
def test_no_text_leaves_by_another_way(
    guarded: Loopback, path: str, asked: Any, status: int, body: str
) -> None:
    headers = (("x-rlhf-word", PHRASE), ("Content-Type", f"application/json; a={MARK}"))
    guarded.model.told = Told(pieces=(body.encode(),), status=status, headers=headers)
    said = guarded.post(path, asked)
    assert MARK not in said.body.decode() + str(said.headers)
    assert said.status == 200 or said.is_error
