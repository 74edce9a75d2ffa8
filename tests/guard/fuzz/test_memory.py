"""What is held of a request, a reply or a stream is bounded."""

from __future__ import annotations

import collections
import itertools
import tracemalloc

import pytest
from prometheus_client import CollectorRegistry

from rlhf_operator.guard import pipeline, sse, votes
from rlhf_operator.guard.deltas import Characters, Stops
from rlhf_operator.guard.instruments import StageInstruments
from rlhf_operator.guard.window import Window
from tests.guard.fuzz.conftest import CHECKED, MARK
from tests.guard.world import a_setup

TOKENS = 200_000
"""As many as a hundred long answers have."""
TRACED = 20_000
"""Where memory is traced, which takes long."""


def a_window() -> Window:
    setup = a_setup(**CHECKED)
    counts = StageInstruments(CollectorRegistry())
    stages = pipeline.prepare(setup.config.guard, setup.rules, {}, counts)
    return Window(stages.steps_for("Output"), hold_back=400)


def test_a_window_holds_back_no_more_after_a_long_answer_than_after_a_short_one() -> None:
    window = a_window()
    most, given, left = 0, 0, 0
    for number in range(TOKENS):
        word = f"w{number % 97} "
        given += len(word)
        left += len(window.feed(word))
        most = max(most, given - left)
    assert most < 2_000
    assert left + len(window.finish()) == given


def test_a_window_finds_the_word_behind_a_long_answer() -> None:
    window = a_window()
    left = "".join(window.feed("word ") for _ in range(TOKENS // 10))
    left += "".join(window.feed(char) for char in MARK + " and more")
    assert window.finish() == ""
    assert window.is_blocked
    assert "z" not in left


def test_what_a_window_keeps_is_a_small_multiple_of_the_text() -> None:
    window = a_window()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(TRACED):
            window.feed("word ")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 16 * TRACED * len("word ")


def test_a_reader_of_events_keeps_nothing_of_those_that_are_over() -> None:
    reader = sse.Reader()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(TRACED):
            assert reader.feed(b'data: {"text_output": "word "}\r\n\r\n')
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 10_000


@pytest.mark.parametrize(
    "line", [b"data: aaaaaaaa", b"data: aaaaaaaa\n", b": aaaaaaaa\n", b"\x00" * 9]
)
def test_an_event_without_end_is_cut_off(line: bytes) -> None:
    reader = sse.Reader()
    pieces = itertools.repeat(line * 60_000, 40)
    with pytest.raises(sse.Broken):
        collections.deque(map(reader.feed, pieces), maxlen=0)


def test_halves_of_characters_and_stops_hold_no_more_than_they_must() -> None:
    characters, stops = Characters(), Stops(("aaaaaaab",))
    for text in ("\ud83d", "a" * 7, "\udc80"):
        most = 0
        for number in range(1, 2_000):
            left = len(stops.feed(characters.feed(text)))
            most = max(most, len(text) - left) if number > 20 else most
        assert most <= 8


def test_votes_are_forgotten_beyond_their_bound() -> None:
    seen = votes.Votes(100)
    assert all(seen.add(f"n{number}", "thumbs") for number in range(10_000))
    assert len(seen) == 100
