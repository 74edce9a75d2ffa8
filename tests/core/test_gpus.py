"""GPUs: what pods ask for, and what is left for one more."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf_operator.core import gpus

GPU = "nvidia.com/gpu"


def container(count: int, **more: Any) -> dict[str, Any]:
    return {"resources": {"limits": {GPU: str(count)}}, **more}


def pod(node: str, count: int, *, ours: bool = False) -> dict[str, Any]:
    labels = {"app.kubernetes.io/managed-by": "rlhf-operator" if ours else "helm"}
    return {
        "metadata": {"labels": labels},
        "spec": {"nodeName": node, "containers": [container(count)]},
    }


def node(name: str, count: int, **spec: Any) -> dict[str, Any]:
    allocatable = {"cpu": "8", GPU: str(count)}
    return {"metadata": {"name": name}, "spec": spec, "status": {"allocatable": allocatable}}


SIDECAR = {"restartPolicy": "Always"}


@pytest.mark.parametrize(
    ("spec", "count"),
    [
        pytest.param({"containers": [container(1), container(2)]}, 3, id="containers add up"),
        pytest.param({"containers": [{"resources": {"requests": {GPU: "2"}}}]}, 2,
                     id="a request counts like a limit"),
        pytest.param({"containers": [{}]}, 0, id="who asks for nothing gets nothing"),
        pytest.param({"containers": [{"resources": {"limits": {"amd.com/gpu": "2"}}}]}, 0,
                     id="another vendor's do not count"),
        pytest.param({"containers": [container(1)], "initContainers": [container(4), container(2)]},
                     4, id="the largest init container counts where it needs more"),
        pytest.param({"containers": [container(1)], "initContainers": [container(1, **SIDECAR)]},
                     2, id="a sidecar counts beside the containers"),
    ],
)  # fmt: skip
def test_what_a_pod_asks_for(spec: dict[str, Any], count: int) -> None:
    assert gpus.asked(spec, GPU) == count


@pytest.mark.parametrize(
    ("nodes", "pods", "wanted", "count"),
    [
        pytest.param([node("a", 4)], [], 0, 4, id="an empty node is free"),
        pytest.param([node("a", 4)], [pod("a", 3)], 0, 1, id="pods of others count"),
        pytest.param([node("a", 4)], [pod("a", 2, ours=True)], 2, 2, id="ours count once"),
        pytest.param([node("a", 4)], [pod("a", 2, ours=True)], 3, 1,
                     id="ours that wait for a node come first"),
        pytest.param([node("a", 4)], [pod("a", 3, ours=True)], 1, 1,
                     id="ours that still end hold theirs"),
        pytest.param([node("a", 4), node("b", 4)], [pod("a", 3), pod("b", 3)], 0, 1,
                     id="a pod lies on one node"),
        pytest.param([node("a", 4, unschedulable=True), node("b", 1)], [], 0, 1,
                     id="a node that takes no pods has none to give"),
        pytest.param([node("a", 4)], [pod("gone", 3)], 0, 4, id="pods of a node that is gone"),
        pytest.param([node("a", 1)], [pod("a", 2)], 5, 0, id="never less than none"),
        pytest.param([], [], 0, 0, id="without nodes there are none"),
    ],
)  # fmt: skip
def test_what_one_more_pod_can_get(nodes: Any, pods: Any, wanted: int, count: int) -> None:
    assert gpus.free(nodes, pods, wanted, GPU) == count
