"""A newer operator would make other pods, and makes none: what runs is pinned."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from tests.reconcile.fakes import SETTINGS
from tests.reconcile.stage import KEY, MINUTE, Stage

TOMORROW: dict[str, Any] = {
    "guard_image": "guard-of-tomorrow",
    "triton_image": "triton-of-tomorrow",
    "artifacts_image": "artifacts-of-tomorrow",
    "drain": timedelta(seconds=60),
    "shared_memory": "2Gi",
}


def upgrade(stage: Stage, **serving: Any) -> None:
    """Put an operator in place whose defaults for pods are others."""
    changed = dataclasses.replace(SETTINGS.serving, **serving)
    settings = dataclasses.replace(stage.settings, serving=changed)
    stage.world = dataclasses.replace(stage.world, settings=settings)
    stage._restart()


def templates(stage: Stage) -> dict[str, Any]:
    """Return the pod template of each version that has pods."""
    return {
        raw["metadata"]["labels"]["rlhf.dev/version"]: raw["spec"]["template"]
        for raw in stage.world.store.of_model("Deployment", KEY)
    }


def files(stage: Stage) -> set[str]:
    """Return the names of the ConfigMaps, which carry a hash of what is in them."""
    found = stage.world.store.of_model("ConfigMap", KEY)
    return {raw["metadata"]["name"] for raw in found}


def at_first_weight() -> Stage:
    stage = Stage()
    while not (stage.runs and stage.runs[-1].status.weight == 10):
        stage.run(timedelta(seconds=5))
    return stage


def ship(stage: Stage, version: str) -> None:
    stage.edit(version=version)
    stage.run(10 * MINUTE)
    assert stage.weights == {version: 100}


@pytest.mark.parametrize("changed", TOMORROW)
def test_no_pod_that_runs_is_made_anew(changed: str) -> None:
    stage = at_first_weight()
    before, pins, mounted = templates(stage), stage.runs[-1].status.pins, files(stage)
    upgrade(stage, **{changed: TOMORROW[changed]})
    writes = stage.cluster.writes
    stage.run(timedelta(seconds=10))
    assert stage.cluster.writes == writes, "nothing is there to do"
    stage.run(10 * MINUTE)
    assert stage.weights == {"v1": 100}, "the run went on"
    assert stage.runs[-1].status.pins == pins
    assert templates(stage) == before
    assert files(stage) == mounted

    ship(stage, "v2")
    without = at_first_weight()
    ship(without, "v2")
    assert templates(stage)["v1"] == before["v1"]
    assert templates(stage)["v2"] != templates(without)["v2"], "the next version has it"


def test_a_restart_brings_what_the_newer_operator_makes() -> None:
    stage = at_first_weight()
    stage.run(10 * MINUTE)
    before = templates(stage)["v1"]
    upgrade(stage, **TOMORROW)
    stage.say("Restart")
    stage.run(5 * MINUTE)
    assert stage.fate("say") == "Applied"
    assert "guard-of-tomorrow" not in str(before)
    assert "guard-of-tomorrow" in str(templates(stage)["v1"])
