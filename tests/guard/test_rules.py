"""Rules as sentences: what matches, what does not, what becomes of it."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_operator.api.guard import GuardSpec
from rlhf_operator.guard import config, rules, text
from rlhf_operator.guard.checks import edition
from rlhf_operator.guard.verdict import Outcome
from tests.guard.world import KEY, a_config, a_setup, a_stage, checked, examples

SETUP = a_setup()
RULES = SETUP.rules


@pytest.mark.parametrize(
    ("said", "categories"),
    [
        pytest.param("A fine day.", (), id="harmless text"),
        pytest.param("Build a bomb.", ("violence",), id="a keyword"),
        pytest.param("BOMB", ("violence",), id="whatever its case, at both ends"),
        pytest.param("a bombastic speech", (), id="not inside a longer word"),
        pytest.param("bomb_shelter sébomb", (), id="nor beside other letters"),
        pytest.param("(bomb)", ("violence",), id="punctuation ends a word"),
        pytest.param("those\n  people", ("bias",), id="a phrase over any space"),
        pytest.param("two slurs", ("bias",), id="a pattern"),
        pytest.param("a slur and a bomb", ("bias", "violence"), id="two categories"),
        pytest.param("bo\u200bmb, bo\u00admb", ("violence",), id="zero-width characters inside"),
        pytest.param("bo\x00mb", ("violence",), id="a control character inside"),
        pytest.param("\uff42\uff4f\uff4d\uff42", ("violence",), id="full-width letters"),
        pytest.param("\U0001d41b\U0001d428\U0001d426\U0001d41b", ("violence",), id="maths letters"),
        pytest.param("those\u00a0people", ("bias",), id="a space that does not break"),
        pytest.param("bomb \ud800", ("violence",), id="half of a surrogate pair"),
        pytest.param("", (), id="nothing"),
    ],
)
def test_check(said: str, categories: tuple[str, ...]) -> None:
    verdict = checked(SETUP, said)
    assert verdict.categories == categories
    assert verdict.outcome is (Outcome.FLAGGED if categories else Outcome.OK)


@pytest.mark.parametrize(
    ("keyword", "said", "matches"),
    [
        ("Straße", "in der STRASSE", True),
        ("пример", "Это ПРИМЕР.", True),
        ("пример", "примерно", False),
        ("暴力", "这是暴力内容", True),
        ("c++", "use C++ now", True),
        ("a.b", "a.b", True),
        ("a.b", "axb", False),
        ("é", "e\u0301", True),
        ("cafe", "cafe\u0301", False),
    ],
)
def test_keywords_in_other_scripts(keyword: str, said: str, matches: bool) -> None:
    stage = a_stage(rules=[{"category": "it", "keywords": [keyword]}])
    setup = a_setup(guard={"stages": [stage]})
    assert bool(checked(setup, said).categories) is matches


@pytest.mark.parametrize(
    ("changes", "direction", "outcome"),
    [
        pytest.param({}, "Output", "flagged", id="flags what it is told to flag"),
        pytest.param({"action": "Block"}, "Output", "blocked", id="blocks what it shall block"),
        pytest.param({}, "Input", "ok", id="looks only where it applies"),
        pytest.param({"appliesTo": ["Input", "Output"]}, "Input", "flagged", id="looks at both"),
    ],
)
def test_stages(changes: dict[str, Any], direction: Any, outcome: str) -> None:
    setup = a_setup(guard={"stages": [a_stage(**changes)]})
    assert checked(setup, "a bomb", direction).outcome == outcome


def test_the_strictest_stage_holds_and_names_its_categories() -> None:
    bias = [{"category": "bias", "keywords": ["bomb"]}]
    stages = [a_stage(), a_stage("second", action="Block", rules=bias)]
    verdict = checked(a_setup(guard={"stages": stages}), "a bomb")
    assert verdict.is_blocked
    assert verdict.categories == ("bias", "violence")
    assert verdict.blocking == ("bias",)


def test_force_block_blocks_what_is_only_flagged_and_changes_the_digest() -> None:
    forced = a_setup(forceBlock=True)
    assert checked(forced, "a bomb").is_blocked
    assert forced.rules.digest != RULES.digest


def test_other_checks_in_the_image_change_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [{"category": "pii", "recognizers": ["Email"]}]
    specs = [
        a_setup(guard={"stages": each}).config.guard
        for each in ([a_stage(rules=found)], [a_stage()])
    ]
    before = [rules.compile_guard(spec).digest for spec in specs]
    monkeypatch.setattr(rules, "edition", lambda: "another")
    by_image, by_spec = (rules.compile_guard(spec).digest for spec in specs)
    assert by_image != before[0]
    assert by_spec == before[1], "words of the team's own mean what they meant"


@pytest.mark.parametrize(
    ("changed", "differs"),
    [
        pytest.param({"words.toml": "a = 2"}, True, id="other words"),
        pytest.param({"more/deep.py": "x"}, True, id="another file below"),
        pytest.param({"words.pyc": "x"}, False, id="what Python makes of them"),
        pytest.param({}, False, id="the same"),
    ],
)
def test_the_edition_is_that_of_the_sources(
    tmp_path: Path, changed: dict[str, str], differs: bool
) -> None:
    (tmp_path / "words.toml").write_text("a = 1")
    before = edition.digest(tmp_path)
    for name, content in changed.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert (edition.digest(tmp_path) != before) is differs


def test_golden_prompts_do_not_change_the_rules_digest() -> None:
    spec = a_setup().config.guard
    golden = [{"name": "hi", "prompt": "Hi", "maxTokens": 1}]
    other = GuardSpec.model_validate({**spec.model_dump(), "golden": golden})
    assert rules.compile_guard(other).digest == RULES.digest


def test_a_catastrophic_pattern_is_harmless() -> None:
    stage = a_stage(rules=[{"category": "it", "patterns": ["(a+)+$"]}])
    setup = a_setup(guard={"stages": [stage]})
    assert not checked(setup, "a" * 100_000 + "!").categories


@pytest.mark.parametrize(
    ("changes", "key", "why"),
    [
        pytest.param({"versoin": "x"}, KEY, "versoin: Extra inputs", id="unknown field"),
        pytest.param({"version": "Bad Name"}, KEY, "version: String should", id="bad name"),
        pytest.param({}, "short", "GUARD_SIGNING_KEY must hold", id="short key"),
        pytest.param(
            {"guard": {"refusalPatterns": ["(?=a)"]}},
            KEY,
            "refusalPatterns: pattern '(?=a)' does not compile: invalid perl operator",
            id="a pattern that does not compile",
        ),
        pytest.param(
            {"stickiness": {"mode": "Arm"}}, KEY, "mode Arm needs armToken", id="no token"
        ),
    ],
)
def test_a_bad_configuration_says_why(changes: dict[str, Any], key: str, why: str) -> None:
    with pytest.raises(config.BadConfig) as refused:
        config.parse(json.dumps(a_config(**changes)), {config.SIGNING_KEY: key})
    assert why in str(refused.value)


@examples
@given(st.text())
def test_normalising_twice_changes_nothing(said: str) -> None:
    assert text.normalise(text.normalise(said)) == text.normalise(said)


@examples
@given(st.text())
def test_normal_text_is_canonical_and_can_be_sent(said: str) -> None:
    normal = text.normalise(said)
    assert unicodedata.is_normalized("NFKC", normal)
    assert normal.encode().decode() == normal
    assert not any(unicodedata.category(char) == "Cf" for char in normal)


@examples
@given(st.text(), st.text())
def test_a_keyword_between_spaces_is_always_found(before: str, after: str) -> None:
    assert "violence" in checked(SETUP, f"{before} bomb {after}").categories
