"""The record's mirrors: the model's status, the versions' status, and the events.

All of it is derived; a lost write is repaired by the next pass.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from rlhf_operator.api.common import Failure, VersionRef
from rlhf_operator.api.model import ModelStatus, ModelVersionSummary
from rlhf_operator.api.quarantine import QuarantineRecord
from rlhf_operator.api.reasons import ConditionType, Reason
from rlhf_operator.api.rollout import Outcome, RolloutStatus
from rlhf_operator.api.version import Quarantine, VersionStatus
from rlhf_operator.core import (
    capacity,
    cautions,
    conditions,
    contenders,
    drills,
    names,
)
from rlhf_operator.core.conditions import Fact
from rlhf_operator.core.decision import Action, Decision
from rlhf_operator.core.observed import Observed, Run

_ARTIFACT_FAULTS = frozenset({Reason.ARTIFACT_MISMATCH, Reason.ARTIFACT_NOT_FOUND})
_WARNINGS = frozenset({Action.ROLL_BACK, Action.PARK, Action.BLOCK, Action.REFUSE, Action.FORBID})
_BAD = frozenset({Reason.SAFETY_FAILED, Reason.SLO_FAILED, Reason.UNPROVEN})
_TOLD = frozenset(
    {
        Action.START,
        Action.ADVANCE,
        Action.PROMOTE,
        Action.PARK,
        Action.ROLL_BACK,
        Action.DROP,
        Action.RELEASE,
        Action.CONCLUDE,
        Action.REPIN,
        Action.FORBID,
        Action.RECOUNT,
        Action.LIFT,
        Action.BLOCK,
        Action.REFUSE,
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """What a person is told once, when it happens."""

    type: str
    reason: str
    message: str


def events(
    decision: Decision, before: ModelStatus | None, run: Run | None = None
) -> tuple[Event, ...]:
    """Return the events of a transition; a pass that changes nothing tells nothing.

    `run` is the record as it stood before: from it is known whether a wait for people is new.
    """
    if decision.action in _TOLD:
        dropped = decision.action is Action.DROP and decision.reason is not Reason.OTHER_WON
        bad = dropped or decision.action in _WARNINGS or decision.reason in _BAD
        kind = "Warning" if bad else "Normal"
        return (Event(type=kind, reason=str(decision.reason), message=decision.message),)
    awaited = run.status.awaiting if run is not None else None
    if decision.awaiting is not None and decision.awaiting != awaited:
        return (Event(type="Normal", reason=str(decision.reason), message=decision.message),)
    known = {condition.type: condition for condition in before.conditions} if before else {}
    stalled = known.get(ConditionType.STALLED)
    if decision.stalled and (stalled is None or stalled.reason != decision.reason):
        return (Event(type="Warning", reason=str(decision.reason), message=decision.message),)
    return ()


def model_status(
    seen: Observed,
    decision: Decision,
    run: Run | None,
    before: ModelStatus | None,
    *,
    handled: str | None = None,
) -> ModelStatus:
    """Return the model's status: what is live now, and why."""
    status = run.status if run else None
    stable = status.stable if status else None
    serves = (
        stable is not None
        and seen.target is not None
        and stable.identity == seen.target.identity
        and seen.workload(stable).ready > 0
        and seen.invalid is None
    )
    calm = serves and not decision.stalled and _is_aside(seen, run)
    told = replace(decision, action=Action.KEEP) if calm else decision
    facts = (*conditions.summarize(told, target_serves=serves), *cautions.told(seen, run, before))
    earlier = before.conditions if before else ()
    return ModelStatus(
        observed_generation=seen.generation,
        phase=_phase(seen, told, serves=serves),
        message=f"{decision.reason}: {decision.message}"[:4096],
        stable=stable,
        canary=status.canary if status else None,
        weight=run.weight if run and run.status.canary else None,
        tested=_tested(status),
        copied=run.status.weight if run and run.status.canary and run.is_shadow else None,
        step=_step(run),
        rollout=run.name if run else None,
        fallback_proven_at=drills.proven_at(seen, run),
        replicas=seen.workload(stable).ready,
        selector=_selector(seen, stable),
        versions=_versions(seen, run),
        last_handled_reconcile_at=handled,
        conditions=conditions.merge(earlier, facts, seen.now, seen.generation),
    )


def _is_aside(seen: Observed, run: Run | None) -> bool:
    """Return whether what goes on is beside what serves: a drill, or a control arm that leaves."""
    if run is None:
        return False
    # A record that this pass settles was still on its way when the pass decided.
    if run.is_settled and (seen.run is None or seen.run.is_settled):
        return False
    standby = run.status.standby
    leaves = standby is not None and standby.released is not None
    return drills.is_drill(run) or (leaves and run.status.outcome is Outcome.PROMOTED)


