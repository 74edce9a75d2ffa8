"""Traffic leaves what is unsafe at once, whatever else is going on."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from rlhf_operator.api.evidence import Verdict
from tests.reconcile.stage import KEY, MINUTE, Stage


def trying_v2(**changes: object) -> Stage:
    """v1 serves, and v2 has its first weight; proof takes five minutes at the same weights."""
    stage = Stage()
    stage.run(10 * MINUTE)
    assert stage.weights == {"v1": 100}
    stage.edit(version="v2", **changes)
    stage.run(MINUTE / 2)
    assert stage.runs[-1].status.weight > 0
    return stage


def proven_slowly(stage: Stage, name: str) -> None:
    """From now on a version is unsafe; whoever begins to count anew must count for long."""
    began = stage.slos.subjects[KEY][0].since

    def script(version: str, now: datetime) -> Verdict:
        (subject,) = stage.slos.subjects[KEY]
        proven = subject.since == began or now - subject.since > timedelta(minutes=20)
        if version != name:
            return Verdict.SUCCESSFUL
        return Verdict.FAILED if proven else Verdict.INCONCLUSIVE

    stage.script = script


def test_what_proved_stable_unsafe_in_a_run_is_not_asked_for_again() -> None:
    stage = trying_v2()
    proven_slowly(stage, "v1")
    stage.run(MINUTE / 4)
    assert stage.weights == {"sft": 100}
    stage.run(2 * MINUTE)
    run, flight = stage.runs[-2:]
    assert (flight.spec.type, flight.spec.cause.reason) == ("Fallback", "SafetyFailed")
    assert flight.spec.cause.evidence[0].version == "v1"
    assert (run.spec.type, run.status.outcome, run.is_settled) == ("Rollout", "RolledBack", True)
    assert run.status.quarantine is None, "the canary is not to blame"
    assert run.status.message is not None and "traffic fled from stable v1" in run.status.message
    assert stage.pods == {"sft": 2}


def test_a_cold_floor_takes_over_from_both_when_it_is_ready() -> None:
    stage = trying_v2(fallback={"version": "sft", "replicas": 0})
    stage.cluster.never_ready = {"sft"}
    proven_slowly(stage, "v1")
    before = stage.weights
    stage.run(5 * MINUTE)
    assert stage.weights == before, "nothing serves less than before"
    assert stage.condition("Ready") == ("False", "StableNotServing")
    assert "sft is to serve and has no ready pod" in stage.status["message"]
    stage.cluster.never_ready = set()
    stage.run(MINUTE)
    assert stage.weights == {"sft": 100}


def test_copies_end_with_the_run_that_made_them() -> None:
    shadow = {"strategy": "Shadow", "surge": "Full", "coolDown": "1m",
              "shadow": {"percent": 50, "hold": "10m"}}  # fmt: skip
    stage = trying_v2(rollout=shadow)
    proven_slowly(stage, "v1")
    stage.run(2 * MINUTE)
    assert stage.weights == {"sft": 100}
    route = stage.world.store.get("HTTPRoute", KEY.namespace, KEY.name)
    assert route is not None
    assert "RequestMirror" not in str(route["spec"])
    assert stage.pods == {"sft": 2}


@pytest.mark.parametrize("way", ["ServeFallback", "Refuse"])
def test_a_floor_that_is_unsafe_in_a_run_is_restrained_and_the_run_goes_on(way: str) -> None:
    stage = Stage()
    stage.edit(rollout=stage.model["spec"]["rollout"] | {"whenNothingIsSafe": way})
    while stage.runs[-1:] == [] or stage.runs[-1].status.weight == 0:
        stage.run(MINUTE / 10)
    proven_slowly(stage, "sft")
    stage.run(MINUTE / 4)
    run = stage.runs[-1]
    assert (run.status.force_block, run.status.refuse) == (True, way == "Refuse")
    assert run.is_active and run.spec.type == "Rollout"
    stage.run(10 * MINUTE)
    assert stage.weights == {"v1": 100}
    assert not stage.runs[-1].status.force_block


def without_floor(**changes: object) -> Stage:
    """v1 serves, and the object of the fallback version was deleted."""
    stage = Stage()
    stage.edit(standby={"replicas": 0, "keep": "1m"}, **changes)
    stage.run(20 * MINUTE)
    assert stage.weights == {"v1": 100}
    stage.world.store.drop("RLHFModelVersion", KEY.namespace, "sft")
    stage.run(20 * MINUTE)
    return stage


def test_a_floor_whose_object_was_deleted_keeps_its_pods_and_takes_what_flees() -> None:
    stage = without_floor()
    assert stage.condition("Stalled") == ("True", "VersionNotFound")
    assert stage.pods == {"v1": 2, "sft": 1}
    assert "sft was deleted" in stage.message("VersionDeleted")
    stage.script = lambda name, _: Verdict.FAILED if name == "v1" else Verdict.SUCCESSFUL
    stage.run(2 * MINUTE)
    assert stage.weights == {"sft": 100}
