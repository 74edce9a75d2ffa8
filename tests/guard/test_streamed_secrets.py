"""A secret leaves no stream, however long it is and however it is cut; what does is counted."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from rlhf_operator.api.guard import Streaming
from rlhf_operator.guard import pipeline
from rlhf_operator.guard.chain import Chain
from rlhf_operator.guard.instruments import StageInstruments
from rlhf_operator.guard.pipeline import Pipeline
from rlhf_operator.guard.verdict import Found, Judgement, Verdict
from rlhf_operator.guard.window import Window
from tests.guard.corpus import report
from tests.guard.corpus.reading import Entry, read_development
from tests.guard.test_window import pieces, served, whole
from tests.guard.world import MakeWorld, a_setup, a_stage, examples

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
SECRETS = a_stage(action="Redact", rules=[{"category": "secrets", "recognizers": ["Secret"]}])


def drawn(length: int, letters: str = LETTERS) -> str:
    return "".join(random.Random(length).choices(letters, k=length))


def a_key(length: int, *, line: int = 64, between: str = "\n", kind: str = "RSA ") -> str:
    body = drawn(length)
    lines = [body[at : at + line] for at in range(0, length, line)]
    return between.join(
        [f"-----BEGIN {kind}PRIVATE KEY-----", *lines, f"-----END {kind}PRIVATE KEY-----"]
    )


def a_word(length: int) -> str:
    return drawn(length, LETTERS[:62])


def a_token(payload: int, signature: int) -> str:
    return f"eyJ{a_word(60)}.eyJ{a_word(payload)}.{a_word(signature)}"


@functools.cache
def redacting() -> Pipeline:
    return a_pipeline([SECRETS])


def a_pipeline(stages: Sequence[dict[str, Any]]) -> Pipeline:
    setup = a_setup(guard={"stages": list(stages)})
    counts = StageInstruments(CollectorRegistry())
    return pipeline.prepare(setup.config.guard, setup.rules, {}, counts)


def cut(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


LONG = {
    "a key": a_key(1600),
    "a key without a kind": a_key(1600, kind=""),
    "a key of 4096 bits": a_key(3200),
    "a very long key": a_key(9000),
    "a key within a string": a_key(1600, between="\\n"),
    "a key in a list of strings": a_key(1600, between='",\n    "'),
    "an indented key": a_key(1600, between="\n      "),
    "a quoted key": a_key(1600, between="\n> "),
    "a key as Python writes it": a_key(1600, between='\\n"\n    "'),
    "a key that is put together": a_key(1600, between='\\n" +\n        "'),
    "a key in a comment": a_key(1600, between="\n# "),
    "a key in one line": a_key(1600, line=5000),
    "an encrypted key": a_key(1600, between="\n").replace(
        "-----\n", "-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,1F2E3D\n\n", 1
    ),
    "a key whose last line is short": a_key(1605),
    "a token": a_token(1500, 342),
    "a token with a long signature": a_token(300, 1200),
    "a credential": f"Authorization: Bearer {a_word(1500)}",
}


@pytest.mark.parametrize("behind", [" and more", "\n" + "It goes on and on. " * 60, ""])
@pytest.mark.parametrize("secret", LONG.values(), ids=list(LONG))
def test_nothing_of_a_long_secret_leaves(secret: str, behind: str) -> None:
    window = Window(redacting().steps, hold_back=400)
    left = served(window, cut(f"Here it is:\n{secret}{behind}", 5))
    assert left == whole(redacting(), f"Here it is:\n{secret}{behind}").text
    assert left.replace("Authorization: ", "") == f"Here it is:\n[secrets]{behind}"
    assert not window.escaped


@pytest.mark.parametrize("secret", LONG.values(), ids=list(LONG))
def test_a_secret_whose_end_never_comes_is_replaced_as_far_as_it_got(secret: str) -> None:
    for length in (150, 700, len(secret) - 20):
        text = f"Here: {secret[:length]}"
        left = served(Window(redacting().steps, hold_back=400), cut(text, 7))
        assert left.replace("Authorization: ", "") == "Here: [secrets]"


def test_the_name_of_a_secret_leaves_before_it_has_ended() -> None:
    window, most, left = Window(redacting().steps, hold_back=400), 0, ""
    for piece in cut(f"Here: {a_key(9000)}", 5):
        left += window.feed(piece)
        if not left.endswith("[secrets]"):
            most = max(most, len(window.text) - len(left))
    assert left == "Here: [secrets]"
    assert most < 2_500


def test_who_only_names_the_first_line_of_a_key_is_read() -> None:
    said = "It starts with -----BEGIN PRIVATE KEY----- and the rest is base64. " + "Really. " * 99
    window = Window(redacting().steps, hold_back=400)
    assert served(window, cut(said, 5)) == said.replace("-----BEGIN PRIVATE KEY-----", "[secrets]")


LATE = "-----BEGIN PRIVATE KEY-----" + " 3f" * 300 + " -----END PRIVATE KEY-----"
"""Found by its end alone, more than what is held back behind its beginning."""


def test_what_had_left_before_it_was_found_is_told() -> None:
    window = Window(redacting().steps, hold_back=400)
    left = served(window, cut(f"Here: {LATE} and more", 5))
    assert "3f 3f" in left
    before, gone, behind = left.split("[secrets]")
    assert (before, behind) == ("Here: ", " and more")
    assert window.escaped == {"secrets": len(gone)}


async def test_a_secret_of_which_a_part_had_left_is_counted_as_served(
    make_world: MakeWorld,
) -> None:
    world = await make_world(guard={"stages": [SECRETS]})
    world.triton.stream(*cut(f"Here: {LATE} and more", 50))
    asked = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}
    assert "[secrets]" in await (await world.users.post("/v1/chat/completions", json=asked)).text()
    seen = await world.metrics()
    assert seen["streams_escaped_total"] == 1
    assert seen['unsafe_served_total{category="secrets"}'] == 1
    assert seen["unsafe_served_responses_total"] == seen["responses_total"] == 1
    assert seen["redacted_responses_total"] == 1


class _Service:
    """A service that knows one word."""

    async def judge(self, text: str, _direction: object, _said: object) -> Judgement:
        at = text.find("SECRET")
        found = (Found(category="secrets", spans=((at, at + 6),)),) if at >= 0 else ()
        return Judgement(found=found)


async def test_what_a_service_replaces_and_had_begun_before_is_told() -> None:
    outside = {"service": {"name": "m", "port": 80}, "contract": "LiteLLM"}
    stage = a_stage("service", type="External", action="Redact", rules=None, external=outside)
    setup = a_setup(guard={"stages": [stage]})
    counts = StageInstruments(CollectorRegistry())
    stages = pipeline.prepare(setup.config.guard, setup.rules, {"service": _Service()}, counts)
    chain = Chain(stages, Streaming(chunk=10, context=10))
    left = await chain.feed("aaaaaaaaSECRET and")
    assert left + await chain.finish() == "aaaaaaaaSE[secrets]"
    assert chain.escaped == {"secrets": 2}


OUTPUTS = [each for each in read_development() if each.direction == "Output"]
PRIVATE = [e for e in OUTPUTS if e.class_name.startswith(("pii", "secret", "ip-"))]
FILLER = "The rest of it is said here at length. "


@functools.cache
def strict() -> Pipeline:
    spec = report.preset().model_dump(mode="json", by_alias=True, exclude_none=True)
    return a_pipeline(spec["stages"])


def stream(text: str, parts: Sequence[str]) -> tuple[str, Verdict, dict[str, int]]:
    async def flow() -> tuple[str, Verdict, dict[str, int]]:
        chain = Chain(strict(), Streaming())
        left = [await chain.feed(part) for part in parts]
        left.append(await chain.finish())
        return "".join(left), chain.conclude(), chain.escaped

    return asyncio.run(flow())


def agrees(text: str, parts: Sequence[str]) -> None:
    left, streamed, escaped = stream(text, parts)
    if escaped:
        return
    verdict = whole(strict(), text)
    assert streamed.outcome == verdict.outcome
    assert streamed.blocking == verdict.blocking
    if not verdict.is_stopped:
        assert left == (text if verdict.text is None else verdict.text)


def test_there_are_texts_with_secrets_and_personal_data() -> None:
    assert len(PRIVATE) > 250


@examples
@given(
    st.sampled_from(PRIVATE),
    st.integers(0, 30),
    st.integers(0, 30),
    st.lists(st.integers(0, 5000), max_size=60),
)
def test_what_leaves_of_the_corpus_is_what_would_leave_of_the_whole(
    entry: Entry, before: int, after: int, cuts: list[int]
) -> None:
    text = FILLER * before + entry.text + "\n" + FILLER * after
    agrees(text, pieces(text, cuts))


@pytest.mark.parametrize("start", range(0, len(OUTPUTS), 100))
def test_every_answer_of_the_corpus_is_served_as_it_would_be_whole(start: int) -> None:
    for entry in OUTPUTS[start : start + 100]:
        text = FILLER * 12 + entry.text + "\n" + FILLER * 12
        agrees(text, cut(text, 37))
