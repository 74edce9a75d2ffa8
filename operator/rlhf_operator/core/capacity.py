"""How many pods each version gets and how much weight the ready ones may carry.

The record says what is wanted; here the GPU arithmetic says how to get there. While traffic
moves from one version to another, both together never want more pods than `replicas` plus
the surge, and a version never carries more than its ready pods were sized for: the weight in
the router rises in stages towards the declared one, and never above it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from rlhf_operator.api.common import Failure, VersionRef
from rlhf_operator.api.model import ModelSpec, Rollout
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import Outcome, RolloutStatus, RunType
from rlhf_operator.core import contenders
from rlhf_operator.core.mirrors import Mirror
from rlhf_operator.core.observed import Observed, Run
from rlhf_operator.core.sizes import pods_for, sized, surge_pods

AT_ONCE = frozenset({RunType.ROLLBACK, RunType.FALLBACK})
"""Runs that flee: traffic moves when one pod is ready, and the rest is scaled up after."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """What the cluster should look like next, for one model."""

    pods: Mapping[str, int]
    """Pods by version name; a version that is not named should have no Deployment."""
    weights: Mapping[str, int]
    """Percent by version name for the router, always summing to 100; empty: touch no route."""
    mirror: Mirror | None = None
    """The copies that the router makes of requests beside."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """Traffic on its way from one version to another, or to several that are tested."""

    incoming: Mapping[str, int]
    """Percent that each incoming version is wanted to get, by name."""
    outgoing: str


def declared(run: Run) -> dict[str, int]:
    """Return the weights that the record wants, by version name."""
    status = run.status
    if status.stable is None:
        return {}
    if status.canary is None:
        return at_rest(status)
    # A shadow has no others beside it.
    shares = {} if run.is_shadow else contenders.shares(status)
    return _beside(status.stable.name, shares)


def at_rest(status: RolloutStatus) -> dict[str, int]:
    """Return the weights of a record that tries nothing: all, but for a control arm's share."""
    if status.stable is None:
        return {}
    arm = status.standby if status.standby and status.standby.weight > 0 else None
    held = {arm.version.name: arm.weight} if arm is not None else {}
    return {status.stable.name: 100 - sum(held.values())} | held


def mirror(run: Run) -> Mirror | None:
    """Return the copies of requests that the record wants."""
    status = run.status
    if not run.is_shadow or status.canary is None or status.weight == 0:
        return None
    return Mirror(version=status.canary.name, percent=status.weight)


def is_in_force(seen: Observed, run: Run) -> bool:
    """Return whether the router does what the record wants."""
    return seen.route.does(declared(run), mirror(run))


def pods_before_weight(run: Run, replicas: int) -> int:
    """Return how many pods of the canary must be ready before its first weight."""
    return replicas if run.plan.strategy == "BlueGreen" else 1


def too_small(rollout: Rollout, replicas: int) -> Failure | None:
    """Return why a shadow cannot get the pods that its share of requests takes.

    One with too few would be slow by its place and not by its nature.
    """
    if rollout.shadow is None:
        return None
    percent = rollout.shadow.percent
    wanted, most = pods_for(percent, replicas), surge_pods(rollout.surge, replicas)
    if wanted <= most:
        return None
    return Failure(
        reason=Reason.SURGE_TOO_SMALL,
        message=f"copies of {percent}% of the requests take {wanted} pods and surge "
        f"{rollout.surge} allows {most}: copy {100 * most // replicas}% at most, or set surge "
        "to Full",
    )


def is_drained(run: Run, now: datetime, drain: timedelta) -> bool:
    """Return whether what the traffic left has had its time to finish its answers."""
    at = run.status.in_force_at
    return at is not None and now >= at + drain


