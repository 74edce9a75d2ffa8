"""The control arm: after a promotion the previous version keeps a little traffic for a while.

Against it the promoted version is judged on the same live traffic. It is the standby of the
record, with a weight; it loses that for good, and how is told in the record.
"""

from __future__ import annotations

from datetime import datetime

from rlhf_operator.api.common import VersionRef
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.schema import parse_duration
from rlhf_operator.api.standby import Release, StandbyRecord
from rlhf_operator.core.observed import Observed, Run


def arm(run: Run | None) -> StandbyRecord | None:
    """Return the standby that keeps traffic as a control arm, if one does."""
    standby = run.status.standby if run is not None else None
    return standby if standby is not None and standby.weight > 0 else None


def standby(seen: Observed, run: Run, left: VersionRef | None) -> StandbyRecord:
    """Return how a promotion keeps what it leaves: warm, and with traffic if it may serve."""
    assert left is not None, "a promotion leaves something"
    if seen.spec is None:
        return StandbyRecord(version=left, until=seen.now)
    keep = parse_duration(seen.spec.standby.keep)
    restrained = run.status.force_block or run.status.refuse
    fit = seen.workload(left).ready > 0 and not seen.is_quarantined(left) and not restrained
    return StandbyRecord(
        version=left,
        until=seen.now + keep,
        # It keeps of what it has: the last step may have left it less.
        weight=min(seen.spec.standby.holdback, 100 - run.weight) if fit and keep else 0,
    )


def released(before: StandbyRecord, reason: Reason, why: str, now: datetime) -> StandbyRecord:
    """Return a standby without traffic; one that has none stays as it is."""
    if before.weight == 0:
        return before
    release = Release(at=now, reason=str(reason), message=why)
    return before.model_copy(update={"weight": 0, "released": release})


def inherited(seen: Observed) -> StandbyRecord | None:
    """Return what is kept warm, so that the new record alone says what is live."""
    before = seen.previous.status.standby if seen.previous else None
    if before is None or (seen.now >= before.until and before.weight == 0):
        return None
    return released(before, Reason.RELEASED, "another change of what is live", seen.now)
