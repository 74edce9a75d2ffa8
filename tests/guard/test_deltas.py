"""Pieces are put together alike however they were cut: events, characters, stop sequences."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_operator.guard import openai, sse
from rlhf_operator.guard.deltas import Characters, Stops, whole
from tests.guard.world import examples

cuts = st.lists(st.integers(0, 500), max_size=30)


Some = TypeVar("Some", str, bytes)


def pieces(whole: Some, at: list[int]) -> list[Some]:
    edges = sorted({0, len(whole), *(each % (len(whole) + 1) for each in at)})
    return [whole[start:end] for start, end in pairwise(edges)]


@examples
@given(st.lists(st.text(max_size=12), max_size=6), st.sampled_from(["\n", "\r\n", "\r"]), cuts)
def test_events_are_read_however_they_are_cut(texts: list[str], end: str, at: list[int]) -> None:
    said = [json.dumps({"text": each}, ensure_ascii=False) for each in texts]
    lines = [f": a comment{end}event: x{end}data: {each}{end}{end}" for each in said]
    reader = sse.Reader()
    found = [each for piece in pieces("".join(lines).encode(), at) for each in reader.feed(piece)]
    # A carriage return at the very end may be half of an end.
    found += reader.feed(b"\n") if end == "\r" else []
    assert [each.decode() for each in found] == said
    reader.finish()


def test_data_of_several_lines_is_one_text() -> None:
    assert sse.Reader().feed(b"data: a\ndata:b\n\n") == [b"a\nb"]


@pytest.mark.parametrize("rest", [b"data: a\n", b"data: a", b"dat"])
def test_an_event_that_is_cut_short_is_no_event(rest: bytes) -> None:
    reader = sse.Reader()
    assert reader.feed(b"data: whole\n\n" + rest) == [b"whole"]
    with pytest.raises(sse.Broken):
        reader.finish()


def test_an_event_without_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "_LONGEST", 100)
    reader = sse.Reader()
    for _ in range(50):
        assert len(reader.feed(b"data: " + b"x" * 40 + b"\n\n")) == 1
    with pytest.raises(sse.Broken):
        [reader.feed(b"x" * 40) for _ in range(4)]


def joined(parts: list[str]) -> str:
    characters = Characters()
    return "".join(map(characters.feed, parts)) + characters.finish()


@examples
@given(st.text(max_size=40), cuts)
def test_bytes_become_the_characters_that_they_were(text: str, at: list[int]) -> None:
    text = text.encode("utf-8", "replace").decode()
    parts = [each.decode("utf-8", "surrogateescape") for each in pieces(text.encode(), at)]
    assert joined(parts) == text


@examples
@given(st.text(st.characters() | st.sampled_from("\ud83d\ude00\udce7\ud800"), max_size=20), cuts)
def test_what_leaves_has_no_halves_however_it_was_cut(text: str, at: list[int]) -> None:
    assert joined(pieces(text, at)) == whole(text)
    whole(text).encode()


@pytest.mark.parametrize(
    ("text", "is_read_as"),
    [
        ("\ud83d\ude00", "\U0001f600"),
        ("\ud83d!", "\ufffd!"),
        ("a\udce7\udc88\udc86b", "a\u7206b"),
        ("a\udce7", "a\ufffd"),
        ("plain", "plain"),
    ],
)
def test_halves(text: str, is_read_as: str) -> None:
    assert whole(text) == is_read_as


words = st.text("abc", max_size=12)


@examples
@given(words, st.lists(st.text("abc", min_size=1, max_size=4), max_size=3), cuts)
def test_the_first_stop_sequence_ends_a_text_however_it_is_cut(
    text: str, sequences: list[str], at: list[int]
) -> None:
    stops = Stops(tuple(sequences))
    left = "".join(map(stops.feed, pieces(text, at))) + stops.finish()
    assert left == openai.cut(text, tuple(sequences))
    assert stops.is_over == (left != text)


def test_text_is_held_only_where_a_stop_sequence_may_have_begun() -> None:
    stops = Stops(("\nUser:",))
    assert [stops.feed(each) for each in ("Hi", " you\n", "Us", "age", "\nUser", ":")] == [
        "Hi",
        " you",
        "",
        "\nUsage",
        "",
        "",
    ]
    assert stops.is_over
