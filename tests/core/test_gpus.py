"""GPUs: what pods ask for, and what is left for one more."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf_operator.core import gpus

GPU = "nvidia.com/gpu"


def container(count: int, **more: Any) -> dict[str, Any]:
    return {"resources": {"limits": {GPU: str(count)}}, **more}


def of(version: str | None) -> dict[str, Any]:
    """Metadata of what is one of our versions'; None: of somebody else's."""
    if version is None:
        return {"labels": {"app.kubernetes.io/managed-by": "helm"}}
    ours = {"app.kubernetes.io/managed-by": "rlhf-operator", "rlhf.dev/version": version}
    return {"namespace": "team", "labels": ours}


def pod(node: str, count: int, *, version: str | None = None) -> dict[str, Any]:
    return {"metadata": of(version), "spec": {"nodeName": node, "containers": [container(count)]}}


def wish(version: str, pods: int, **spec: Any) -> dict[str, Any]:
    """A Deployment of ours whose pods ask for one GPU each."""
    template = {"spec": {"containers": [container(1)]} | spec}
    return {"metadata": of(version), "spec": {"replicas": pods, "template": template}}


def node(
    name: str, count: int, labels: Any = None, conditions: Any = (), **spec: Any
) -> dict[str, Any]:
    status = {"allocatable": {"cpu": "8", GPU: str(count)}, "conditions": list(conditions)}
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": spec, "status": status}


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
    ("nodes", "pods", "ours", "count"),
    [
        pytest.param([node("a", 4)], [], [], 4, id="an empty node is free"),
        pytest.param([node("a", 4)], [pod("a", 3)], [], 1, id="pods of others count"),
        pytest.param([node("a", 4)], [pod("a", 2, version="v1")], [wish("v1", 2)], 2,
                     id="ours count once"),
        pytest.param([node("a", 4)], [pod("a", 2, version="v1")], [wish("v1", 3)], 1,
                     id="ours that wait for a node come first"),
        pytest.param([node("a", 4)], [pod("a", 3, version="v1")], [wish("v1", 1)], 1,
                     id="ours that still end hold theirs"),
        pytest.param([node("a", 4)], [pod("a", 3, version="v1")], [wish("v1", 1), wish("v2", 1)],
                     0, id="and not those of another version that waits"),
        pytest.param([node("a", 4), node("b", 4)], [pod("a", 3), pod("b", 3)], [], 1,
                     id="a pod lies on one node"),
        pytest.param([node("a", 4)], [pod("gone", 3)], [], 4, id="pods of a node that is gone"),
        pytest.param([node("a", 1)], [pod("a", 2)], [wish("v1", 5)], 0, id="never less than none"),
        pytest.param([], [], [], 0, id="without nodes there are none"),
    ],
)  # fmt: skip
def test_what_one_more_pod_can_get(nodes: Any, pods: Any, ours: Any, count: int) -> None:
    found = gpus.room(nodes, pods, ours, {}, GPU)
    assert (found.free, found.nodes, found.excluded) == (count, len(nodes), {})


@pytest.mark.parametrize(
    ("nodes", "pods", "ours", "count"),
    [
        pytest.param([node("a", 4), node("b", 3)], [], [], 3, id="as many as fit on each node"),
        pytest.param([node("a", 4)], [pod("a", 1)], [], 1, id="what is left over is too little"),
        pytest.param([node("a", 4)], [], [wish("v1", 2)], 1, id="ours that wait come first"),
        pytest.param([node("a", 2)], [], [wish("v1", 5)], 0, id="never less than none"),
    ],
)
def test_how_many_pods_of_two_can_get_theirs(nodes: Any, pods: Any, ours: Any, count: int) -> None:
    assert gpus.room(nodes, pods, ours, {}, GPU).seats(2) == count


POOLS = [node("a", 4, {"pool": "a"}), node("b", 2, {"pool": "b"}), node("c", 8, {"pool": "c"})]


def test_only_nodes_on_which_it_could_run_count_and_what_leaves_the_others_out_is_told() -> None:
    nodes = [*POOLS, node("d", 8, {"pool": "b"}, unschedulable=True), node("cpu", 0)]
    room = gpus.room(nodes, [pod("b", 1)], [], {"nodeSelector": {"pool": "b"}}, GPU)
    assert room.free == 1
    assert room.told == "; of 4 nodes with GPUs are left out: 1 cordoned, 2 by nodeSelector"


@pytest.mark.parametrize(
    ("pool", "count"),
    [
        pytest.param("b", 1, id="what waits for the same nodes comes first"),
        pytest.param("a", 2, id="what waits for other nodes takes nothing here"),
    ],
)
def test_what_waits_counts_where_it_could_go(pool: str, count: int) -> None:
    ours = [wish("v1", 1, nodeSelector={"pool": pool})]
    assert gpus.room(POOLS, [], ours, {"nodeSelector": {"pool": "b"}}, GPU).free == count
