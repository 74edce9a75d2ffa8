"""What a run's outlook is: a warning where its plan leaves no time for a decision.

It never holds anything back. It is told once, and its sentence stays as it is while it is true:
its numbers would change with every answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta

from rlhf_operator.api.common import Condition
from rlhf_operator.api.evidence import SLOResult
from rlhf_operator.api.model import ModelStatus
from rlhf_operator.api.reasons import ConditionType
from rlhf_operator.api.schema import parse_duration
from rlhf_operator.core import drills, foresight, overrides, plans
from rlhf_operator.core.conditions import Fact
from rlhf_operator.core.foresight import Doubt, Pace
from rlhf_operator.core.objective import Objective, objectives
from rlhf_operator.core.observed import Observed, Run
from rlhf_operator.core.stretches import NOTHING, stretches, total
from rlhf_operator.core.subject import subject

# Before that, the seconds by which scrapes lag behind would pass for little traffic.
_SOONEST = timedelta(minutes=2)
_FEWEST = 20
# Once there, the warning goes only when there is time to spare: it must not come and go.
_RELIEF = 0.7
Known = tuple[tuple[Objective, Pace | None], ...]


def fact(seen: Observed, before: ModelStatus | None) -> Fact | None:
    """Return the condition that should stand, given the model's status as it was stored."""
    run = seen.run
    if run is None or run.status.canary is None or not run.is_active or drills.is_drill(run):
        return None  # a drill asks for one answer, and not for a decision
    if run.plan.strategy not in ("Canary", "ABTest"):
        return None  # the weight of the others is not the canary's share of what is counted
    earlier = _told(before, run)
    known = tuple(_paces(seen, run))
    doubts = sorted(_doubts(run, known, _RELIEF if earlier else 1.0), key=lambda each: each.excess)
    message = _kept(earlier, doubts, known)
    if message is None and not doubts:
        return None
    return Fact(
        type=ConditionType.DECISION_UNLIKELY,
        status="True",
        reason="TooSlow",
        message=message or doubts[-1].message,
    )


def news(seen: Observed, before: ModelStatus | None) -> str | None:
    """Return the warning's sentence where this run has not had one yet."""
    found = fact(seen, before)
    if found is None or seen.run is None or _told(before, seen.run) is not None:
        return None
    return found.message


def _told(before: ModelStatus | None, run: Run) -> Condition | None:
    if before is None or before.rollout != run.name:
        return None
    kind = str(ConditionType.DECISION_UNLIKELY)
    return next((each for each in before.conditions if each.type == kind), None)


def _kept(earlier: Condition | None, doubts: Iterable[Doubt], known: Known) -> str | None:
    """Return the earlier sentence while it is true, or while nothing is known of it."""
    if earlier is None:
        return None
    said = earlier.message
    still = any(
        said.startswith(f"{each.objective}: ") and said.endswith(each.remedy) for each in doubts
    )
    unknown = any(pace is None and said.startswith(f"{goal.slo.name}: ") for goal, pace in known)
    return said if still or unknown else None


def _doubts(run: Run, known: Known, slack: float) -> Iterator[Doubt]:
    for goal, pace in known:
        found = pace and foresight.doubt(
            goal,
            pace,
            run.plan.steps,
            parse_duration(run.plan.max_hold),
            present=max(0, run.status.step),
            slack=slack,
        )
        if found:
            yield found


def _paces(seen: Observed, run: Run) -> Iterator[tuple[Objective, Pace | None]]:
    """Yield each objective on which the run waits, with what is known of its counts."""
    judged = subject(seen, run)
    lasted = seen.now - judged.since if judged is not None else timedelta()
    away = {entry.slo for entry in overrides.in_force(run, seen.now)}
    results = _results(seen, run)
    for _, goal in objectives(plans.binding(run.policies, seen.policies)):
        informs = goal.slo.class_ == "Informational"
        overridden = goal.slo.class_ != "Safety" and goal.slo.name in away
        if goal.rate is None or informs or overridden:
            continue
        result = results.get((goal.policy, goal.slo.name))
        yield goal, None if result is None else _pace(goal, run, result, lasted)


def _results(seen: Observed, run: Run) -> dict[tuple[str, str], SLOResult]:
    """Return the newest results: the canary's, which have stable's counts, or stable's alone."""
    found = seen.canary if run.status.weight > 0 else seen.stable
    return {(each.policy, each.name): each for each in found.results} if found else {}


def _pace(goal: Objective, run: Run, result: SLOResult, lasted: timedelta) -> Pace | None:
    """Return what a result and the run's earlier weights tell; None while that is too little.

    The rate is stable's, where it was counted: the canary's own may be what is wrong.
    """
    if result.samples is None or lasted < _SOONEST:
        return None
    events, samples, both = result.events or 0, result.samples, float(result.samples)
    if run.status.weight > 0 and result.stable_samples is not None:
        past = total(stretches(run.status.strata, goal.name))
        events = (result.stable_events or 0) + past.stable_events
        samples = result.stable_samples + past.stable_samples
        both += result.stable_samples
        here, before = result.firsts, past.firsts or NOTHING
        if here is not None:
            events = here.stable_events + before.stable_events
            samples = here.stable_samples + before.stable_samples
            both = float(here.samples + here.stable_samples)
    elif run.status.weight > 0:
        both /= run.status.weight / 100
    if samples < _FEWEST:
        return None
    return foresight.pace(events, samples, both / lasted.total_seconds())
