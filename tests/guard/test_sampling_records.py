"""What leaves the pod: cleaned texts, in a form that readers of other versions understand."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_operator.api.samples import SampleEvent, read_batch
from rlhf_operator.api.stages import Recognizer
from rlhf_operator.guard import rules
from rlhf_operator.guard.rules import CompiledRule, RulesCheck
from rlhf_operator.guard.sampling import recognisers
from rlhf_operator.guard.sampling.record import event, write
from rlhf_operator.guard.sampling.redaction import CannotRedact, category, clean
from rlhf_operator.guard.verdict import Failure, Found, Hit, Unjudged, Verdict
from tests.guard.samples import chosen, exchange, find_mail, judged, vote
from tests.guard.world import a_setup, examples

CONFIG = a_setup().config


def test_a_sample_says_what_is_known() -> None:
    asked = exchange(
        prompt="I am jane@doe.org and joe@doe.org",
        judged=judged(
            "Dear [name], write to joe@doe.org",
            made=Verdict(
                hits=(Hit(stage="words", category="name", action="Redact"),),
                failures=(Failure(stage="remote", reason=Unjudged.TIMEOUT, passes=True),),
                text="…",
            ),
        ),
        finish_reason="stop",
        prompt_tokens=9,
        max_tokens=64,
        temperature=0.5,
        seed=7,
    )
    body = json.loads(write([chosen(exchange=asked)], CONFIG, find_mail).body)
    assert body == [
        {
            "specversion": "1.0",
            "type": "dev.rlhf.sample.v1",
            "id": "rlhf-0.0",
            "source": "/namespaces/default/rlhfmodels/support/versions/support-v7",
            "subject": "rlhf-0",
            "time": "2026-11-28T12:00:00.000000Z",
            "datacontenttype": "application/json",
            "data": {
                "about": {
                    "namespace": "default",
                    "model": "support",
                    "version": "support-v7",
                    "identity": CONFIG.identity,
                    "run": "support-7",
                    "step": 1,
                    "arm": "stable",
                },
                "number": 0,
                "probability": 0.25,
                "prompt": "I am [email] and [email]",
                "answer": "Dear [name], write to [email]",
                "outcome": "redacted",
                "promptVerdict": {"outcome": "ok", "categories": [], "unjudged": []},
                "answerVerdict": {
                    "outcome": "redacted",
                    "categories": ["name"],
                    "unjudged": ["remote"],
                },
                "isRefusal": False,
                "maxTokens": 64,
                "temperature": 0.5,
                "seed": 7,
                "promptTokens": 9,
                "answerTokens": 2,
                "finishReason": "stop",
                "isStreamed": False,
                "firstByteSeconds": 0.25,
                "seconds": 1.5,
                "user": "01ff",
                "promptRedactions": [{"category": "email", "count": 2}],
                "answerRedactions": [{"category": "email", "count": 1}],
            },
        }
    ]


def test_feedback_says_what_was_said_of_which_answer() -> None:
    body = json.loads(write([vote(rating=2, reason="ask jane@doe.org")], CONFIG, find_mail).body)
    (said,) = body
    assert (said["id"], said["subject"]) == ("rlhf-0.thumbs.rating", "rlhf-0")
    assert said["source"].endswith("/versions/support-v8")
    assert said["data"] == {
        "about": {
            "namespace": "default",
            "model": "support",
            "version": "support-v8",
            "identity": "0123456789ab",
            "run": "support-7",
            "step": 1,
            "arm": "canary",
        },
        "answered": "2026-11-28T12:00:00.000000Z",
        "thumbs": "up",
        "rating": 2,
        "reason": "ask [email]",
        "reasonRedactions": [{"category": "email", "count": 1}],
    }


@pytest.mark.parametrize(
    ("what", "bad"),
    [
        ("prompt", chosen(exchange=exchange(prompt="secret breaks"))),
        ("answer", chosen(exchange=exchange(judged=judged("secret breaks")))),
        ("reason", vote(reason="secret breaks")),
    ],
)
def test_what_cannot_be_cleaned_stays_and_nothing_tells_it(what: str, bad: Any) -> None:
    good = chosen()
    written = write([bad, good], CONFIG, find_mail)
    assert (written.events, written.refused) == ((good,), (bad,)), what
    assert b"secret" not in written.body
    with pytest.raises(CannotRedact) as caught:
        event(bad, CONFIG, find_mail)
    assert "secret" not in str(caught.value) and caught.value.__cause__ is None


def test_what_is_found_without_a_place_keeps_the_text_in() -> None:
    with pytest.raises(CannotRedact):
        clean("somewhere", lambda _text: [Found(category="email")])


def test_what_is_found_in_two_ways_counts_once() -> None:
    spans = ((0, 4), (1, 4), (4, 6), (8, 9))
    found = clean("0123456789", lambda _text: [Found(category="phone", spans=spans)])
    assert [(each.category, each.count) for each in found.redactions] == [("phone", 3)]


@examples
@given(st.text(st.characters(exclude_categories=())))
def test_every_text_can_be_written_and_read(text: str) -> None:
    quiet = text.replace("breaks", "")
    written = write([chosen(exchange=exchange(prompt=quiet))], CONFIG, find_mail)
    (read,) = read_batch(written.body)
    assert isinstance(read, SampleEvent) and read.data.prompt == clean(quiet, find_mail).text


def test_a_reader_ignores_what_a_later_writer_adds() -> None:
    (sample,) = json.loads(write([chosen()], CONFIG, find_mail).body)
    later = {**sample, "traceparent": "00-1", "data": {**sample["data"], "mood": "fine"}}
    assert read_batch(json.dumps([later]).encode()) == read_batch(json.dumps([sample]).encode())


def test_brackets_hold_the_recognisers_names() -> None:
    assert sorted(map(category, get_args(Recognizer))) == [
        "credit-card", "email", "iban", "ip-address", "national-id", "phone", "secret",
        "social-security-number",
    ]  # fmt: skip


def test_a_recogniser_that_is_missing_keeps_every_text_in(monkeypatch: pytest.MonkeyPatch) -> None:
    find = recognisers.finder(())
    assert clean("jane@doe.org", find).text == "jane@doe.org", "the team wants nothing replaced"
    nothing = RulesCheck(rules=(CompiledRule(category="email", finders=()),))
    compiled = replace(a_setup().rules, checks={"samples": nothing})
    monkeypatch.setattr(rules, "compile_guard", lambda _spec: compiled)
    with pytest.raises(CannotRedact):
        clean("anything", recognisers.finder(("Email",)))
