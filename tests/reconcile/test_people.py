"""What people say and what comes of it, told as what is live after a while."""

from __future__ import annotations

from typing import Any

from rlhf_operator.api.evidence import Verdict
from rlhf_operator.api.rollout import Outcome
from tests.reconcile.stage import KEY, MINUTE, POLICY, Stage, identity_of


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


def test_a_veto_ends_the_run_and_keeps_its_identity_out() -> None:
    stage = asking(gate="Enter")
    stage.run()
    stage.say("Veto", identity=stage.identity("v1"), via="flux")
    stage.run()
    last = stage.runs[-1].status
    assert (last.outcome, last.reason) == (Outcome.ROLLED_BACK, "Vetoed")
    assert last.quarantine is not None and last.quarantine.author == "ann"
    assert "vetoed by ann via flux: because" in (last.message or "")
    assert stage.weights == {"sft": 100} and stage.fate("say") == "Applied"
    stage.edit(suspend=False)
    stage.run()
    assert stage.condition("Stalled") == ("True", "Quarantined") and len(stage.runs) == 2


def test_a_veto_of_what_serves_brings_the_previous_version_back() -> None:
    stage = Stage()
    stage.run()
    stage.edit(version="v2")
    stage.run()
    assert stage.weights == {"v2": 100}
    stage.say("Veto", identity=stage.identity("v2"))
    stage.run()
    assert stage.weights == {"v1": 100}
    last = stage.runs[-1]
    assert (last.spec.type, last.spec.cause.reason, last.spec.cause.author) == (
        "Rollback", "Vetoed", "ann",
    )  # fmt: skip
    assert [veto.version for veto in stage.runs[-2].status.vetoes] == ["v2"]


def test_a_veto_before_any_run_keeps_an_identity_from_ever_starting() -> None:
    stage = Stage()
    stage.edit(version="sft")
    stage.run()
    stage.say("Veto", identity=stage.identity("v1"))
    stage.run()
    assert stage.fate("say") == "Applied"
    stage.edit(version="v1")
    stage.run()
    assert stage.weights == {"sft": 100} and len(stage.runs) == 1
    assert "vetoed by ann: because" in stage.status["message"]


def test_a_veto_before_the_first_record_binds_as_it_stands() -> None:
    stage = Stage()
    stage.say("Veto", identity=identity_of("sft", "0"))
    stage.run()
    assert stage.runs == [] and stage.fate("say") is None
    assert stage.condition("Stalled") == ("True", "Quarantined")
    stage.say("LiftQuarantine", name="sorry", identity=identity_of("sft", "0"))
    stage.run(20 * MINUTE)
    assert stage.fate("say") == "NotApplicable" and stage.weights == {"v1": 100}


def test_a_lift_ends_a_veto_and_the_record_says_who() -> None:
    stage = Stage()
    stage.run()
    stage.edit(version="v2")
    stage.say("Veto", identity=stage.identity("v2"))
    stage.run()
    assert stage.weights == {"v1": 100}
    stage.say(
        "LiftQuarantine", name="lift", author="bob", via="flux", identity=identity_of("v2", "2")
    )
    stage.edit(version="v2")
    stage.run()
    assert stage.weights == {"v2": 100}
    lifts = [one.lifted for run in stage.runs for one in run.status.quarantines]
    told = [(one.author, one.via, one.reason) for one in lifts if one]
    assert told == [("bob", "flux", "because")]


def test_a_veto_reaches_every_model_that_serves_the_identity() -> None:
    """The record of another model holds it; here only its record can be seen."""
    stage = Stage()
    stage.run()
    raw = stage.world.store.of_model("RLHFRollout", KEY)[0]
    veto = {"identity": stage.identity("v1"), "message": "vetoed by eve: rude", "author": "eve",
            "decision": "no", "at": raw["metadata"]["creationTimestamp"]}  # fmt: skip
    spec = {**raw["spec"], "model": "other"}
    metadata = {**raw["metadata"], "name": "other-1", "uid": "x"}
    stage.put({**raw, "metadata": metadata, "spec": spec,
               "status": {**raw["status"], "vetoes": [veto]}})  # fmt: skip
    stage.run()
    assert stage.weights == {"sft": 100} and stage.runs[-1].spec.cause.author == "eve"


def test_what_failed_without_blame_is_tried_again_when_a_person_says_so() -> None:
    stage = Stage()
    stage.edit(rollout=plan(gate="Enter", timeout="5m"))
    stage.run(20 * MINUTE)
    assert stage.runs[-1].status.reason == "ApprovalTimeout" and len(stage.runs) == 2
    assert "Retry" in stage.status["message"]
    stage.say("Approve", name="yes", identity=stage.identity("v1"))
    stage.say("Retry", name="again", author="bob", via="flux")
    stage.run()
    last = stage.runs[-1]
    assert stage.weights == {"v1": 100} and stage.fate("again") == "Applied"
    assert (last.spec.cause.author, last.spec.cause.decision) == ("bob", "again")
    assert "bob via flux" in last.spec.cause.message


