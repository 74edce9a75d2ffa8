"""The real API server and our types say the same, and our fakes do as it does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from kubernetes.aio import config as kubernetes_config
from kubernetes.aio.client import ApiClient
from pydantic import BaseModel

from e2e.cluster import Endpoints
from e2e.cluster import settings as cluster_settings
from e2e.harness.errors import HarnessError
from e2e.harness.kubectl import Kubectl
from rlhf_operator.adapters.api_error import ApiError
from rlhf_operator.adapters.cluster import RESOURCES, KubernetesCluster
from rlhf_operator.api.crd import Kind
from rlhf_operator.api.decision import DecisionSpec
from rlhf_operator.api.errors import Transient
from rlhf_operator.api.kinds import KINDS
from rlhf_operator.api.model import ModelSpec
from rlhf_operator.api.policy import PolicySpec
from rlhf_operator.api.version import VersionSpec
from tests import builders
from tests.api import strategies
from tests.api.test_specs import ACCEPTED, REFUSED
from tests.api.test_strategies import TYPES, read

KIND_OF: dict[type[BaseModel], str] = {
    ModelSpec: "RLHFModel",
    VersionSpec: "RLHFModelVersion",
    PolicySpec: "AlignmentPolicy",
    DecisionSpec: "RLHFDecision",
}
SMALL: dict[str, Any] = {
    KIND_OF[kind]: next(spec for each, spec, _ in ACCEPTED if each is kind) for kind in KIND_OF
} | {"RLHFRollout": builders.make_run().spec.dump()}
"""A spec of each kind."""


DRY = {"dryRun": "All", "fieldValidation": "Strict"}


class Server:
    """The API server, asked in a loop of its own so that hypothesis can ask it too."""

    def __init__(self, endpoints: Endpoints, namespace: str) -> None:
        self.namespace = namespace
        self.loop = asyncio.new_event_loop()
        self.client = self.loop.run_until_complete(self._connect(endpoints))
        self.cluster = KubernetesCluster(self.client)
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        said = self.run(self.cluster.request("POST", path, review))
        self.user = said["status"]["userInfo"]["username"]

    async def _connect(self, endpoints: Endpoints) -> ApiClient:
        await kubernetes_config.load_kube_config(str(endpoints.kubeconfig))
        return ApiClient()

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def close(self) -> None:
        self.run(self.client.close())
        self.loop.close()

    def refusal(self, kind: str, spec: Any) -> str | None:
        """Return why an object would not be stored, or nothing if it would."""
        try:
            self._post(kind, spec, "generated", DRY)
        except ApiError as error:
            return str(error)
        return None

    def store(self, kind: str, name: str) -> Any:
        """Return a small object that is stored now, for a status to be of."""
        return self._post(kind, SMALL[kind], name, {"fieldValidation": "Strict"})

    def _post(self, kind: str, spec: Any, name: str, query: dict[str, str]) -> Any:
        if kind == "RLHFDecision" and isinstance(spec, dict) and _is_name(spec.get("author")):
            spec = spec | {"author": self.user}  # nobody decides in another's name
            if _is_name(spec.get("via")):
                spec = spec | {"via": self.user}
        body = {
            "apiVersion": RESOURCES[kind].api_version,
            "kind": kind,
            "metadata": {"name": name},
            "spec": spec,
        }
        path = RESOURCES[kind].path(self.namespace)
        return self.run(self.cluster.request("POST", path, body, query=query))

    def kept(self, stored: Any, status: Any) -> Any:
        """Return what the server would make of a status. Raises ApiError where it refuses it."""
        metadata = stored["metadata"]
        path = RESOURCES[stored["kind"]].path(self.namespace, metadata["name"], "status")
        body = {
            "apiVersion": stored["apiVersion"],
            "kind": stored["kind"],
            "metadata": {key: metadata[key] for key in ("name", "uid", "resourceVersion")},
            "status": status,
        }
        return self.run(self.cluster.request("PUT", path, body, query=DRY)).get("status")


@pytest.fixture(scope="module")
def server(endpoints: Endpoints, kinds_installed: None, own_namespace: str) -> Iterator[Server]:
    found = Server(endpoints, own_namespace)
    yield found
    found.close()


@pytest.mark.parametrize(
    ("kind", "spec"), [pytest.param(kind, spec, id=said) for kind, spec, said in ACCEPTED]
)
def test_the_server_accepts(server: Server, kind: type[BaseModel], spec: dict[str, Any]) -> None:
    assert server.refusal(KIND_OF[kind], spec) is None


@pytest.mark.parametrize(
    ("kind", "spec"), [pytest.param(kind, spec, id=said) for kind, spec, said in REFUSED]
)
def test_the_server_refuses(server: Server, kind: type[BaseModel], spec: dict[str, Any]) -> None:
    assert server.refusal(KIND_OF[kind], spec) is not None


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_generated_objects_are_judged_alike(server: Server, kind: Kind) -> None:
    """Null apart: the server drops it before it judges, our types refuse it where it says a lot."""
    whole = TYPES[kind.kind, "spec"]

    @settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
    @given(spec=strategies.objects(whole) | strategies.broken(whole))
    def judged_alike(spec: Any) -> None:
        if any(value is None for value in _leaves(spec)):
            return
        refusal = server.refusal(kind.kind, spec)
        accepted = read(kind, "spec", spec) is not None
        assert accepted == (refusal is None), f"{spec}: the server says {refusal}"

    judged_alike()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_a_status_that_our_types_make_is_stored_as_it_is(server: Server, kind: Kind) -> None:
    """One that is refused stops its model, and one that is pruned is half a record.

    Nobody but the operator writes any, so what our types refuse does not matter.
    """
    whole, stored = TYPES[kind.kind, "status"], server.store(kind.kind, "judged")

    @settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
    @given(value=strategies.objects(whole) | strategies.broken(whole))
    def kept(value: Any) -> None:
        made = read(kind, "status", value)
        if made is None:
            return
        status = made.dump()
        try:
            assert server.kept(stored, status) == status
        except ApiError as error:
            pytest.fail(f"{status}: the server says {error}")

    kept()


def _is_name(value: Any) -> bool:
    """Return whether the types would take it for somebody's name."""
    return isinstance(value, str) and 0 < len(value) <= 253


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for each in value.values():
            yield from _leaves(each)
    elif isinstance(value, list):
        for each in value:
            yield from _leaves(each)
    else:
        yield value


