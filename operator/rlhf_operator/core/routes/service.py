"""Replica ratio: one Service named after the model, where there is no gateway and no mesh.

With one live arm the Service selects that version. With several it selects a traffic label
that the operator puts on some pods of each arm, as many as give the wanted percentages.

Why labels on pods and not an EndpointSlice of our own: Kubernetes goes on removing dead and
draining pods from the Service while the operator is down, and pods need no restart, which a
label in the pod template would mean. Why one arm is selected by version: pods that are
replaced while the operator is down serve at once, and a rollback is a single write.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from rlhf_operator.api.reasons import Reason
from rlhf_operator.core.names import MODEL_LABEL, VERSION_LABEL
from rlhf_operator.core.routes import ratio
from rlhf_operator.core.routes.port import (
    TRAFFIC_LABEL,
    Arm,
    Manifest,
    Pod,
    Resource,
    RouteState,
    Split,
    Stored,
    absent,
    percentages,
)

OFF = "off"


class ServiceRatio:
    """Splits by the number of pods behind a Service."""

    kinds: tuple[Resource, ...] = (Resource(api_version="v1", kind="Service", plural="services"),)

    def render(self, split: Split) -> tuple[Manifest, ...]:
        """Return the pods whose label changes, then the Service.

        The order matters when a second arm comes in: the labels stand before the Service looks
        at them.
        """
        if len(split.live) == 1:
            selector = {VERSION_LABEL: split.live[0].version}
            return (_service(split, selector),)
        mark = _mark(split)
        return (*_relabel(split, mark), _service(split, {TRAFFIC_LABEL: mark}))

    def read(self, split: Split, objects: Stored) -> RouteState:
        """Return the shares that the pods behind the Service give."""
        service = objects.get("Service")
        if service is None:
            return absent("Service", split)
        behind = _behind(split, service.get("spec", {}).get("selector") or {})
        weights = percentages(behind)
        if not weights:
            return RouteState(
                weights={},
                reason=Reason.WEIGHT_NOT_IN_FORCE,
                message=f"no ready pod of this split stands behind Service {split.model}",
            )
        if _is_near(weights, split.weights):
            return RouteState(weights=split.weights, accepted=True)
        # What Kubernetes stores in a Service it does; only the numbers may not be there yet.
        counts = ", ".join(f"{count} of {version}" for version, count in behind.items())
        return RouteState(
            weights=weights,
            accepted=True,
            reason=Reason.WEIGHT_NOT_IN_FORCE,
            message=f"behind the Service are {counts}",
        )


def _service(split: Split, selector: Mapping[str, str]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": split.metadata(),
        "spec": {
            "type": "ClusterIP",
            "selector": {MODEL_LABEL: split.model, **selector},
            "ports": [
                {
                    "name": "http",
                    "port": split.port,
                    "protocol": "TCP",
                    "targetPort": split.target_port,
                }
            ],
        },
    }


def _mark(split: Split) -> str:
    """Return the label's value for these arms."""
    # It differs for every set of arms, so that a label left over from an earlier run lets no
    # pod of a version in that has no arm now.
    names = ",".join(sorted(split.weights))
    return hashlib.sha256(names.encode()).hexdigest()[:16]


def _relabel(split: Split, mark: str) -> tuple[Manifest, ...]:
    chosen = _chosen(split, mark)
    pods = [pod for arm in split.arms for pod in arm.pods]
    joining = [pod for pod in pods if pod.name in chosen and pod.traffic != mark]
    leaving = [pod for pod in pods if pod.name not in chosen and pod.traffic == mark]
    # First those that join: the Service is never left without pods in between.
    return (
        *(_labelled(split, pod, mark) for pod in joining),
        *(_labelled(split, pod, OFF) for pod in leaving),
    )


def _chosen(split: Split, mark: str) -> set[str]:
    counts = ratio.choose(
        [arm.weight for arm in split.live], [len(arm.ready) for arm in split.live]
    )
    if counts is None:
        # No ratio is near enough, so the first arm takes all: the one under test must never
        # get more than its step allows.
        return {pod.name for pod in split.live[0].pods}
    return {
        pod.name
        for arm, count in zip(split.live, counts, strict=True)
        for pod in _first(arm, count, mark)
    }


def _first(arm: Arm, count: int, mark: str) -> list[Pod]:
    # Pods that carry the label keep it, so that the same pass twice changes nothing.
    return sorted(arm.ready, key=lambda pod: (pod.traffic != mark, pod.name))[:count]


def _labelled(split: Split, pod: Pod, value: str) -> Manifest:
    # The uid keeps the write from ever making a pod where this one is gone.
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod.name,
            "namespace": split.namespace,
            "uid": pod.uid,
            "labels": {TRAFFIC_LABEL: value},
        },
    }


def _behind(split: Split, selector: Mapping[str, Any]) -> dict[str, int]:
    """Return the ready pods of each arm that the stored selector selects."""
    version, mark = selector.get(VERSION_LABEL), selector.get(TRAFFIC_LABEL)
    if selector.get(MODEL_LABEL) != split.model or (version is None and mark is None):
        return {}
    found = {
        arm.version: sum(
            version in (None, arm.version) and mark in (None, pod.traffic) for pod in arm.ready
        )
        for arm in split.arms
    }
    return {name: count for name, count in found.items() if count}


def _is_near(weights: Mapping[str, int], wanted: Mapping[str, int]) -> bool:
    return weights.keys() == wanted.keys() and all(
        abs(weights[name] - wanted[name]) <= ratio.TOLERANCE for name in wanted
    )
