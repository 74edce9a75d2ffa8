"""What a pass has seen and the record must not forget, whatever was decided.

Since when a weight is in force, since when safety is unseen, counts to go on from.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from rlhf_operator.api.evidence import ArmCount, Checkpoint, StratumRecord
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import RolloutStatus
from rlhf_operator.api.schema import format_duration, parse_duration
from rlhf_operator.core import baselines, capacity, contenders, pins, repins, reward_hacking, steps
from rlhf_operator.core.decision import Decision
from rlhf_operator.core.moments import moments_of
from rlhf_operator.core.observed import Assessment, Observed, Run
from rlhf_operator.core.stretches import (
    Past,
    Stretch,
    condensed,
    record_of,
    stretch_of,
    stretches,
)

Changes = dict[str, Any]
"""Fields of a RolloutStatus, with their new values."""

CHECKPOINT_EVERY = timedelta(seconds=60)
PROMOTED_CHECKPOINT_EVERY = timedelta(hours=1)
GROWING_CHECKPOINT_EVERY = timedelta(minutes=15)
"""While a baseline grows."""
MOST_STRATA = 2048
"""So many strata are kept apart in a record; beyond, neighbours are added up."""
_STANDING_STILL = frozenset(
    {
        Reason.SUSPENDED,
        Reason.PAUSED,
        Reason.FROZEN,
        Reason.SPEC_INVALID,
        Reason.AWAITING_APPROVAL,
    }
)


def seen_now(
    seen: Observed,
    run: Run,
    status: RolloutStatus,
    decision: Decision,
    drain: timedelta,
    *,
    moved: bool,
) -> Changes:
    """Return what was seen and must be remembered."""
    facts: Changes = {}
    if not run.is_open:
        return facts
    if not moved and status.in_force_at is None and capacity.is_in_force(seen, run):
        facts["in_force_at"] = seen.now
        facts["steps"] = steps.in_force(seen, status)
    if seen.spec is not None and seen.fallback is not None and _is_another_floor(seen, status):
        facts["fallback"] = seen.fallback
    if status.golden is None and seen.golden is not None:
        facts["golden"] = seen.golden
    if seen.baselines and not moved:
        facts["baseline"] = baselines.merged(status.baseline, seen.baselines)
    drained = seen.deleted or capacity.is_drained(run, seen.now, drain)
    if not run.is_active and not run.is_settled and drained and not moved:
        facts |= {"settled_at": seen.now, "phase": "Completed", "pins": pins.unrestrained(status)}
    if run.is_active and not moved:
        facts |= _clocks(seen, status, decision)
    if not moved:
        facts |= _drifts(seen, status) | _rules(seen, run, status)
    return facts


def _is_another_floor(seen: Observed, status: RolloutStatus) -> bool:
    """Return whether the spec names another floor than the record; an old record names none."""
    return status.fallback not in (None, seen.fallback)


def _drifts(seen: Observed, status: RolloutStatus) -> Changes:
    """Return how far the watch over stable's means is, once an hour.

    More often in the first hour: who is restarted again and again would never have a baseline.
    """
    if seen.drifts is None or seen.drifts == status.drifts:
        return {}
    grows = any(each.windows for each in seen.drifts)
    every = GROWING_CHECKPOINT_EVERY if grows else PROMOTED_CHECKPOINT_EVERY
    before = status.drifts_at or status.in_force_at
    if before is not None and seen.now < before + every:
        return {}
    return {"drifts": seen.drifts, "drifts_at": seen.now}


def _rules(seen: Observed, run: Run, status: RolloutStatus) -> Changes:
    """Return under which rules the guards count.

    A promoted version that counts by other rules than before has no baseline of them yet: its
    first hour under them makes one. Beside a control arm it stays as it was: what was counted
    since the promotion is of both.
    """
    agreed, known = seen.rules.agreed, status.rules_digest
    held = status.standby is not None and status.standby.weight > 0
    if agreed is None or agreed == known:
        return {}
    if known is not None and run.is_active and status.weight > 0:
        return {}  # that has a rule, which begins the step anew
    if known is None:
        return {"rules_digest": agreed}
    return {} if held else {"rules_digest": agreed} | baselines.none(seen.now)


def of_arm(
    seen: Observed, run: Run, status: RolloutStatus, checkpoint: Checkpoint | None, *, moved: bool
) -> Changes:
    """Return what was seen of one tested version, where a run tests several: what is its own."""
    facts: Changes = {}
    if status.golden is None and seen.golden is not None:
        facts["golden"] = seen.golden
    if run.is_active and not moved:
        facts |= _unseen(seen, status) | _suspicion(seen, status)
    return facts | evidence(seen, run, status, checkpoint, moved=moved)


def _clocks(seen: Observed, status: RolloutStatus, decision: Decision) -> Changes:
    facts = _unseen(seen, status) | _suspicion(seen, status)
    if decision.awaiting is not None and decision.awaiting != status.awaiting:
        facts["awaiting"] = decision.awaiting
    still = decision.reason in _STANDING_STILL
    if still and status.not_holding_since is None:
        facts["not_holding_since"] = seen.now
    if not still and status.not_holding_since is not None:
        held = parse_duration(status.held_for) + (seen.now - status.not_holding_since)
        facts |= {"not_holding_since": None, "held_for": format_duration(held)}
    return facts


def _unseen(seen: Observed, status: RolloutStatus) -> Changes:
    unseen = status.weight > 0 and seen.canary is not None and bool(seen.canary.blind)
    if unseen and status.blind_since is None:
        return {"blind_since": seen.now}
    if not unseen and seen.canary is not None and status.blind_since is not None:
        return {"blind_since": None}
    return {}


def _suspicion(seen: Observed, status: RolloutStatus) -> Changes:
    """Return since when reward hacking is suspected; what was not judged keeps what was known."""
    if seen.canary is None or seen.run is None or status.canary is None:
        return {}
    suspected = reward_hacking.suspicion(seen, seen.run) is not None
    if suspected and status.reward_hacking_since is None:
        return {"reward_hacking_since": seen.now}
    if not suspected and status.reward_hacking_since is not None:
        return {"reward_hacking_since": None}
    return {}


def evidence(
    seen: Observed, run: Run, status: RolloutStatus, checkpoint: Checkpoint | None, *, moved: bool
) -> Changes:
    """Return counts and results to go on from: with every decision, else once a minute."""
    if not run.is_active and not moved:
        return _held_back(seen, status, checkpoint)
    if not run.is_active or seen.canary is None or (status.weight == 0 and not moved):
        return {}
    streaks = [(slo.policy, slo.name, slo.failures) for slo in seen.canary.results]
    known = [(slo.policy, slo.name, slo.failures) for slo in run.status.slos]
    last = run.status.checkpoint
    # Until the first one is due a successor counts from the start of the weight.
    before = last.at if last is not None else status.in_force_at
    due = before is not None and seen.now >= before + CHECKPOINT_EVERY
    if not moved and not due and streaks == known:
        return {}
    kept: Changes = {"slos": seen.canary.results}
    if moved and run.status.weight > 0:
        strata = _strata(seen.canary, run, checkpoint or last)
        anew = status.repin if status.repin != run.status.repin else None
        kept["strata"] = repins.still_asked(run, anew, strata)
    elif checkpoint is not None and not moved:
        kept["checkpoint"] = checkpoint
    return kept


def before_switch(seen: Observed, run: Run, weight: int) -> tuple[ArmCount, ...]:
    """Return what stable has shown, where the canary is about to get all its traffic.

    From then on stable shows nothing, and this is all that there is to compare with.
    """
    if weight == run.weight == 100:  # another plan of the same switch
        return run.status.before_switch
    if run.plan.strategy != "BlueGreen" or weight < 100 or seen.stable is None:
        return ()
    return tuple(
        ArmCount(
            slo=f"{each.policy}/{each.name}",
            version=each.version,
            events=min(each.events, each.samples),
            samples=each.samples,
        )
        for each in seen.stable.results
        if each.events is not None and each.samples
    )


def _recorded(name: str, run: Run, checkpoint: Checkpoint | None) -> Stretch:
    """Return what was counted before nothing could be seen any more.

    Values of several scorers are no evidence: where they were added up, they are left out.
    """
    status = run.status
    found = (
        {
            each.version: each
            for each in checkpoint.counts
            if each.slo == name and "," not in (each.scorer or "")
        }
        if checkpoint
        else {}
    )
    mine = found.get(status.canary.name) if status.canary else None
    other = found.get(status.stable.name) if status.stable else None
    return Stretch(
        events=mine.events if mine else 0,
        samples=mine.samples if mine else 0,
        stable_events=other.events if other else 0,
        stable_samples=other.samples if other else 0,
        firsts=_first_of(mine, other),
        moments=moments_of(mine.sums if mine else None),
        stable_moments=moments_of(other.sums if other else None),
    )


def _first_of(mine: ArmCount | None, other: ArmCount | None) -> Stretch | None:
    """Return what the versions had counted of users, if all that counted told it."""
    if mine is None or mine.first_samples is None or (other and other.first_samples is None):
        return None
    return Stretch(
        events=mine.first_events or 0,
        samples=mine.first_samples,
        stable_events=(other.first_events or 0) if other else 0,
        stable_samples=(other.first_samples or 0) if other else 0,
    )


def _held_back(seen: Observed, status: RolloutStatus, checkpoint: Checkpoint | None) -> Changes:
    """Return what a promoted version showed beside its control arm, once an hour."""
    held = status.standby is not None and status.standby.weight > 0
    if not held or seen.stable is None or checkpoint is None or status.in_force_at is None:
        return {}
    before = status.checkpoint.at if status.checkpoint is not None else status.in_force_at
    if seen.now < before + PROMOTED_CHECKPOINT_EVERY:
        return {}
    return {"slos": seen.stable.results, "checkpoint": checkpoint}


def _strata(
    judged: Assessment, run: Run, checkpoint: Checkpoint | None
) -> tuple[StratumRecord, ...]:
    """Return what the run has shown of each objective, the weight that ends now included."""
    closed = checkpoint.strata if checkpoint is not None else ()
    found = [*run.status.strata, *closed]
    for each in judged.results:
        unseen = each.samples is None
        if each.harm is None and not unseen:
            continue
        name = f"{each.policy}/{each.name}"
        counted = _recorded(name, run, checkpoint) if unseen else stretch_of(each)
        if each.harm is None and not counted.samples:
            continue  # of what is unseen since a restart only the counts tell
        past = Past(closed=stretches(closed, name))
        found.append(record_of(name, past.open(counted)))
    return condensed(tuple(found), MOST_STRATA // len(contenders.tried(run)))
