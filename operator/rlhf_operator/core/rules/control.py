"""Rules of the control arm: what takes away the traffic that the previous version kept."""

from __future__ import annotations

from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.standby import StandbyRecord
from rlhf_operator.core import analysis, holdback, verdicts
from rlhf_operator.core.decision import Action, Decision
from rlhf_operator.core.observed import Observed


def control_unsafe(seen: Observed) -> Decision | None:
    """Take an unsafe control arm out at once; it is no refuge either."""
    arm = holdback.arm(seen.run)
    found = analysis.failed(seen.control.results, "Safety") if seen.control is not None else ()
    if arm is None or not found:
        return None
    message = f"{arm.version.name} at {arm.weight}% as control arm: {verdicts.tell(found)}"
    return _release(Reason.SAFETY_FAILED, message, quarantine=True)


def control_over(seen: Observed) -> Decision | None:
    """End the control arm when its time is over, or when it may not or cannot serve."""
    arm = holdback.arm(seen.run)
    if arm is None:
        return None
    if seen.is_quarantined(arm.version):
        why = seen.quarantines[arm.version.identity].message
        return _release(Reason.QUARANTINED, f"{arm.version.name}: {why}")
    if seen.workload(arm.version).ready == 0:
        return _release(Reason.NOT_READY, f"{arm.version.name} has no ready pod any more")
    assert seen.run is not None, "an arm is of a record"
    # Before that the promoted version may lack the pods for what it would get at once.
    return _in_time(seen, arm) if seen.run.status.in_force_at is not None else None


def _in_time(seen: Observed, arm: StandbyRecord) -> Decision | None:
    share = f"{arm.version.name} gives up {arm.weight}%"
    if seen.now >= arm.until:
        return _release(Reason.RELEASED, f"{share}: it was kept as long as standby.keep says")
    if seen.spec is not None and seen.spec.standby.holdback == 0:
        return _release(Reason.RELEASED, f"{share}: standby.holdback is 0 now")
    return None


def _release(reason: Reason, message: str, *, quarantine: bool = False) -> Decision:
    return Decision(action=Action.RELEASE, reason=reason, message=message, quarantine=quarantine)
