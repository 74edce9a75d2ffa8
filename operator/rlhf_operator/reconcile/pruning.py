"""What goes: the objects of versions that no longer serve, and old records with their pins.

What a pass that was cut off needs, to find what is left, always goes last: the Deployment after
the other objects of its version, a pin after its ConfigMap, a record after its pins.
"""

from __future__ import annotations

from collections.abc import Iterable

from rlhf_operator.api.rollout import Pin
from rlhf_operator.core import history, names
from rlhf_operator.core.observed import Observed, Run
from rlhf_operator.reconcile import objects
from rlhf_operator.reconcile.ports import World


async def remove(seen: Observed, version: str, world: World) -> None:
    """Delete the objects of a version that should have no pods."""
    namespace, name = seen.key.namespace, names.child(version, "serving")
    for kind in ("Service", "NetworkPolicy"):
        await world.cluster.delete(kind, namespace, name)
    pins = (pin for run in _records(seen, world) for pin in run.status.pins)
    for config in sorted(await _config_maps(seen, version, pins, world)):
        await world.cluster.delete("ConfigMap", namespace, config)
    await world.cluster.delete("Deployment", namespace, name)


async def prune(seen: Observed, world: World) -> None:
    """Delete the records that the model's history has no room for, and what only they pin."""
    if seen.spec is None:
        return
    runs = _records(seen, world)
    gone = history.prunable(runs, _kept_by_people(seen, world), seen.spec.history, seen.now)
    if not gone:
        return
    spare = history.spare_pins(runs, gone)
    revisions = {pin.revision for pin in spare}
    kept = [pin for run in runs for pin in run.status.pins if pin.revision not in revisions]
    for pin in spare:
        mine = await _config_maps(seen, pin.version, (pin,), world)
        for config in sorted(mine - await _config_maps(seen, pin.version, kept, world)):
            await world.cluster.delete("ConfigMap", seen.key.namespace, config)
        await world.cluster.delete("ControllerRevision", seen.key.namespace, pin.revision)
    for name in gone:
        await world.cluster.delete("RLHFRollout", seen.key.namespace, name)


def _records(seen: Observed, world: World) -> list[Run]:
    found = (objects.run_of(raw) for raw in world.store.of_model("RLHFRollout", seen.key))
    return [run for run in found if run is not None]


def _kept_by_people(seen: Observed, world: World) -> frozenset[str]:
    return frozenset(
        raw["metadata"]["name"]
        for raw in world.store.of_model("RLHFRollout", seen.key)
        if history.PIN_LABEL in (raw["metadata"].get("labels") or {})
    )


async def _config_maps(seen: Observed, version: str, pins: Iterable[Pin], world: World) -> set[str]:
    """Return the ConfigMaps that these pins of a version name; several pins may share one."""
    found = set()
    for revision in sorted({pin.revision for pin in pins if pin.version == version}):
        stored = await world.cluster.read("ControllerRevision", seen.key.namespace, revision)
        if stored is not None:
            found.add(str(stored["data"]["config_map"]))
    return found
