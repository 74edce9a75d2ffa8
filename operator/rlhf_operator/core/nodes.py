"""Whether a pod could be scheduled on a node, and if not, by what it is kept off.

Only what a node itself says is looked at, as the scheduler's filters `NodeUnschedulable`,
`NodeAffinity` and `TaintToleration` do. Source: Kubernetes, "Assigning Pods to Nodes" and
"Taints and Tolerations".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Raw = Mapping[str, Any]

_CORDONED = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
_REPELLING = frozenset({"NoSchedule", "NoExecute"})


def obstacle(node: Raw, pod: Raw, resource: str) -> str | None:
    """Return in a word or two what keeps a pod of this spec off a node; None where nothing does.

    A taint of the resource's own name keeps nobody off who asks for that resource: where the
    admission plugin `ExtendedResourceToleration` is on, it tolerates that, and the pod
    template does not show it.
    """
    spec = node.get("spec") or {}
    tolerations = pod.get("tolerations") or ()
    if spec.get("unschedulable") and not _tolerated(_CORDONED, tolerations):
        return "cordoned"
    if not _is_ready(node):
        return "not ready"
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in (pod.get("nodeSelector") or {}).items()):
        return "by nodeSelector"
    if not _is_liked(node, pod.get("affinity") or {}):
        return "by nodeAffinity"
    for taint in spec.get("taints") or ():
        repels = taint.get("effect") in _REPELLING and taint["key"] != resource
        if repels and not _tolerated(taint, tolerations):
            return f"by taint {taint['key']}"
    return None


def _is_ready(node: Raw) -> bool:
    """Return whether a node says that it takes pods; one that says nothing yet is believed."""
    conditions = (node.get("status") or {}).get("conditions") or ()
    return all(each.get("status") == "True" for each in conditions if each.get("type") == "Ready")


def _tolerated(taint: Raw, tolerations: Iterable[Raw]) -> bool:
    return any(_tolerates(each, taint) for each in tolerations)


def _tolerates(toleration: Raw, taint: Raw) -> bool:
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    key = toleration.get("key") or None
    if key not in (None, taint["key"]):
        return False
    if toleration.get("operator") == "Exists":
        return True
    return key is not None and (toleration.get("value") or "") == (taint.get("value") or "")


def _is_liked(node: Raw, affinity: Raw) -> bool:
    """Return whether one of the required terms holds, if there are any."""
    rule = "requiredDuringSchedulingIgnoredDuringExecution"
    required = (affinity.get("nodeAffinity") or {}).get(rule)
    if not required:
        return True
    return any(_holds(node, term) for term in required.get("nodeSelectorTerms") or ())


def _holds(node: Raw, term: Raw) -> bool:
    labels = node["metadata"].get("labels") or {}
    fields = {"metadata.name": node["metadata"]["name"]}
    asked = [(labels, each) for each in term.get("matchExpressions") or ()]
    asked += [(fields, each) for each in term.get("matchFields") or ()]
    # A term that asks for nothing holds nowhere.
    return bool(asked) and all(_matches(known, each) for known, each in asked)


def _matches(known: Mapping[str, str], asked: Raw) -> bool:
    value, values = known.get(asked["key"]), asked.get("values") or ()
    match asked["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt" as order:
            one, two = _number(value), _number(values[0] if values else None)
            if one is None or two is None:
                return False
            return one > two if order == "Gt" else one < two
    return False


def _number(text: str | None) -> int | None:
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None
