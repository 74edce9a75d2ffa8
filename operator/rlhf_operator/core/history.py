"""The records of a model: which is the newest, what they quarantine, which may be pruned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from rlhf_operator.api.common import VersionRef
from rlhf_operator.api.model import History
from rlhf_operator.api.quarantine import Lift, QuarantineRecord
from rlhf_operator.api.reasons import ConditionType, Reason
from rlhf_operator.api.rollout import Outcome, Pin, RolloutStatus, RunType
from rlhf_operator.api.schema import GROUP, parse_duration
from rlhf_operator.core import conditions, contenders
from rlhf_operator.core.observed import Run

PIN_LABEL = f"{GROUP}/pin"
"""A record with this label is never pruned."""
MODEL_UID_LABEL = f"{GROUP}/model-uid"
"""Which model a record is of: one that was deleted and made anew has another uid."""


_CLOCKS = ("not_holding_since", "blind_since", "reward_hacking_since", "awaiting")
"""What a record waits for, and since when; one that has ended waits for nothing."""


def ordered(runs: Iterable[Run]) -> tuple[Run, ...]:
    """Return the records from the oldest to the newest."""
    return tuple(sorted(runs, key=lambda run: run.spec.revision))


def last_try(runs: Iterable[Run]) -> Run | None:
    """Return the newest record of a change of what is stable, if there is one."""
    beside = (RunType.RESTART, RunType.DRILL)
    return next((run for run in reversed(ordered(runs)) if run.spec.type not in beside), None)


def floor(runs: Iterable[Run]) -> VersionRef | None:
    """Return the fallback that the newest record with one names; needs no spec that can be read.

    Records of an old operator name it only where they are about it.
    """
    about = (RunType.INITIAL, RunType.FALLBACK, RunType.DRILL)
    for run in reversed(ordered(runs)):
        found = run.status.fallback or (run.spec.to if run.spec.type in about else None)
        if found is not None:
            return found
    return None


def quarantines(runs: Iterable[Run]) -> dict[str, tuple[str, QuarantineRecord]]:
    """Return the quarantines in force: identity to the record's name and content.

    Where several are of one identity a veto is told: what serves is left for it.
    """
    found: dict[str, tuple[str, QuarantineRecord]] = {}
    for run in runs:
        for record in run.status.quarantines:
            known = record.identity in found and record.author is None
            if record.lifted is None and not known:
                found[record.identity] = (run.name, record)
    return found


def lift(status: RolloutStatus, identity: str, lifted: Lift) -> RolloutStatus:
    """Return a record's status in which no quarantine of this identity is in force."""

    def ended(record: QuarantineRecord) -> QuarantineRecord:
        mine = record.identity == identity and record.lifted is None
        return record.model_copy(update={"lifted": lifted}) if mine else record

    changes: dict[str, Any] = {"vetoes": tuple(ended(record) for record in status.vetoes)}
    if status.quarantine is not None:
        changes["quarantine"] = ended(status.quarantine)
    return status.model_copy(update=changes)


def carried_out(runs: Iterable[Run], decision: str, made: datetime) -> str | None:
    """Return the record that carried a human decision out, if one did.

    A decision that was deleted and made anew under its name is another one, so the time when it
    was made counts; the API server tells it in whole seconds.
    """
    for run in runs:
        moments = [entry.at for entry in run.status.decisions if entry.name == decision]
        lifts = (record.lifted for record in run.status.quarantines)
        moments += [each.at for each in lifts if each is not None and each.decision == decision]
        if run.spec.cause.decision == decision:
            moments.append(run.status.started_at or made)
        if any(moment >= made for moment in moments):
            return run.name
    return None


def closed(run: Run, newest: Run | None, now: datetime, *, epoch: int) -> RolloutStatus:
    """Return the last status of an earlier record: what it left to do is the newest one's.

    One whose outcome is open is the record of a model that was deleted while nobody looked, or
    of a run against a version from which traffic fled.
    """
    changes: dict[str, Any] = {"settled_at": now, "phase": "Completed"}
    if run.is_active:
        outcome, reason, message = _cut_off(run, newest)
        fact = conditions.Fact(
            type=ConditionType.READY, status="False", reason=reason, message=message
        )
        changes |= {
            "outcome": outcome,
            "finished_at": now,
            "canary": None,
            "arms": contenders.closed(run.status.arms, reason, message, now),
            "weight": 0,
            **dict.fromkeys(_CLOCKS),
            "reason": reason,
            "message": message,
            "observed_generation": 1,
            "conditions": conditions.merge(run.status.conditions, (fact,), now, 1),
        }
    return run.status.model_copy(update={**changes, "epoch": max(epoch, run.status.epoch)})


def _cut_off(run: Run, newest: Run | None) -> tuple[Outcome, str, str]:
    """Return how a record ended that a newer one cut off."""
    if newest is None or newest.model_uid != run.model_uid:
        return Outcome.ABORTED, str(Reason.DELETED), "the model was deleted"
    if run.spec.type is RunType.DRILL:
        return Outcome.SUPERSEDED, str(Reason.SUPERSEDED), "traffic fled from what served"
    cause = newest.spec.cause
    return Outcome.ROLLED_BACK, cause.reason, f"traffic fled from stable {cause.message}"[:4096]


def spare_pins(runs: Sequence[Run], gone: Iterable[str]) -> tuple[Pin, ...]:
    """Return the pins that only records name which are to go, each once."""
    leaving = set(gone)
    kept = {pin.revision for run in runs if run.name not in leaving for pin in run.status.pins}
    found = {
        pin.revision: pin
        for run in ordered(runs)
        if run.name in leaving
        for pin in run.status.pins
        if pin.revision not in kept
    }
    return tuple(found.values())


def prunable(
    runs: Sequence[Run], pinned: frozenset[str], history: History, now: datetime
) -> tuple[str, ...]:
    """Return the names of records that may be deleted, oldest first.

    Never the two newest nor the last try, never a quarantine in force, never one that a person
    pinned.
    """
    tried = last_try(runs)
    done = [run for run in ordered(runs)[:-2] if run.is_settled and run is not tried]
    free = [
        run
        for run in done
        if run.name not in pinned
        and all(record.lifted is not None for record in run.status.quarantines)
    ]
    oldest = now - parse_duration(history.max_age)
    surplus = max(0, len(runs) - history.limit)
    return tuple(
        run.name
        for index, run in enumerate(free)
        if index < surplus or (run.status.finished_at or now) < oldest
    )
