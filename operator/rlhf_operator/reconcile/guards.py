"""The guards' live rules as they are in the cluster, and what stages need of it."""

from __future__ import annotations

import json

from rlhf_operator.api.common import Failure
from rlhf_operator.api.model import ModelSpec
from rlhf_operator.core import guards, names, workloads
from rlhf_operator.core.observed import Observed
from rlhf_operator.reconcile.ports import Raw, World


async def tell(seen: Observed, model: Raw, world: World) -> None:
    """Keep the ConfigMap that a model's guards read as the spec has it.

    A spec that they could not use is not written: the rules that hold stay.
    """
    if seen.spec is None or not seen.guard_reach:
        return
    namespace, name = seen.key.namespace, seen.key.name
    owner = workloads.owner_reference(name, model["metadata"]["uid"])
    told = guards.live(seen.spec.guard, namespace, world.settings.serving.guard_providers)
    await world.cluster.apply(guards.config_map(owner, namespace, name, told))


def problem(seen: Observed, world: World) -> Failure | None:
    """Return why guards could not use the spec; looked at once a pass, for it compiles patterns."""
    serving = world.settings.serving
    if seen.spec is None:
        return None
    offers, bounds = serving.guard_providers, serving.guard_bounds
    return guards.problem(seen.spec, seen.key.namespace, offers, bounds)


def wanted_reach(seen: Observed, world: World) -> tuple[str, ...]:
    """Return what guards must reach to do what they are told; nothing where they are not told."""
    if seen.spec is None or seen.partly_understood:
        return ()
    return guards.reach(seen.spec, seen.key.namespace, world.settings.serving.guard_providers)


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
