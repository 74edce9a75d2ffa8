"""Observe: read everything a decision may look at into one frozen picture.

A missing version, a bad spec and a silent Prometheus become values in the picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from pydantic import ValidationError

from rlhf_operator.api.common import VersionRef
from rlhf_operator.api.decision import DecisionSpec, RLHFDecision
from rlhf_operator.api.errors import Transient
from rlhf_operator.api.model import ModelSpec
from rlhf_operator.api.version import RLHFModelVersion
from rlhf_operator.core import contenders, freeze, history, holdback, vetoes
from rlhf_operator.core.observed import Act, Key, Observed, Run
from rlhf_operator.reconcile import guards, objects, pods, problems, salvage, traffic
from rlhf_operator.reconcile.measurements import measured
from rlhf_operator.reconcile.policies import policies_of
from rlhf_operator.reconcile.ports import World
from rlhf_operator.reconcile.versions import Versions


async def observe(key: Key, world: World, now: datetime) -> Observed:
    """Return the picture of one model."""
    raw = world.store.get("RLHFModel", key.namespace, key.name)
    runs = _runs(key, world)
    if raw is None or raw["metadata"].get("deletionTimestamp"):
        run = runs[-1] if runs else None
        return Observed(now=now, key=key, deleted=True, run=run, unsettled=_unsettled(runs, run))
    spec, invalid = objects.model_spec(raw)
    partly = spec is None
    if partly:
        spec = salvage.model_spec(raw)
    # A model that was deleted and made anew has the name of the old one, and none of its pods.
    mine = tuple(run for run in runs if run.model_uid == raw["metadata"]["uid"])
    run = mine[-1] if mine else None
    versions = Versions(key=key, world=world)
    policies, policy_problem = policies_of(key, world, spec, run)
    quarantining = _quarantining(key, world, runs)
    in_force = history.quarantines(quarantining)
    recorded = {identity: record for identity, (_, record) in in_force.items()}
    acts = _acts(key, world, (*runs, *quarantining), versions)
    fallback = _floor(spec, versions, history.floor(mine))
    pool = pods.pool_of(spec, versions)
    seen = Observed(
        now=now,
        key=key,
        generation=int(raw["metadata"].get("generation", 1)),
        spec=spec,
        partly_understood=partly,
        known_traffic=salvage.traffic(raw) if spec is None else None,
        target=versions.ref(spec.version) if spec else None,
        fallback=fallback,
        others=_others(spec, versions),
        changed_by=objects.changed_by(raw),
        policies=policies,
        run=run,
        previous=mine[-2] if len(mine) > 1 else None,
        tried=history.last_try(mine),
        unsettled=_unsettled(runs, run),
        last_revision=runs[-1].spec.revision if runs else 0,
        workloads=await pods.workloads_of(key, world, run),
        quarantines=vetoes.in_force(recorded, acts, now),
        quarantine_records={identity: name for identity, (name, _) in in_force.items()},
        quarantining=quarantining,
        refused=world.cluster.refusal(key.namespace, key.name),
        deleted_versions=_deleted(run, fallback, versions),
        acts=acts,
        pool=pool,
        place_free=world.store.active("Rollout", pool) < world.settings.max_concurrent_rollouts,
        drill_place_free=world.store.active("Drill") < world.settings.max_concurrent_drills,
        frozen=freeze.open_window(spec.rollout.freeze_windows, now) if spec else None,
    )
    untold = guards.problem(seen, world)
    if untold is None:
        seen = replace(seen, guard_reach=guards.wanted_reach(seen, world))
    problem = invalid or untold or problems.find(seen, world, versions, raw) or policy_problem
    seen = await pods.with_gpus(replace(seen, invalid=problem), world, versions)
    seen = replace(seen, route=traffic.route(seen, world, raw, await pods.router_pods(seen, world)))
    return await measured(seen, world)


def _runs(key: Key, world: World) -> tuple[Run, ...]:
    found = []
    for raw in world.store.of_model("RLHFRollout", key):
        run = objects.run_of(raw)
        if run is None:
            # Without the newest record an older one would seem to say what is live.
            name = raw["metadata"]["name"]
            raise Transient(f"{name} cannot be read; did a newer operator write it?", 60.0)
        found.append(run)
    return history.ordered(found)


def _others(spec: ModelSpec | None, versions: Versions) -> tuple[VersionRef, ...]:
    test = spec.rollout.ab_test if spec is not None else None
    found = (versions.ref(each.version) for each in test.others) if test is not None else ()
    return tuple(ref for ref in found if ref is not None)


def _floor(
    spec: ModelSpec | None, versions: Versions, known: VersionRef | None
) -> VersionRef | None:
    """Return the fallback; what is on record of it stands where its object was deleted."""
    if spec is None:
        return known
    is_same = known is not None and known.name == spec.fallback.version
    return versions.ref(spec.fallback.version) or (known if is_same else None)


def _unsettled(runs: tuple[Run, ...], newest: Run | None) -> tuple[Run, ...]:
    return tuple(run for run in runs if run is not newest and not run.is_settled)


def _deleted(run: Run | None, fallback: VersionRef | None, versions: Versions) -> tuple[str, ...]:
    if run is None:
        return ()
    arm = holdback.arm(run)
    tested = (each.ref for each in run.status.testing)
    serving = (run.status.stable, run.status.canary, *tested, arm.version if arm else None)
    names = dict.fromkeys(ref.name for ref in (*serving, fallback) if ref)
    return tuple(name for name in names if versions.find(name) is None)


def _quarantining(key: Key, world: World, runs: tuple[Run, ...]) -> tuple[Run, ...]:
    """Return the records, of any model, that quarantine what this one has, serves or decides on.

    All of a namespace would be a thousand where a thousand versions have failed.
    """
    concerned = {*_identities_of_versions(key, world), *_identities_of_acts(key, world)}
    for run in runs:
        standby = run.status.standby.version if run.status.standby else None
        live = (run.spec.from_, run.status.stable, run.status.canary, standby)
        refs = (*live, *contenders.tried(run))
        concerned |= {ref.identity for ref in refs if ref is not None}
    found = (objects.run_of(raw) for raw in world.store.quarantining(key.namespace, concerned))
    return tuple(run for run in found if run is not None)


def _identities_of_versions(key: Key, world: World) -> Iterator[str]:
    for raw in world.store.of_model("RLHFModelVersion", key):
        try:
            yield objects.parse(RLHFModelVersion, raw).spec.identity()
        except ValidationError:
            continue  # what cannot be read cannot be shipped


def _identities_of_acts(key: Key, world: World) -> Iterator[str]:
    for raw in world.store.of_model("RLHFDecision", key):
        identity = (raw.get("spec") or {}).get("identity")
        if identity:
            yield identity


def _acts(key: Key, world: World, records: tuple[Run, ...], versions: Versions) -> tuple[Act, ...]:
    """Return the human decisions that no record shows as carried out, oldest first."""
    found = []
    for raw in world.store.of_model("RLHFDecision", key):
        name = raw["metadata"]["name"]
        made = datetime.fromisoformat(raw["metadata"]["creationTimestamp"])
        if (raw.get("status") or {}).get("phase"):
            continue
        try:
            spec = objects.parse(RLHFDecision, raw).spec
        except ValidationError:
            continue  # the API server refuses what we cannot read
        if history.carried_out(records, name, made) and not _lifts_more(spec, records, made):
            continue
        act = Act(
            name=name,
            action=spec.action,
            author=spec.author,
            via=spec.via,
            reason=spec.reason,
            version=versions.ref(spec.version) if spec.version else None,
            identity=spec.identity,
            step=spec.step,
            slo=spec.slo,
            expires_at=spec.expires_at,
        )
        found.append((made, name, act))
    return tuple(act for _, _, act in sorted(found, key=lambda entry: entry[:2]))


def _lifts_more(spec: DecisionSpec, records: Iterable[Run], made: datetime) -> bool:
    """Return whether a lift has not yet reached every quarantine that was there before it."""
    return spec.action == "LiftQuarantine" and any(
        record.identity == spec.identity
        and record.lifted is None
        and record.at < made + timedelta(seconds=1)
        for run in records
        for record in run.status.quarantines
    )
