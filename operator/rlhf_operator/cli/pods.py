"""The pods that serve, as the API server tells of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlhf_operator.core import diagnosis, names


@dataclass(frozen=True, kw_only=True, slots=True)
class ServingPod:
    """One pod that serves a version."""

    name: str
    model: str
    version: str
    phase: str
    containers_ready: int
    containers: int
    is_ready: bool
    restarts: int = 0
    verified_digest: str | None = None
    """The artefact's digest that this pod checked before its server started."""
    trouble: str | None = None
    """Why a container is waiting, if the pod says."""


def serving_pod(raw: Mapping[str, Any]) -> ServingPod:
    """Return a stored pod as what it tells of serving."""
    labels, status = raw["metadata"]["labels"], raw.get("status", {})
    containers = status.get("containerStatuses") or []
    every = [*(status.get("initContainerStatuses") or []), *containers]
    conditions = status.get("conditions") or []
    return ServingPod(
        name=raw["metadata"]["name"],
        model=labels.get(names.MODEL_LABEL, ""),
        version=labels[names.VERSION_LABEL],
        phase="Terminating"
        if raw["metadata"].get("deletionTimestamp")
        else status.get("phase", ""),
        containers_ready=sum(1 for each in containers if each.get("ready")),
        containers=len(raw.get("spec", {}).get("containers") or containers),
        is_ready=any(c["type"] == "Ready" and c["status"] == "True" for c in conditions),
        restarts=sum(each.get("restartCount", 0) for each in containers),
        verified_digest=next(filter(None, (_verified(each) for each in every)), None),
        trouble=next(filter(None, (_trouble(each) for each in every)), None),
    )


def _verified(container: Mapping[str, Any]) -> str | None:
    end = container.get("state", {}).get("terminated") or {}
    found = diagnosis.said(end).get("digest")
    return str(found) if found and end.get("exitCode") == 0 else None


def _trouble(container: Mapping[str, Any]) -> str | None:
    waiting = container.get("state", {}).get("waiting") or {}
    reason = waiting.get("reason")
    if reason in (None, "PodInitializing", "ContainerCreating"):
        return None
    message = waiting.get("message")
    return f"{container.get('name')}: {reason}" + (f", {message}" if message else "")
