"""Vetoes: identities that a person forbade, in what they say and on record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from rlhf_operator.api.quarantine import QuarantineRecord
from rlhf_operator.core import quarantines
from rlhf_operator.core.observed import Act, Observed, Run

MOST = 64
"""As many vetoes has one record room for."""


def pending(acts: Iterable[Act], now: datetime) -> dict[str, QuarantineRecord]:
    """Return what is forbidden by decisions that no record holds yet, the oldest of each.

    It binds from the moment it is seen: before the first run there is no record to hold it.
    """
    found: dict[str, QuarantineRecord] = {}
    for act in acts:
        expired = act.expires_at is not None and now > act.expires_at
        if act.action == "Veto" and act.identity is not None and not expired:
            found.setdefault(act.identity, quarantines.vetoed(act, None, now))
    return found


def in_force(
    recorded: Mapping[str, QuarantineRecord], acts: Iterable[Act], now: datetime
) -> dict[str, QuarantineRecord]:
    """Return the quarantines by identity: those on record, and vetoes that are not yet."""
    return {**pending(acts, now), **recorded}


def kept(run: Run) -> tuple[QuarantineRecord, ...]:
    """Return the vetoes of a record beside which one more has room: all, or those in force."""
    found = run.status.vetoes
    return found if len(found) < MOST else tuple(each for each in found if each.lifted is None)


def name_of(seen: Observed, identity: str | None) -> str | None:
    """Return under which name this model knows an identity, if it does."""
    status = seen.run.status if seen.run else None
    standby = status.standby.version if status and status.standby else None
    known = (status.canary, status.stable, standby) if status else ()
    tested = [arm.ref for arm in status.arms] if status else []
    refs = (*known, *tested, seen.target, seen.fallback, *seen.others)
    return next((ref.name for ref in refs if ref is not None and ref.identity == identity), None)
