"""Rules that take traffic away: safety first, then availability, then the other objectives."""

from __future__ import annotations

from rlhf_operator.api.common import VersionRef
from rlhf_operator.api.evidence import SLOResult
from rlhf_operator.api.policy import SLOClass
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import RunType
from rlhf_operator.api.schema import parse_duration
from rlhf_operator.core import analysis, drills, mandatory, overrides, pins, plans, verdicts
from rlhf_operator.core.decision import Action, Decision, hold, keep, roll_back
from rlhf_operator.core.observed import Assessment, Observed, Run
from rlhf_operator.core.rules import control

UNSERVABLE = frozenset(
    {Reason.ARTIFACT_MISMATCH, Reason.ARTIFACT_NOT_FOUND, Reason.CODE_NOT_ALLOWED}
)
"""Failures of pods that waiting does not mend."""


def run_not_open(seen: Observed) -> Decision | None:
    """Give a record that was created its first status."""
    run = seen.run
    if run is None or run.is_open:
        return None
    return Decision(
        action=Action.OPEN, reason=Reason.STARTED, message=run.spec.cause.message, step=-1, weight=0
    )


def canary_unsafe(seen: Observed) -> Decision | None:
    """Take an unsafe canary out at once, whatever the step, the hold or the suspension.

    Where several failed at once one was dropped before, and at the weights that are left nothing
    may have been counted yet: what is on record of the others stands.
    """
    run = _running(seen)
    if run is None or run.status.canary is None:
        return None
    found = _failed(seen.canary or Assessment(results=run.status.slos), "Safety")
    if not found:
        return None
    return roll_back(Reason.SAFETY_FAILED, _at(run, found), quarantine=True)


def stable_unsafe(seen: Observed) -> Decision | None:
    """Leave an unsafe stable version for the previous one, or for the fallback."""
    run = seen.run
    found = _failed(seen.stable, "Safety")
    if run is None or run.status.stable is None or not found or _fails_alike(seen, run, found):
        return None
    stable, message = run.status.stable, verdicts.tell(found)
    reached = _reached_users(seen, run, found)
    return _flee(seen, run, stable, Reason.SAFETY_FAILED, message, reached=reached, evidence=found)


def stable_vetoed(seen: Observed) -> Decision | None:
    """Leave what a person forbade as an unsafe version is left."""
    run = seen.run
    if run is None or run.status.stable is None:
        return None
    veto = seen.quarantines.get(run.status.stable.identity)
    if veto is None or veto.author is None:
        return None
    return _flee(seen, run, run.status.stable, Reason.VETOED, veto.message, author=veto.author)


def canary_not_serving(seen: Observed) -> Decision | None:
    """End a run whose canary cannot start, is too slow to start, or stopped serving."""
    run = _running(seen)
    if run is None or run.status.canary is None:
        return None
    canary, work = run.status.canary, seen.workload(run.status.canary)
    if seen.is_quarantined(canary):
        record = seen.quarantines[canary.identity]
        return roll_back(Reason.QUARANTINED, f"{canary.name}: {record.message}")
    if work.failure is not None and work.failure.reason in UNSERVABLE:
        return roll_back(Reason(work.failure.reason), f"{canary.name}: {work.failure.message}")
    if work.ready > 0:
        return None
    if run.status.weight > 0 and run.status.in_force_at is not None:
        return roll_back(Reason.NOT_READY, f"{canary.name} has no ready pod any more")
    since = run.status.ready_since
    timeout = parse_duration(run.plan.ready_timeout)
    if since is not None and seen.now >= since + timeout:
        why = f": {work.failure.message}" if work.failure else ""
        return roll_back(
            Reason.NOT_READY,
            f"{canary.name} was not ready after {run.plan.ready_timeout}{why}",
        )
    return None


def stable_not_serving(seen: Observed) -> Decision | None:
    """Raise no weight while there is nothing to go back to."""
    run = _running(seen)
    if run is None or run.status.canary is None:
        return None
    work = seen.workload(run.status.stable)
    if work.ready > 0:
        return None
    assert run.status.stable is not None
    why = f": {work.failure.message}" if work.failure else ""
    return hold(Reason.STABLE_NOT_SERVING, f"{run.status.stable.name} has no ready pod{why}")


def canary_failed(seen: Observed) -> Decision | None:
    """Roll back on a failed Quality or Performance objective."""
    run = _running(seen)
    if run is None or run.status.canary is None or drills.is_drill(run):
        return None  # a floor need not be as good as what it is the floor of
    found = _failed(Assessment(results=overrides.gating(seen, run)), "Quality", "Performance")
    if not found:
        return None
    return roll_back(Reason.SLO_FAILED, _at(run, found), quarantine=True)


def stable_failed(seen: Observed) -> Decision | None:
    """Leave a promoted version of poor quality or speed for the previous one, if that is good."""
    run = seen.run
    if run is None or run.is_active or run.status.stable is None:
        return None
    if run.status.not_the_model is not None:
        return None
    overridden = {entry.slo for entry in overrides.in_force(run, seen.now)}
    found = tuple(
        each
        for each in _failed(seen.stable, "Quality", "Performance")
        if each.name not in overridden
    )
    if not found:
        return None
    stable, message = run.status.stable, verdicts.tell(found)
    previous = _previous(seen, run, stable)
    is_floor = (
        previous is not None
        and seen.fallback is not None
        and (previous.identity == seen.fallback.identity)
    )
    if previous is not None and not is_floor:
        told = f"{stable.name}: {message}"
        spec = plans.begin(
            seen, RunType.ROLLBACK, previous, Reason.SLO_FAILED, told, evidence=found
        )
        return Decision(action=Action.START, reason=Reason.SLO_FAILED, message=message, start=spec)
    if seen.target is None or seen.target.identity != stable.identity:
        return None  # what is asked for has its own rule, which starts it or says why not
    return keep(
        Reason.SLO_FAILED,
        f"{stable.name}: {message}; no previous version is good and warm, and the fallback is "
        "for safety alone: ship a better version, or make a RollBackTo decision",
        stalled=True,
    )


