"""The guards' live rules as they are in the cluster, and what stages need of it."""

from __future__ import annotations

import json

from rlhf_operator.api.model import ModelSpec
from rlhf_operator.core import guards, names, workloads
from rlhf_operator.core.observed import Observed
from rlhf_operator.reconcile.ports import Raw, World


async def tell(seen: Observed, model: Raw, world: World) -> None:
    """Keep the ConfigMap that a model's guards read as the spec has it.

    A spec that they could not use is not written: the rules that hold stay.
    """
    spec, offers = _tellable(seen, world), world.settings.serving.guard_providers
    if spec is None:
        return
    namespace, name = seen.key.namespace, seen.key.name
    owner = workloads.owner_reference(name, model["metadata"]["uid"])
    told = guards.live(spec.guard, namespace, offers)
    await world.cluster.apply(guards.config_map(owner, namespace, name, told))


def wanted_reach(seen: Observed, world: World) -> tuple[str, ...]:
    """Return what guards must reach to do what they are told."""
    spec = _tellable(seen, world)
    if spec is None:
        return ()
    return guards.reach(spec, seen.key.namespace, world.settings.serving.guard_providers)


def _tellable(seen: Observed, world: World) -> ModelSpec | None:
    """Return the spec, if it was wholly understood and guards can use it."""
    spec, serving = seen.spec, world.settings.serving
    if spec is None or seen.partly_understood:
        return None
    broken = guards.problem(spec, seen.key.namespace, serving.guard_providers, serving.guard_bounds)
    return spec if broken is None else None


async def service_ports(spec: ModelSpec, namespace: str, world: World) -> tuple[int, ...]:
    """Return the ports of the pods behind the Services that a guard asks.

    A NetworkPolicy sees pods, whose port may be another one than the Service's. One that is not
    there yet, and one that names its port, are taken to have the same port as their pods.
    """
    found = set()
    for each in guards.services(spec.guard):
        found.add(each.port)
        service = await world.cluster.read("Service", namespace, each.name)
        for port in ((service or {}).get("spec") or {}).get("ports") or ():
            target = port.get("targetPort")
            if port.get("port") == each.port and isinstance(target, int):
                found.add(target)
    return tuple(sorted(found))


def reach_of(deployment: Raw) -> tuple[str, ...]:
    """Return what the guards of a Deployment were made to reach."""
    said = (deployment["metadata"].get("annotations") or {}).get(names.REACH_ANNOTATION)
    return tuple(json.loads(said)) if said else ()
