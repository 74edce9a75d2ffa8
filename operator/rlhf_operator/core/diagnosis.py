"""What pods say about themselves: why they are not ready, and that an artefact was verified."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rlhf_operator.api.common import Failure
from rlhf_operator.api.reasons import Reason

_PULL = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_ARTIFACT = frozenset({Reason.ARTIFACT_MISMATCH, Reason.ARTIFACT_NOT_FOUND})

Pod = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """What the pods of one version say together."""

    failure: Failure | None = None
    verified_at: datetime | None = None


def diagnose(pods: Iterable[Pod]) -> Diagnosis:
    """Return the gravest failure and the newest verification that the pods report."""
    found = [failure for pod in pods for failure in _failures(pod)]
    verified = [at for pod in pods for at in _verifications(pod)]
    return Diagnosis(
        failure=min(found, key=_gravity, default=None), verified_at=max(verified, default=None)
    )


def _gravity(failure: Failure) -> int:
    order = [
        Reason.ARTIFACT_MISMATCH,
        Reason.ARTIFACT_NOT_FOUND,
        Reason.IMAGE_NOT_PULLED,
        Reason.UNSCHEDULABLE,
        Reason.NOT_READY,
    ]
    return order.index(Reason(failure.reason))


def _failures(pod: Pod) -> Iterator[Failure]:
    status = pod.get("status", {})
    name = pod["metadata"]["name"]
    for condition in status.get("conditions", []):
        if condition.get("reason") == "Unschedulable" and condition.get("status") == "False":
            yield _failure(Reason.UNSCHEDULABLE, f"{name}: {condition.get('message', '')}")
    for container in status.get("initContainerStatuses", []):
        for end in _ends(container):
            told = said(end)
            if end.get("exitCode") != 0 and told.get("reason") in _ARTIFACT:
                yield _failure(Reason(told["reason"]), str(told.get("message", "")))
    for container in (
        *status.get("initContainerStatuses", []),
        *status.get("containerStatuses", []),
    ):
        yield from _container(name, container)


def _container(pod: str, container: Mapping[str, Any]) -> Iterator[Failure]:
    waiting = container.get("state", {}).get("waiting") or {}
    where = f"{pod}/{container.get('name')}"
    if waiting.get("reason") in _PULL:
        yield _failure(Reason.IMAGE_NOT_PULLED, f"{where}: {waiting.get('message', '')}")
    elif waiting.get("reason") == "CrashLoopBackOff":
        last = container.get("lastState", {}).get("terminated") or {}
        why = last.get("message") or f"exit code {last.get('exitCode')}"
        yield _failure(Reason.NOT_READY, f"{where} keeps ending: {why}")
    elif waiting.get("reason", "").startswith("Create"):
        yield _failure(Reason.NOT_READY, f"{where}: {waiting.get('message', '')}")


def _verifications(pod: Pod) -> Iterator[datetime]:
    for container in pod.get("status", {}).get("initContainerStatuses", []):
        for end in _ends(container):
            if end.get("exitCode") == 0 and said(end).get("reason") == "Verified":
                yield datetime.fromisoformat(end["finishedAt"])


def _ends(container: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for state in ("state", "lastState"):
        end = container.get(state, {}).get("terminated")
        if end:
            yield end


def said(end: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the JSON object of a termination message; anything else says nothing."""
    try:
        told = json.loads(end.get("message") or "{}")
    except json.JSONDecodeError:
        return {}
    return told if isinstance(told, dict) else {}


def _failure(reason: Reason, message: str) -> Failure:
    return Failure(reason=str(reason), message=message[:1024])
