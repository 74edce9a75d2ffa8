"""How much of a text repeats what stands before."""

from __future__ import annotations

import itertools
import random

import pytest

from rlhf_operator.guard.checks.repetition import repeated_share
from tests.guard.world import a_setup, a_stage, checked

PROSE = (
    "When you plan a garden, begin with the light. Most vegetables want six hours of sun each day, "
    "and a bed that lies in shade until noon will give you salad and little else. Watch the plot "
    "for a week, note in the morning, at noon and in the evening where the shadows fall, and only "
    "then decide where the tomatoes go. The soil comes second, and the water comes last of all."
)


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        pytest.param("the " * 49, 0, 0, id="short texts never"),
        pytest.param("the " * 500, 0.98, 1, id="one word"),
        pytest.param("Yes yes NO " * 100, 0.98, 1, id="a phrase, whatever its case"),
        pytest.param("A" * 1000, 0.98, 1, id="one letter"),
        pytest.param("\n" * 1000, 0.98, 1, id="space alone"),
        pytest.param("好的，" * 200, 0.95, 1, id="no spaces"),
        pytest.param(PROSE, 0, 0.05, id="prose"),
        pytest.param(PROSE + " " + PROSE, 0.45, 0.55, id="prose and the same again"),
        pytest.param("".join(map(chr, range(0x4E00, 0x5000))), 0, 0, id="all letters different"),
    ],
)
def test_the_share(text: str, least: float, most: float) -> None:
    assert least <= repeated_share(text) <= most


def test_a_share_is_a_share() -> None:
    dice = random.Random(7)
    for length in range(200, 260):
        text = " ".join(dice.choices("abc", k=length))
        assert 0 <= repeated_share(text) <= 1


@pytest.mark.parametrize(
    ("limits", "said", "is_found"),
    [
        ({"characters": 10}, "x" * 10, False),
        ({"characters": 10}, "x" * 11, True),
        ({"repetition": "0.5"}, "no " * 200, True),
        ({"repetition": "0.5"}, PROSE, False),
        ({"repetition": "1"}, "no " * 200, False),
        ({"repetition": "0.9"}, "The sea is calm today. " * 30 + "What is it about?", False),
        ({"repetition": "0.9"}, "The sea is calm today. " * 60 + "What is it about?", True),
    ],
)
def test_limits(limits: dict[str, object], said: str, is_found: bool) -> None:
    stage = a_stage(rules=[{"category": "flood", "limits": limits}], action="Redact")
    verdict = checked(a_setup(guard={"stages": [stage]}), said)
    assert verdict.text == ("[flood]" if is_found else None)


def test_a_flood_of_words_has_one_first_of_each() -> None:
    words = list(itertools.islice(itertools.cycle(["one", "two", "three", "four"]), 400))
    assert repeated_share(" ".join(words)) == pytest.approx(1 - 6 / 400, abs=0.02)
