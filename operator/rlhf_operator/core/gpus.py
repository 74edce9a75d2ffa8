"""GPUs: what pods ask for, and what that leaves on the nodes for one more pod."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from rlhf_operator.core import names
from rlhf_operator.core.nodes import obstacle

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """What is left for one more pod."""

    free: int
    """The GPUs that it can get on one node."""
    nodes: int = 0
    """How many nodes have such GPUs at all."""
    excluded: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """By what it is kept off how many of them."""
    gaps: tuple[int, ...] = ()
    """What is left on each node that would take it."""
    waiting: int = 0
    """What pods of ours come first for that are on no node yet."""

    def seats(self, each: int) -> int:
        """Return how many more such pods can get so many GPUs each."""
        left = max(0, sum(self.gaps) - self.waiting)
        return min(sum(gap // each for gap in self.gaps), left // each)

    @property
    def told(self) -> str:
        """Return as a person reads it by what nodes are left out; nothing where none is."""
        if not self.excluded:
            return ""
        parts = sorted(f"{count} {what}" for what, count in self.excluded.items())
        return f"; of {self.nodes} nodes with GPUs are left out: {', '.join(parts)}"


def room(
    nodes: Iterable[Raw],
    pods: Iterable[Raw],
    deployments: Iterable[Raw],
    pod: Raw,
    resource: str,
) -> Room:
    """Return what one more pod of this spec can get.

    It needs its GPUs on one node that would take it, and our own pods come first that are wanted
    there and on no node yet. `pods` are those on nodes, ours and others', that have not ended;
    `deployments` are ours.
    """
    taken: Counter[str] = Counter()
    placed: Counter[tuple[str, str]] = Counter()
    for each in pods:
        count = asked(each["spec"], resource)
        taken[each["spec"].get("nodeName", "")] += count
        placed[_owner(each)] += count
    having = [node for node in nodes if _allocatable(node, resource) > 0]
    kept_off = [(node, obstacle(node, pod, resource)) for node in having]
    open_to_it = [node for node, why in kept_off if why is None]
    gaps = [
        max(0, _allocatable(node, resource) - taken[node["metadata"]["name"]])
        for node in open_to_it
    ]
    waiting = sum(
        max(0, _wanted(each, resource) - placed[_owner(each)])
        for each in deployments
        if _may_go(each, open_to_it, resource)
    )
    return Room(
        free=max(0, min(max(gaps, default=0), sum(gaps) - waiting)),
        nodes=len(having),
        excluded=Counter(why for _, why in kept_off if why is not None),
        gaps=tuple(gaps),
        waiting=waiting,
    )


def _owner(raw: Raw) -> tuple[str, str]:
    """Return of which version of ours a Deployment or a pod is; all of others are alike."""
    labels = raw["metadata"].get("labels") or {}
    if labels.get(names.MANAGED_BY_LABEL) != names.MANAGER:
        return "", ""
    return raw["metadata"].get("namespace", ""), labels.get(names.VERSION_LABEL, "")


def _wanted(deployment: Raw, resource: str) -> int:
    spec = deployment.get("spec") or {}
    return int(spec.get("replicas", 0)) * asked(spec["template"]["spec"], resource)


def _may_go(deployment: Raw, nodes: Iterable[Raw], resource: str) -> bool:
    pod = deployment["spec"]["template"]["spec"]
    return any(obstacle(node, pod, resource) is None for node in nodes)


def _of(container: Raw, resource: str) -> int:
    resources = container.get("resources") or {}
    found = (resources.get("requests") or {}).get(resource)
    # Who gives only a limit asks for as much.
    return int(found if found is not None else (resources.get("limits") or {}).get(resource, 0))


def _allocatable(node: Raw, resource: str) -> int:
    return int(((node.get("status") or {}).get("allocatable") or {}).get(resource, 0))
