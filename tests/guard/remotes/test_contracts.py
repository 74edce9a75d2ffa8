"""What each contract sends, and what it makes of answers: the documented ones, and others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_operator.api.stages import Classifier, External
from rlhf_operator.guard.remotes import answers, roster
from rlhf_operator.guard.remotes.answers import BadAnswer
from rlhf_operator.guard.remotes.contracts.contract import Contract
from rlhf_operator.guard.verdict import Judgement
from tests.guard.remotes.services import (
    AZURE,
    OPENAI,
    azure,
    infer,
    litellm,
    llama,
    openai,
)  # fmt: skip
from tests.guard.world import examples


def a_contract(given: dict[str, Any]) -> Contract:
    kind = Classifier if "model" in given else External
    return roster._contract(kind.model_validate({"service": {"name": "s", "port": 80}, **given}))


def read(given: dict[str, Any], answer: Any, text: str = "some words") -> Judgement:
    return a_contract(given).read(answers.parse(json.dumps(answer).encode()), text)


def found(judged: Judgement) -> list[str]:
    return [each.category for each in judged.found]


HATE = [{"category": "hate"}]
ONE = [{"category": "toxic"}]
LG = {"model": "guard", "reads": "LlamaGuard", "categories": [
    {"category": "violence", "label": "S1"}, {"category": "sexual", "label": "S12"},
]}  # fmt: skip
TOXIC = {"model": "toxic", "labels": ["toxic", "obscene"], "categories": [
    {"category": "toxic", "atLeast": "0.5"}, {"category": "smut", "label": "obscene",
                                             "atLeast": "0.8"},
]}  # fmt: skip
JSON = {"contract": "JSON", "mapping": {"flagged": "/verdict/bad"}}
LABELS = {"contract": "JSON", "mapping": {"flagged": "/bad", "categories": "/labels"}}


@pytest.mark.parametrize(
    ("given", "answer", "categories"),
    [
        pytest.param(OPENAI, openai(), [], id="openai, harmless"),
        pytest.param(OPENAI, openai("hate", "violence"), ["hate", "violence"], id="openai, two"),
        pytest.param(OPENAI, openai("self-harm/intent"), ["self-harm-intent"], id="openai, slash"),
        pytest.param(OPENAI, openai(flagged=True), ["other"], id="openai, flagged for nothing"),
        pytest.param(OPENAI, openai("hate", flagged=False), ["hate"], id="openai, not flagged"),
        pytest.param(OPENAI, openai("new-harm"), ["other"], id="openai, a category of tomorrow"),
        pytest.param(OPENAI, openai(illicit=None), [], id="openai, no word on one"),
        pytest.param({**OPENAI, "categories": HATE}, openai("violence"), [], id="openai, ignored"),
        pytest.param({**OPENAI, "categories": HATE}, openai("hate"), ["hate"], id="openai, named"),
        pytest.param({**OPENAI, "categories": [{"category": "minors", "label": "sexual/minors",
                     "atLeast": "0.2"}]}, openai(score=0.2), ["minors"], id="openai, by score"),
        pytest.param({**OPENAI, "categories": [{"category": "hate", "atLeast": "0.9"}]},
                     openai("hate", score=0.8), [], id="openai, the team's bound is higher"),
        pytest.param(AZURE, azure(), [], id="azure, harmless"),
        pytest.param(AZURE, azure(SelfHarm=2), ["self-harm"], id="azure, low"),
        pytest.param({**AZURE, "categories": [{"category": "hate", "label": "Hate", "atLeast": "4"}
                     ]}, azure(Hate=2, Sexual=6), [], id="azure, below the bound"),
        pytest.param({**AZURE, "categories": [{"category": "hate", "label": "Hate", "atLeast": "4"}
                     ]}, azure(Hate=4), ["hate"], id="azure, at the bound"),
        pytest.param(AZURE, {**azure(), "blocklistsMatch": [{"blocklistName": "b"}]}, ["other"],
                     id="azure, a blocklist"),
        pytest.param(litellm(), {"action": "NONE"}, [], id="litellm, none"),
        pytest.param(litellm(), {"action": "NONE", "blocked_reason": None, "texts": None,
                     "images": None}, [], id="litellm, none with nulls"),
        pytest.param(litellm(), {"action": "BLOCKED", "blocked_reason": "no"}, ["other"],
                     id="litellm, blocked"),
        pytest.param({**litellm(), "categories": ONE}, {"action": "BLOCKED"}, ["toxic"],
                     id="litellm, named by the team"),
        pytest.param(litellm(), {"action": "GUARDRAIL_INTERVENED"}, ["other"],
                     id="litellm, an image perhaps"),
        pytest.param(JSON, {"verdict": {"bad": False}}, [], id="json, harmless"),
        pytest.param(JSON, {"verdict": {"bad": True}}, ["other"], id="json, bad"),
        pytest.param({**JSON, "categories": ONE}, {"verdict": {"bad": True}}, ["toxic"],
                     id="json, named by the team"),
        pytest.param(LABELS, {"bad": True, "labels": ["Hate Speech", "PII"]},
                     ["hate-speech", "pii"], id="json, labels"),
        pytest.param(LABELS, {"bad": True, "labels": {"a": True, "b": False}}, ["a"],
                     id="json, flags"),
        pytest.param({**LABELS, "categories": [{"category": "toxic", "atLeast": "0.5"}]},
                     {"bad": True, "labels": {"toxic": 0.4}}, [], id="json, below the bound"),
        pytest.param({**LABELS, "categories": [{"category": "toxic", "atLeast": "0.5"}]},
                     {"bad": False, "labels": {"toxic": 0.5}}, ["toxic"], id="json, at the bound"),
        pytest.param(TOXIC, infer(0.49, 0.79), [], id="scores, harmless"),
        pytest.param(TOXIC, infer(0.5, 0.8), ["smut", "toxic"], id="scores, at the bounds"),
        pytest.param(LG, llama("safe"), [], id="llama, safe"),
        pytest.param(LG, llama("\n\nsafe"), [], id="llama, as it is generated"),
        pytest.param(LG, llama("unsafe\nS1,S3"), ["violence"], id="llama, one that is known"),
        pytest.param(LG, llama("unsafe\nS12, S1"), ["sexual", "violence"], id="llama, two"),
        pytest.param(LG, llama("unsafe\nS9"), ["other"], id="llama, none that is known"),
        pytest.param(LG, llama("unsafe\nwhatever"), ["other"], id="llama, no label"),
        pytest.param(LG, llama("unsafe"), ["other"], id="llama, unsafe alone"),
    ],
)  # fmt: skip
def test_what_is_understood(given: dict[str, Any], answer: Any, categories: list[str]) -> None:
    assert found(read(given, answer)) == categories


def without(answer: dict[str, Any], *path: str) -> dict[str, Any]:
    """Return an answer that lacks the field at the end of a path."""
    answer = json.loads(json.dumps(answer))
    place: Any = answer
    for key in path[:-1]:
        place = place[0] if isinstance(place, list) else place
        place = place[key]
    place = place[0] if isinstance(place, list) else place
    del place[path[-1]]
    return answer


def result(**changes: Any) -> dict[str, Any]:
    answer = openai()
    answer["results"][0].update(changes)
    return answer


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        pytest.param(OPENAI, {"error": {"message": "quota"}}, id="openai, an error of status 200"),
        pytest.param(OPENAI, {**openai(), "error": None}, id="openai, an error beside results"),
        pytest.param(OPENAI, without(openai(), "results", "flagged"), id="openai, no flagged"),
        pytest.param(OPENAI, without(openai(), "results"), id="openai, no results"),
        pytest.param(OPENAI, {**openai(), "results": []}, id="openai, an empty list"),
        pytest.param(OPENAI, {"results": openai()["results"] * 2}, id="openai, two results"),
        pytest.param(OPENAI, {"results": {"0": {}}}, id="openai, results of another type"),
        pytest.param(OPENAI, result(flagged="false"), id="openai, flagged as text"),
        pytest.param(OPENAI, result(flagged=0), id="openai, flagged as number"),
        pytest.param(OPENAI, result(flagged=None), id="openai, flagged null"),
        pytest.param(OPENAI, result(categories=None), id="openai, categories null"),
        pytest.param(OPENAI, result(categories={}), id="openai, categories empty"),
        pytest.param(OPENAI, result(categories=["hate"]), id="openai, categories as list"),
        pytest.param(OPENAI, result(categories={"hate": "no"}), id="openai, a category as text"),
        pytest.param(OPENAI, result(category_scores=None), id="openai, scores null"),
        pytest.param(OPENAI, result(category_scores={"hate": 1.5}), id="openai, a score over 1"),
        pytest.param(OPENAI, result(category_scores={"hate": True}), id="openai, a score as flag"),
        pytest.param({**OPENAI, "categories": [{"category": "bias"}]}, openai(),
                     id="openai, no word on what is looked for"),
        pytest.param({**OPENAI, "categories": [{"category": "illicit"}]}, openai(illicit=None),
                     id="openai, null for what is looked for"),
        pytest.param({**OPENAI, "categories": [{"category": "bias", "atLeast": "0.5"}]}, openai(),
                     id="openai, no score of what is looked for"),
        pytest.param(AZURE, {}, id="azure, nothing"),
        pytest.param(AZURE, {"error": {"code": "InvalidRequestBody"}}, id="azure, an error"),
        pytest.param(AZURE, {"categoriesAnalysis": None}, id="azure, null"),
        pytest.param(AZURE, {"categoriesAnalysis": azure()["categoriesAnalysis"][:3]},
                     id="azure, a category is missing"),
        pytest.param(AZURE, {"categoriesAnalysis": azure()["categoriesAnalysis"][:1] * 4},
                     id="azure, one four times"),
        pytest.param(AZURE, azure(Hate=None), id="azure, severity null"),
        pytest.param(AZURE, azure(Hate="0"), id="azure, severity as text"),
        pytest.param(AZURE, azure(Hate=-1), id="azure, severity below 0"),
        pytest.param(AZURE, {**azure(), "blocklistsMatch": None}, id="azure, blocklists null"),
        pytest.param(litellm(), {}, id="litellm, no action"),
        pytest.param(litellm(), {"action": None}, id="litellm, action null"),
        pytest.param(litellm(), {"action": "ALLOW"}, id="litellm, an action of another contract"),
        pytest.param(litellm(), {"action": "none"}, id="litellm, lower case"),
        pytest.param(litellm(), {"action": "NONE", "texts": ["other words"]},
                     id="litellm, rewritten without intervention"),
        pytest.param(litellm(), {"action": "GUARDRAIL_INTERVENED", "texts": ["a", "b"]},
                     id="litellm, two texts for one"),
        pytest.param(litellm(), {"action": "GUARDRAIL_INTERVENED", "texts": "a"},
                     id="litellm, texts as text"),
        pytest.param(litellm(), {"action": "GUARDRAIL_INTERVENED", "texts": [None]},
                     id="litellm, a text null"),
        pytest.param(JSON, {}, id="json, nothing there"),
        pytest.param(JSON, {"verdict": []}, id="json, a list on the way"),
        pytest.param(JSON, {"verdict": {"bad": None}}, id="json, null"),
        pytest.param(JSON, {"verdict": {"bad": "false"}}, id="json, text"),
        pytest.param(LABELS, {"bad": False}, id="json, no labels"),
        pytest.param(LABELS, {"bad": False, "labels": None}, id="json, labels null"),
        pytest.param(LABELS, {"bad": False, "labels": [1]}, id="json, labels as numbers"),
        pytest.param(LABELS, {"bad": False, "labels": {"a": "x"}}, id="json, a label as text"),
        pytest.param({**LABELS, "categories": ONE}, {"bad": True, "labels": {"other": True}},
                     id="json, no word on what is looked for"),
        pytest.param(TOXIC, {"error": "model not ready"}, id="scores, an error"),
        pytest.param(TOXIC, {"outputs": []}, id="scores, none"),
        pytest.param(TOXIC, infer(0.1), id="scores, too few"),
        pytest.param(TOXIC, infer(0.1, 0.1, 0.1), id="scores, too many"),
        pytest.param(TOXIC, infer(0.1, None), id="scores, null"),
        pytest.param(TOXIC, infer(0.1, 0.2, shape=[2, 2]), id="scores, another shape"),
        pytest.param(TOXIC, infer(0.1, 0.2, datatype="BYTES"), id="scores, another type"),
        pytest.param(TOXIC, infer(0.1, 0.2, name="logits"), id="scores, another name"),
        pytest.param(LG, {"text_output": None}, id="llama, null"),
        pytest.param(LG, {**llama("safe"), "error": "x"}, id="llama, an error beside a word"),
        pytest.param(LG, llama(""), id="llama, no word"),
        pytest.param(LG, llama("Safe"), id="llama, another case"),
        pytest.param(LG, llama("safe\nS1"), id="llama, safe and a hazard"),
        pytest.param(LG, llama("I think it is safe"), id="llama, a sentence"),
        pytest.param(LG, llama("unsafe\nS1\nS2"), id="llama, a third line"),
    ],
)  # fmt: skip
def test_what_is_not_exactly_understood_is_no_answer(given: dict[str, Any], answer: Any) -> None:
    with pytest.raises(BadAnswer) as caught:
        read(given, answer)
    assert "words" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"true", b'"NONE"', b"{", b"\xff\xfe", b"[" * 60_000, b'{"a": NaN}',
     b'{"a": -Infinity}', b'{"flagged": true, "flagged": false}', b'{"a": 1} {"a": 1}'],
)  # fmt: skip
def test_only_one_plain_object_is_json(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        answers.parse(body)


@examples
@given(
    answer=st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
            st.sampled_from(["results", "flagged", "categories", "category_scores", "action",
                             "texts", "categoriesAnalysis", "outputs", "text_output", "verdict",
                             "bad", "labels", "hate"]), inner, max_size=4),
        max_leaves=12,
    ),
    given=st.sampled_from([OPENAI, AZURE, litellm(), JSON, LABELS, TOXIC, LG]),
)  # fmt: skip
def test_any_answer_is_understood_or_none(answer: Any, given: dict[str, Any]) -> None:
    try:
        judged = read(given, answer)
    except BadAnswer:
        return
    assert isinstance(judged, Judgement)
