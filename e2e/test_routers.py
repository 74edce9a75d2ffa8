"""What routers render, on a real API server: it is stored whole, and others' fields stay.

Only the server is asked: no gateway and no Istio need run. Whether traffic follows the weights
is told in the stories.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from kubernetes.aio import config as kubernetes_config
from kubernetes.aio.client import ApiClient

from e2e.cluster import Endpoints
from e2e.harness.errors import HarnessError
from e2e.harness.kubectl import Kubectl, Object
from rlhf_operator.adapters.cluster import KubernetesCluster
from rlhf_operator.core import routes
from rlhf_operator.core.mirrors import Mirror
from rlhf_operator.core.routes.port import Manifest, Split
from tests.core.test_routes import make_split

ANNOTATION, LABEL = "example.com/why", "example.com/team"
COPIES = Mirror(version="v7", percent=10)
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({"sft": 95, "v7": 5}, {"sft": 50, "v7": 50}),
    "sticky": ({"sticky": True, "sft": 95, "v7": 5}, {"sticky": True, "sft": 50, "v7": 50}),
    "mirror": ({"mirror": COPIES, "sft": 100, "v7": 0}, {"sft": 90, "v7": 10}),
}
FOREIGN_SPEC: dict[str, Object] = {
    "HTTPRoute": {},  # all that it has is ours
    "VirtualService": {"exportTo": ["."]},
}
CRDS = {
    "GatewayAPI": "httproutes.gateway.networking.k8s.io",
    "Istio": "virtualservices.networking.istio.io",
}


@pytest.fixture(params=sorted(CRDS))
def router(request: pytest.FixtureRequest, endpoints: Endpoints) -> str:
    name: str = request.param
    if Kubectl.of(endpoints).get("crd", CRDS[name]) is None:
        pytest.skip(f"this cluster has no kind {CRDS[name]}")
    return name


@pytest.fixture
def place(endpoints: Endpoints, own_namespace: str) -> Iterator[Kubectl]:
    kubectl = Kubectl.of(endpoints, own_namespace)
    kubectl.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner"}, "data": {}}
    )
    yield kubectl
    kubectl.delete("configmap", "owner")


def rendered(router: str, owner: Object, way: dict[str, Any]) -> tuple[Split, Manifest]:
    """Return a split and its one object; a stored object owns it, or the server clears it away."""
    reference = {
        "apiVersion": "v1", "kind": "ConfigMap",
        "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
    }  # fmt: skip
    split = make_split(router, **way)
    split = replace(split, namespace=owner["metadata"]["namespace"], owner=reference)
    (manifest,) = routes.ROUTERS[router].render(split)
    return split, manifest


def apply(endpoints: Endpoints, manifest: Manifest) -> None:
    """Apply as the operator does."""

    async def applied() -> None:
        await kubernetes_config.load_kube_config(str(endpoints.kubeconfig))
        async with ApiClient() as client:
            await KubernetesCluster(client).apply(manifest)

    asyncio.run(applied())


def set_by_another(kubectl: Kubectl, manifest: Manifest) -> Object:
    """Have somebody else set an annotation, a label and, where there is one, a field of theirs."""
    theirs = {
        "apiVersion": manifest["apiVersion"],
        "kind": manifest["kind"],
        "metadata": {
            "name": manifest["metadata"]["name"],
            "annotations": {ANNOTATION: "because"},
            "labels": {LABEL: "chat"},
        },
        "spec": FOREIGN_SPEC[manifest["kind"]],
    }
    how = ("--server-side", "--field-manager=somebody-else", "--filename=-")
    kubectl.run("apply", *how, text=json.dumps(theirs))
    return theirs


@pytest.mark.parametrize("way", sorted(WAYS))
def test_new_weights_leave_what_others_set(
    endpoints: Endpoints, place: Kubectl, router: str, way: str
) -> None:
    owner = place.get("configmap", "owner")
    assert owner is not None
    before, after = WAYS[way]
    first, manifest = rendered(router, owner, before)
    kind, name = manifest["kind"], manifest["metadata"]["name"]
    place.delete(kind, name)
    apply(endpoints, manifest)
    stored = _stored(place, manifest)
    assert _carries(stored["spec"], manifest["spec"]), "the server keeps all that was sent"
    assert routes.ROUTERS[router].read(first, {kind: stored}).weights == first.weights
    theirs = set_by_another(place, manifest)

    split, manifest = rendered(router, owner, after)
    apply(endpoints, manifest)
    stored = _stored(place, manifest)
    state = routes.ROUTERS[router].read(split, {kind: stored})
    assert state.weights == split.weights
    assert state.mirror is None, "no copies are left"
    assert _carries(stored["spec"], manifest["spec"] | theirs["spec"])
    assert stored["metadata"]["annotations"][ANNOTATION] == "because"
    labels = manifest["metadata"]["labels"] | {LABEL: "chat"}
    assert stored["metadata"]["labels"] == labels
    place.delete(kind, name)


def test_somebody_else_cannot_take_the_weights_unnoticed(
    endpoints: Endpoints, place: Kubectl, router: str
) -> None:
    owner = place.get("configmap", "owner")
    assert owner is not None
    split, manifest = rendered(router, owner, WAYS["plain"][0])
    apply(endpoints, manifest)
    _, other = rendered(router, owner, WAYS["plain"][1])
    how = ("--server-side", "--field-manager=somebody-else", "--filename=-")
    with pytest.raises(HarnessError, match="conflict"):
        place.run("apply", *how, text=json.dumps(other))
    place.run("apply", *how, "--force-conflicts", text=json.dumps(other))
    apply(endpoints, manifest)
    stored = _stored(place, manifest)
    kind = manifest["kind"]
    assert routes.ROUTERS[router].read(split, {kind: stored}).weights == split.weights
    place.delete(kind, manifest["metadata"]["name"])


def _stored(kubectl: Kubectl, manifest: Manifest) -> Object:
    found = kubectl.get(manifest["kind"], manifest["metadata"]["name"])
    assert found is not None
    return found


def _carries(stored: Any, sent: Any) -> bool:
    """Whether all that was sent is there; the server may add defaults beside it."""
    if isinstance(sent, dict):
        return all(key in stored and _carries(stored[key], each) for key, each in sent.items())
    if isinstance(sent, list):
        alike = len(stored) == len(sent)
        return alike and all(_carries(one, two) for one, two in zip(stored, sent, strict=True))
    return bool(stored == sent)
