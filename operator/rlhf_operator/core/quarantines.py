"""The record of a version that may not serve: it failed, or a person forbade it."""

from __future__ import annotations

from datetime import datetime

from rlhf_operator.api.common import VersionRef
from rlhf_operator.api.quarantine import QuarantineRecord
from rlhf_operator.core.decision import Decision
from rlhf_operator.core.observed import Act, Observed


def made(seen: Observed, version: VersionRef, decision: Decision) -> QuarantineRecord:
    """Return the record of a version that a decision quarantines, by a person's word or not."""
    if decision.act is not None:
        return vetoed(decision.act, version.name, seen.now)
    return failed(seen, version, decision.message)


def failed(seen: Observed, version: VersionRef, message: str) -> QuarantineRecord:
    """Return the record of a version that failed, with its numbers."""
    return QuarantineRecord(
        identity=version.identity, version=version.name, message=message[:4096], at=seen.now
    )


def vetoed(act: Act, version: str | None, now: datetime) -> QuarantineRecord:
    """Return the record of a veto."""
    assert act.identity is not None, "a veto names an identity"
    return QuarantineRecord(
        identity=act.identity,
        version=version,
        message=f"vetoed by {act.by}: {act.reason}"[:4096],
        author=act.author,
        decision=act.name,
        at=now,
    )
