"""Pods as they are: Deployments, what their pods say, and the GPUs they take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from rlhf_operator.api.errors import Transient
from rlhf_operator.api.model import ModelSpec
from rlhf_operator.api.version import Gpu
from rlhf_operator.core import diagnosis, gpus, names, pools
from rlhf_operator.core.observed import Key, Observed, Run, Workload
from rlhf_operator.core.routes.port import Pod
from rlhf_operator.core.rules import starting
from rlhf_operator.reconcile import guards
from rlhf_operator.reconcile.ports import Raw, World
from rlhf_operator.reconcile.versions import Versions


async def workloads_of(key: Key, world: World, run: Run | None) -> dict[str, Workload]:
    """Return each version's pods, as its Deployment and they themselves say."""
    found: dict[str, Workload] = {}
    pins = {pin.version: pin.revision for pin in run.status.pins} if run else {}
    for raw in world.store.of_model("Deployment", key):
        version = raw["metadata"]["labels"][names.VERSION_LABEL]
        found[version] = await _workload(key, world, version, raw, pins.get(version))
    return found


async def _workload(key: Key, world: World, version: str, raw: Raw, pin: str | None) -> Workload:
    spec, status = raw.get("spec", {}), raw.get("status", {})
    wanted, ready = int(spec.get("replicas", 0)), int(status.get("readyReplicas", 0))
    observed = status.get("observedGeneration", 0) >= raw["metadata"].get("generation", 0)
    replicas = int(status.get("replicas", 0))
    said = diagnosis.Diagnosis()
    stored = world.store.get("RLHFModelVersion", key.namespace, version)
    mirrored = ((stored or {}).get("status") or {}).get("digestVerified")
    if ready < wanted or (wanted > 0 and stored is not None and not mirrored):
        said = diagnosis.diagnose(await world.cluster.pods(key, version))
    return Workload(
        wanted=wanted,
        ready=min(ready, wanted),
        is_current=_carries(raw, pin)
        and observed
        and int(status.get("updatedReplicas", 0)) == replicas,
        failure=said.failure if ready < wanted else None,
        verified_at=said.verified_at,
        reach=guards.reach_of(raw),
    )


def _carries(deployment: Raw, pin: str | None) -> bool:
    """Return whether the pod template is the pinned one: a record may be ahead of its deed."""
    said = (deployment["metadata"].get("annotations") or {}).get(names.PINNED_ANNOTATION)
    return said is not None and said == pin


def pool_of(spec: ModelSpec | None, versions: Versions) -> str:
    """Return the pool of nodes for which the pods ask of what a spec wants to serve."""
    if spec is None:
        return pools.CPU
    selector = _template(spec).get("nodeSelector")
    placed = selector if isinstance(selector, Mapping) else {}
    return pools.pool(_devices(_tested(spec), versions), placed)


def _template(spec: ModelSpec) -> Mapping[str, Any]:
    """Return what a spec says of its pods; what is no pod's is refused before a run (`patches`)."""
    said = spec.serving.pod_template.get("spec")
    return said if isinstance(said, Mapping) else {}


def _tested(spec: ModelSpec) -> tuple[str, ...]:
    others = spec.rollout.ab_test.others if spec.rollout.ab_test is not None else ()
    return (spec.version, *(each.version for each in others))


def _devices(names: Iterable[str], versions: Versions) -> list[Gpu]:
    return [version.spec.serving.gpu for name in names if (version := versions.find(name))]


async def with_gpus(seen: Observed, world: World, versions: Versions) -> Observed:
    """Add the GPUs that are free, if a run is about to start that needs some."""
    found = _devices(_tested(seen.spec), versions) if seen.spec else ()
    asking = [gpu for gpu in found if gpu.count > 0]
    if not asking:
        return seen
    resource = asking[0].resource
    seen = replace(seen, gpus_per_pod=max(g.count for g in asking if g.resource == resource))
    nodes = world.store.in_namespace("Node", None)
    if not nodes or not starting.is_about_to_start(seen):
        return seen
    try:
        pods = await world.cluster.pods_on_nodes()
    except Transient:
        pods = None  # a list that fails must not keep this pass from what is urgent
    assert seen.spec is not None, "without one there is no target"
    ours = world.store.in_namespace("Deployment", None)
    room = gpus.room(nodes, pods or (), ours, _template(seen.spec), resource)
    return replace(seen, gpus=room, others_counted=pods is not None)


async def router_pods(seen: Observed, world: World) -> dict[str, tuple[Pod, ...]]:
    """Return the pods of each version; only the Service router needs them."""
    if seen.traffic is None or seen.traffic.router != "Service":
        return {}
    found: dict[str, tuple[Pod, ...]] = {}
    for version in seen.workloads:
        raws = await world.cluster.pods(seen.key, version)
        found[version] = tuple(_pod(raw) for raw in raws)
    return found


def _pod(raw: Raw) -> Pod:
    metadata = raw["metadata"]
    conditions = raw.get("status", {}).get("conditions", [])
    ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        ready=ready and not metadata.get("deletionTimestamp"),
        traffic=(metadata.get("labels") or {}).get("rlhf.dev/traffic"),
    )
