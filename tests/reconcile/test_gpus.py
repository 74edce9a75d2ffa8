"""The GPUs that a run needs are looked for when it wants to start, and then only."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf_operator.api.errors import Transient
from tests.core.test_gpus import node, pod
from tests.reconcile.stage import KEY, MINUTE, Stage, version


def with_v3(nodes: list[Any]) -> Stage:
    """A model that serves v1 without GPUs; v3 needs two of them."""
    stage = Stage()
    stage.run()
    for each in nodes:
        metadata = {"namespace": "", "generation": 1}
        stage.put({**each, "kind": "Node", "metadata": {**each["metadata"], **metadata}})
    stage.put(version("v3", "3", serving={"gpu": {"count": 2}}))
    return stage


@pytest.mark.parametrize(
    ("others", "told"),
    [
        pytest.param((pod("a", 3),), "can get 1 on one node; free", id="what others have counts"),
        pytest.param((pod("a", 2), pod("b", 1)), None, id="enough is enough"),
    ],
)
def test_a_run_waits_for_the_gpus_that_others_have(others: Any, told: str | None) -> None:
    stage = with_v3([node("a", 4), node("b", 1)])
    stage.cluster.on_nodes = others
    stage.edit(version="v3")
    stage.run(MINUTE)
    assert ("InsufficientGPU" in stage.status["message"]) is (told is not None)
    assert told is None or told in stage.status["message"]
    stage.cluster.on_nodes = ()
    stage.run()
    assert stage.weights == {"v3": 100}


def test_nodes_on_which_the_pods_may_not_run_have_nothing_to_give() -> None:
    stage = with_v3([node("a", 4, taints=[{"key": "team", "effect": "NoSchedule"}]), node("b", 1)])
    stage.edit(version="v3")
    stage.run(MINUTE)
    assert stage.condition("Stalled") == ("True", "InsufficientGPU")
    told = "can get 1 on one node; of 2 nodes with GPUs are left out: 1 by taint team; free some"
    assert told in stage.status["message"]
    tolerations = [{"key": "team", "operator": "Exists"}]
    template = {"spec": {"tolerations": tolerations}}
    stage.edit(serving={"replicas": 2, "podTemplate": template})
    stage.run()
    assert stage.weights == {"v3": 100}


def test_a_test_of_several_waits_for_the_gpus_of_all() -> None:
    stage = with_v3([node("a", 3), node("b", 1)])
    stage.put(version("v4", "4", serving={"gpu": {"count": 2}}))
    test = {
        "strategy": "ABTest",
        "abTest": {
            "weight": 20, "others": [{"version": "v4", "weight": 20}],
            "primary": {"name": "thumbs", "indicator": {"type": "ThumbsDownRate"}},
        },
    }  # fmt: skip
    stage.edit(version="v3", rollout=test)
    stage.run(MINUTE)
    assert stage.condition("Stalled") == ("True", "InsufficientGPU")
    assert "2 pods need 2 GPUs each, and 1 can get them" in stage.status["message"]
    wide = node("a", 4)
    stage.put({**wide, "kind": "Node",
               "metadata": {**wide["metadata"], "namespace": "", "generation": 2}})  # fmt: skip
    stage.run(MINUTE)
    assert stage.weights == {"v1": 60, "v3": 20, "v4": 20}


def test_without_the_right_to_read_pods_only_ours_count_and_that_is_told() -> None:
    stage = with_v3([node("a", 1)])
    stage.cluster.on_nodes = None
    stage.edit(version="v3")
    stage.run(MINUTE)
    assert stage.condition("Stalled") == ("True", "InsufficientGPU")
    assert "pods of others could not be counted" in stage.status["message"]


def test_pods_are_listed_only_when_a_run_wants_to_start() -> None:
    stage = with_v3([node("a", 4)])
    stage.run()
    assert stage.cluster.lists == 0
    stage.edit(version="v3", suspend=True)
    stage.run()
    assert stage.cluster.lists == 0
    stage.edit(suspend=False)
    stage.run()
    assert stage.cluster.lists == 1 and stage.weights == {"v3": 100}


def test_a_list_that_fails_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails() -> None:
        raise Transient("the API server is slow")

    stage = with_v3([node("a", 4)])
    monkeypatch.setattr(stage.cluster, "pods_on_nodes", fails)
    stage.edit(version="v3")
    stage.run()
    assert stage.weights == {"v3": 100}
    assert stage.world.store.get("Node", "", "a") is not None and KEY.namespace == "team"
