"""What pods say: why they are not ready, and that an artefact was verified."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from rlhf_operator.core import diagnosis


def pod(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "status": status}


def ended(code: int, said: Any, state: str = "state") -> dict[str, Any]:
    end = {"exitCode": code, "finishedAt": "2026-01-05T12:00:00Z",
           "message": said if isinstance(said, str) else json.dumps(said)}  # fmt: skip
    return pod(initContainerStatuses=[{"name": "verify", state: {"terminated": end}}])


def waiting(reason: str, message: str = "why") -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return pod(containerStatuses=[{"name": "triton", "state": state}])


UNSCHEDULABLE = pod(conditions=[
    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no GPU"},
])  # fmt: skip
MISMATCH = ended(1, {"reason": "ArtifactMismatch", "message": "sha256:b"})


@pytest.mark.parametrize(
    ("pods", "reason"),
    [
        pytest.param([], None, id="no pods say nothing"),
        pytest.param([pod()], None, id="a pod that starts says nothing"),
        pytest.param([UNSCHEDULABLE], "Unschedulable", id="no node fits"),
        pytest.param([waiting("ImagePullBackOff")], "ImageNotPulled", id="no image"),
        pytest.param([waiting("CrashLoopBackOff")], "NotReady", id="it keeps ending"),
        pytest.param([waiting("CreateContainerConfigError")], "NotReady", id="it cannot be made"),
        pytest.param([waiting("ContainerCreating")], None, id="it is being made"),
        pytest.param([MISMATCH], "ArtifactMismatch", id="another artefact than declared"),
        pytest.param([ended(1, {"reason": "ArtifactNotFound", "message": "404"}, "lastState")],
                     "ArtifactNotFound", id="no artefact, told by the last try"),
        pytest.param([ended(1, "Traceback")], None, id="words that are no JSON say nothing"),
        pytest.param([ended(1, "[1]")], None, id="JSON that is no object says nothing"),
        pytest.param([UNSCHEDULABLE, MISMATCH], "ArtifactMismatch", id="the gravest is told"),
    ],
)  # fmt: skip
def test_why_pods_are_not_ready(pods: list[dict[str, Any]], reason: str | None) -> None:
    found = diagnosis.diagnose(pods).failure
    assert (found.reason if found else None) == reason


@pytest.mark.parametrize(
    ("pods", "verified"),
    [
        pytest.param([ended(0, {"reason": "Verified"})], True, id="verified"),
        pytest.param([ended(1, {"reason": "Verified"})], False, id="a failed check proves nothing"),
        pytest.param([ended(0, "")], False, id="silence proves nothing"),
    ],
)
def test_what_was_verified(pods: list[dict[str, Any]], verified: bool) -> None:
    at = datetime(2026, 1, 5, 12, tzinfo=UTC) if verified else None
    assert diagnosis.diagnose(pods).verified_at == at


def test_waiting_without_a_reason_is_no_fault_of_ours() -> None:
    state = {"waiting": {}}
    assert (
        diagnosis.diagnose([pod(containerStatuses=[{"name": "a", "state": state}])]).failure is None
    )
