"""Observe: read everything a decision may look at into one frozen picture.

A missing version, a bad spec and a silent Prometheus become values in the picture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pydantic import ValidationError

from rlhf_operator.api.common import Failure, VersionRef
from rlhf_operator.api.decision import RLHFDecision
from rlhf_operator.api.errors import Transient
from rlhf_operator.api.model import ModelSpec, RLHFModel
from rlhf_operator.api.policy import AlignmentPolicy
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import PinnedPolicy, QuarantineRecord, RunType, SLOResult, Verdict
from rlhf_operator.api.version import RLHFModelVersion
from rlhf_operator.core import (
    analysis,
    diagnosis,
    freeze,
    history,
    names,
    queries,
    rendering,
    routes,
    workloads,
)
from rlhf_operator.core.observed import (
    Act,
    Assessment,
    Key,
    Observed,
    Route,
    Run,
    Workload,
)
from rlhf_operator.core.routes import claims, ratio
from rlhf_operator.core.routes.port import Arm, Pod, Split
from rlhf_operator.core.subject import subject
from rlhf_operator.reconcile import objects
from rlhf_operator.reconcile.ports import Raw, World

_UNSCRAPED_AFTER = timedelta(seconds=60)


@dataclass(frozen=True, kw_only=True, slots=True)
class Versions:
    """The versions of a namespace that exist, by name."""

    key: Key
    world: World

    def find(self, name: str) -> RLHFModelVersion | None:
        """Return a version; what cannot be understood counts as missing."""
        raw = self.world.store.get("RLHFModelVersion", self.key.namespace, name)
        try:
            return objects.parse(RLHFModelVersion, raw) if raw else None
        except ValidationError:
            return None  # the version's own status tells what is wrong

    def ref(self, name: str) -> VersionRef | None:
        """Return a version of this model with its identity."""
        found = self.find(name)
        if found is None or found.spec.model != self.key.name:
            return None
        return VersionRef(name=name, identity=found.spec.identity())


async def observe(key: Key, world: World, now: datetime) -> Observed:
    """Return the picture of one model."""
    raw = world.store.get("RLHFModel", key.namespace, key.name)
    runs = _runs(key, world)
    if raw is None or raw["metadata"].get("deletionTimestamp"):
        return Observed(now=now, key=key, deleted=True, run=runs[-1] if runs else None)
    spec, invalid = _spec(raw)
    # A model that was deleted and made anew has the name of the old one, and none of its pods.
    mine = tuple(run for run in runs if run.model_uid == raw["metadata"]["uid"])
    run = mine[-1] if mine else None
    versions = Versions(key=key, world=world)
    policies, policy_problem = _policies(key, world, spec)
    in_force = _quarantines(key, world)
    seen = Observed(
        now=now,
        key=key,
        generation=int(raw["metadata"].get("generation", 1)),
        spec=spec,
        target=versions.ref(spec.version) if spec else None,
        fallback=versions.ref(spec.fallback.version) if spec else None,
        policies=policies,
        run=run,
        previous=mine[-2] if len(mine) > 1 else None,
        last_revision=runs[-1].spec.revision if runs else 0,
        workloads=await _workloads(key, world, run),
        quarantines={identity: record for identity, (_, record) in in_force.items()},
        quarantine_records={identity: name for identity, (name, _) in in_force.items()},
        deleted_versions=_deleted(run, versions),
        acts=_acts(key, world, runs, versions),
        place_free=_place_free(world),
        frozen=freeze.open_window(spec.rollout.freeze_windows, now) if spec else None,
    )
    problem = invalid or _problem(seen, world, versions, raw) or policy_problem
    per_pod, free = _gpus(seen, world, versions)
    seen = replace(seen, invalid=problem, gpus_per_pod=per_pod, free_gpus=free)
    seen = replace(seen, route=_route(seen, world, raw, await router_pods(seen, world)))
    return await _measured(seen, world)


def _spec(raw: Raw) -> tuple[ModelSpec | None, Failure | None]:
    try:
        return objects.parse(RLHFModel, raw).spec, None
    except ValidationError as error:
        return None, Failure(reason=Reason.SPEC_INVALID, message=objects.sentence(error)[:1024])


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


def _policies(
    key: Key, world: World, spec: ModelSpec | None
) -> tuple[tuple[PinnedPolicy, ...], Failure | None]:
    """Return the policies that apply, mandatory ones last, and what is wrong with them."""
    wanted = [(ref.name, key.namespace, False) for ref in spec.policies] if spec else []
    own = world.settings.namespace
    wanted += [(name, own, True) for name in world.settings.mandatory_policies]
    found: dict[str, PinnedPolicy] = {}
    problem: Failure | None = None
    for name, namespace, mandatory in wanted:
        raw = world.store.get("AlignmentPolicy", namespace, name)
        if raw is None:
            problem = problem or Failure(
                reason=Reason.POLICY_NOT_FOUND,
                message=f"AlignmentPolicy {namespace}/{name} does not exist",
            )
            continue
        try:
            policy = objects.parse(AlignmentPolicy, raw).spec
        except ValidationError as error:
            problem = problem or Failure(
                reason=Reason.POLICY_INVALID, message=f"{name}: {objects.sentence(error)}"[:1024]
            )
            continue
        label = f"{name}-mandatory" if name in found else name
        pinned = PinnedPolicy(
            name=label,
            mandatory=mandatory,
            metric_source=policy.metric_source,
            interval=policy.interval,
            slos=policy.slos,
        )
        problem = problem or policy_problem(pinned, world, key.namespace)
        found[label] = pinned
    return tuple(found.values()), problem


def policy_problem(policy: PinnedPolicy, world: World, namespace: str) -> Failure | None:
    """Return why a policy cannot be used in a namespace."""
    if policy.metric_source not in world.settings.metric_sources:
        known = ", ".join(sorted(world.settings.metric_sources))
        return Failure(
            reason=Reason.UNKNOWN_METRIC_SOURCE,
            message=f"policy {policy.name} names metric source {policy.metric_source}; "
            f"the operator's configuration has: {known}",
        )
    allowed = world.settings.query_namespaces
    for slo in policy.slos:
        if slo.query is None:
            continue
        if not policy.mandatory and allowed is not None and namespace not in allowed:
            return Failure(
                reason=Reason.QUERY_REFUSED,
                message=f"policy {policy.name}, {slo.name}: queries are not allowed in namespace "
                f"{namespace}; use a built-in indicator",
            )
        refused = queries.problem(slo.query)
        if refused is not None:
            return Failure(
                reason=Reason.QUERY_REFUSED,
                message=f"policy {policy.name}, {slo.name}: {refused}"[:1024],
            )
    return None


def _problem(seen: Observed, world: World, versions: Versions, raw: Raw) -> Failure | None:
    """Return why what the spec names cannot be used."""
    spec = seen.spec
    if spec is None:
        return None
    for name in (spec.version, spec.fallback.version):
        version = versions.find(name)
        if version is None:
            return Failure(
                reason=Reason.VERSION_NOT_FOUND,
                message=f"RLHFModelVersion {name} does not exist in {seen.key.namespace}",
            )
        if version.spec.model != seen.key.name:
            return Failure(
                reason=Reason.WRONG_MODEL,
                message=f"{name} is a version of {version.spec.model}, not of {seen.key.name}",
            )
        refused = rendering.refusal(spec, version.spec, world.settings.serving)
        if refused is not None:
            return refused
        if _is_another(seen.run, versions.ref(name)):
            return Failure(
                reason=Reason.SPEC_INVALID,
                message=f"{name} was deleted and made anew with another artefact while its pods "
                "run; give the new artefact a name of its own",
            )
    zone = freeze.unknown_zone(spec.rollout.freeze_windows)
    if zone is not None:
        return Failure(reason=Reason.SPEC_INVALID, message=f"no time zone is called {zone}")
    if spec.traffic.router == "Service":
        unreachable = ratio.problems(spec.rollout, spec.serving.replicas)
        if unreachable:
            return unreachable[0]
    if not seen.policies and spec.version != spec.fallback.version:
        return Failure(
            reason=Reason.POLICY_NOT_FOUND,
            message="a rollout needs at least one AlignmentPolicy: nothing else can say success",
        )
    return _host_conflict(seen.key, world, raw)


def _is_another(run: Run | None, version: VersionRef | None) -> bool:
    """Return whether what runs under this name is something else."""
    if run is None or version is None:
        return False
    standby = run.status.standby.version if run.status.standby else None
    live = (run.status.stable, run.status.canary, run.spec.from_, run.spec.to, standby)
    return any(ref and ref.name == version.name and ref != version for ref in live)


def _host_conflict(key: Key, world: World, raw: Raw) -> Failure | None:
    def claim(model: Raw) -> claims.Claim | None:
        spec, _ = _spec(model)
        if spec is None or not spec.traffic.hostnames:
            return None
        metadata = model["metadata"]
        return claims.Claim(
            namespace=metadata["namespace"],
            model=metadata["name"],
            created=datetime.fromisoformat(metadata["creationTimestamp"]),
            traffic=spec.traffic,
        )

    mine = claim(raw)
    if mine is None:
        return None
    others = (claim(model) for model in world.store.sharing_hosts(mine.traffic.hostnames))
    return claims.conflict(
        mine,
        (
            other
            for other in others
            if other is not None and (other.namespace, other.model) != (key.namespace, key.name)
        ),
    )


async def _workloads(key: Key, world: World, run: Run | None) -> dict[str, Workload]:
    found: dict[str, Workload] = {}
    for raw in world.store.of_model("Deployment", key):
        version = raw["metadata"]["labels"][names.VERSION_LABEL]
        found[version] = await _workload(key, world, version, raw)
    return found


async def _workload(key: Key, world: World, version: str, raw: Raw) -> Workload:
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
        is_current=observed and int(status.get("updatedReplicas", 0)) == replicas,
        failure=said.failure if ready < wanted else None,
        verified_at=said.verified_at,
        gpus=_gpus_of(raw),
    )


def _gpus_of(deployment: Raw) -> int:
    containers = (
        deployment.get("spec", {}).get("template", {}).get("spec", {}).get("containers", [])
    )
    limits = [container.get("resources", {}).get("limits", {}) for container in containers]
    return sum(int(count) for limit in limits for name, count in limit.items() if "gpu" in name)


def _deleted(run: Run | None, versions: Versions) -> tuple[str, ...]:
    if run is None:
        return ()
    serving = (run.status.stable, run.status.canary)
    return tuple(ref.name for ref in serving if ref and versions.find(ref.name) is None)


def _quarantines(key: Key, world: World) -> dict[str, tuple[str, QuarantineRecord]]:
    found = (objects.run_of(raw) for raw in world.store.quarantining(key.namespace))
    return history.quarantines(run for run in found if run is not None)


def _acts(key: Key, world: World, runs: tuple[Run, ...], versions: Versions) -> tuple[Act, ...]:
    """Return the human decisions that no record shows as carried out, oldest first."""
    done = {entry.name for run in runs for entry in run.status.decisions}
    done |= {run.spec.cause.decision for run in runs if run.spec.cause.decision}
    lifted = [objects.run_of(raw) for raw in world.store.quarantining(key.namespace)]
    done |= {
        run.status.quarantine.lifted.decision
        for run in lifted
        if run and run.status.quarantine and run.status.quarantine.lifted
    }
    found = []
    for raw in world.store.of_model("RLHFDecision", key):
        name = raw["metadata"]["name"]
        if name in done or (raw.get("status") or {}).get("phase"):
            continue
        try:
            spec = objects.parse(RLHFDecision, raw).spec
        except ValidationError:
            continue  # the API server refuses what we cannot read
        act = Act(
            name=name,
            action=spec.action,
            author=spec.author,
            reason=spec.reason,
            version=versions.ref(spec.version) if spec.version else None,
            identity=spec.identity,
            expires_at=spec.expires_at,
        )
        found.append((raw["metadata"].get("creationTimestamp", ""), name, act))
    return tuple(act for _, _, act in sorted(found, key=lambda entry: entry[:2]))


def _place_free(world: World) -> bool:
    return world.store.active_runs() < world.settings.max_concurrent_rollouts


def _gpus(seen: Observed, world: World, versions: Versions) -> tuple[int, int | None]:
    """Return GPUs per pod of the target, and those that our own pods leave free."""
    target = versions.find(seen.spec.version) if seen.spec else None
    if target is None or target.spec.serving.gpu.count == 0:
        return 0, None
    resource = target.spec.serving.gpu.resource
    nodes = world.store.in_namespace("Node", None)
    if not nodes:
        return target.spec.serving.gpu.count, None
    total = sum(
        int(node.get("status", {}).get("allocatable", {}).get(resource, 0)) for node in nodes
    )
    used = sum(
        int(raw.get("spec", {}).get("replicas", 0)) * _gpus_of(raw)
        for raw in world.store.in_namespace("Deployment", None)
    )
    return target.spec.serving.gpu.count, max(0, total - used)


async def router_pods(seen: Observed, world: World) -> dict[str, tuple[Pod, ...]]:
    """Return the pods of each version; only the Service router needs them."""
    if seen.spec is None or seen.spec.traffic.router != "Service":
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


def arm_token(uid: str, version: str) -> str:
    """Return the fixed token of an arm: opaque to clients, the same in guard and route."""
    return hashlib.sha256(f"{uid}/{version}".encode()).hexdigest()[:32]


def arms(
    seen: Observed, weights: Mapping[str, int], uid: str, pods: Mapping[str, tuple[Pod, ...]]
) -> tuple[Arm, ...]:
    """Return the arms of a split, the stable version first."""
    stable = seen.run.status.stable.name if seen.run and seen.run.status.stable else ""
    ordered = sorted(weights, key=lambda version: (version != stable, version))
    return tuple(
        Arm(
            version=version,
            service=names.child(version, "serving"),
            weight=weights[version],
            token=arm_token(uid, version),
            pods=pods.get(version, ()),
        )
        for version in ordered
    )


def split(
    seen: Observed, raw: Raw, weights: Mapping[str, int], pods: Mapping[str, tuple[Pod, ...]]
) -> Split:
    """Return how the traffic is to be split by these weights."""
    assert seen.spec is not None
    uid = raw["metadata"]["uid"]
    return Split(
        namespace=seen.key.namespace,
        model=seen.key.name,
        owner=workloads.owner_reference(seen.key.name, uid),
        traffic=seen.spec.traffic,
        arms=arms(seen, weights, uid, pods),
    )


def _route(seen: Observed, world: World, raw: Raw, pods: Mapping[str, tuple[Pod, ...]]) -> Route:
    """Return what the router's object says, by version name."""
    run = seen.run
    if seen.spec is None or run is None or run.status.stable is None:
        return Route()
    known = {
        ref.name
        for ref in (run.status.stable, run.status.canary, run.spec.from_, run.spec.to)
        if ref is not None
    }
    stable = run.status.stable.name
    weights = {name: 0 for name in known} | {stable: 100}
    declared = {stable: 100 - run.status.weight}
    if run.status.canary is not None and run.status.weight > 0:
        declared[run.status.canary.name] = run.status.weight
    weights |= declared
    router = routes.router_for(seen.spec.traffic)
    stored = {
        kind.kind: world.store.get(kind.kind, seen.key.namespace, seen.key.name)
        for kind in router.kinds
    }
    state = router.read(split(seen, raw, weights, pods), stored)
    failure = None
    if state.reason is not None and state.reason is not Reason.WEIGHT_NOT_IN_FORCE:
        failure = Failure(reason=str(state.reason), message=state.message[:1024])
    return Route(weights=state.weights, accepted=state.accepted, failure=failure)


