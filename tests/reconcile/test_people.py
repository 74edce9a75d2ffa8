"""What people say and what comes of it, told as what is live after a while."""

from __future__ import annotations

from typing import Any

from rlhf_operator.api.evidence import Verdict
from rlhf_operator.api.rollout import Outcome
from tests.reconcile.stage import MINUTE, Stage


def plan(**approval: Any) -> dict[str, Any]:
    """A rollout whose second step of two asks for approval."""
    first = {"weight": 10, "hold": "1m"}
    second = {"weight": 50, "hold": "1m", "approval": approval}
    return {
        "strategy": "Canary",
        "coolDown": "1m",
        "maxHold": "5m",
        "canary": {"steps": [first, second]},
    }


def asking(**approval: Any) -> Stage:
    stage = Stage()
    stage.edit(rollout=plan(**approval))
    return stage


def said(stage: Stage, name: str) -> tuple[str, ...]:
    """Who is on record with an act of this name."""
    return tuple(one.author for one in stage.runs[-1].status.decisions if one.action == name)


def test_a_run_waits_before_a_step_until_a_person_approves() -> None:
    stage = asking(gate="Enter")
    stage.run(30 * MINUTE)
    assert stage.weights == {"sft": 90, "v1": 10}
    assert stage.condition("Reconciling") == ("True", "AwaitingApproval")
    assert "kubectl rlhf approve support v1" in stage.status["message"]
    assert [reason for _, reason in stage.cluster.events].count("AwaitingApproval") == 1
    stage.say("Approve", identity=stage.identity("v1"))
    stage.run()
    assert stage.weights == {"v1": 100} and stage.fate("say") == "Applied"
    assert said(stage, "Approve") == ("ann",)


def test_an_approval_may_come_before_the_run_it_is_about() -> None:
    stage = asking(gate="Leave")
    stage.edit(version="sft")
    stage.run()
    stage.say("Approve", identity=stage.identity("v1"))
    stage.run()
    assert stage.fate("say") is None and stage.weights == {"sft": 100}
    stage.edit(version="v1")
    stage.run()
    assert stage.weights == {"v1": 100} and stage.fate("say") == "Applied"


def test_an_approval_is_for_an_identity_and_not_for_what_comes_instead() -> None:
    stage = asking(gate="Enter")
    stage.run()
    stage.say("Approve", identity=stage.identity("v1"))
    stage.edit(version="v2")
    stage.run(30 * MINUTE)
    assert stage.weights == {"sft": 90, "v2": 10}


def test_two_people_are_two_and_who_made_the_change_is_none() -> None:
    stage = Stage()
    stage.edit(by="ann", rollout=plan(gate="Enter", count=2, notAuthor=True))
    stage.run()
    for name, author in (("a", "ann"), ("b", "bob"), ("c", "bob")):
        stage.say("Approve", name=name, author=author, identity=stage.identity("v1"))
    stage.run()
    assert stage.weights == {"sft": 90, "v1": 10}
    assert [stage.fate(name) for name in "abc"] == [
        "NotApplicable", "Applied", "NotApplicable",
    ]  # fmt: skip
    stage.say("Approve", name="d", author="eve", identity=stage.identity("v1"))
    stage.run()
    assert stage.weights == {"v1": 100} and said(stage, "Approve") == ("bob", "eve")


def test_no_run_starts_while_it_is_not_known_who_may_not_approve_it() -> None:
    stage = asking(gate="Enter", notAuthor=True)
    stage.run()
    assert stage.weights == {"sft": 100}
    assert stage.condition("Stalled") == ("True", "AuthorUnknown")
    stage.edit(by="ann")
    stage.run(3 * MINUTE)
    assert stage.runs[-1].spec.changed_by == "ann" and stage.runs[-1].status.weight == 10


def test_who_made_the_change_is_settled_when_the_run_begins() -> None:
    stage = Stage()
    stage.edit(by="ann", rollout=plan(gate="Enter", notAuthor=True))
    stage.run(3 * MINUTE)
    stage.edit(by="bob")
    stage.say("Approve", author="ann", identity=stage.identity("v1"))
    stage.run()
    assert stage.fate("say") == "NotApplicable" and stage.weights == {"sft": 90, "v1": 10}


def test_judging_goes_on_while_people_are_waited_for() -> None:
    stage = asking(gate="Enter")
    stage.run()
    stage.script = lambda name, _: Verdict.FAILED if name == "v1" else Verdict.SUCCESSFUL
    stage.run(MINUTE)
    assert stage.runs[-1].status.reason == "SafetyFailed" and stage.weights == {"sft": 100}


def test_waiting_for_people_does_not_count_as_inconclusive() -> None:
    stage = asking(gate="Enter")
    stage.run(60 * MINUTE)
    stage.script = lambda *_: Verdict.INCONCLUSIVE
    stage.run(3 * MINUTE)
    assert stage.runs[-1].is_active and stage.condition("Reconciling") == ("True", "Inconclusive")
    stage.run(5 * MINUTE)
    assert stage.runs[-1].status.reason == "MaxHoldExceeded"


def test_a_wait_that_was_interrupted_is_the_same_wait() -> None:
    stage = asking(gate="Enter", timeout="20m")
    stage.run(10 * MINUTE)
    stage.script = lambda *_: Verdict.INCONCLUSIVE
    stage.run(MINUTE)
    stage.script = lambda *_: Verdict.SUCCESSFUL
    stage.run(12 * MINUTE)
    assert [reason for _, reason in stage.cluster.events].count("AwaitingApproval") == 1
    last = stage.runs[-1].status
    assert (last.outcome, last.reason) == (Outcome.ROLLED_BACK, "ApprovalTimeout")
    assert last.quarantine is None and stage.weights == {"sft": 100}
