"""Traffic as it is: how a split is written down, and what the router says of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from rlhf_operator.api.arms import Arms, token_of
from rlhf_operator.api.common import Failure
from rlhf_operator.api.reasons import Reason
from rlhf_operator.core import capacity, contenders, names, routes, workloads
from rlhf_operator.core.mirrors import Mirror
from rlhf_operator.core.observed import Observed, Route
from rlhf_operator.core.routes.port import Arm, Pod, Split
from rlhf_operator.reconcile.ports import Raw, World


def arm_token(uid: str, version: str) -> str:
    """Return the fixed token of an arm, from which guard and route make that of each run."""
    return hashlib.sha256(f"{uid}/{version}".encode()).hexdigest()[:32]


def _tokens(uid: str, version: str, run: str | None) -> tuple[str, ...]:
    """Return what keeps a client on an arm.

    A guard of an older image gives out the fixed token, also before a run.
    """
    fixed = arm_token(uid, version)
    return (fixed,) if run is None else (token_of(fixed, run), fixed)


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
            tokens=_tokens(uid, version, seen.run.name if seen.run else None),
            pods=pods.get(version, ()),
        )
        for version in ordered
    )


def split(
    seen: Observed,
    raw: Raw,
    weights: Mapping[str, int],
    pods: Mapping[str, tuple[Pod, ...]],
    mirror: Mirror | None = None,
) -> Split:
    """Return how the traffic is to be split by these weights, and copied."""
    assert seen.traffic is not None
    uid = raw["metadata"]["uid"]
    if mirror is not None:
        weights = {mirror.version: 0} | dict(weights)
    return Split(
        namespace=seen.key.namespace,
        model=seen.key.name,
        owner=workloads.owner_reference(seen.key.name, uid),
        traffic=seen.traffic,
        arms=arms(seen, weights, uid, pods),
        mirror=mirror,
        run=_named_run(seen, weights),
        trial=_trial(seen, weights, mirror),
    )


def _named_run(seen: Observed, weights: Mapping[str, int]) -> str | None:
    """Return the run in which guards count each user once, and keep users on their arms.

    It begins with the first weight: both versions must begin to count then, and who was there
    before must be drawn as everybody else is, however long their pods have been there.
    """
    run = seen.run
    if run is None or seen.traffic is None:
        return None
    counts = run.status.weight > 0 and run.plan.stickiness is not None
    is_split = sum(part > 0 for part in weights.values()) > 1
    keeps = is_split and seen.traffic.stickiness.mode == "Arm"
    return run.name if counts or keeps else None


def _trial(seen: Observed, weights: Mapping[str, int], mirror: Mirror | None) -> Arms | None:
    """Return what the guards are told of the arms: by these weights and no others."""
    run = seen.run
    if run is None or run.status.canary is None:
        return None
    tested = [run.status.canary.name, *(arm.version for arm in run.status.testing)]
    copied = mirror.percent if mirror is not None and mirror.version in tested else 0
    shares = {name: copied or weights.get(name, 0) for name in tested}
    if not any(shares.values()):
        return None
    (canary, percent), *others = ((name, part) for name, part in shares.items() if part)
    return Arms(
        canary=canary,
        percent=percent,
        others=tuple(others),
        step=max(0, run.status.step),
        run=run.name,
        is_copied=copied > 0,
    )


def route(seen: Observed, world: World, raw: Raw, pods: Mapping[str, tuple[Pod, ...]]) -> Route:
    """Return what the router's object says, by version name."""
    run = seen.run
    if seen.traffic is None or run is None or run.status.stable is None:
        return Route()
    known = {
        ref.name
        for ref in (run.status.stable, run.status.canary, run.spec.from_, *contenders.tried(run))
        if ref is not None
    }
    if run.status.standby is not None:
        known.add(run.status.standby.version.name)
    weights = {name: 0 for name in known} | capacity.declared(run)
    router = routes.router_for(seen.traffic)
    stored = {
        kind.kind: world.store.get(kind.kind, seen.key.namespace, seen.key.name)
        for kind in router.kinds
    }
    state = router.read(split(seen, raw, weights, pods), stored)
    if state.reason in (None, Reason.WEIGHT_NOT_IN_FORCE):
        note = state.message[:1024]
        return Route(weights=state.weights, mirror=state.mirror, accepted=state.accepted, note=note)
    failure = Failure(reason=str(state.reason), message=state.message[:1024])
    return Route(
        weights=state.weights, mirror=state.mirror, accepted=state.accepted, failure=failure
    )
