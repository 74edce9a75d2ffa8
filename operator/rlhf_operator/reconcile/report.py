"""Report: write the record first, under its resourceVersion; then its mirrors.

The rollout's status is the one commit record. What it does not say did not happen, and
everything else can be derived from it again.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from rlhf_operator.api.common import VersionRef
from rlhf_operator.api.errors import Transient
from rlhf_operator.api.evidence import Checkpoint
from rlhf_operator.api.model import ModelStatus, RLHFModel
from rlhf_operator.api.quarantine import Lift
from rlhf_operator.api.reasons import ConditionType, Reason
from rlhf_operator.api.schema import API_VERSION, STORED, format_time
from rlhf_operator.api.version import RLHFModelVersion
from rlhf_operator.core import cautions, history, names, outlook, plans, record, rendering, summary
from rlhf_operator.core.decision import Action, Decision
from rlhf_operator.core.observed import Observed, Run
from rlhf_operator.reconcile import objects, pinning
from rlhf_operator.reconcile.ports import Fenced, Raw, World

RECONCILE_ANNOTATION = "rlhf.dev/reconcile-requested-at"


async def report(seen: Observed, decision: Decision, world: World) -> Run | None:
    """Write what was decided; return the record as it stands after."""
    epoch = world.epoch()
    if seen.run is not None and seen.run.status.epoch > epoch:
        raise Fenced(f"{seen.run.name} was written by leadership {seen.run.status.epoch}")
    if decision.action is Action.START:
        await _create(seen, decision, world)
        return seen.run
    if decision.action is Action.LIFT:
        await _lift(seen, decision, world)
        return seen.run
    return await _write(seen, decision, world, epoch)


async def _create(seen: Observed, decision: Decision, world: World) -> None:
    spec = decision.start
    model = world.store.get("RLHFModel", seen.key.namespace, seen.key.name)
    assert spec is not None and model is not None
    created = await world.cluster.create(
        {
            "apiVersion": API_VERSION,
            "kind": "RLHFRollout",
            "metadata": {
                "name": plans.run_name(seen.key.name, spec.revision),
                "namespace": seen.key.namespace,
                "labels": {
                    names.MODEL_LABEL: seen.key.name,
                    history.MODEL_UID_LABEL: model["metadata"]["uid"],
                    names.MANAGED_BY_LABEL: names.MANAGER,
                },
            },
            "spec": spec.dump(),
        }
    )
    if not created:
        raise Transient(f"record {spec.revision} is there and was not seen yet", 0.5)


async def _lift(seen: Observed, decision: Decision, world: World) -> None:
    act = decision.act
    assert act is not None and act.identity is not None
    lift = Lift(decision=act.name, author=act.author, via=act.via, reason=act.reason, at=seen.now)
    for raw in world.store.quarantining(seen.key.namespace, (act.identity,)):
        run = objects.run_of(raw)
        status = history.lift(run.status, act.identity, lift) if run else None
        if run is not None and status is not None and status != run.status:
            await world.cluster.write_status(raw, status.dump())


async def _write(seen: Observed, decision: Decision, world: World, epoch: int) -> Run | None:
    run = seen.run
    if run is None:
        return None
    checkpoint = _checkpoint(seen, run, world)
    others = {arm.version: _checkpoint(seen, run, world, arm.version) for arm in run.status.testing}
    drain = world.settings.drain
    status = record.next_status(
        seen,
        decision,
        epoch=epoch,
        drain=drain,
        checkpoint=checkpoint,
        checkpoints={name: found for name, found in others.items() if found is not None},
    )
    status = await pinning.pinned(seen, run, status or run.status, world, drain)
    if status == run.status:
        return run
    raw = world.store.get("RLHFRollout", seen.key.namespace, run.name)
    assert raw is not None
    stored = {**raw, "metadata": {**raw["metadata"], "resourceVersion": run.resource_version}}
    await world.cluster.write_status(stored, status.dump())
    return replace(run, status=status)


def _checkpoint(
    seen: Observed, run: Run, world: World, version: str | None = None
) -> Checkpoint | None:
    standby = run.status.standby
    held = not run.is_active and standby is not None and standby.weight > 0
    compares = held or (run.is_active and run.status.weight > 0)
    if not compares or run.status.in_force_at is None:
        return None
    found = world.slos.checkpoint(seen.key, seen.now, version)
    # Counts of another stratum would be added to the wrong step.
    return found if found is not None and found.since == run.status.in_force_at else None


async def tell(seen: Observed, decision: Decision, run: Run | None, world: World) -> None:
    """Tell a transition once, as Events, given the run as it is now on record."""
    raw = world.store.get("RLHFModel", seen.key.namespace, seen.key.name)
    if raw is None or seen.deleted:
        return
    before = _told(raw)
    for event in summary.events(decision, before, seen.run):
        await world.cluster.tell(raw, event.type, event.reason, event.message)
    for each in cautions.news(seen, before):
        await world.cluster.tell(raw, "Warning", str(each.type), each.message)
    goes_on = run is not None and run.is_active
    doubt = outlook.news(seen, before) if goes_on else None
    if doubt is not None:
        await world.cluster.tell(raw, "Warning", str(ConditionType.DECISION_UNLIKELY), doubt)


async def mirror_model(seen: Observed, decision: Decision, run: Run | None, world: World) -> None:
    """Write the model's summary when it says something new."""
    raw = world.store.get("RLHFModel", seen.key.namespace, seen.key.name)
    if raw is None or seen.deleted:
        return
    before = _told(raw)
    handled = (raw["metadata"].get("annotations") or {}).get(RECONCILE_ANNOTATION)
    status = summary.model_status(seen, decision, run, before, handled=handled).dump()
    if status != (before.dump() if before else None):
        await world.cluster.write_status(raw, status)


