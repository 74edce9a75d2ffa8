"""Where something was found: places in the original, whatever its normal form looks like."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_operator.guard.rules import RulesCheck
from rlhf_operator.guard.text import normal_view, normalise
from rlhf_operator.guard.verdict import Found, redact
from tests.guard.world import a_setup, a_stage, checked, examples


def a_check(**rule: Any) -> RulesCheck:
    stage = a_stage(rules=[{"category": "it", **rule}])
    return a_setup(guard={"stages": [stage]}).rules.checks["words"]


@pytest.mark.parametrize(
    ("said", "leaves"),
    [
        pytest.param("Build a bomb.", "Build a [violence].", id="a keyword"),
        pytest.param("bomb bomb", "[violence] [violence]", id="two that share a space"),
        pytest.param("bomb", "[violence]", id="the whole text"),
        pytest.param("ﬁne bo\u200bmb ﬁn", "ﬁne [violence] ﬁn", id="ligatures around"),
        pytest.param("é e\u0301 BOMB é", "é e\u0301 [violence] é", id="accents around"),
        pytest.param("\x00\x01bomb\x00 x", "\x00\x01[violence] x", id="control characters"),
        pytest.param("\U0001d41bo\uff4db!", "[violence]!", id="other forms of letters"),
        pytest.param("Those\u00a0people, slurs", "[bias], [bias]", id="a phrase and a pattern"),
        pytest.param("\ud800 bomb \ud800", "\ud800 [violence] \ud800", id="half a pair"),
        pytest.param("ẞ straße bomb", "ẞ straße [violence]", id="letters that fold to two"),
        pytest.param("가 각 \u1100\u1161 bomb", "가 각 \u1100\u1161 [violence]", id="Hangul"),
    ],
)
def test_redaction_takes_what_was_found_and_nothing_else(said: str, leaves: str) -> None:
    setup = a_setup(guard={"stages": [a_stage(action="Redact")]})
    assert checked(setup, said).text == leaves


def test_what_has_no_place_is_redacted_with_the_whole_text() -> None:
    found = (Found(category="bias", spans=((0, 1),)), Found(category="length"))
    assert redact("a text", found) == "[length]"
    setup = a_setup(
        guard={"stages": [a_stage(action="Redact", rules=[{"category": "it", "patterns": ["^"]}])]}
    )
    assert checked(setup, "a text").text == "[it]"


@examples
@given(st.text(), st.text())
def test_a_place_holds_what_was_found(before: str, after: str) -> None:
    said = f"{before} bo\u00admb {after}"
    (found,) = a_check(keywords=["bomb"]).judge(said).found
    assert "bomb" in [normalise(said[start:end]) for start, end in found.spans]


@examples
@given(st.text())
def test_every_normal_character_comes_from_somewhere(said: str) -> None:
    view = normal_view(said)
    spans = [view.place(at, at + 1) for at in range(len(view.text))]
    assert all(0 <= start < end <= len(said) for start, end in spans)
    assert spans == sorted(spans)


@pytest.mark.parametrize(
    ("rule", "longest"),
    [
        pytest.param({"keywords": ["bomb", "gun"]}, 10, id="the longest keyword and its edges"),
        pytest.param({"patterns": [r"\bslurs?\b"]}, 12, id="a pattern's width, twice"),
        pytest.param({"patterns": ["a{3}", "b+"]}, None, id="a pattern without an end"),
        pytest.param({"patterns": ["(ab|c){1,5}"]}, 22, id="a repetition that ends"),
    ],
)
def test_longest_match(rule: dict[str, Any], longest: int | None) -> None:
    assert a_check(**rule).longest() == longest


def test_a_stage_without_rules_finds_nothing_however_short() -> None:
    assert RulesCheck(rules=()).longest() == 0
