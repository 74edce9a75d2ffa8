"""What a restart of the pods must not forget: what was tried before it, and how that ended."""

from __future__ import annotations

from datetime import datetime

from rlhf_operator.api.evidence import Verdict
from tests.reconcile.stage import MINUTE, Stage


def serving_v1() -> Stage:
    stage = Stage()
    stage.run(10 * MINUTE)
    assert stage.weights == {"v1": 100}
    return stage


def restart(stage: Stage, name: str = "again") -> None:
    stage.say("Restart", name=name)
    stage.run(2 * MINUTE)
    assert stage.fate(name) == "Applied"


def test_what_a_person_aborted_is_not_tried_again_after_a_restart() -> None:
    stage = serving_v1()
    stage.edit(version="v2")
    stage.run(MINUTE / 2)
    stage.say("Abort", name="stop")
    stage.run(5 * MINUTE)
    assert stage.weights == {"v1": 100}
    restart(stage)
    restart(stage, "once-more")
    stage.run(10 * MINUTE)
    assert stage.weights == {"v1": 100}
    assert [str(run.spec.type) for run in stage.runs][-3:] == ["Rollout", "Restart", "Restart"]
    assert stage.condition("Stalled") == ("True", "RolledBack")
    stage.say("Retry", name="retry")
    stage.run(10 * MINUTE)
    assert stage.weights == {"v2": 100}, "a person may"


def test_what_a_person_left_does_not_come_back_with_a_restart() -> None:
    stage = serving_v1()
    stage.edit(version="v2")
    stage.run(10 * MINUTE)
    assert stage.weights == {"v2": 100}
    stage.say("RollBackTo", name="back", version="v1")
    stage.run(2 * MINUTE)
    assert stage.weights == {"v1": 100}
    restart(stage)
    stage.run(10 * MINUTE)
    assert stage.weights == {"v1": 100}


def test_the_record_of_the_try_outlives_the_limit_of_the_history() -> None:
    stage = serving_v1()
    stage.edit(version="v2", history={"limit": 3})
    stage.run(MINUTE / 2)
    stage.say("Abort", name="stop")
    stage.run(2 * MINUTE)
    for count in range(4):
        restart(stage, f"restart-{count}")
    stage.run(10 * MINUTE)
    assert stage.weights == {"v1": 100}


def test_it_cools_down_on() -> None:
    stage = serving_v1()
    stage.edit(rollout=stage.model["spec"]["rollout"] | {"coolDown": "20m"})

    def script(name: str, now: datetime) -> Verdict:
        return Verdict.FAILED if name == "v1" else Verdict.SUCCESSFUL

    stage.script = script
    stage.run(MINUTE)
    assert stage.weights == {"sft": 100}
    restart(stage)
    stage.edit(version="v2")
    stage.run(10 * MINUTE)
    assert stage.weights == {"sft": 100}
    stage.run(20 * MINUTE)
    assert stage.weights == {"v2": 100}
