"""Ready is said in one place, and a status moves its times only when it changes."""

from __future__ import annotations

from datetime import datetime

import pytest

from rlhf_operator.api.reasons import ConditionType, Reason
from rlhf_operator.core import conditions, summary
from rlhf_operator.core.conditions import Fact
from rlhf_operator.core.decision import Action, Decision, hold, keep
from tests.builders import NOW, ago

READY, RECONCILING, STALLED = "Ready", "Reconciling", "Stalled"


@pytest.mark.parametrize(
    ("decision", "serves", "told"),
    [
        pytest.param(keep(Reason.SERVING, "v1 serves"), True, {READY: "True"}, id="all is well"),
        pytest.param(keep(Reason.SERVING, "v1"), False, {READY: "False", RECONCILING: "True"},
                     id="a rest that does not serve is no rest"),
        pytest.param(hold(Reason.HOLDING, "10%"), True, {READY: "False", RECONCILING: "True"},
                     id="a run is on its way"),
        pytest.param(keep(Reason.QUARANTINED, "v1", stalled=True), True,
                     {READY: "False", STALLED: "True"}, id="a person must act"),
        pytest.param(Decision(action=Action.HOLD, reason=Reason.UNSCHEDULABLE, message="no GPU",
                              stalled=True), False, {READY: "False", STALLED: "True"},
                     id="a hold that waits for a person is stalled, and not both"),
    ],
)  # fmt: skip
def test_ready_is_said_once(decision: Decision, serves: bool, told: dict[str, str]) -> None:
    facts = conditions.summarize(decision, target_serves=serves)
    assert {str(fact.type): fact.status for fact in facts} == told
    assert {fact.reason for fact in facts} == {str(decision.reason)}


def fact(status: str, message: str = "m") -> Fact:
    return Fact(type=ConditionType.READY, status=status, reason="Serving", message=message)


@pytest.mark.parametrize(
    ("status", "message", "since"),
    [
        pytest.param("True", "m", ago(5), id="what stays keeps its time"),
        pytest.param("True", "other", ago(5), id="another message keeps it too"),
        pytest.param("False", "m", NOW, id="another status moves it"),
    ],
)
def test_when_a_transition_time_moves(status: str, message: str, since: datetime) -> None:
    before = conditions.merge((), (fact("True"),), ago(5), 1)
    (found,) = conditions.merge(before, (fact(status, message),), NOW, 2)
    assert (found.last_transition_time, found.observed_generation) == (since, 2)


def test_what_does_not_hold_any_more_goes() -> None:
    assert conditions.merge(conditions.merge((), (fact("True"),), NOW, 1), (), NOW, 1) == ()


@pytest.mark.parametrize(
    ("decision", "kinds"),
    [
        pytest.param(keep(Reason.SERVING, "v1"), [], id="rest tells nothing"),
        pytest.param(hold(Reason.HOLDING, "10%"), [], id="waiting tells nothing"),
        pytest.param(Decision(action=Action.ADVANCE, reason=Reason.ADVANCED, message="25%"),
                     ["Normal"], id="a step is told"),
        pytest.param(Decision(action=Action.ROLL_BACK, reason=Reason.SAFETY_FAILED, message="0.3"),
                     ["Warning"], id="a rollback warns"),
        pytest.param(Decision(action=Action.START, reason=Reason.SAFETY_FAILED, message="0.3"),
                     ["Warning"], id="a flight warns"),
        pytest.param(keep(Reason.QUARANTINED, "v1", stalled=True), ["Warning"],
                     id="what waits for a person warns"),
    ],
)  # fmt: skip
def test_what_is_told(decision: Decision, kinds: list[str]) -> None:
    assert [event.type for event in summary.events(decision, None)] == kinds
