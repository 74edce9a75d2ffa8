"""What the containers of a serving pod have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Manifest = dict[str, Any]

HTTP_PORT = 8080
OPERATIONS_PORT = 9090
TMP = "/tmp"  # noqa: S108 - in the container, a volume of its own


def restricted(name: str, image: str, *, cpu: str, memory: str) -> Manifest:
    """Return the start of a container that holds to the Pod Security Standard `restricted`."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "resources": {"requests": {"cpu": cpu, "memory": memory}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
        },
    }


def tmp(container: str) -> Manifest:
    """Return the mount of a container's only writable folder."""
    return {"name": f"{container}-tmp", "mountPath": TMP}


def files(name: str, config_map: str, paths: Mapping[str, str]) -> Manifest:
    """Return a volume with some keys of a ConfigMap, each at its path."""
    items = [{"key": key, "path": path} for key, path in sorted(paths.items())]
    return {"name": name, "configMap": {"name": config_map, "items": items}}