def _fails_alike(seen: Observed, run: Run, found: tuple[SLOResult, ...]) -> bool:
    """Return whether a move made for just this has not helped, so that none follows by itself.

    To block or to refuse is no move: what has no place to go to is restrained all the same.
    """
    known, stable = run.status.alike, run.status.stable
    if run.status.not_the_model is None or stable is None:
        return False
    same = not known or all(f"{each.policy}/{each.name}" in known for each in found)
    return same and _refuge(seen, run, stable) is not None


def _running(seen: Observed) -> Run | None:
    return seen.run if seen.run is not None and seen.run.is_active else None


def _failed(assessment: Assessment | None, *classes: SLOClass) -> tuple[SLOResult, ...]:
    if assessment is None:
        return ()
    return tuple(
        result for class_ in classes for result in analysis.failed(assessment.results, class_)
    )


def _at(run: Run, found: tuple[SLOResult, ...]) -> str:
    assert run.status.canary is not None
    return f"{run.status.canary.name} at {run.plan.told(run.status.weight)}: {verdicts.tell(found)}"


def _flee(
    seen: Observed,
    run: Run,
    stable: VersionRef,
    reason: Reason,
    message: str,
    *,
    author: str | None = None,
    reached: bool = True,
    evidence: tuple[SLOResult, ...] = (),
) -> Decision | None:
    """Leave stable, and with it a run against it, at once.

    To end the run first would let an unsafe version serve until that is proven anew: what was
    counted of it speaks of the weights that end.
    """
    refuge = _refuge(seen, run, stable)
    if refuge is None:
        return _nothing_safe(seen, run, stable, message, evidence, reached=reached)
    kind = RunType.FALLBACK if refuge == seen.fallback else RunType.ROLLBACK
    told = f"{stable.name}: {message}"
    spec = plans.begin(seen, kind, refuge, reason, told, author=author, evidence=evidence)
    return Decision(action=Action.START, reason=reason, message=message, start=spec)


def _refuge(seen: Observed, run: Run, stable: VersionRef) -> VersionRef | None:
    """Return where to flee: the previous stable if it is good and warm, else the fallback.

    Safety waits for nobody to mend a spec: the record alone tells of both, and of their pods.
    """
    previous = _previous(seen, run, stable)
    if previous is not None:
        return previous
    fallback = seen.fallback
    same = fallback is not None and fallback.identity == stable.identity
    if fallback is None or same or seen.is_quarantined(fallback):
        return None
    unsaid = seen.spec is None or fallback.name in seen.deleted_versions
    if unsaid and not pins.has(run, fallback):
        return None  # nothing says what its pods would be
    return None if pins.is_restrained(run, fallback) else fallback


def _previous(seen: Observed, run: Run, stable: VersionRef) -> VersionRef | None:
    """Return the previous stable if it is good and warm."""
    standby = run.status.standby
    if (
        standby is not None
        and standby.version != stable
        and not seen.is_quarantined(standby.version)
        and not pins.is_restrained(run, standby.version)
        and seen.workload(standby.version).ready > 0
    ):
        return standby.version
    return None


def _reached_users(seen: Observed, run: Run, found: tuple[SLOResult, ...]) -> bool:
    """Return whether what failed counts what users got, and not only what was made and blocked."""
    pinned = run.status.canary is not None
    policies = mandatory.binding(run.policies, seen.policies) if pinned else seen.policies
    blocked = {
        (policy.name, slo.name)
        for policy in policies
        for slo in policy.slos
        if slo.indicator is not None and slo.indicator.type == "UnsafeGeneratedRate"
    }
    return any((result.policy, result.name) not in blocked for result in found)


def _nothing_safe(
    seen: Observed,
    run: Run,
    stable: VersionRef,
    message: str,
    evidence: tuple[SLOResult, ...],
    *,
    reached: bool,
) -> Decision | None:
    """Do as `whenNothingIsSafe` says; a version that may be the cure still gets its run."""
    way = seen.spec.rollout.when_nothing_is_safe if seen.spec is not None else "KeepServing"
    refuses = way == "Refuse" and reached
    done = run.status.refuse or (run.status.force_block and not refuses)
    if way == "KeepServing" or done:
        if run.is_active or (seen.target and seen.target.identity != stable.identity):
            return None
        if control.control_over(seen) is not None:
            return None  # what may not or cannot serve beside it keeps no traffic either
        why = "" if seen.spec is not None else ", for the spec cannot be read"
        how = "every guard rule blocks" if run.status.force_block else f"it goes on serving{why}"
        how = "every request is refused" if run.status.refuse else how
        return keep(Reason.NOTHING_SAFE, f"{message}; {how}", stalled=True)
    if run.is_active and run.spec.type is RunType.RESTART:
        return roll_back(Reason.NOTHING_SAFE, message)  # its pods are not yet what they will be
    reason = Reason.REFUSING if refuses else Reason.NOTHING_SAFE
    how = "every request is refused" if refuses else "every guard rule blocks"
    said = f"{stable.name}: {message}; {how} from now on"
    floor = seen.fallback
    if floor is None or floor == stable or floor.name in seen.deleted_versions:
        action = Action.REFUSE if refuses else Action.BLOCK
        return Decision(action=action, reason=reason, message=said, stalled=True)
    spec = plans.begin(seen, RunType.FALLBACK, floor, reason, said, evidence=evidence)
    return Decision(action=Action.START, reason=reason, message=said, start=spec)