def _phase(seen: Observed, decision: Decision, *, serves: bool) -> str:
    if seen.spec is not None and seen.spec.suspend:
        return "Suspended"
    if decision.reason is Reason.PAUSED:
        return "Paused"
    if decision.stalled:
        return "Degraded"
    return "Healthy" if serves and decision.action is Action.KEEP else "Progressing"


def _tested(status: RolloutStatus | None) -> str | None:
    """Return what every version under test gets, where there are several."""
    if status is None or not status.testing or status.canary is None:
        return None
    return ", ".join(f"{name} {part}%" for name, part in contenders.shares(status).items())


def _step(run: Run | None) -> str | None:
    if run is None or run.status.canary is None:
        return None
    return f"{run.status.step + 1}/{len(run.plan.steps)}"


def _selector(seen: Observed, stable: VersionRef | None) -> str | None:
    if stable is None:
        return None
    labels = names.selector(seen.key.name, stable.name)
    return ",".join(f"{label}={value}" for label, value in labels.items())


def _versions(seen: Observed, run: Run | None) -> tuple[ModelVersionSummary, ...]:
    rows, status = [], run.status if run else None
    weights = capacity.declared(run) if run is not None else {}
    for name, work in sorted(seen.workloads.items()):
        role = _role(seen, status, name)
        rows.append(
            ModelVersionSummary(
                name=name,
                role=role,
                weight=weights.get(name, 0),
                ready=f"{work.ready}/{work.wanted}",
            )
        )
    return tuple(rows[:16])


def _weight(run: Run | None, role: str, name: str) -> int | None:
    """Return the percent of the users' requests that a version answers, as declared."""
    weights = capacity.declared(run) if run is not None else {}
    return weights.get(name, 0 if run is not None and role in ("Stable", "Canary") else None)


def _role(
    seen: Observed, status: RolloutStatus | None, name: str
) -> Literal["Stable", "Canary", "Standby", "Fallback", "Draining"]:
    if status is not None and status.stable is not None and status.stable.name == name:
        return "Stable"
    if status is not None and status.canary is not None:
        tested = {status.canary.name, *(arm.version for arm in status.testing)}
        if name in tested:
            return "Canary"
    if status is not None and status.standby is not None and status.standby.version.name == name:
        return "Standby"
    if seen.fallback is not None and seen.fallback.name == name:
        return "Fallback"
    return "Draining"


def version_status(
    seen: Observed,
    run: Run | None,
    version: VersionRef,
    before: VersionStatus | None,
    generation: int,
    refused: Failure | None = None,
) -> VersionStatus:
    """Return the mirror of the record in one version's status."""
    status = run.status if run else None
    quarantine = seen.quarantines.get(version.identity)
    role = _role(seen, status, version.name)
    work = seen.workload(version)
    facts = (_usable(quarantine, refused, work.failure), *_verified(work.verified_at, before))
    return VersionStatus(
        observed_generation=generation,
        identity=version.identity,
        phase=_version_phase(role, quarantine, refused),
        weight=_weight(run, role, version.name),
        digest_verified=work.verified_at or (before.digest_verified if before else None),
        quarantine=Quarantine(
            reason=quarantine.message[:1024],
            rollout=seen.quarantine_records.get(version.identity, ""),
        )
        if quarantine
        else None,
        conditions=conditions.merge(
            before.conditions if before else (),
            [part for fact in facts for part in _with_stalled(fact)],
            seen.now,
            generation,
        ),
    )


def _version_phase(
    role: str, quarantine: QuarantineRecord | None, refused: Failure | None
) -> Literal["Available", "Canary", "Stable", "Standby", "Quarantined", "Refused"]:
    if refused is not None:
        return "Refused"
    if quarantine is not None:
        return "Quarantined"
    if role == "Stable":
        return "Stable"
    if role == "Canary":
        return "Canary"
    return "Standby" if role == "Standby" else "Available"


def _usable(
    quarantine: QuarantineRecord | None, refused: Failure | None, failure: Failure | None
) -> Fact:
    """Return Ready: whether this version may serve, as far as is known."""
    problem = refused
    if quarantine is not None:
        problem = Failure(reason=str(Reason.QUARANTINED), message=quarantine.message[:1024])
    if problem is None and failure is not None and failure.reason in _ARTIFACT_FAULTS:
        problem = failure
    return Fact(
        type=ConditionType.READY,
        status="False" if problem else "True",
        reason=problem.reason if problem else "Usable",
        message=problem.message if problem else "the version may serve",
    )


def _with_stalled(fact: Fact) -> tuple[Fact, ...]:
    if fact.type is not ConditionType.READY or fact.status == "True":
        return (fact,)
    return (fact, replace(fact, type=ConditionType.STALLED, status="True"))


def _verified(at: datetime | None, before: VersionStatus | None) -> tuple[Fact, ...]:
    if at is None and (before is None or before.digest_verified is None):
        return ()
    fact = Fact(
        type=ConditionType.VERIFIED,
        status="True",
        reason="Verified",
        message="a pod checked the artefact's digest before its server started",
    )
    return (fact,)