@pytest.mark.parametrize(
    "sample",
    sorted((cluster_settings.REPOSITORY / "manifests" / "samples").rglob("*.yaml")),
    ids=lambda path: path.stem,
)
def test_every_sample_is_accepted(
    endpoints: Endpoints, kinds_installed: None, own_namespace: str, sample: Path
) -> None:
    kubectl = Kubectl.of(endpoints, own_namespace)
    text = sample.read_text().replace("alice@example.com", kubectl.whoami())
    said = kubectl.run("apply", "--dry-run=server", "--filename=-", text=text)
    assert "created (server dry run)" in said


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_explain_describes_every_kind(
    endpoints: Endpoints, kinds_installed: None, kind: Kind
) -> None:
    said = Kubectl.of(endpoints).run("explain", f"{kind.plural}.spec")
    assert "<empty>" not in said.split("FIELDS:")[1]


@pytest.fixture
async def cluster(endpoints: Endpoints, kinds_installed: None) -> AsyncIterator[KubernetesCluster]:
    await kubernetes_config.load_kube_config(str(endpoints.kubeconfig))
    async with ApiClient() as client:
        yield KubernetesCluster(client)


async def test_the_fake_cluster_does_as_the_real_one(
    cluster: KubernetesCluster, own_namespace: str
) -> None:
    name = "fakes-are-true"
    manifest = {
        "apiVersion": "rlhf.dev/v1alpha1",
        "kind": "AlignmentPolicy",
        "metadata": {"name": name, "namespace": own_namespace},
        "spec": {
            "slos": [
                {"name": "unsafe", "class": "Safety", "max": "0.1",
                 "indicator": {"type": "UnsafeServedRate"}},
            ]
        },
    }  # fmt: skip
    await cluster.delete("AlignmentPolicy", own_namespace, name)
    assert await cluster.create(manifest)
    assert not await cluster.create(manifest)
    stored = await cluster.read("AlignmentPolicy", own_namespace, name)
    assert stored is not None
    assert stored["status"] == {"observedGeneration": -1}
    await cluster.write_status(stored, {"observedGeneration": 1})
    with pytest.raises(Transient, match="changed meanwhile"):
        await cluster.write_status(stored, {"observedGeneration": 2})
    after = await cluster.read("AlignmentPolicy", own_namespace, name)
    assert after is not None
    assert after["status"] == {"observedGeneration": 1}
    assert after["metadata"]["generation"] == stored["metadata"]["generation"]
    await cluster.delete("AlignmentPolicy", own_namespace, name)
    await cluster.delete("AlignmentPolicy", own_namespace, name)
    assert await cluster.read("AlignmentPolicy", own_namespace, name) is None
    with pytest.raises(Transient, match="gone"):
        await cluster.write_status(after, {"observedGeneration": 3})


def test_a_stored_spec_cannot_be_changed_where_it_is_immutable(
    endpoints: Endpoints, kinds_installed: None, own_namespace: str
) -> None:
    kubectl = Kubectl.of(endpoints, own_namespace)
    digest = "sha256:" + "a" * 64
    version = {
        "apiVersion": "rlhf.dev/v1alpha1",
        "kind": "RLHFModelVersion",
        "metadata": {"name": "immutable"},
        "spec": {
            "model": "m", "stage": "SFT", "artifact": {"uri": "pvc://claim/path", "digest": digest}
        },
    }  # fmt: skip
    kubectl.apply(version)
    with pytest.raises(HarnessError, match="stage is immutable"):
        kubectl.patch("rlhfmodelversion", "immutable", {"spec": {"stage": "RLHF"}})
    report = {"report": {"uri": "s3://reports/1", "digest": digest}}
    kubectl.patch("rlhfmodelversion", "immutable", {"spec": {"evaluation": report}})
    other = {"report": {"uri": "s3://reports/2", "digest": digest}}
    with pytest.raises(HarnessError, match="can be set once"):
        kubectl.patch("rlhfmodelversion", "immutable", {"spec": {"evaluation": other}})
