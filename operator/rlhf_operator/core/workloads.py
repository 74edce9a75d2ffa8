"""The Kubernetes objects of a version, made from its pinned rendering."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rlhf_operator.api.schema import API_VERSION
from rlhf_operator.core import containers, names
from rlhf_operator.core.rendering import Rendering

Manifest = dict[str, Any]


def owner_reference(model: str, uid: str) -> Manifest:
    """Return what ties an object to its RLHFModel."""
    return {
        "apiVersion": API_VERSION,
        "kind": "RLHFModel",
        "name": model,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def deployment(owner: Mapping[str, Any], rendering: Rendering, replicas: int, pin: str) -> Manifest:
    """Return the version's Deployment, which says by which pin it was rendered.

    The pin is told beside the pod template and not in it: telling it restarts no pod.
    """
    head = _head(rendering, owner, kind="Deployment", api_version="apps/v1")
    annotations = {names.PINNED_ANNOTATION: pin}
    if rendering.reach:
        annotations[names.REACH_ANNOTATION] = json.dumps(rendering.reach)
    head["metadata"]["annotations"] = annotations
    surge = {"maxUnavailable": 0, "maxSurge": 1}
    in_place = {"maxUnavailable": 1, "maxSurge": 0}
    return {
        **head,
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 1,
            "progressDeadlineSeconds": rendering.deadline_seconds,
            "selector": {"matchLabels": names.selector(rendering.model, rendering.version)},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": surge if rendering.can_surge else in_place,
            },
            "template": dict(rendering.template),
        },
    }


def service(owner: Mapping[str, Any], rendering: Rendering) -> Manifest:
    """Return the Service of the version's pods."""
    users = {"name": "http", "port": 80, "targetPort": containers.HTTP_PORT, "protocol": "TCP"}
    port = containers.OPERATIONS_PORT
    operations = {"name": "operations", "port": port, "targetPort": port, "protocol": "TCP"}
    return {
        **_head(rendering, owner, kind="Service", api_version="v1"),
        "spec": {
            "type": "ClusterIP",
            "selector": names.selector(rendering.model, rendering.version),
            "ports": [users, operations],
        },
    }


def peers(owner: Mapping[str, Any], rendering: Rendering) -> Manifest:
    """Return the headless Service under whose name all guards of a model are found.

    It is the same whichever version's rendering it is made from.
    """
    port = containers.HTTP_PORT
    users = {"name": "http", "port": port, "targetPort": port, "protocol": "TCP"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": names.peers(rendering.model),
            "namespace": rendering.namespace,
            "labels": {
                names.MODEL_LABEL: rendering.model,
                names.MANAGED_BY_LABEL: names.MANAGER,
            },
            "ownerReferences": [dict(owner)],
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "selector": {names.MODEL_LABEL: rendering.model},
            "ports": [users],
        },
    }


def config_map(owner: Mapping[str, Any], rendering: Rendering) -> Manifest:
    """Return the ConfigMap that the pods mount; other content has another name."""
    return {
        **_head(rendering, owner, kind="ConfigMap", api_version="v1"),
        "metadata": _metadata(rendering, owner, rendering.config_map),
        "immutable": True,
        "data": dict(rendering.data),
    }


def network_policy(owner: Mapping[str, Any], rendering: Rendering) -> Manifest:
    """Return the NetworkPolicy of the version's pods."""
    opened = [
        {"port": port, "protocol": "TCP"}
        for port in (containers.HTTP_PORT, containers.OPERATIONS_PORT)
    ]
    dns = [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]
    # Guards pass votes on to the one of their model that counts them, and may have the fallback
    # answer.
    others = {"podSelector": {"matchLabels": {names.MODEL_LABEL: rendering.model}}}
    users = [{"port": containers.HTTP_PORT, "protocol": "TCP"}]
    egress: list[Manifest] = [{"ports": dns}, {"to": [others], "ports": users}]
    if rendering.egress_ports:
        fetch = [{"port": port, "protocol": "TCP"} for port in rendering.egress_ports]
        egress.append({"ports": fetch})
    if rendering.service_ports:
        asked = [{"port": port, "protocol": "TCP"} for port in rendering.service_ports]
        egress.append({"to": [{"podSelector": {}}], "ports": asked})
    return {
        **_head(rendering, owner, kind="NetworkPolicy", api_version="networking.k8s.io/v1"),
        "spec": {
            "podSelector": {"matchLabels": names.selector(rendering.model, rendering.version)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": opened}],
            "egress": egress,
        },
    }


def _head(
    rendering: Rendering, owner: Mapping[str, Any], *, kind: str, api_version: str
) -> Manifest:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": _metadata(rendering, owner, rendering.name),
    }


def _metadata(rendering: Rendering, owner: Mapping[str, Any], name: str) -> Manifest:
    return {
        "name": name,
        "namespace": rendering.namespace,
        "labels": names.labels(rendering.model, rendering.version),
        "ownerReferences": [dict(owner)],
    }
