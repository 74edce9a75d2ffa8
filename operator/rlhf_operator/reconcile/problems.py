"""Why what a spec names cannot be used, as a person would want to be told."""

from __future__ import annotations

from datetime import datetime

from rlhf_operator.api.common import Failure, VersionRef
from rlhf_operator.api.reasons import Reason
from rlhf_operator.core import contenders, freeze, rendering, unjudged
from rlhf_operator.core.observed import Key, Observed, Run
from rlhf_operator.core.routes import claims, ratio
from rlhf_operator.reconcile import objects
from rlhf_operator.reconcile.ports import Raw, World
from rlhf_operator.reconcile.versions import Versions


def find(seen: Observed, world: World, versions: Versions, raw: Raw) -> Failure | None:
    """Return why what the spec names cannot be used."""
    spec = seen.spec
    if spec is None:
        return None
    test = spec.rollout.ab_test
    others = [each.version for each in test.others] if test is not None else []
    for name in (spec.version, spec.fallback.version, *others):
        version = versions.find(name)
        if version is None:
            return Failure(
                reason=Reason.VERSION_NOT_FOUND,
                message=f"RLHFModelVersion {name} {versions.missing(name)}",
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
        unreachable = ratio.unreachable(spec)
        if unreachable:
            return unreachable[0]
    unfit = unjudged.unfit(spec.rollout, spec.serving.replicas, seen.policies)
    if unfit is not None:
        return unfit
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
    live = (run.status.stable, run.status.canary, run.spec.from_, *contenders.tried(run), standby)
    return any(ref and ref.name == version.name and ref != version for ref in live)


def _host_conflict(key: Key, world: World, raw: Raw) -> Failure | None:
    def claim(model: Raw) -> claims.Claim | None:
        spec, _ = objects.model_spec(model)
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