def layout(seen: Observed, drain: timedelta) -> Layout:
    """Return the next layout towards what the newest record wants."""
    run, spec = seen.run, seen.spec
    if run is None or run.status.stable is None:
        return Layout(pods={}, weights={})
    if spec is None:
        return _retreat(seen, run)
    move, copies = _move(run, seen.now, drain), None
    if move is not None and run.is_shadow and run.is_active:
        pods, weights, copies = _shadowing(seen, run, spec, move)
    elif move is not None:
        pods, weights = _moving(seen, run, spec, move, drain)
    else:
        pods, weights = _resting(seen, run, spec, drain)
    _add(pods, seen.fallback, spec.fallback.replicas)
    _add(pods, *_standby(seen, run, spec, drain))
    return Layout(pods=pods, weights=weights, mirror=copies)


def _retreat(seen: Observed, run: Run) -> Layout:
    """Return how a run takes traffic away where the spec cannot be read: by the record alone.

    Pods stay as they are; what traffic flees to gets as many as what it flees from has.
    """
    stable = run.status.stable
    assert stable is not None
    left = run.status.outcome not in (None, Outcome.PROMOTED) or run.status.phase == "Parked"
    fled = run.spec.type in AT_ONCE and seen.workload(stable).ready > 0
    released = run.status.outcome is Outcome.PROMOTED and _is_released(run.status)
    pods = {}
    if run.spec.type in AT_ONCE:
        pods = {name: work.wanted for name, work in seen.workloads.items()}
        enough = (1, pods.get(stable.name, 0), seen.workload(run.spec.from_).wanted)
        pods[stable.name] = max(enough)
    weights = {stable.name: 100} if left or fled or released else _without_dropped(seen, run)
    return Layout(pods=pods, weights=weights)


def _without_dropped(seen: Observed, run: Run) -> dict[str, int]:
    """Return the weights without those of versions that were dropped; nothing is raised."""
    routed, status = seen.route.weights or {}, run.status
    gone = [arm for arm in status.arms if arm.state == "Dropped" and routed.get(arm.version, 0) > 0]
    if not run.is_active or not gone or status.stable is None:
        return {}
    shares = contenders.shares(status).items()
    return _beside(
        status.stable.name, {name: min(part, routed.get(name, 0)) for name, part in shares}
    )


def _is_released(status: RolloutStatus) -> bool:
    return status.standby is not None and status.standby.released is not None


def _standby(
    seen: Observed, run: Run, spec: ModelSpec, drain: timedelta
) -> tuple[VersionRef | None, int]:
    """Return what is kept warm and its pods: a control arm has as many as its traffic takes."""
    standby = run.status.standby
    if standby is None:
        return None, 0
    pods = spec.standby.replicas if seen.now < standby.until else 0
    if standby.weight > 0:
        pods = max(pods, pods_for(standby.weight, spec.serving.replicas))
    elif _is_released(run.status) and not is_drained(run, seen.now, drain):
        pods = max(pods, seen.workload(standby.version).wanted)
    over = seen.now >= standby.until and pods == 0
    return (None if over else standby.version), pods


def _add(pods: dict[str, int], version: VersionRef | None, count: int) -> None:
    if version is not None:
        pods[version.name] = max(pods.get(version.name, 0), count)


def _move(run: Run, now: datetime, drain: timedelta) -> Move | None:
    """Return the move under way: to the canary, or, after promotion, away from old stable."""
    status = run.status
    assert status.stable is not None
    if status.phase == "Parked" and not is_drained(run, now, drain):
        return None
    if status.outcome is None and status.canary is not None:
        return Move(incoming=contenders.shares(status), outgoing=status.stable.name)
    before = run.spec.from_
    if status.outcome is Outcome.PROMOTED and before is not None and before != status.stable:
        held = status.standby.weight if status.standby else 0
        if _is_released(status) or (held > 0 and is_drained(run, now, drain)):
            return None
        return Move(incoming={status.stable.name: 100 - held}, outgoing=before.name)
    return None


