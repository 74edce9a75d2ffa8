"""GPUs: what pods ask for, and what that leaves on the nodes for one more pod."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from rlhf_operator.core import names

Raw = Mapping[str, Any]


def asked(spec: Raw, resource: str) -> int:
    """Return what a pod of this spec asks for; init containers run one after the other.

    Source: Kubernetes, "Init containers", resource sharing. A sidecar that starts late is
    counted beside every init container, so this may be too much and never too little.
    """
    inits = spec.get("initContainers") or ()
    sidecars = [each for each in inits if each.get("restartPolicy") == "Always"]
    beside = sum(_of(each, resource) for each in sidecars)
    running = sum(_of(each, resource) for each in spec.get("containers") or ())
    first = max((_of(each, resource) for each in inits if each not in sidecars), default=0)
    return beside + max(running, first)


def free(nodes: Iterable[Raw], pods: Iterable[Raw], wanted: int, resource: str) -> int:
    """Return the GPUs that one more pod can get.

    It needs them on one node that takes pods, and our own pods come first that are `wanted`
    in all and on no node yet. `pods` are those on nodes, ours and others', that have not ended.
    """
    taken: Counter[str] = Counter()
    ours = 0
    for pod in pods:
        count = asked(pod["spec"], resource)
        taken[pod["spec"].get("nodeName", "")] += count
        labels = pod["metadata"].get("labels") or {}
        if labels.get(names.MANAGED_BY_LABEL) == names.MANAGER:
            ours += count
    gaps = [
        max(0, _allocatable(node, resource) - taken[node["metadata"]["name"]])
        for node in nodes
        if not (node.get("spec") or {}).get("unschedulable")
    ]
    waiting = max(0, wanted - ours)
    return max(0, min(max(gaps, default=0), sum(gaps) - waiting))


def _of(container: Raw, resource: str) -> int:
    resources = container.get("resources") or {}
    found = (resources.get("requests") or {}).get(resource)
    # Who gives only a limit asks for as much.
    return int(found if found is not None else (resources.get("limits") or {}).get(resource, 0))


def _allocatable(node: Raw, resource: str) -> int:
    return int(((node.get("status") or {}).get("allocatable") or {}).get(resource, 0))
