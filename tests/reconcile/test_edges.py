"""What happens at the edges of a life: names used again, objects of another time, lost pods."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf_operator.api.errors import Transient
from rlhf_operator.api.evidence import Verdict
from rlhf_operator.api.rollout import Outcome, RunType
from rlhf_operator.reconcile.line import reconcile
from rlhf_operator.reconcile.ports import Fenced
from tests.reconcile.stage import KEY, MINUTE, Stage, asyncio_run, digest, model, version

OWNED = ("Deployment", "Service", "ConfigMap", "NetworkPolicy", "ControllerRevision", "HTTPRoute")


def delete_model(stage: Stage) -> None:
    """Delete the model; the garbage collector takes what it owned."""
    stage.world.store.drop("RLHFModel", KEY.namespace, KEY.name)  # type: ignore[attr-defined]
    for kind in OWNED:
        for raw in stage.world.store.of_model(kind, KEY):
            stage.world.store.drop(kind, KEY.namespace, raw["metadata"]["name"])  # type: ignore[attr-defined]


def test_a_deleted_model_closes_its_record_and_gives_its_place_back() -> None:
    stage = Stage(script=lambda *_: Verdict.INCONCLUSIVE)
    stage.run(MINUTE)
    assert stage.world.store.active("Rollout") == 1
    delete_model(stage)
    stage._pass()
    assert stage.runs[-1].status.outcome is Outcome.ABORTED
    assert stage.runs[-1].is_settled and stage.world.store.active("Rollout") == 0
    writes = stage.cluster.writes
    stage._pass()
    assert stage.cluster.writes == writes


def test_a_model_that_was_made_anew_begins_with_its_floor() -> None:
    stage = Stage()
    stage.run()
    before = len(stage.runs)
    delete_model(stage)
    stage._pass()
    stage.put(model())
    stage.run()
    assert [run.spec.type for run in stage.runs[before:]] == ["Initial", "Rollout"]
    assert [run.spec.revision for run in stage.runs] == list(range(1, len(stage.runs) + 1))
    assert stage.weights == {"v1": 100} and stage.condition("Ready") == ("True", "Serving")


def test_the_record_of_a_model_that_was_deleted_unseen_gives_its_place_back() -> None:
    stage = Stage(script=lambda *_: Verdict.INCONCLUSIVE)
    stage.run(MINUTE)
    delete_model(stage)
    stage.put(model())
    stage.run(MINUTE)
    left = stage.runs[1].status
    assert (left.outcome, left.reason, left.phase) == (Outcome.ABORTED, "Deleted", "Completed")
    assert stage.world.store.active("Rollout") == 1, "only the new model's own run"


def test_a_model_that_is_deleted_while_it_settles_closes_its_record() -> None:
    stage = Stage(script=lambda name, _: Verdict.FAILED if name == "v1" else Verdict.SUCCESSFUL)
    while len(stage.runs) < 2 or stage.runs[-1].is_active:
        stage._pass()
        stage.cluster.settle()
        stage.now += MINUTE / 60
    assert stage.runs[-1].status.phase == "Settling"
    delete_model(stage)
    stage._pass()
    assert stage.runs[-1].is_settled


def test_a_quarantine_outlives_the_model() -> None:
    stage = Stage(script=lambda name, _: Verdict.FAILED if name == "v1" else Verdict.SUCCESSFUL)
    stage.run()
    delete_model(stage)
    stage.put(model())
    stage.run()
    assert stage.weights == {"sft": 100}
    assert stage.condition("Stalled") == ("True", "Quarantined")


def test_a_version_made_anew_under_its_old_name_is_refused() -> None:
    stage = Stage()
    stage.run()
    stage.put(version("v1", "9"))
    stage.run()
    assert stage.weights == {"v1": 100} and stage.condition("Stalled") == ("True", "SpecInvalid")


def test_nobody_goes_back_to_a_version_of_another_model() -> None:
    stage = Stage()
    stage.run()
    stage.put(version("foreign", "7", model="other"))
    stage.say("RollBackTo", version="foreign")
    stage.run()
    assert stage.weights == {"v1": 100}
    said = stage.world.store.get("RLHFDecision", KEY.namespace, "say")
    assert said is not None and said["status"]["phase"] == "NotApplicable"


def test_a_record_of_a_newer_operator_stops_the_model_and_not_its_traffic() -> None:
    stage = Stage()
    stage.run()
    raw = stage.world.store.of_model("RLHFRollout", KEY)[-1]
    stage.put({**raw, "status": {**raw["status"], "ofTomorrow": 1}})
    writes = stage.cluster.writes
    with pytest.raises(Transient, match="newer operator"):
        asyncio_run(reconcile(KEY, stage.world, stage.now))
    assert stage.cluster.writes == writes and stage.weights == {"v1": 100}


def test_a_decision_that_cannot_be_read_stops_nothing() -> None:
    stage = Stage()
    stage.say("Abort", reason=7)
    stage.run()
    assert stage.weights == {"v1": 100}


def test_a_spec_that_cannot_be_read_is_told_once() -> None:
    stage = Stage()
    stage.run()
    stage.edit(fallback="nonsense")
    stage.run()
    assert stage.condition("Stalled") == ("True", "SpecInvalid")
    writes, events = stage.cluster.writes, len(stage.cluster.events)
    stage.now += MINUTE
    stage._pass()
    assert (stage.cluster.writes, len(stage.cluster.events)) == (writes, events)
    assert stage.weights == {"v1": 100}


def test_an_earlier_leader_writes_nothing() -> None:
    stage = Stage()
    stage.run(MINUTE / 2)
    object.__setattr__(stage.world, "epoch", lambda: 0)
    writes = stage.cluster.writes
    with pytest.raises(Fenced):
        asyncio_run(reconcile(KEY, stage.world, stage.now))
    assert stage.cluster.writes == writes


def test_lost_pods_are_told_and_come_back() -> None:
    stage = Stage()
    stage.run()
    stage.cluster.never_ready = {"v1"}
    stage.run()
    assert stage.condition("Ready") == ("False", "StableNotServing")
    stage.cluster.never_ready = set()
    stage.run()
    assert stage.condition("Ready") == ("True", "Serving")


def test_a_person_lifts_a_quarantine_that_another_model_made() -> None:
    stage = Stage(script=lambda name, _: Verdict.FAILED if name == "v1" else Verdict.SUCCESSFUL)
    stage.run()
    record = stage.world.store.of_model("RLHFRollout", KEY)[-1]
    other = {**record, "spec": {**record["spec"], "model": "other"}}
    stage.world.store.drop("RLHFRollout", KEY.namespace, record["metadata"]["name"])  # type: ignore[attr-defined]
    metadata = {**record["metadata"], "name": "other-2", "uid": "x"}
    stage.put({**other, "metadata": metadata})
    identity = record["status"]["quarantine"]["identity"]
    stage.script = lambda *_: Verdict.SUCCESSFUL
    stage.say("LiftQuarantine", identity=identity)
    stage.run()
    said = stage.world.store.get("RLHFDecision", KEY.namespace, "say")
    assert said is not None and said["status"]["phase"] == "Applied"
    assert stage.weights == {"v1": 100}
    assert digest("1") != identity


def test_a_decision_made_anew_under_its_name_is_another_decision() -> None:
    stage = Stage(script=lambda *_: Verdict.INCONCLUSIVE)
    stage.run()
    stage.say("Pause", name="stop")
    stage.run()
    assert stage.runs[-1].status.paused
    stage.say("Resume", name="go")
    stage.run()
    assert not stage.runs[-1].status.paused
    stage.world.store.drop("RLHFDecision", KEY.namespace, "stop")
    stage.say("Pause", name="stop")
    stage.run()
    assert stage.runs[-1].status.paused


def test_a_lift_ends_every_quarantine_that_was_there_before() -> None:
    stage = Stage(script=lambda name, _: Verdict.FAILED if name == "v1" else Verdict.SUCCESSFUL)
    stage.run()
    first = stage.runs[-1]
    raw = stage.world.store.get("RLHFRollout", KEY.namespace, first.name)
    assert raw is not None and first.status.quarantine is not None
    metadata = {"name": "another-record", "namespace": KEY.namespace, "generation": 1}
    spec = {**raw["spec"], "model": "another", "revision": 1}
    stage.put({**raw, "metadata": metadata, "spec": spec})
    stage.script = lambda *_: Verdict.SUCCESSFUL
    stage.say("LiftQuarantine", identity=first.status.quarantine.identity)
    stage.run()
    for record in stage.world.store.quarantining(
        KEY.namespace, (first.status.quarantine.identity,)
    ):
        assert record["status"]["quarantine"]["lifted"]["author"] == "ann"
    stage.edit(suspend=False)
    stage.run()
    assert stage.weights == {"v1": 100}


def test_an_older_operators_pods_are_told_their_pin_and_not_restarted() -> None:
    stage = Stage()
    stage.run()
    (deployment,) = (
        raw for raw in stage.world.store.of_model("Deployment", KEY) if pin_of(raw)[:2] == "v1"
    )
    metadata = {key: part for key, part in deployment["metadata"].items() if key != "annotations"}
    stage.put({**deployment, "metadata": metadata})
    stage._pass()
    told = stage.world.store.get("Deployment", KEY.namespace, metadata["name"])
    assert told is not None and pin_of(told) == pin_of(deployment)
    assert told["spec"] == deployment["spec"]
    stage.run()
    assert stage.condition("Ready") == ("True", "Serving")


def pin_of(deployment: Any) -> str:
    return str(deployment["metadata"]["annotations"]["rlhf.dev/pinned-as"])


def test_a_restart_of_a_deleted_version_leaves_its_pods_and_ends() -> None:
    stage = Stage()
    stage.run()
    before = stage.world.store.get("Deployment", KEY.namespace, "v1-serving")
    assert before is not None
    stage.world.store.drop("RLHFModelVersion", KEY.namespace, "v1")  # type: ignore[attr-defined]
    stage.say("Restart")
    stage.run()
    after = stage.world.store.get("Deployment", KEY.namespace, "v1-serving")
    assert after is not None and after["spec"] == before["spec"]
    assert stage.runs[-1].spec.type == "Restart" and stage.runs[-1].is_settled


def test_a_restart_renews_the_pods_though_nothing_in_the_spec_changed() -> None:
    stage = Stage()
    stage.run()

    def templates() -> dict[str, Any]:
        found = stage.world.store.of_model("Deployment", KEY)
        return {raw["metadata"]["name"]: raw["spec"]["template"] for raw in found}

    before = templates()
    stage.say("Restart")
    stage.run(MINUTE)
    renewed = templates()
    assert renewed["v1-serving"] != before["v1-serving"]
    assert renewed["sft-serving"] == before["sft-serving"]
    last = stage.runs[-1]
    assert (last.spec.type, last.status.outcome, last.spec.cause.author) == (
        RunType.RESTART, Outcome.PROMOTED, "ann",
    )  # fmt: skip
    stage.run()
    assert templates()["v1-serving"] == renewed["v1-serving"]
    assert stage.weights == {"v1": 100}


@pytest.mark.parametrize(
    ("word", "outcome", "reason"),
    [
        pytest.param(None, Outcome.ROLLED_BACK, "NotReady", id="it takes too long"),
        pytest.param("Abort", Outcome.ABORTED, "Aborted", id="a person ends it"),
    ],
)
def test_a_restart_whose_pods_never_get_ready_leaves_the_old_ones(
    word: str | None, outcome: Outcome, reason: str
) -> None:
    stage = Stage()
    stage.run()
    before = stage.world.store.get("Deployment", KEY.namespace, "v1-serving")
    stage.cluster.never_renewed = {"v1"}
    stage.say("Restart")
    stage.run(MINUTE)
    assert stage.runs[-1].status.outcome is None and stage.weights == {"v1": 100}
    if word is not None:
        stage.say(word, name="stop")
    stage.run(45 * MINUTE)
    last = stage.runs[-1]
    assert (last.spec.type, last.status.outcome, last.status.reason) == (
        RunType.RESTART, outcome, reason,
    )  # fmt: skip
    after = stage.world.store.get("Deployment", KEY.namespace, "v1-serving")
    assert before is not None and after is not None
    assert after["spec"]["template"] == before["spec"]["template"]
    assert last.is_settled and stage.condition("Ready") == ("True", "Serving")
    stage.edit(version="v2")
    stage.run()
    assert stage.weights == {"v2": 100}


@pytest.mark.parametrize("kind", ["HTTPRoute", "Deployment"])
def test_what_the_api_server_refuses_is_told_and_tried_again(kind: str) -> None:
    stage = Stage()
    stage.run()
    stage.cluster.refuses = {kind}
    stage.edit(version="v2")
    stage.run(MINUTE)
    assert stage.condition("ApplyRefused") == ("True", "Refused")
    told = {each["type"]: each["message"] for each in stage.status["conditions"]}
    assert f"refuses {kind}" in told["ApplyRefused"] and "403: not here" in told["ApplyRefused"]
    assert stage.weights == {"v1": 100}
    stage.cluster.refuses = set()
    stage.run()
    assert stage.condition("ApplyRefused") is None and stage.weights == {"v2": 100}


def test_a_gateway_that_does_not_answer_is_named_and_waited_for() -> None:
    stage = Stage()
    stage.run()
    stage.cluster.gateway_is_away = True
    stage.edit(version="v2")
    stage.run()
    assert stage.condition("Reconciling") == ("True", "WeightNotInForce")
    assert "gateway gw has not looked at generation" in stage.status["message"]
    assert stage.runs[-1].status.weight == 10
    stage.cluster.gateway_is_away = False
    stage.run()
    assert stage.weights == {"v2": 100}
