"""Patterns are judged without RE2, and what is let through compiles in RE2."""

from __future__ import annotations

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rlhf_operator.api.guard import GuardSpec, compile_problems
from rlhf_operator.api.patterns import pattern_problem
from tests.guard.world import examples

PIECES = [
    *("a", "z", "é", ".", "-", "^", "$", "|", "_", " ", "\n", "#", ",", "&&", "[:alpha:]"),
    *("(", "(?:", "(?i)", "(?-i:", "(?P<n>", "(?=", "(?!", "(?#", "(?>", ")", "[", "[^", "]"),
    *("\\", "\\d", "\\b", "\\1", "\\x41", "\\p{L}", "\\Z", "\\A", "\\u0041", "\\_", "\\.", "\\-"),
    *("*", "+", "?", "{2}", "{1,3}", "{,2}", "{0}", "{2,}", "{100}", "{1000}", "{", "}"),
]


@examples
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=12).map("".join))
def test_what_is_let_through_compiles_in_re2(pattern: str) -> None:
    if pattern_problem(pattern) is None:
        re2.compile(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param(r"\b\d{4}-\d{4}-\d{4}-\d{4}\b", id="a card number"),
        pytest.param(r"[a-z0-9._%+-]+@[a-z0-9.-]{1,63}\.[a-z]{2,}", id="an address"),
        pytest.param(r"(?:kill|hurt) (?:your|him|her)self", id="groups and alternatives"),
        pytest.param(r"^i can(?:no|')t (?:help|assist)", id="an anchor"),
        pytest.param(r"(a+)+$", id="what would be catastrophic elsewhere is linear in RE2"),
    ],
)
def test_useful_patterns_are_let_through(pattern: str) -> None:
    assert pattern_problem(pattern) is None
    re2.compile(pattern)


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        pytest.param("(?=a)b", "look-around", id="look-ahead"),
        pytest.param("(?<!a)b", "look-around", id="look-behind"),
        pytest.param(r"(a)\1", r"escape \1", id="back-reference"),
        pytest.param("a*+", "possessive", id="possessive repetition"),
        pytest.param("((a{10}){10}){11}", "more than 1000", id="repetition that multiplies"),
        pytest.param("a{,3}", "{0,n}", id="a count that RE2 reads literally"),
        pytest.param("(a", "unterminated", id="open group"),
        pytest.param("[a", "missing ]", id="open bracket"),
        pytest.param("[[:alpha:]]", "must be escaped", id="a POSIX class"),
    ],
)
def test_a_refused_pattern_says_why(pattern: str, why: str) -> None:
    assert why in str(pattern_problem(pattern))


def test_a_problem_names_the_place_of_the_pattern() -> None:
    spec = GuardSpec.model_validate(
        {
            "stages": [
                {
                    "name": "words",
                    "type": "Rules",
                    "appliesTo": ["Output"],
                    "action": "Flag",
                    "rules": [{"category": "bias", "patterns": ["fine", "(?=a)"]}],
                }
            ],
            "golden": [{"name": "hello", "prompt": "Hi", "maxTokens": 8, "mustMatch": "["}],
            "refusalPatterns": ["("],
        }
    )
    assert [problem.split(":")[0] for problem in compile_problems(spec)] == [
        "stage words, category bias",
        "golden prompt hello",
        "refusalPatterns",
    ]


def test_a_rule_without_words_is_refused() -> None:
    with pytest.raises(ValidationError, match="a rule needs keywords, patterns"):
        GuardSpec.model_validate(
            {
                "stages": [
                    {
                        "name": "empty",
                        "type": "Rules",
                        "appliesTo": ["Output"],
                        "action": "Flag",
                        "rules": [{"category": "bias"}],
                    }
                ]
            }
        )
