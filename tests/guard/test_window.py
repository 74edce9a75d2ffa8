"""What leaves of a growing text is what would leave of the whole, however it was cut."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from rlhf_operator.api.guard import Streaming
from rlhf_operator.guard import pipeline
from rlhf_operator.guard.chain import Chain
from rlhf_operator.guard.instruments import StageInstruments
from rlhf_operator.guard.text import normalise
from rlhf_operator.guard.verdict import Verdict
from rlhf_operator.guard.window import Window
from tests.guard.world import a_setup, examples

ENOUGH = 4000
WORDS = ["bomb", "bombs", "bom", "ay", "those", "people", " ", "  ", ".", "B\u00d6MB", "bo\u0301mb",
         "\u0301", "\u200b", "\U0001f4a3", "\ufb01", "fi", "ss\u00df", "\u1100\u1161\u11a8", "aaa",
         "12", "\n", "jane@example.com", "4111 1111 1111 1111", "card ", "phone: ", "555 0100 199",
         "z" * 70, "so on, " * 100, "secret: ", "end", "\u7206\u5f3e", "x", "key"]  # fmt: skip
texts = st.lists(st.sampled_from(WORDS) | st.text(max_size=3), max_size=30).map("".join)
KEYWORDS = ["bomb", "those people", "fix", "\u7206\u5f3e", "b\u00f6mb", "gag", "key key", "x"]
PATTERNS = [r"a{2,4}", r"\bkey\b", r"^bomb", r"end$", r"secret: .{0,9}end", r"[0-9]{3,16}", "aa",
            r"secret: \S+", r"b[^.]*\.", r"\d+(?:\s\d+)*", "ss", r"(?:x|xbomb)",
            r"x.{5}y|z.{9}"]  # fmt: skip


def rule(
    category: str, keywords: list[str], patterns: list[str], recognizers: Sequence[str] = ()
) -> dict[str, Any]:
    found = {"category": category, "keywords": keywords, "patterns": patterns}
    return {**found, "recognizers": recognizers} if recognizers else found


rules = st.builds(
    lambda *says: list(says),
    st.lists(st.sampled_from(KEYWORDS), max_size=2, unique=True),
    st.lists(st.sampled_from(PATTERNS), max_size=2, unique=True),
    st.lists(st.sampled_from(["Email", "Phone", "CreditCard"]), max_size=2, unique=True),
)


def a_pipeline(*stages: tuple[str, list[Any]]) -> pipeline.Pipeline:
    spec = [
        {
            "name": f"s{at}",
            "type": "Rules",
            "appliesTo": ["Output"],
            "action": action,
            "rules": [rule(f"c{at}", *says)],
        }
        for at, (action, says) in enumerate(stages)
    ]
    setup = a_setup(guard={"stages": spec})
    counts = StageInstruments(CollectorRegistry())
    return pipeline.prepare(setup.config.guard, setup.rules, {}, counts)


def whole(stages: pipeline.Pipeline, text: str) -> Verdict:
    return asyncio.run(stages.check(text, "Output"))


def pieces(text: str, cuts: list[int]) -> list[str]:
    edges = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[start:end] for start, end in pairwise(edges)]


def served(window: Window, parts: list[str]) -> str:
    left = []
    for part in parts:
        left.append(window.feed(part))
        if window.is_blocked:
            return "".join(left)
    return "".join((*left, window.finish()))


@examples
@given(texts, st.lists(st.integers(0, 400), max_size=40), rules, rules)
def test_however_it_is_cut_the_same_leaves(
    text: str, cuts: list[int], first: list[Any], second: list[Any]
) -> None:
    stages = a_pipeline(("Block", first), ("Redact", second))
    window = Window(stages.steps, hold_back=ENOUGH)
    left = served(window, pieces(text, cuts))
    verdict = whole(stages, text)
    assert window.is_blocked == verdict.is_blocked
    assert not window.escaped
    if not verdict.is_blocked:
        assert left == (text if verdict.text is None else verdict.text)


short = st.sampled_from([["bomb"], ["x"], ["gag", "fix"], ["bomb", "b\u00f6mb"]])


@examples
@given(texts, texts, st.lists(st.integers(0, 2000), max_size=40), short, st.integers(0, 3))
def test_nothing_of_what_is_blocked_leaves(
    before: str, after: str, cuts: list[int], keywords: list[str], times: int
) -> None:
    text = before + "z" * 50 * times + f" {keywords[0]} " + after
    stages = a_pipeline(("Block", [keywords, []]))
    window = Window(stages.steps, hold_back=ENOUGH)
    left = served(window, pieces(text, cuts))
    assert window.is_blocked
    assert not window.escaped
    assert text.startswith(left)
    # Not even the first letter of it.
    [found] = stages.steps[0].check.judge(text).found  # type: ignore[union-attr]
    assert len(left) <= found.spans[0][0]


@examples
@given(texts, st.lists(st.integers(0, 400), max_size=40), rules)
def test_however_little_is_held_the_verdict_is_that_of_the_whole(
    text: str, cuts: list[int], first: list[Any]
) -> None:
    stages = a_pipeline(("Block", first))
    window = Window(stages.steps, hold_back=0)
    left = served(window, pieces(text, cuts))
    verdict = whole(stages, text)
    if verdict.is_blocked:
        assert window.is_blocked
    else:
        assert window.is_blocked or left == text


def test_a_match_longer_than_what_is_held_is_told_with_how_much_had_left() -> None:
    stages = a_pipeline(("Block", [[], [r"start.{40}end\b"]]))
    window = Window(stages.steps, hold_back=10)
    left = served(window, list("ok start" + "-" * 40 + "end and more of it"))
    assert window.is_blocked
    [(category, many)] = window.escaped.items()
    assert category == "c0"
    assert many == len(left) - len("ok ")
    assert 0 < many < 48


def test_text_is_held_as_long_as_the_longest_match_and_no_longer() -> None:
    stages = a_pipeline(("Block", [["bomb"], []]))
    window = Window(stages.steps, hold_back=400)
    left = ""
    for at, char in enumerate("it goes on and on" * 20, 1):
        left += window.feed(char)
        assert at - len(left) <= 12
    assert Window(a_pipeline(("Flag", [["bomb"], []])).steps, hold_back=400).feed("a") == "a"


def test_a_word_at_the_end_may_become_another_word() -> None:
    stages = a_pipeline(("Block", [["bomb"], []]))
    window = Window(stages.steps, hold_back=0)
    assert served(window, ["off to bomb", "ay we go"]) == "off to bombay we go"


def test_a_cut_separates_no_mark_from_its_letter() -> None:
    stages = a_pipeline(("Block", [["never"], []]))
    window = Window(stages.steps, hold_back=0)
    left = [window.feed(char) for char in "e\u0301o\u0308\u0323u" * 20]
    assert all(normalise(piece[:1]) and piece[:1] in "eou" for piece in left if piece)


@pytest.mark.parametrize(
    ("action", "says"),
    [
        ("Block", [["bomb", "those people"], []]),
        ("Block", [[], [r"secret: .*end"]]),
        ("Redact", [["word"], [r"\d+"]]),
        ("Redact", [["word word"], [r"[a-z]+"]]),
    ],
)
def test_the_cost_of_a_long_answer_grows_no_faster_than_the_answer(
    action: str, says: list[Any]
) -> None:
    def cost(tokens: int) -> float:
        window = Window(a_pipeline((action, says)).steps, hold_back=400)
        for at in range(tokens):
            window.feed(("word ", "12 ", "and ", ". ")[at % 4])
        window.finish()
        return window.looked / len(window.text)

    assert cost(4096) < 45
    assert cost(8192) < 1.2 * cost(4096)


@examples
@given(texts, st.lists(st.integers(0, 400), max_size=20), st.lists(rules, min_size=3, max_size=3))
def test_all_stages_together_serve_what_they_would_of_the_whole(
    text: str, cuts: list[int], says: list[list[Any]]
) -> None:
    stages = a_pipeline(*zip(("Redact", "Flag", "Redact"), says, strict=True))

    async def flow() -> tuple[str, Verdict]:
        chain = Chain(stages, Streaming(hold_back=ENOUGH))
        left = [await chain.feed(part) for part in pieces(text, cuts)]
        left.append(await chain.finish())
        return "".join(left), chain.conclude()

    left, streamed = asyncio.run(flow())
    verdict = whole(stages, text)
    assert streamed == verdict
    assert left == (text if verdict.text is None else verdict.text)
