"""The pods of a version are rendered once, and stored before the record names them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from rlhf_operator.api.rollout import Pin, RolloutStatus, RunType
from rlhf_operator.api.version import RLHFModelVersion
from rlhf_operator.core import capacity, names, rendering, workloads
from rlhf_operator.core.observed import Observed, Run
from rlhf_operator.reconcile import guards, objects
from rlhf_operator.reconcile.ports import World
from rlhf_operator.reconcile.traffic import arm_token


async def pinned(
    seen: Observed, run: Run, status: RolloutStatus, world: World, drain: timedelta
) -> RolloutStatus:
    """Pin the pods of every version that is about to get some.

    The rendering is stored before the record names it: its name is its content, so an
    unnamed one does no harm, while a named one that is missing could not be made again.
    """
    if seen.spec is None or status.stable is None:
        return status
    wanted = capacity.layout(replace(seen, run=replace(run, status=status)), drain).pods
    known = {pin.version for pin in status.pins}
    made = []
    for version in sorted(set(wanted) - known):
        renews = run.spec.type is RunType.RESTART and version == run.spec.to.name
        renewed_in = run.name if renews else None
        pin = await _pin(seen, version, world, status, renewed_in=renewed_in)
        if pin is None:  # what cannot be rendered anew stays as it is
            pin = _last_pin(seen, run, version)
        if pin is not None:
            made.append(pin)
    if not made:
        return status
    return status.model_copy(update={"pins": (*status.pins, *made)[-64:]})


def _last_pin(seen: Observed, run: Run, version: str) -> Pin | None:
    earlier = seen.previous.status.pins if seen.previous else ()
    pins = (*run.status.pins, *earlier)
    return next((pin for pin in pins if pin.version == version), None)


async def _pin(
    seen: Observed, version: str, world: World, status: RolloutStatus, *, renewed_in: str | None
) -> Pin | None:
    raw = world.store.get("RLHFModelVersion", seen.key.namespace, version)
    model = world.store.get("RLHFModel", seen.key.namespace, seen.key.name)
    if raw is None or model is None or seen.spec is None or seen.partly_understood:
        return None
    spec = objects.parse(RLHFModelVersion, raw).spec
    if rendering.refusal(seen.spec, spec, world.settings.serving) is not None:
        return None
    uid = model["metadata"]["uid"]
    # What may be the cure must not be silenced with what is not safe.
    serves = status.stable is not None and status.stable.name == version
    blocks, refuses = serves and status.force_block, serves and status.refuse
    sticky = seen.spec.traffic.stickiness.mode == "Arm"
    made = rendering.render(
        seen.key,
        seen.spec,
        version,
        spec,
        world.settings.serving,
        arm_token=arm_token(uid, version) if sticky else None,
        force_block=blocks,
        refuse=refuses,
        renewed_in=renewed_in,
        service_ports=await guards.service_ports(seen.spec, seen.key.namespace, world),
    )
    await world.cluster.create(
        {
            "apiVersion": "apps/v1",
            "kind": "ControllerRevision",
            "metadata": {
                "name": made.revision_name,
                "namespace": seen.key.namespace,
                "labels": names.labels(seen.key.name, version),
                "ownerReferences": [workloads.owner_reference(seen.key.name, uid)],
            },
            "revision": 1,
            "data": made.to_json(),
        }
    )
    return Pin(version=version, revision=made.revision_name, restrained=blocks or refuses)
