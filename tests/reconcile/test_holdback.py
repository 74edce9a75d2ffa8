"""The previous version keeps a little traffic beside the promoted one, as its control arm."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from rlhf_operator.api.evidence import Verdict
from tests.reconcile.stage import KEY, MINUTE, Stage

STICKY = {"router": "GatewayAPI", "parentRefs": [{"name": "gw"}], "hostnames": ["support.example"],
          "stickiness": {"mode": "Arm"}}  # fmt: skip


def promoted(keep: str = "30m", **changes: Any) -> Stage:
    """v2 is promoted over v1, which keeps 5 %; the floor is sft."""
    stage = Stage()
    stage.run(10 * MINUTE)
    stage.edit(version="v2", standby={"holdback": 5, "keep": keep}, **changes)
    stage.run(10 * MINUTE)
    assert stage.weights == {"v2": 95, "v1": 5}
    return stage


def failing(stage: Stage, *names: str) -> None:
    def script(name: str, now: datetime) -> Verdict:
        return Verdict.FAILED if name in names else Verdict.SUCCESSFUL

    stage.script = script


def test_the_promoted_version_is_judged_against_it_from_when_it_is_in_force() -> None:
    stage = promoted()
    (subject,) = stage.slos.subjects[KEY]
    assert (subject.version, subject.stable) == ("v2", "v1")
    assert subject.since == stage.runs[-1].status.in_force_at
    assert stage.condition("Ready") == ("True", "Serving")
    rows = {row["name"]: (row["role"], row["weight"]) for row in stage.status["versions"]}
    assert rows["v2"] == ("Stable", 95)
    assert rows["v1"] == ("Standby", 5)
    assert stage.pods == {"v2": 2, "v1": 1, "sft": 1}


def test_its_time_ends() -> None:
    stage = promoted()
    stage.run(40 * MINUTE)
    assert stage.weights == {"v2": 100}
    assert stage.pods == {"v2": 2, "sft": 1}
    standby = stage.runs[-1].status.standby
    assert standby is not None and standby.released is not None
    assert standby.released.message == "v1 gives up 5%: it was kept as long as standby.keep says"
    assert len(stage.runs) == 3, "that is no change of what is live"


def test_it_lets_the_model_be_ready_while_it_leaves() -> None:
    stage = promoted()
    seen = set()
    while stage.runs[-1].status.standby and not (stage.weights == {"v2": 100} and len(seen) > 1):
        stage.run(MINUTE / 20)
        seen.add((stage.condition("Ready") or ("?",))[0] + str(stage.runs[-1].is_settled))
    assert seen == {"TrueTrue", "TrueFalse"}, "it is ready, settled or not"


def test_an_unsafe_control_arm_is_out_at_once_and_for_good() -> None:
    stage = promoted()
    failing(stage, "v1")
    stage.run(MINUTE / 2)
    assert stage.weights == {"v2": 100}
    quarantine = stage.runs[-1].status.quarantine
    assert quarantine is not None and quarantine.version == "v1"
    assert "v1 at 5% as control arm" in quarantine.message
    assert ("Warning", "SafetyFailed") in stage.cluster.events
    stage.edit(version="v1")
    stage.run()
    assert stage.weights == {"v2": 100}


def test_a_promoted_version_that_is_worse_is_left_for_it() -> None:
    stage = promoted()
    failing(stage, "v2")
    stage.run(MINUTE)
    assert stage.weights == {"v1": 100}
    assert stage.runs[-1].spec.type == "Rollback"


def test_where_both_are_unsafe_the_floor_serves() -> None:
    stage = promoted()
    failing(stage, "v1", "v2")
    stage.run(3 * MINUTE)
    assert stage.weights == {"sft": 100}


def test_a_new_run_ends_it_before_its_first_weight() -> None:
    stage = promoted()
    stage.edit(version="sft")
    stage.run(MINUTE / 2)
    assert "v1" not in stage.weights
    assert stage.runs[-1].spec.to.name == "sft"
    standby = stage.runs[-1].status.standby
    assert standby is not None and (standby.version.name, standby.weight) == ("v1", 0)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda stage: stage.edit(standby={"holdback": 0}), id="an edit"),
        pytest.param(lambda stage: stage.say("Veto", identity=stage.identity("v1")), id="a veto"),
        pytest.param(lambda stage: stage.say("Restart"), id="a restart of what serves"),
    ],
)
def test_what_else_ends_it(change: Any) -> None:
    stage = promoted()
    change(stage)
    stage.run(2 * MINUTE)
    assert stage.weights == {"v2": 100}


def test_both_arms_keep_their_clients() -> None:
    stage = promoted(traffic=STICKY)
    route = stage.world.store.get("HTTPRoute", KEY.namespace, KEY.name)
    assert route is not None
    kept = [rule["backendRefs"][0]["name"] for rule in route["spec"]["rules"][:-1]]
    assert set(kept) == {"v1-serving", "v2-serving"}


def test_what_it_showed_is_on_record_once_an_hour() -> None:
    stage = promoted(keep="3h")
    stage.run(130 * MINUTE, most=2000)
    status = stage.runs[-1].status
    assert status.checkpoint is not None and status.in_force_at is not None
    assert status.checkpoint.since == status.in_force_at
    assert {slo.version for slo in status.slos} == {"v2"}


def test_a_control_arm_whose_version_was_deleted_serves_on_and_that_is_told() -> None:
    stage = promoted()
    stage.world.store.drop("RLHFModelVersion", KEY.namespace, "v1")
    stage.run(6 * MINUTE)
    assert stage.weights == {"v2": 95, "v1": 5}
    assert stage.condition("VersionDeleted") == ("True", "NotFound")
