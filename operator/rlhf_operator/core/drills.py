"""Drills of the way back: the fallback gets a little traffic on schedule, as a run of its own.

A drill is one more record in the same line: its canary is the fallback, it has one step, and its
end changes nothing of what is live. Only an answer that a user got from the fallback is a proof.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from rlhf_operator.api.measure import Indicator
from rlhf_operator.api.plan import PinnedPolicy, Plan
from rlhf_operator.api.policy import SLO
from rlhf_operator.api.reasons import ConditionType, Reason
from rlhf_operator.api.rollout import FallbackProof, Outcome, RolloutSpec, RolloutStatus, RunType
from rlhf_operator.api.schema import parse_duration
from rlhf_operator.api.strategies import Step
from rlhf_operator.core import plans
from rlhf_operator.core.conditions import Fact
from rlhf_operator.core.decision import Decision
from rlhf_operator.core.observed import Observed, Run

ANSWERS = SLO.model_validate(
    {
        "name": "drill-answers",
        "class": "Informational",
        "indicator": Indicator(type="UnsafeServedRate"),
        "max": "1",
        "failureLimit": 1,
    }
)
"""What a drill counts beside the objectives of the model: answers that users got."""
_MOST_SLOS = 32
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def running(seen: Observed) -> Run | None:
    """Return the drill in progress, if one is."""
    run = seen.run
    going = run is not None and run.is_active and run.status.canary is not None
    return run if going and is_drill(run) else None


def is_drill(run: Run | None) -> bool:
    """Return whether a record is one of a drill."""
    return run is not None and run.spec.type is RunType.DRILL


def due(seen: Observed) -> datetime | None:
    """Return when the next drill is due; None where there is nothing to prove.

    That is the first turn of the model after the last proof, or since there has been something
    to prove.
    """
    run, spec, fallback = seen.run, seen.spec, seen.fallback
    if run is None or spec is None or spec.rollback_drill is None or fallback is None:
        return None
    status = run.status
    if status.stable is None or status.stable.identity == fallback.identity:
        return None
    proof = status.proof
    known = proof is not None and proof.version.identity == fallback.identity
    since = status.unproven_since or status.finished_at
    moments = [proof.at if proof is not None and known else since]
    if is_drill(run) and status.outcome is not Outcome.SUPERSEDED:
        moments.append(status.finished_at)
    found = [moment for moment in moments if moment is not None] or [seen.now]
    return turn(run.model_uid, max(found), parse_duration(spec.rollback_drill.every))


def turn(uid: str, after: datetime, every: timedelta) -> datetime:
    """Return the first turn of a model after an instant: one in each interval, by its uid alone.

    The turns of many models are spread evenly over the interval, whatever happened to all of
    them at once.
    """
    share = int(hashlib.sha256(uid.encode()).hexdigest()[:12], 16) / 16**12
    first = _EPOCH + every * share
    return first + every * ((after - first) // every + 1)


def begin(seen: Observed) -> RolloutSpec:
    """Return the record of a drill: stable keeps all of its pods, whatever the surge."""
    spec, run = seen.spec, seen.run
    assert spec is not None and spec.rollback_drill is not None, "only a spec asks for drills"
    assert run is not None and run.status.stable is not None and seen.fallback is not None
    asked = spec.rollback_drill
    rollout = spec.rollout
    plan = Plan(
        steps=(Step(weight=asked.percent, hold=asked.hold),),
        surge="Full",
        ready_timeout=rollout.ready_timeout,
        max_hold=rollout.max_hold,
        max_blind=rollout.max_blind,
        on_inconclusive=rollout.on_inconclusive,
    )
    return plans.begin(
        seen,
        RunType.DRILL,
        seen.fallback,
        Reason.DRILL,
        f"{seen.fallback.name} gets {asked.percent}% beside {run.status.stable.name} for "
        f"{asked.hold}, to prove that it serves",
        pinned=plan,
        policies=_with_answers(seen.policies),
    )


def _with_answers(policies: tuple[PinnedPolicy, ...]) -> tuple[PinnedPolicy, ...]:
    """Return the policies with the count of answers in the first that has room for it."""
    for place, policy in enumerate(policies):
        if len(policy.slos) < _MOST_SLOS:
            counting = policy.model_copy(update={"slos": (*policy.slos, ANSWERS)})
            return (*policies[:place], counting, *policies[place + 1 :])
    return policies


def answers(seen: Observed) -> int:
    """Return how many answers users got from the fallback in this drill."""
    results = seen.canary.results if seen.canary is not None else ()
    return max((each.samples or 0 for each in results if each.name == ANSWERS.name), default=0)


def ended(seen: Observed, run: Run, decision: Decision) -> dict[str, Any]:
    """Return what the end of a drill changes of its record; what put it off proves nothing."""
    if not is_drill(run):
        return {}
    outcome = decision.outcome
    if outcome is Outcome.ROLLED_BACK and not decision.quarantine:
        outcome = Outcome.UNPROVEN  # a fallback that is not there in time is not to blame
    if outcome in (Outcome.SUPERSEDED, Outcome.ABORTED):
        return {"outcome": outcome}
    before = run.status.proof
    same = before is not None and before.version.identity == run.spec.to.identity
    proven = outcome is Outcome.PROVEN
    last = before.proven_at if before is not None and same else None
    proof = FallbackProof(
        version=run.spec.to,
        proven=proven,
        at=seen.now,
        proven_at=seen.now if proven else last,
        message=decision.message[:4096],
    )
    return {"outcome": outcome, "proof": proof}


def unproven_since(seen: Observed, status: RolloutStatus) -> datetime:
    """Return since when something else than the fallback serves, when a canary is promoted."""
    left, fallback = status.stable, seen.fallback
    returned = left is not None and fallback is not None and left.identity == fallback.identity
    known = status.unproven_since
    return seen.now if known is None or returned else known


def proof_of(seen: Observed, run: Run | None) -> FallbackProof | None:
    """Return what a drill showed of the present fallback."""
    proof, fallback = run.status.proof if run is not None else None, seen.fallback
    if proof is None or fallback is None:
        return None
    return proof if proof.version.identity == fallback.identity else None


def proven_at(seen: Observed, run: Run | None) -> datetime | None:
    """Return when a drill last proved that the present fallback serves."""
    proof = proof_of(seen, run)
    return proof.proven_at if proof is not None else None


def facts(seen: Observed, run: Run | None) -> Iterable[Fact]:
    """Yield whether going back to the fallback was proven, as far as that is wanted or known."""
    proof, when = proof_of(seen, run), due(seen)
    if proof is None and when is None:
        return
    if proof is None:
        status, reason, message = "Unknown", "NoDrillYet", "there was no drill of the way back yet"
    else:
        status = "True" if proof.proven else "False"
        reason = str(Reason.PROVEN if proof.proven else Reason.UNPROVEN)
        message = f"{proof.message}, at {proof.at:%Y-%m-%d %H:%M} UTC"
    yield Fact(type=ConditionType.FALLBACK_PROVEN, status=status, reason=reason, message=message)
