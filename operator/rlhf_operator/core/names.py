"""Names and labels of the objects that the operator makes for a version."""

from __future__ import annotations

import hashlib

from rlhf_operator.api.schema import GROUP

MANAGER = "rlhf-operator"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MODEL_LABEL = f"{GROUP}/model"
VERSION_LABEL = f"{GROUP}/version"
SCRAPE_ANNOTATION = f"{GROUP}/scrape"
METRICS_PORT_ANNOTATION = f"{GROUP}/metrics-port"
REACH_ANNOTATION = f"{GROUP}/guard-reach"
"""On a Deployment: what its guards can reach, as a JSON list (`core/guards`)."""
PINNED_ANNOTATION = f"{GROUP}/pinned-as"
"""On a Deployment: the ControllerRevision that its pod template was rendered from."""
RENEWED_ANNOTATION = f"{GROUP}/renewed-in"
"""The record of the restart that made these pods."""

_LONGEST = 63
_HASH = 8


def child(name: str, suffix: str) -> str:
    """Return the name of an object that belongs to a version; always a DNS-1035 label."""
    plain = f"{name}-{suffix}"
    if len(plain) <= _LONGEST and name[0].isalpha():
        return plain
    # A Service's name may not start with a digit. The hash keeps cut names apart.
    mark = hashlib.sha256(name.encode()).hexdigest()[:_HASH]
    start = name if name[0].isalpha() else f"v{name}"
    room = _LONGEST - len(mark) - len(suffix) - 2
    return f"{start[:room].rstrip('-')}-{mark}-{suffix}"


def peers(model: str) -> str:
    """Return the name of the Service under which all guards of a model are found."""
    return child(model, "guards")


def selector(model: str, version: str) -> dict[str, str]:
    """Return the labels by which a version's pods are found."""
    return {MODEL_LABEL: model, VERSION_LABEL: version}


def labels_of_model(model: str, component: str) -> dict[str, str]:
    """Return the labels of what all versions of a model share."""
    return {
        MODEL_LABEL: model,
        "app.kubernetes.io/name": model,
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": model,
        MANAGED_BY_LABEL: MANAGER,
    }


def labels(model: str, version: str) -> dict[str, str]:
    """Return the labels of everything that belongs to a version."""
    return {
        **selector(model, version),
        "app.kubernetes.io/name": model,
        "app.kubernetes.io/instance": version,
        "app.kubernetes.io/component": "model-server",
        "app.kubernetes.io/part-of": model,
        MANAGED_BY_LABEL: MANAGER,
    }
