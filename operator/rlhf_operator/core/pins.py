"""Which pinned pods a record goes on with, and which are rendered anew."""

from __future__ import annotations

from rlhf_operator.api.common import VersionRef
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import Pin, RolloutStatus, RunType
from rlhf_operator.core import capacity, contenders, holdback
from rlhf_operator.core.observed import Observed, Run

RESTRAINING = frozenset({Reason.NOTHING_SAFE, Reason.REFUSING})
"""Why a floor serves with a guard that blocks or refuses."""


def without_stable(run: Run) -> tuple[Pin, ...]:
    """Return the pins without that of what serves: it is rendered anew, with another guard."""
    stable = run.status.stable.name if run.status.stable else None
    return tuple(pin for pin in run.status.pins if pin.version != stable)


def inherited(seen: Observed, run: Run) -> tuple[Pin, ...]:
    """Return the pins of what serves or may serve at once, but of no pods that are made anew.

    A restart renders them from the spec of today; a floor that blocks has another guard. A
    version that was left and comes back is rendered anew too, unless traffic flees to it. What a
    flight leaves goes on as it is until it has drained.
    """
    found = seen.previous.status.pins if seen.previous else ()
    if seen.fallback is not None:
        standby = holdback.inherited(seen)
        flight = _in_flight(seen, run) if run.spec.type in capacity.AT_ONCE else ()
        kept_warm = standby.version if standby else None
        parts = (run.spec.from_, *flight, seen.fallback, kept_warm)
        kept = {ref.name for ref in parts if ref}
        found = tuple(pin for pin in found if pin.version in kept)
    renews = run.spec.type is RunType.RESTART or run.spec.cause.reason in RESTRAINING
    to = run.spec.to.name
    # A person may go back to a floor that was restrained just now: then it is to answer.
    fled = run.spec.type in capacity.AT_ONCE
    return tuple(
        pin for pin in found if pin.version != to or not (renews or (fled and pin.restrained))
    )


def is_restrained(run: Run, version: VersionRef) -> bool:
    """Return whether a version's guard blocks or refuses still: it is no place to flee to."""
    return any(pin.version == version.name and pin.restrained for pin in run.status.pins)


def has(run: Run, version: VersionRef) -> bool:
    """Return whether a version's pods can be made without the spec of today."""
    return any(pin.version == version.name for pin in run.status.pins)


def _in_flight(seen: Observed, run: Run) -> tuple[VersionRef, ...]:
    """Return what a flight leads to, and all that was tested by the run which it cuts off."""
    before = seen.previous
    tested = contenders.tried(before) if before and before.status.canary is not None else ()
    return (run.spec.to, *tested)


def before(seen: Observed, run: Run) -> tuple[Pin, ...]:
    """Return the pins with those that a restart made anew as they were before it."""
    name = run.spec.to.name
    earlier = seen.previous.status.pins if seen.previous else ()
    old = tuple(pin for pin in earlier if pin.version == name)
    if not old:
        return run.status.pins
    return (*(pin for pin in run.status.pins if pin.version != name), *old)


def unrestrained(status: RolloutStatus) -> tuple[Pin, ...]:
    """Return the pins without those of a restrained guard that has no traffic any more.

    Not before: while it had some, what is not safe must not come out of it.
    """
    stable = status.stable.name if status.stable else None
    return tuple(pin for pin in status.pins if pin.version == stable or not pin.restrained)
