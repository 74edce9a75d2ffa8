"""What a person can say: one row for each action that the API knows, and what it writes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import get_args

import pytest

from rlhf_operator.api.decision import DecisionAction
from rlhf_operator.cli import acts, cluster, deciding
from tests.cli.fixed import fixed, three_at_once

V2 = "sha256:440260e91546eb99815c26f20532e7afc3c9092d90a8c14f3189e62900038b94"


def kind(command: str) -> acts.ActKind:
    return next(each for each in acts.ACTS if each.command == command)


def specify(command: str, argument: str | None = None, *, state: str = "rolled-back"):
    return acts.specify(
        kind(command),
        "support",
        argument,
        author="ann@example.com",
        reason="because",
        expires_at=None,
        lookup=lambda: fixed(state),
    )


def test_every_action_of_the_api_has_its_command():
    assert sorted(each.action for each in acts.ACTS) == sorted(get_args(DecisionAction))
    assert [each.name for each in deciding.COMMANDS] == [each.command for each in acts.ACTS]


@pytest.mark.parametrize(
    ("command", "argument", "expected"),
    [
        pytest.param("abort", None, {"action": "Abort"}, id="abort takes the model alone"),
        pytest.param("pause", None, {"action": "Pause"}, id="pause takes the model alone"),
        pytest.param("restart", None, {"action": "Restart"}, id="restart takes the model alone"),
        pytest.param(
            "rollback",
            "support-sft",
            {"action": "RollBackTo", "version": "support-sft"},
            id="rollback goes to the version that is named",
        ),
        pytest.param(
            "rollback",
            None,
            {"action": "RollBackTo", "version": "support-sft"},
            id="rollback without a version goes to what served before",
        ),
        pytest.param(
            "lift",
            "support-v2",
            {"action": "LiftQuarantine", "identity": V2},
            id="lift finds the identity of a version",
        ),
        pytest.param(
            "veto",
            "support-v2",
            {"action": "Veto", "identity": V2},
            id="veto finds the identity of a version",
        ),
        pytest.param("promote", None, {"action": "Promote"}, id="promote takes the model alone"),
        pytest.param(
            "lift", V2, {"action": "LiftQuarantine", "identity": V2}, id="lift takes an identity"
        ),
    ],
)
def test_the_decision_says_what_was_asked(command, argument, expected):
    common = {"model": "support", "author": "ann@example.com", "reason": "because"}
    assert specify(command, argument).dump() == common | expected


@pytest.mark.parametrize(
    ("command", "argument", "state", "complaint"),
    [
        pytest.param("lift", "support-v9", "midway", "no RLHFModelVersion", id="unknown"),
        pytest.param("lift", "sha256:12", "midway", "identity: string", id="malformed"),
        pytest.param("rollback", None, "midway", "nothing served before", id="nothing before"),
    ],
)
def test_what_makes_no_sense_is_told_in_one_line(command, argument, state, complaint):
    with pytest.raises(acts.Unfit, match=complaint) as raised:
        specify(command, argument, state=state)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("command", ["approve", "veto"])
def test_what_is_under_test_is_meant_where_no_version_is_named(command):
    read = fixed("midway")
    canary = read.newest("support").status.canary
    assert specify(command, state="midway").identity == canary.identity
    with pytest.raises(acts.Unfit, match="no version under test"):
        specify(command, state="people")


@pytest.mark.parametrize("command", ["approve", "veto"])
def test_of_several_under_test_one_must_be_named(command):
    def said(argument):
        return acts.specify(
            kind(command), "support", argument, author="ann@example.com", reason="because",
            expires_at=None, lookup=three_at_once,
        )  # fmt: skip

    with pytest.raises(acts.Unfit, match="several versions under test, support-v1, support-v3"):
        said(None)
    canary = three_at_once().newest("support").status.canary
    assert said("support-v1").identity == canary.identity


def test_an_approval_may_be_of_one_step_and_on_behalf():
    made = acts.specify(
        kind("approve"),
        "support",
        V2,
        author="ann",
        reason="because",
        expires_at=None,
        lookup=lambda: fixed("midway"),
        via="bot",
        step=2,
    )
    assert (made.step, made.author, made.via) == (2, "ann", "bot")


def test_an_override_names_its_objective_and_its_end():
    with pytest.raises(acts.Unfit, match="needs expiresAt"):
        specify("override", "errors")


def test_what_is_sent_is_a_decision_of_the_api():
    spec = acts.specify(
        kind("abort"),
        "support",
        None,
        author="ann",
        reason="because",
        expires_at=datetime(2026, 1, 5, 12, tzinfo=UTC),
        lookup=lambda: fixed("midway"),
    )
    assert cluster.decision_body("team", spec) == {
        "apiVersion": "rlhf.dev/v1alpha1",
        "kind": "RLHFDecision",
        "metadata": {"generateName": "support-", "namespace": "team"},
        "spec": {
            "action": "Abort",
            "model": "support",
            "author": "ann",
            "reason": "because",
            "expiresAt": "2026-01-05T12:00:00.000000Z",
        },
    }


@pytest.mark.parametrize(
    ("phase", "message", "sentence"),
    [
        pytest.param("Applied", "", "carried out", id="carried out"),
        pytest.param("NotApplicable", "no run", "not carried out: no run", id="refused"),
        pytest.param("Expired", "", "too late", id="too late"),
        pytest.param(None, "", "written; the operator has not answered yet", id="no answer"),
    ],
)
def test_what_became_of_it_is_told(phase, message, sentence):
    assert acts.outcome_sentence(phase, message) == sentence