def _told(raw: Raw) -> ModelStatus | None:
    """Return the status that is stored, also beside a spec that cannot be read."""
    with suppress(ValidationError):
        return objects.parse(RLHFModel, raw).status
    try:
        status = raw.get("status")
        return None if status is None else ModelStatus.model_validate(status, context=STORED)
    except ValidationError:
        return None


async def close_earlier(seen: Observed, run: Run | None, world: World) -> None:
    """Close the records that a newer one took the place of before they settled."""
    if run is not None and not run.is_open:
        return
    for each in seen.unsettled:
        raw = world.store.get("RLHFRollout", seen.key.namespace, each.name)
        if raw is not None and raw["metadata"]["resourceVersion"] == each.resource_version:
            status = history.closed(each, run, seen.now, epoch=world.epoch())
            await world.cluster.write_status(raw, status.dump())


async def mirror_versions(seen: Observed, run: Run | None, world: World) -> None:
    """Write the status of every version of this model."""
    for raw in world.store.of_model("RLHFModelVersion", seen.key):
        try:
            version = objects.parse(RLHFModelVersion, raw)
        except ValidationError:
            continue  # the API server refuses what we cannot read; nothing can be said of it
        ref = VersionRef(name=version.metadata.name, identity=version.spec.identity())
        refused = rendering.refusal_of_version(version.spec, world.settings.serving)
        status = summary.version_status(
            seen,
            None if seen.deleted else run,
            ref,
            version.status,
            version.metadata.generation,
            refused,
        ).dump()
        if status != (version.status.dump() if version.status else None):
            await world.cluster.write_status(raw, status)


async def mirror_decision(seen: Observed, decision: Decision, world: World) -> None:
    """Tell a person what became of their decisions: the record knows."""
    for raw in world.store.of_model("RLHFDecision", seen.key):
        if (raw.get("status") or {}).get("phase"):
            continue
        name = raw["metadata"]["name"]
        made = datetime.fromisoformat(raw["metadata"]["creationTimestamp"])
        found = _fate(name, made, seen, decision, world)
        if found is None:
            continue
        phase, reason, message, rollout = found
        condition = {
            "type": "Ready",
            "status": "True" if phase == "Applied" else "False",
            "reason": str(reason),
            "message": message,
            "lastTransitionTime": format_time(seen.now),
            "observedGeneration": raw["metadata"].get("generation", 1),
        }
        status: dict[str, Any] = {
            "observedGeneration": raw["metadata"].get("generation", 1),
            "phase": phase,
            "conditions": [condition],
        }
        if rollout:
            status["rollout"] = rollout
        await world.cluster.write_status(raw, status)


def _fate(
    name: str, made: datetime, seen: Observed, decision: Decision, world: World
) -> tuple[str, Reason, str, str | None] | None:
    if decision.act is not None and decision.act.name == name and decision.refused is not None:
        phase = "Expired" if decision.refused is Reason.EXPIRED else "NotApplicable"
        return phase, decision.refused, decision.message, None
    found = [objects.run_of(raw) for raw in world.store.of_model("RLHFRollout", seen.key)]
    records = (*(run for run in found if run is not None), *seen.quarantining)
    by = history.carried_out(records, name, made)
    if by is None:
        return None
    return "Applied", Reason.APPLIED, f"carried out in {by}", by
