"""Admission, on the real API server: nobody acts in another's name."""

from __future__ import annotations

import json

import pytest

from e2e.cluster import Endpoints
from e2e.harness.errors import HarnessError
from e2e.harness.install import Release
from e2e.harness.kubectl import Kubectl, Object
from e2e.test_api_server import SMALL
from rlhf_operator.api.approval import CHANGED_BY_ANNOTATION


def test_nobody_decides_in_anothers_name(endpoints: Endpoints, operator: Release) -> None:
    kubectl = Kubectl.of(endpoints, operator.namespace)
    approver = f"{operator.name}-rlhf-operator-approver"
    kubectl.apply(_approver("alice", approver))
    kubectl.apply(_approver("flux", approver))
    kubectl.apply(*_sender("flux"))

    def decide(author: str, sender: str = "alice", **more: str) -> str:
        spec = {"action": "Abort", "model": "m", "author": author, "reason": "a test"} | more
        decision = {
            "apiVersion": "rlhf.dev/v1alpha1",
            "kind": "RLHFDecision",
            "metadata": {"name": "forged"},
            "spec": spec,
        }
        how = ("--dry-run=server", "--filename=-", f"--as={sender}")
        return kubectl.run("create", *how, text=json.dumps(decision))

    assert "created" in decide("alice")
    with pytest.raises(HarnessError, match="author"):
        decide("bob")
    with pytest.raises(HarnessError, match="via"):
        decide("alice", via="flux")
    with pytest.raises(HarnessError, match="onbehalf"):
        decide("bob", via="alice")
    assert "created" in decide("bob", sender="flux", via="flux")
    with pytest.raises(HarnessError, match=r"your own name in spec.via"):
        decide("bob", sender="flux")
    with pytest.raises(HarnessError, match="via"):
        decide("bob", sender="flux", via="argo")


def test_nobody_calls_a_change_anothers(endpoints: Endpoints, operator: Release) -> None:
    kubectl = Kubectl.of(endpoints, operator.namespace)
    kubectl.apply(_approver("alice", f"{operator.name}-rlhf-operator-edit"))

    def change(by: str | None) -> str:
        metadata = {"name": "change", "annotations": {CHANGED_BY_ANNOTATION: by} if by else {}}
        model = {"apiVersion": "rlhf.dev/v1alpha1", "kind": "RLHFModel", "metadata": metadata}
        spec = {"spec": SMALL["RLHFModel"]}
        how = ("--dry-run=server", "--filename=-", "--as=alice")
        return kubectl.run("create", *how, text=json.dumps(model | spec))

    assert "created" in change(None)
    assert "created" in change("alice")
    with pytest.raises(HarnessError, match="onbehalf on rlhfmodels"):
        change("bob")


def test_nobody_changes_what_a_record_began_with(endpoints: Endpoints, operator: Release) -> None:
    kubectl = Kubectl.of(endpoints, operator.namespace)
    record = {
        "apiVersion": "rlhf.dev/v1alpha1",
        "kind": "RLHFRollout",
        "metadata": {"name": "record"},
        "spec": SMALL["RLHFRollout"],
    }
    kubectl.apply(record)
    with pytest.raises(HarnessError, match="a rollout's spec is immutable"):
        kubectl.patch("rlhfrollout", "record", {"spec": {"revision": 7}})
    kubectl.run("label", "rlhfrollout", "record", "rlhf.dev/pin=audit")
    kubectl.run(
        "patch", "rlhfrollout", "record", "--subresource=status", "--type=merge",
        '--patch={"status":{"message":"written on"}}',
    )  # fmt: skip
    found = kubectl.get("rlhfrollout", "record")
    assert found is not None and found["spec"]["revision"] == record["spec"]["revision"]
    assert found["status"]["message"] == "written on"
    kubectl.delete("rlhfrollout", "record")


def _approver(user: str, role: str) -> Object:
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": f"{user}-{role}"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    }


def _sender(user: str) -> list[Object]:
    """Return the right to send what others decide."""
    group = "rbac.authorization.k8s.io"
    rules = [{"apiGroups": ["rlhf.dev"], "resources": ["rlhfdecisions"], "verbs": ["onbehalf"]}]
    name = f"{user}-sends"
    return [
        {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": {"name": name}, "rules": rules},
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
        },
    ]