def _moving(
    seen: Observed, run: Run, spec: ModelSpec, move: Move, drain: timedelta
) -> tuple[dict[str, int], dict[str, int]]:
    replicas, (first, *_) = spec.serving.replicas, move.incoming
    if not run.is_active and is_drained(run, seen.now, drain):
        return {first: replicas}, {first: 100}
    if run.spec.type in AT_ONCE:
        # Nothing goes, and no traffic moves, before what is fled to can take it.
        pods = {name: work.wanted for name, work in seen.workloads.items() if work.wanted > 0}
        pods |= {first: replicas, move.outgoing: max(1, pods.get(move.outgoing, 0))}
        return pods, {first: 100} if _ready(seen, first) > 0 else {}
    at_once = run.plan.strategy == "BlueGreen"
    wanted = {
        name: replicas if at_once else pods_for(share, replicas)
        for name, share in move.incoming.items()
    }
    routed = {name: (seen.route.weights or {}).get(name, 0) for name in wanted}
    left = _draining(seen, run, drain)
    out, into = sized(run, replicas, wanted, sum(routed.values()), sum(left.values()))
    weights = {
        name: _carried(
            share,
            routed=routed[name],
            enough=_ready(seen, name) >= (into if run.plan.surge == "None" else wanted)[name],
            # Rounded up: of 3 pods 1 would carry 33 %, and the other 67 % want 3 pods still.
            ready=0 if at_once else -(-100 * _ready(seen, name) // replicas),
        )
        for name, share in move.incoming.items()
    }
    return left | into | {move.outgoing: out}, _beside(move.outgoing, weights)


def _carried(declared: int, *, routed: int, enough: bool, ready: int) -> int:
    """Return what a version may be given now; a fall to a lower weight never waits."""
    return declared if enough else min(declared, max(routed, ready))


def _draining(seen: Observed, run: Run, drain: timedelta) -> dict[str, int]:
    """Return the pods of versions that were dropped and may be answering still."""
    if is_drained(run, seen.now, drain):
        return {}
    there = contenders.still_there(seen, run)
    return {name: seen.workloads[name].wanted for name in there}


def _ready(seen: Observed, name: str) -> int:
    return seen.workloads[name].ready if name in seen.workloads else 0


def _shadowing(
    seen: Observed, run: Run, spec: ModelSpec, move: Move
) -> tuple[dict[str, int], dict[str, int], Mirror | None]:
    """Stable serves everything with all its pods; the shadow has pods for its copies."""
    replicas, ((name, declared),) = spec.serving.replicas, move.incoming.items()
    into = max(1, min(pods_for(declared, replicas), surge_pods(run.plan.surge, replicas)))
    copied = seen.route.mirror
    routed = copied.percent if copied is not None and copied.version == name else 0
    percent = declared if _ready(seen, name) >= into else min(declared, routed)
    copies = Mirror(version=name, percent=percent) if percent > 0 else None
    return {name: into, move.outgoing: replicas}, {move.outgoing: 100}, copies


def _beside(name_out: str, shares: Mapping[str, int]) -> dict[str, int]:
    """Return the weights where one version has what others do not get."""
    every = {name_out: 100 - sum(shares.values())} | dict(shares)
    return {name: part for name, part in every.items() if part > 0}


def _resting(
    seen: Observed, run: Run, spec: ModelSpec, drain: timedelta
) -> tuple[dict[str, int], dict[str, int]]:
    """Stable has it all; what was rolled back or parked drains first."""
    status = run.status
    assert status.stable is not None
    replicas = spec.serving.replicas
    pods = {status.stable.name: replicas}
    tried = contenders.tried(run)
    left_behind = status.outcome is not None or status.phase == "Parked"
    if left_behind and not is_drained(run, seen.now, drain):
        found = {ref.name: seen.workload(ref).wanted for ref in tried if ref != status.stable}
        left = {name: count for name, count in found.items() if count > 0}
        room = replicas + surge_pods(run.plan.surge, replicas) * len(tried) - sum(left.values())
        pods = {status.stable.name: max(1, min(replicas, room))} | left
    first = run.spec.type is RunType.INITIAL and status.in_force_at is None
    if first and seen.workload(status.stable).ready == 0:
        return pods, {}
    return pods, declared(run)
