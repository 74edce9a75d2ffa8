"""Contenders: the versions that a run tests at the same time, each judged as if it were alone.

The record has one of them as its canary and the others as its arms, with the same fields for
each. So the picture of any of them is the record with that one in front, and what holds of a
canary holds of all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from rlhf_operator.api.common import VersionRef
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import ArmRecord, RolloutStatus
from rlhf_operator.core.observed import NOTHING_SEEN, Observed, Run

_OWN = ("blind_since", "reward_hacking_since", "golden", "slos", "checkpoint", "strata")
"""The fields of a record that speak of its canary alone, as those of an arm speak of it."""


def in_front(status: RolloutStatus, version: str) -> RolloutStatus:
    """Return a record with one of its arms as the canary, and the canary in that one's place."""
    if status.canary is None or status.canary.name == version:
        return status
    chosen = next(arm for arm in status.arms if arm.version == version)
    former = ArmRecord(
        version=status.canary.name,
        identity=status.canary.identity,
        weight=status.weight,
        **{name: getattr(status, name) for name in _OWN},
    )
    return status.model_copy(
        update={
            "canary": chosen.ref,
            "weight": chosen.weight,
            "arms": tuple(former if arm is chosen else arm for arm in status.arms),
            **{name: getattr(chosen, name) for name in _OWN},
        }
    )


def shares(status: RolloutStatus) -> dict[str, int]:
    """Return the weight of each version that is tested, as declared; of a shadow, its copies."""
    if status.canary is None:
        return {}
    others = {arm.version: arm.weight for arm in status.testing}
    return {status.canary.name: status.weight} | others


def view(seen: Observed, version: str) -> Observed:
    """Return the picture with one tested version in front."""
    run = seen.run
    assert run is not None and run.status.canary is not None, "something is tested"
    if run.status.canary.name == version:
        return seen
    mine = seen.arms.get(version, NOTHING_SEEN)
    status = in_front(run.status, version)
    return replace(seen, run=replace(run, status=status), canary=mine.judged, golden=mine.golden)


def views(seen: Observed) -> tuple[Observed, ...]:
    """Return the picture once for each version that is tested; of most runs there is one."""
    run = seen.run
    if run is None or not run.is_active or run.status.canary is None:
        return ()
    return (seen, *(view(seen, arm.version) for arm in run.status.testing))


def named(seen: Observed) -> VersionRef:
    """Return the version that a picture has in front."""
    assert seen.run is not None and seen.run.status.canary is not None, "something is tested"
    return seen.run.status.canary


def tried(run: Run) -> tuple[VersionRef, ...]:
    """Return every version that a run is or was to test."""
    return (run.spec.to, *run.spec.others)


def begun(others: Iterable[VersionRef]) -> tuple[ArmRecord, ...]:
    """Return the arms of a run that begins."""
    return tuple(ArmRecord(version=each.name, identity=each.identity) for each in others)


def planned(run: Run) -> dict[str, int]:
    """Return the weight of each version that a test compares with stable; of no other run."""
    test = run.plan.ab_test
    if test is None:
        return {}
    return {run.spec.to.name: test.weight} | {each.version: each.weight for each in test.others}


def weighed(run: Run, *, has_traffic: bool) -> tuple[ArmRecord, ...]:
    """Return the arms at weights that are declared anew: what was counted before is closed."""
    weights = planned(run)
    return tuple(
        _uncounted(arm, weights[arm.version] if has_traffic else 0)
        if arm.state == "Testing"
        else arm
        for arm in run.status.arms
    )


def uncounted(run: Run) -> tuple[ArmRecord, ...]:
    """Return the arms at the weights that they have, when those of others change."""
    return tuple(
        _uncounted(arm, arm.weight) if arm.state == "Testing" else arm for arm in run.status.arms
    )


def _uncounted(arm: ArmRecord, weight: int) -> ArmRecord:
    anew = {"checkpoint": None, "blind_since": None, "reward_hacking_since": None}
    return arm.model_copy(update={"weight": weight, **anew})


def closed(
    arms: Iterable[ArmRecord], reason: Reason | str, message: str, now: datetime
) -> tuple[ArmRecord, ...]:
    """Return arms of which none is tested any more."""
    return tuple(
        arm if arm.state == "Dropped" else _dropped(arm, reason, message, now) for arm in arms
    )


def without(
    status: RolloutStatus, names: Iterable[str], reason: Reason, message: str, now: datetime
) -> RolloutStatus:
    """Return a record in which some of the tested versions are dropped, and not all."""
    gone = frozenset(names)
    assert status.canary is not None, "something is tested"
    left = [arm.version for arm in status.testing if arm.version not in gone]
    if status.canary.name in gone:
        status = in_front(status, left[0])
    arms = tuple(
        _dropped(arm, reason, message, now) if arm.version in gone else arm for arm in status.arms
    )
    return status.model_copy(update={"arms": arms})


def _dropped(arm: ArmRecord, reason: Reason | str, message: str, now: datetime) -> ArmRecord:
    told = {"reason": str(reason), "message": message[:4096], "at": now}
    return arm.model_copy(
        update={"state": "Dropped", "weight": 0, "checkpoint": None, "strata": (), **told}
    )


def still_there(seen: Observed, run: Run) -> tuple[str, ...]:
    """Return the dropped versions that have more pods than they keep: what they had drains."""
    kept = _kept(seen, run)
    return tuple(
        arm.version
        for arm in run.status.arms
        if arm.state == "Dropped" and seen.workload(arm.ref).wanted > kept.get(arm.version, 0)
    )


def _kept(seen: Observed, run: Run) -> dict[str, int]:
    """Return how many pods the floor and what is kept warm have for themselves, by name."""
    spec, standby = seen.spec, run.status.standby
    kept: dict[str, int] = {}
    if spec is not None and standby is not None and seen.now < standby.until:
        kept[standby.version.name] = spec.standby.replicas
    if spec is not None and seen.fallback is not None:
        floor = seen.fallback.name
        kept[floor] = max(spec.fallback.replicas, kept.get(floor, 0))
    return kept
