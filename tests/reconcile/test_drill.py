"""A drill on schedule proves that the fallback serves, and changes nothing."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rlhf_operator.api.evidence import Verdict
from tests.reconcile.fakes import Raw
from tests.reconcile.stage import KEY, MINUTE, Stage, identity_of, with_settings

DRILL = {"every": "1h", "percent": 2, "hold": "2m"}


def drilled(**changes: Any) -> Stage:
    """v1 was promoted, and the first drill has just begun to give traffic."""
    stage = resting(**changes)
    until(stage, lambda: stage.weights == {"v1": 98, "sft": 2})
    return stage


def resting(**changes: Any) -> Stage:
    stage = Stage()
    stage.edit(rollbackDrill=DRILL, standby={"keep": "1m"}, **changes)
    stage.run(10 * MINUTE)
    assert stage.weights == {"v1": 100}
    return stage


def until(stage: Stage, fact: Any, most: int = 600) -> None:
    for _ in range(most):
        if fact():
            return
        stage.run(MINUTE / 4)
    raise AssertionError(f"it does not come about: {stage.weights} {stage.runs[-1].status}")


def kinds(stage: Stage) -> list[str]:
    return [str(run.spec.type) for run in stage.runs]


def failing(stage: Stage, name: str) -> None:
    def script(version: str, now: datetime) -> Verdict:
        return Verdict.FAILED if version == name else Verdict.SUCCESSFUL

    stage.script = script


def test_it_proves_the_fallback_and_changes_nothing() -> None:
    stage = drilled()
    assert stage.condition("Ready") == ("True", "Holding"), "what is asked for serves"
    assert stage.condition("FallbackProven") == ("Unknown", "NoDrillYet")
    standby = stage.runs[-1].status.standby
    stage.run(5 * MINUTE)
    run = stage.runs[-1]
    assert (run.spec.type, run.status.outcome) == ("Drill", "Proven")
    assert stage.weights == {"v1": 100} and run.status.stable is not None
    assert run.status.stable.name == "v1" and run.status.standby == standby
    assert stage.condition("FallbackProven") == ("True", "Proven")
    assert stage.status["fallbackProvenAt"] == run.status.model_dump(mode="json")["finished_at"]
    assert ("Normal", "Proven") in stage.cluster.events


def test_the_model_is_ready_from_its_begin_to_its_end() -> None:
    stage = resting()
    look, told = stage.cluster.watch, []

    def listen(before: Raw | None, after: Raw | None, ours: bool) -> None:
        look(before, after, ours)
        if after is not None and after["kind"] == "RLHFModel":
            told.extend(each for each in after["status"]["conditions"] if each["type"] == "Ready")

    stage.cluster.watch = listen
    until(stage, lambda: kinds(stage)[-1] == "Drill" and stage.runs[-1].is_settled)
    assert len(told) > 3
    assert [each["reason"] for each in told if each["status"] != "True"] == []


def test_the_proof_outlives_its_record_and_the_next_drill_comes_in_time() -> None:
    stage = drilled(history={"limit": 3})
    stage.run(5 * MINUTE)
    first = stage.status["fallbackProvenAt"]
    stage.edit(version="v2")
    stage.run(20 * MINUTE)
    assert stage.weights == {"v2": 100}
    assert stage.status["fallbackProvenAt"] == first
    stage.run(90 * MINUTE, most=2000)
    assert kinds(stage)[-1] == "Drill"
    assert stage.status["fallbackProvenAt"] > first


def test_silence_is_no_proof() -> None:
    stage = drilled()
    stage.slos.answers = 0
    stage.run(20 * MINUTE)
    assert stage.runs[-1].is_active, "it goes on for maxBlind"
    stage.run(30 * MINUTE)
    run = stage.runs[-1]
    assert (run.status.outcome, run.status.quarantine) == ("Unproven", None)
    assert stage.weights == {"v1": 100}
    assert stage.condition("FallbackProven") == ("False", "Unproven")
    assert "fallbackProvenAt" not in stage.status
    assert ("Warning", "Unproven") in stage.cluster.events
    assert kinds(stage).count("Drill") == 1, "it is not tried again before its time"


def test_a_fallback_that_does_not_come_up_is_unproven() -> None:
    stage = resting(fallback={"version": "sft", "replicas": 0})
    stage.cluster.never_ready = {"sft"}
    until(stage, lambda: kinds(stage)[-1] == "Drill" and not stage.runs[-1].is_active)
    assert (stage.runs[-1].status.outcome, stage.runs[-1].status.reason) == ("Unproven", "NotReady")
    assert stage.condition("FallbackProven") == ("False", "Unproven")


def test_an_unsafe_fallback_is_out_at_once_and_forbidden() -> None:
    stage = drilled()
    failing(stage, "sft")
    stage.run(MINUTE / 2)
    assert stage.weights == {"v1": 100}
    run = stage.runs[-1]
    assert run.status.outcome == "RolledBack"
    assert run.status.quarantine is not None and run.status.quarantine.version == "sft"
    assert stage.condition("FallbackProven") == ("False", "Unproven")
    assert ("Warning", "SafetyFailed") in stage.cluster.events


def test_a_slow_fallback_is_a_fallback() -> None:
    stage = drilled()
    stage.slos.errors = Verdict.FAILED
    stage.run(5 * MINUTE)
    assert stage.runs[-1].status.outcome == "Proven"


def test_a_new_version_comes_first_and_the_drill_after_it() -> None:
    stage = drilled()
    stage.edit(version="v2")
    stage.run(MINUTE / 2)
    assert (kinds(stage)[-1], stage.weights.get("sft", 0)) == ("Rollout", 0)
    assert stage.runs[-2].status.outcome == "Superseded"
    stage.run(30 * MINUTE)
    assert stage.weights["v2"] >= 98
    assert kinds(stage)[-1] == "Drill"


def test_a_person_comes_first() -> None:
    stage = drilled()
    stage.say("Restart")
    stage.run(MINUTE)
    assert stage.fate("say") == "Applied"
    assert "Restart" in kinds(stage)


def test_a_flight_takes_no_detour() -> None:
    stage = drilled()
    failing(stage, "v1")
    stage.run(MINUTE / 4)
    assert stage.weights == {"sft": 100}
    assert kinds(stage)[-1] == "Fallback"
    stage.run(2 * MINUTE)
    drill = stage.runs[-2]
    assert (drill.status.outcome, drill.is_settled) == ("Superseded", True)


def test_a_cold_fallback_is_brought_up_and_taken_down_again() -> None:
    stage = drilled(fallback={"version": "sft", "replicas": 0})
    assert stage.pods == {"v1": 2, "sft": 1}
    stage.run(5 * MINUTE)
    assert stage.runs[-1].status.outcome == "Proven"
    assert stage.pods == {"v1": 2, "sft": 0}
    assert stage.condition("FallbackCold") == ("True", "NoReplicas")


def test_what_a_drill_counts_is_asked_of_the_metrics() -> None:
    stage = drilled()
    (subject,) = stage.slos.subjects[KEY]
    assert (subject.version, subject.stable) == ("sft", "v1")
    assert "drill-answers" in [slo.name for slo in subject.policies[0].slos]


def test_it_waits_for_its_place_among_the_drills_of_others() -> None:
    stage = Stage(settings=with_settings(max_concurrent_drills=1))
    others = {"metadata": {"name": "other-7", "namespace": "team"}, "kind": "RLHFRollout",
              "spec": {"model": "other", "type": "Drill"}}  # fmt: skip
    stage.put(others)
    stage.edit(rollbackDrill=DRILL, standby={"keep": "1m"})
    stage.run(90 * MINUTE, most=2000)
    assert kinds(stage) == ["Initial", "Rollout"]
    stage.put(others | {"status": {"outcome": "Proven"}})
    until(stage, lambda: kinds(stage)[-1] == "Drill")


def test_an_approval_of_what_is_never_shipped_keeps_no_drill_off() -> None:
    stage = resting()
    stage.say("Approve", identity=identity_of("v2", "2"))
    until(stage, lambda: kinds(stage)[-1] == "Drill")
    stage.run(5 * MINUTE)
    assert stage.runs[-1].status.outcome == "Proven"
    said = stage.world.store.get("RLHFDecision", KEY.namespace, "say")
    assert said is not None and "phase" not in said.get("status", {}), "it waits for its run still"