def test_an_approval_is_for_one_run() -> None:
    stage = asking(gate="Enter")
    stage.say("Approve", name="yes", identity=identity_of("v1", "1"))
    stage.run(2 * MINUTE)
    stage.say("Abort", name="stop")
    stage.run()
    assert stage.fate("yes") == "Applied" and stage.runs[-1].status.outcome is Outcome.ABORTED
    stage.say("Retry", name="again")
    stage.run()
    assert stage.weights == {"sft": 90, "v1": 10}


def test_a_person_promotes_what_cannot_be_told_and_the_record_says_so() -> None:
    stage = Stage()
    stage.script = lambda *_: Verdict.INCONCLUSIVE
    stage.run()
    assert stage.weights == {"sft": 90, "v1": 10}
    stage.say("Promote")
    stage.run()
    last = stage.runs[-1].status
    assert stage.weights == {"v1": 100} and said(stage, "Promote") == ("ann",)
    assert (last.outcome, last.reason) == (Outcome.PROMOTED, "PromotedByPerson")
    assert last.steps[-1].slos[0].verdict is Verdict.INCONCLUSIVE


def test_nobody_promotes_a_canary_whose_safety_nobody_sees() -> None:
    stage = Stage()
    stage.script = lambda *_: Verdict.ERROR
    stage.run()
    stage.say("Promote")
    stage.run()
    assert stage.fate("say") == "NotApplicable" and stage.weights == {"sft": 90, "v1": 10}


def test_an_objective_that_a_person_overrode_counts_again_when_that_ends() -> None:
    stage = Stage()
    safe, slow = (
        {"name": name, "class": kind, "indicator": {"type": measure}, "max": "0.02"}
        for name, kind, measure in (
            ("unsafe", "Safety", "UnsafeServedRate"), ("errors", "Performance", "ErrorRate"),
        )
    )  # fmt: skip
    stage.put({**POLICY, "spec": {"interval": "1s", "slos": [safe, slow]}})
    stage.slos.errors = Verdict.SUCCESSFUL
    stage.edit(rollout=plan(gate="Enter"))
    stage.run()
    end = stage.now + 5 * MINUTE
    stage.say("Override", name="skip", slo="errors", expiresAt=end.isoformat())
    stage.run(MINUTE)
    assert stage.fate("skip") == "Applied"
    stage.slos.errors = Verdict.FAILED
    stage.run(3 * MINUTE)
    assert stage.weights == {"sft": 90, "v1": 10}
    stage.run(5 * MINUTE)
    last = stage.runs[-1].status
    assert (last.reason, stage.weights) == ("SLOFailed", {"sft": 100})
    assert last.finished_at is not None and last.finished_at >= end
    assert [(one.slo, one.until) for one in last.decisions] == [("errors", end)]


def test_another_plan_is_pinned_where_the_run_stands() -> None:
    stage = Stage()
    stage.script = lambda *_: Verdict.INCONCLUSIVE
    stage.run()
    steps = [{"weight": weight, "hold": "2m"} for weight in (5, 20)]
    stage.edit(rollout={"strategy": "Canary", "canary": {"steps": steps}})
    stage.run()
    assert stage.condition("PlanChanged") == ("True", "Pinned")
    assert stage.weights == {"sft": 90, "v1": 10}
    stage.say("Repin")
    stage.run()
    assert stage.fate("say") == "Applied" and stage.condition("PlanChanged") is None
    assert stage.weights == {"sft": 95, "v1": 5} and stage.status["step"] == "1/2"
    stage.script = lambda *_: Verdict.SUCCESSFUL
    stage.run()
    last = stage.runs[-1]
    assert [step.weight for step in last.status.steps] == [0, 10, 5, 20]
    assert stage.weights == {"v1": 100} and said(stage, "Repin") == ("ann",)
    assert [step.weight for step in last.spec.plan.steps] == [10, 50]


def test_what_was_approved_for_one_plan_is_not_approved_for_another() -> None:
    stage = asking(gate="Leave")
    stage.say("Approve", name="yes", identity=identity_of("v1", "1"))
    stage.run(MINUTE / 2)
    third = [{"weight": 60, "hold": "1m"}]
    changed = plan(gate="Leave")
    changed["canary"]["steps"] += third
    stage.edit(rollout=changed)
    stage.say("Repin", name="more")
    stage.run()
    assert stage.weights == {"sft": 50, "v1": 50}
    stage.say("Approve", name="again", identity=identity_of("v1", "1"))
    stage.run()
    assert stage.weights == {"v1": 100}