async def _measured(seen: Observed, world: World) -> Observed:
    """Add what the objectives and the golden prompts say."""
    run = seen.run
    if run is None or run.status.stable is None:
        return seen
    wanted = subject(seen, run)
    if wanted is not None:
        judged = world.slos.results(seen.key)
        if judged is not None and (judged.version, judged.since) == (wanted.version, wanted.since):
            seen = _judged(seen, run, judged.results, judged.stable_results)
    preparing = run.is_active and run.status.canary is not None and run.status.step < 0
    parked = run.status.phase == "Parked"
    if not preparing or seen.spec is None or run.spec.type is not RunType.ROLLOUT:
        return seen
    assert run.status.canary is not None
    if seen.workload(run.status.canary).ready == 0:
        return seen
    golden = run.status.golden
    if golden is None:
        host = f"{names.child(run.status.canary.name, 'serving')}.{seen.key.namespace}"
        golden = world.prober.golden(seen.key, run.name, host)
    if golden is None or not golden.passed or parked:
        return replace(seen, golden=golden)
    problems = await world.slos.try_queries(
        run.spec.policies, seen.key.namespace, seen.key.name, run.status.stable.name
    )
    return replace(seen, golden=golden, query_problems=problems)


def _judged(
    seen: Observed, run: Run, results: tuple[SLOResult, ...], stable_results: tuple[SLOResult, ...]
) -> Observed:
    def assessment(found: tuple[SLOResult, ...]) -> Assessment:
        blind = analysis.blind(found)
        return Assessment(
            results=found,
            blind=tuple(result.name for result in blind),
        )

    canary_judged = run.status.canary is not None and run.status.weight > 0
    silent = all(
        result.samples is None and result.verdict is Verdict.INCONCLUSIVE for result in results
    )
    since = run.status.in_force_at
    if silent and results and since is not None and seen.now > since + _UNSCRAPED_AFTER:
        seen = replace(seen, unscraped=True)
    if canary_judged:
        stable = assessment(stable_results) if stable_results else None
        return replace(seen, canary=assessment(results), stable=stable)
    return replace(seen, stable=assessment(results))
