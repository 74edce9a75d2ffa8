"""Where nothing is safe and the team wants it so, nobody gets an answer until something is."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from rlhf_operator.api.evidence import Verdict
from tests.reconcile.stage import KEY, MINUTE, Stage


def guard_of(stage: Stage, version: str) -> Any:
    """The guard's configuration that is pinned with a version's pods."""
    deployment = next(
        raw
        for raw in stage.world.store.of_model("Deployment", KEY)
        if raw["metadata"]["labels"]["rlhf.dev/version"] == version
    )
    mounted = json.dumps(deployment["spec"])
    (found,) = (
        raw
        for raw in stage.world.store.of_model("ConfigMap", KEY)
        if raw["metadata"]["name"] in mounted
        and "guard.json" in raw["data"]
        and raw["metadata"]["name"].startswith(f"{version}-")
    )
    return json.loads(found["data"]["guard.json"])


def refusing() -> Stage:
    """The floor serves and turns out to be unsafe; there is nothing else."""
    stage = Stage()
    refuse = stage.model["spec"]["rollout"] | {"whenNothingIsSafe": "Refuse"}
    stage.edit(version="sft", rollout=refuse)
    stage.run(MINUTE)
    assert stage.weights == {"sft": 100}
    stage.script = lambda name, _: unsafe_while_it_answers(stage, name)
    stage.run(3 * MINUTE)
    return stage


def unsafe_while_it_answers(stage: Stage, name: str) -> Verdict:
    """The floor does harm as long as anything comes out of it; v2 is good and v1 is not."""
    if name == "sft":
        return Verdict.INCONCLUSIVE if guard_of(stage, "sft")["refuse"] else Verdict.FAILED
    return Verdict.FAILED if name == "v1" else Verdict.SUCCESSFUL


def test_every_request_is_refused_and_the_model_says_so() -> None:
    stage = refusing()
    assert guard_of(stage, "sft")["refuse"] is True
    assert stage.weights == {"sft": 100}, "the router keeps its backend"
    assert stage.condition("Refusing") == ("True", "Refusing")
    assert stage.condition("Ready") == ("False", "Refusing")
    assert stage.condition("Stalled") == ("True", "Refusing")
    assert ("Warning", "Refusing") in stage.cluster.events


def test_a_new_good_version_ends_it() -> None:
    stage = refusing()
    stage.edit(version="v2")
    stage.run(2 * MINUTE)
    assert guard_of(stage, "v2")["refuse"] is False, "the cure answers"
    assert guard_of(stage, "sft")["refuse"] is True, "what is not safe does not"
    stage.run(10 * MINUTE)
    assert stage.weights == {"v2": 100}
    assert guard_of(stage, "sft")["refuse"] is False, "it is a floor again once it has no traffic"
    assert stage.condition("Refusing") is None
    assert stage.condition("Ready") == ("True", "Serving")


def test_a_new_bad_version_does_not_end_it() -> None:
    stage = refusing()
    stage.edit(version="v1")
    stage.run(10 * MINUTE)
    assert stage.weights == {"sft": 100}
    assert guard_of(stage, "sft")["refuse"] is True
    assert stage.condition("Refusing") == ("True", "Refusing")


def test_a_person_lets_it_serve_again_and_harm_ends_that_again() -> None:
    stage = refusing()
    stage.say("Restart")
    stage.run(MINUTE / 4)
    assert [run.spec.type for run in stage.runs][-1] == "Restart"
    stage.run(5 * MINUTE)
    assert guard_of(stage, "sft")["refuse"] is True


def test_an_unsafe_version_whose_floor_is_forbidden_is_left_for_a_floor_that_refuses() -> None:
    stage = Stage()
    stage.edit(rollout=stage.model["spec"]["rollout"] | {"whenNothingIsSafe": "Refuse"})
    stage.run(10 * MINUTE)
    stage.say("Veto", identity=stage.identity("sft"))
    stage.run(MINUTE)
    assert stage.weights == {"v1": 100}

    def script(name: str, now: datetime) -> Verdict:
        return Verdict.FAILED if name == "v1" else Verdict.INCONCLUSIVE

    stage.script = script
    stage.run(3 * MINUTE)
    assert stage.weights == {"sft": 100}
    assert guard_of(stage, "sft")["refuse"] is True
    assert stage.condition("Refusing") == ("True", "Refusing")


def test_a_decision_that_cannot_be_carried_out_makes_nothing_look_well() -> None:
    stage = refusing()
    stage.say("Abort", name="late")
    told = set()
    stage.cluster.watch = lambda before, after, ours: told.add(ready_of(after))
    stage.run(MINUTE)
    assert stage.fate("late") == "NotApplicable"
    assert told <= {None, ("False", "Refusing")}
    assert stage.condition("Ready") == ("False", "Refusing")


def ready_of(raw: Any) -> tuple[str, str] | None:
    """What a model that is being written says of itself."""
    if raw is None or raw["kind"] != "RLHFModel":
        return None
    (ready,) = (one for one in raw["status"]["conditions"] if one["type"] == "Ready")
    return ready["status"], ready["reason"]


def test_who_decides_gets_an_answer_also_while_nothing_is_safe() -> None:
    stage = Stage(script=lambda *_: Verdict.FAILED)
    keeps = stage.model["spec"]["rollout"] | {"whenNothingIsSafe": "KeepServing"}
    stage.edit(version="sft", rollout=keeps)
    stage.run(3 * MINUTE)
    assert stage.condition("Stalled") == ("True", "NothingSafe")
    stage.say("Abort", name="late")
    stage.run(MINUTE)
    assert stage.fate("late") == "NotApplicable"
    assert stage.condition("Stalled") == ("True", "NothingSafe")


def test_what_fails_before_the_floor_was_renewed_is_left_for_a_floor_that_says_it_refuses() -> None:
    stage = refusing()
    stage.edit(version="v2")
    while stage.runs[-1].status.outcome is None or stage.runs[-1].spec.type != "Rollout":
        stage.run(MINUTE / 20)
    assert not stage.runs[-1].is_settled
    stage.script = lambda name, now: (
        Verdict.FAILED if name == "v2" else unsafe_while_it_answers(stage, name)
    )
    stage.run(5 * MINUTE)
    assert stage.weights == {"sft": 100}
    refuses = guard_of(stage, "sft")["refuse"]
    assert (refuses, stage.condition("Refusing")) == (True, ("True", "Refusing"))


def test_who_goes_back_to_a_floor_that_refused_gets_answers_of_it() -> None:
    stage = refusing()
    stage.edit(version="v2")
    while stage.runs[-1].status.outcome is None or stage.runs[-1].spec.type != "Rollout":
        stage.run(MINUTE / 20)
    stage.script = lambda *_: Verdict.SUCCESSFUL
    stage.say("RollBackTo", name="back", version="sft")
    stage.run(2 * MINUTE)
    assert stage.weights == {"sft": 100}
    assert guard_of(stage, "sft")["refuse"] is False
    assert stage.condition("Refusing") is None
