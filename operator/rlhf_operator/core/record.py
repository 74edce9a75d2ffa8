"""From what was seen and decided to the next status of the record. Written before any deed.

Two kinds of change: what the decision says, told here, in `openings` and in `endings`, and facts
that must not be forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from rlhf_operator.api.decision import DecisionRecord
from rlhf_operator.api.evidence import Checkpoint, StepRecord
from rlhf_operator.api.reasons import ConditionType, Reason
from rlhf_operator.api.rollout import Outcome, RolloutStatus
from rlhf_operator.core import (
    baselines,
    conditions,
    contenders,
    endings,
    facts,
    mandatory,
    openings,
    pins,
    quarantines,
    repins,
    standings,
    steps,
    vetoes,
)
from rlhf_operator.core.decision import Action, Decision
from rlhf_operator.core.facts import Changes
from rlhf_operator.core.observed import Observed, Run

_GOOD_ENDS = frozenset({Outcome.PROMOTED, Outcome.PROVEN})


def next_status(
    seen: Observed,
    decision: Decision,
    *,
    epoch: int,
    drain: timedelta,
    checkpoint: Checkpoint | None = None,
    checkpoints: Mapping[str, Checkpoint] = standings.NO_CHECKPOINTS,
) -> RolloutStatus | None:
    """Return the status to write, or None when the stored one says it all.

    `checkpoint` is the canary's; `checkpoints` are those of other tested versions, by name.
    """
    run = seen.run
    if run is None or decision.action in (Action.START, Action.LIFT):
        return None
    changes = _decided(seen, run, decision)
    moved = "declared_at" in changes  # what a person says may change a record and no weight
    status = run.status.model_copy(update=changes)
    seen_now = facts.seen_now(seen, run, status, decision, drain, moved=moved)
    status = status.model_copy(update=seen_now)
    is_told = decision.action is Action.OPEN  # a record is opened with the reason why it was made
    if status.reason != decision.reason and run.is_active and not is_told:
        status = status.model_copy(
            update={"reason": str(decision.reason), "message": decision.message[:4096]}
        )
    status = status.model_copy(update=facts.evidence(seen, run, status, checkpoint, moved=moved))
    status = standings.noted(seen, status, checkpoints, moved=moved)
    if decision.action is Action.DROP:
        said = (decision.reason, decision.message)
        status = contenders.without(status, decision.arms, *said, seen.now)
    if decision.action is Action.PROMOTE and run.status.canary is not None:
        status = status.model_copy(update=_baseline(seen, run, status, checkpoint))
    if status == run.status:
        return None
    return status.model_copy(
        update={
            "epoch": max(epoch, run.status.epoch),
            "observed_generation": 1,
            "conditions": _conditions(seen, decision, status),
        }
    )


def _baseline(
    seen: Observed, run: Run, status: RolloutStatus, checkpoint: Checkpoint | None
) -> Changes:
    """Return what the canary showed, with which it is compared after its promotion.

    What stood beside a pinned objective takes its place from now on, and its name.
    """
    last, canary = checkpoint or run.status.checkpoint, run.status.canary
    mine = [each for each in last.counts if canary and each.version == canary.name] if last else []
    own = mandatory.own_names(seen.policies)
    found = baselines.of_run(status.slos, status.strata, mine)
    named = {own.get(each.slo, each.slo): each for each in found}
    kept = tuple(each.model_copy(update={"slo": name}) for name, each in named.items())
    return {"baseline": kept, "drifts": (), "drifts_at": None, "rules_since": None}


def _decided(seen: Observed, run: Run, decision: Decision) -> Changes:
    match decision.action:
        case Action.OPEN:
            changes = openings.opened(seen, run)
        case Action.ADVANCE | Action.PARK:
            changes = _new_weight(seen, run, decision)
        case Action.DROP:
            changes = _dropped(seen, run, decision)
        case Action.ROLL_BACK | Action.CONCLUDE:
            changes = endings.rolled_back(seen, run, decision)
        case Action.PROMOTE:
            changes = endings.promoted(seen, run, decision)
        case Action.BLOCK | Action.REFUSE:
            changes = {"force_block": True, "pins": pins.without_stable(run)}
            changes["refuse"] = decision.action is Action.REFUSE
        case Action.REPIN:
            changes = {"repin": decision.repin}
            if run.status.weight > 0:
                changes |= _new_weight(seen, run, decision)
            changes["strata"] = repins.still_asked(run, decision.repin, run.status.strata)
            shown = repins.still_asked(run, decision.repin, run.status.before_switch)
            changes["before_switch"] = shown
        case Action.RECOUNT:
            changes = _recounted(seen, run, decision)
        case Action.RELEASE:
            changes = endings.released(seen, run, decision)
        case Action.FORBID:
            changes = _forbidden(seen, run, decision)
        case Action.KEEP if decision.reason is Reason.NOT_THE_MODEL:
            changes = _not_the_model(run, decision)
        case Action.HOLD | Action.KEEP | Action.START | Action.LIFT:
            changes = {}
    if decision.act is not None and decision.refused is None:
        act = decision.act
        entry = DecisionRecord(
            name=act.name,
            action=act.action,
            step=act.step,
            slo=act.slo,
            until=act.expires_at if act.action == "Override" else None,
            author=act.author,
            via=act.via,
            reason=act.reason,
            at=seen.now,
        )
        changes["decisions"] = (*run.status.decisions, entry)[-64:]
        if act.action in ("Pause", "Resume"):
            changes["paused"] = act.action == "Pause"
    return changes


def _not_the_model(run: Run, decision: Decision) -> Changes:
    if run.status.not_the_model is not None:
        return {}
    return {"not_the_model": decision.message[:4096], "alike": decision.alike}


def _new_weight(seen: Observed, run: Run, decision: Decision) -> Changes:
    assert decision.step is not None and decision.weight is not None
    arms = contenders.weighed(run, has_traffic=decision.weight > 0)
    weight = decision.weight + sum(arm.weight for arm in arms)
    entry = StepRecord(index=decision.step, weight=weight, declared_at=seen.now)
    return {
        "step": decision.step,
        "weight": decision.weight,
        "phase": "Parked" if decision.action is Action.PARK else "Progressing",
        "declared_at": seen.now,
        "ready_since": seen.now,
        "in_force_at": None,
        "step_since": None,
        "blind_since": None,
        "reward_hacking_since": None,
        "awaiting": None,
        "held_for": "0s",
        "not_holding_since": None,
        "checkpoint": None,
        "arms": arms,
        "before_switch": facts.before_switch(seen, run, decision.weight),
        "steps": (*steps.closed(seen, run, decision), entry)[-64:],
        "reason": str(decision.reason),
        "message": decision.message[:4096],
    }


def _recounted(seen: Observed, run: Run, decision: Decision) -> Changes:
    changes = _new_weight(seen, run, decision)
    # The router does this weight already: no pod has to wait for it.
    changes |= {
        "in_force_at": seen.now,
        "steps": steps.begun(changes["steps"], seen.now),
        "before_switch": (),
        "rules_digest": seen.rules.agreed,
    }
    return changes | baselines.none(seen.now)  # of stable, which may go on alone


def _dropped(seen: Observed, run: Run, decision: Decision) -> Changes:
    """Return what a dropped version changes for all; that it is out comes after its evidence."""
    changes: Changes = {}
    if run.status.weight > 0:
        shares = contenders.shares(run.status)
        left = sum(part for name, part in shares.items() if name not in decision.arms)
        entry = StepRecord(index=run.status.step, weight=left, declared_at=seen.now)
        changes = {
            "declared_at": seen.now,
            "ready_since": seen.now,
            "in_force_at": None,
            "step_since": run.since,
            "awaiting": None,
            "checkpoint": None,
            "arms": contenders.uncounted(run),
            "steps": (*steps.closed(seen, run, decision), entry)[-64:],
        }
    gone = [view for view in contenders.views(seen) if contenders.named(view).name in decision.arms]
    if decision.quarantine:
        made = quarantines.made(seen, contenders.named(gone[0]), decision)
        changes["vetoes"] = (*vetoes.kept(run), made)
    return changes | {"reason": str(decision.reason), "message": decision.message[:4096]}


def _forbidden(seen: Observed, run: Run, decision: Decision) -> Changes:
    assert decision.act is not None, "a person forbids"
    name = vetoes.name_of(seen, decision.act.identity)
    veto = quarantines.vetoed(decision.act, name, seen.now)
    return {"vetoes": (*vetoes.kept(run), veto)}


def _conditions(seen: Observed, decision: Decision, status: RolloutStatus) -> Any:
    ended = status.outcome is not None
    found = (
        (
            conditions.Fact(
                type=ConditionType.READY,
                status="True" if status.outcome in _GOOD_ENDS else "False",
                reason=status.reason or str(decision.reason),
                message=status.message or "",
            ),
        )
        if ended
        else conditions.summarize(decision, target_serves=False)
    )
    assert seen.run is not None
    return conditions.merge(seen.run.status.conditions, found, seen.now, 1)
