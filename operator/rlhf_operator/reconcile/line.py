"""One pass over one model: observe, decide, report, act."""

from __future__ import annotations

import zlib
from collections.abc import Coroutine
from datetime import datetime, timedelta

from rlhf_operator.core import capacity, contenders, rollout
from rlhf_operator.core.decision import Action, Decision
from rlhf_operator.core.observed import Key, Observed, Run
from rlhf_operator.core.subject import subjects
from rlhf_operator.reconcile import report
from rlhf_operator.reconcile.act import act, steer
from rlhf_operator.reconcile.observe import observe
from rlhf_operator.reconcile.ports import World

_SOON = timedelta(seconds=2)
_STEADY = timedelta(seconds=45)
_SPREAD = timedelta(seconds=15)
_RESYNC = timedelta(minutes=5)
_AT_ONCE = frozenset({Action.START, Action.OPEN, Action.LIFT})


async def reconcile(key: Key, world: World, now: datetime) -> datetime | None:
    """Bring one model one step closer to its spec; return when to look again."""
    seen = await observe(key, world, now)
    decision = rollout.decide(seen)
    run = await report.report(seen, decision, world)
    world.reported(seen, decision, run)
    if decision.action is not Action.START:
        # At once: what fails below must leave no weight unjudged, nor judged by earlier rules.
        _follow(seen, run, world)
    await report.tell(seen, decision, run, world)
    if decision.action is Action.START:
        return now  # the next pass opens the record, and then there is something to mirror
    if not seen.deleted and _takes_weight_away(decision, run):
        # Where many versions fail at once no mirror is written and no pod is touched before the
        # last has lost its weight: the next pass, which comes after all that are urgent, does it.
        await steer(seen, run, world)
        return now
    failed = None
    if decision.refused is None:  # that a person was refused says nothing of the model
        failed = await _attempt(report.mirror_model(seen, decision, run, world))
    await act(seen, run, world)
    if failed is not None:
        raise failed
    await report.close_earlier(seen, run, world)
    await report.mirror_versions(seen, run, world)
    await report.mirror_decision(seen, decision, world)
    return _wake(seen, decision, run, world)


def _takes_weight_away(decision: Decision, run: Run | None) -> bool:
    if decision.action is Action.OPEN:
        return run is not None and run.spec.type in capacity.AT_ONCE
    taking = (Action.ROLL_BACK, Action.DROP, Action.PARK, Action.RELEASE, Action.CONCLUDE)
    return decision.action in taking


async def _attempt(mirror: Coroutine[None, None, None]) -> Exception | None:
    """Write a mirror of the record; a deed does not wait for one that cannot be written."""
    try:
        await mirror
    except Exception as error:
        return error
    return None


def _follow(seen: Observed, run: Run | None, world: World) -> None:
    wanted = () if seen.deleted else subjects(seen, run)
    if wanted:
        world.slos.follow(*wanted)
    else:
        world.slos.forget(seen.key)


def _wake(seen: Observed, decision: Decision, run: Run | None, world: World) -> datetime | None:
    """Return when to look again if no event comes before."""
    if seen.deleted:
        return None
    if decision.action in _AT_ONCE or run != seen.run:
        return seen.now
    moments = [seen.now + (_RESYNC if decision.refused is None else _SOON)]
    if decision.wake is not None:
        moments.append(decision.wake)
    elif decision.action is Action.HOLD:
        moments.append(seen.now + _STEADY + _apart(seen.key))
    if run is not None and not run.is_settled:
        moments.append(seen.now + (_STEADY + _apart(seen.key) if _is_steady(run) else _SOON))
        leaves = not run.is_active or contenders.still_there(seen, run)
        if run.status.in_force_at is not None and leaves:
            drained = run.status.in_force_at + world.settings.drain
            moments.append(max(drained, seen.now + _SOON) if run.is_active else drained)
    standby = run.status.standby if run is not None else None
    if standby is not None and seen.now < standby.until:
        moments.append(standby.until)
    return min(moments)


def _apart(key: Key) -> timedelta:
    """Return a delay of a model's own: what began together is not looked at together for ever."""
    return _SPREAD * (zlib.crc32(f"{key.namespace}/{key.name}".encode()) % 1000) / 1000


def _is_steady(run: Run) -> bool:
    """Return whether a weight is in force and only time and verdicts can change anything."""
    status = run.status
    moving = status.weight > 0 or status.phase == "Parked" or status.awaiting is not None
    return run.is_active and moving and status.in_force_at is not None
