"""Act: make true what the record says. Doing it twice equals doing it once.

The router comes before the pods: a weight rises only when pods are ready already, and it
falls before pods go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rlhf_operator.api.errors import Transient
from rlhf_operator.core import capacity, routes, workloads
from rlhf_operator.core.observed import Observed, Run
from rlhf_operator.core.rendering import Rendering
from rlhf_operator.core.routes.port import Router
from rlhf_operator.reconcile import guards, pruning
from rlhf_operator.reconcile.pods import router_pods
from rlhf_operator.reconcile.ports import Raw, World
from rlhf_operator.reconcile.traffic import split


async def act(seen: Observed, run: Run | None, world: World) -> None:
    """Bring router and pods one stage closer to the record."""
    model = world.store.get("RLHFModel", seen.key.namespace, seen.key.name)
    if seen.deleted or run is None or model is None:
        return
    seen = replace(seen, run=run)
    layout = capacity.layout(seen, world.settings.drain)
    await _route(seen, model, layout, world)
    await guards.tell(seen, model, world)
    if not layout.pods:
        return
    if set(layout.pods) - set(seen.workloads):  # asked for with every new Deployment
        secret = world.settings.serving.signing_secret
        await world.cluster.ensure_signing_key(seen.key.namespace, secret)
    # Where an earlier pass was cut off, what it left has the place of what comes now.
    for version in sorted(set(seen.workloads) - set(layout.pods)):
        await pruning.remove(seen, version, world)
    pins = {pin.version: pin.revision for pin in run.status.pins}
    for version, pods in sorted(layout.pods.items()):
        if version in pins:
            await _serve(model, version, pins[version], pods, world)
    await pruning.prune(seen, world)


async def steer(seen: Observed, run: Run | None, world: World) -> None:
    """Bring the router alone one stage closer to the record; the pods can wait."""
    model = world.store.get("RLHFModel", seen.key.namespace, seen.key.name)
    if seen.deleted or run is None or model is None:
        return
    seen = replace(seen, run=run)
    await _route(seen, model, capacity.layout(seen, world.settings.drain), world)


async def _route(seen: Observed, model: Raw, layout: capacity.Layout, world: World) -> None:
    if not layout.weights or seen.traffic is None:
        return
    pods = await router_pods(seen, world)
    router = routes.router_for(seen.traffic)
    wanted = split(seen, model, layout.weights, pods, layout.mirror)
    for manifest in router.render(wanted):
        await world.cluster.apply(manifest)
    if seen.route.does(layout.weights, layout.mirror):
        await _leave_other_routers(seen, router, world)


async def _leave_other_routers(seen: Observed, router: Router, world: World) -> None:
    """Delete what a router left behind that this model used before; the new one is in force."""
    kept = {kind.kind for kind in router.kinds}
    others = {kind.kind for each in routes.ROUTERS.values() for kind in each.kinds} - kept
    for kind in sorted(others):
        if world.store.get(kind, seen.key.namespace, seen.key.name) is not None:
            await world.cluster.delete(kind, seen.key.namespace, seen.key.name)


async def _serve(model: Raw, version: str, pin: str, pods: int, world: World) -> None:
    metadata = model["metadata"]
    namespace, uid = metadata["namespace"], metadata["uid"]

    async def make() -> Sequence[Raw]:
        stored = await world.cluster.read("ControllerRevision", namespace, pin)
        if stored is None:
            raise Transient(f"ControllerRevision {pin} is not there", retry_after=5.0)
        rendering = Rendering.from_json(stored["data"])
        reference = workloads.owner_reference(metadata["name"], uid)
        return (
            workloads.config_map(reference, rendering),
            workloads.service(reference, rendering),
            workloads.peers(reference, rendering),
            workloads.network_policy(reference, rendering),
            workloads.deployment(reference, rendering, pods, pin),
        )

    await world.cluster.ensure((namespace, version), f"{uid}/{pin}/{pods}", make)
