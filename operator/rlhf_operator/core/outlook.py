"""What a run's outlook is: a warning where its plan leaves no time for a decision.

It never holds anything back. It is told once, and its sentence stays as it is while it is true:
its numbers would change with every answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta

from rlhf_operator.api.common import Condition
from rlhf_operator.api.evidence import SLOResult
from rlhf_operator.api.model import ModelStatus
from rlhf_operator.api.reasons import ConditionType
from rlhf_operator.api.schema import parse_duration
from rlhf_operator.core import drills, foresight, mandatory, overrides
from rlhf_operator.core.conditions import Fact
from rlhf_operator.core.foresight import Doubt
from rlhf_operator.core.moments import moments_of
from rlhf_operator.core.objective import Objective, objectives
from rlhf_operator.core.observed import Observed, Run
from rlhf_operator.core.prospect import Before, MeanPace, Pace
from rlhf_operator.core.stretches import NOTHING, stretches, total
from rlhf_operator.core.subject import subject

# Before that, the seconds by which scrapes lag behind would pass for little traffic.
_SOONEST = timedelta(minutes=2)
_FEWEST = 20
# Once there, the warning goes only when there is time to spare: it must not come and go.
_RELIEF = 0.7
Known = Pace | MeanPace | None
Paces = tuple[tuple[Objective, Known], ...]


def fact(seen: Observed, before: ModelStatus | None) -> Fact | None:
    """Return the condition that should stand, given the model's status as it was stored."""
    run = seen.run
    if run is None or run.status.canary is None or not run.is_active or drills.is_drill(run):
        return None  # a drill asks for one answer, and not for a decision
    if run.spec.others:
        return None  # a weight of several is no share of what is counted of one and stable
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


def _kept(earlier: Condition | None, doubts: Iterable[Doubt], known: Paces) -> str | None:
    """Return the earlier sentence while it is true, or while nothing is known of it."""
    if earlier is None:
        return None
    said = earlier.message
    still = any(
        said.startswith(f"{each.objective}: ") and said.endswith(each.remedy) for each in doubts
    )
    unknown = any(pace is None and said.startswith(f"{goal.slo.name}: ") for goal, pace in known)
    return said if still or unknown else None


def _doubts(run: Run, known: Paces, slack: float) -> Iterator[Doubt]:
    for goal, pace in known:
        found = pace and foresight.doubt(
            goal,
            pace,
            run.plan.steps,
            parse_duration(run.plan.max_hold),
            strategy=run.plan.strategy,
            present=max(0, run.status.step),
            slack=slack,
        )
        if found:
            yield found


def _paces(seen: Observed, run: Run) -> Iterator[tuple[Objective, Known]]:
    """Yield each objective on which the run waits, with what is known of its counts."""
    judged = subject(seen, run)
    lasted = seen.now - judged.since if judged is not None else timedelta()
    away = {entry.slo for entry in overrides.in_force(run, seen.now)}
    results = _results(seen, run)
    for _, goal in objectives(mandatory.binding(run.policies, seen.policies)):
        informs = goal.slo.class_ == "Informational"
        overridden = goal.slo.class_ != "Safety" and goal.slo.name in away
        if goal.tests is None or informs or overridden:
            continue
        result = results.get((goal.policy, goal.slo.name))
        if result is None or result.samples is None or lasted < _SOONEST:
            yield goal, None
        elif goal.mean is not None:
            yield goal, _mean_pace(goal, run, result, lasted)
        else:
            yield goal, _pace(goal, run, result, lasted)


def _results(seen: Observed, run: Run) -> dict[tuple[str, str], SLOResult]:
    """Return the newest results: the canary's, which have stable's counts, or stable's alone."""
    found = seen.canary if run.status.weight > 0 else seen.stable
    return {(each.policy, each.name): each for each in found.results} if found else {}


def _pace(goal: Objective, run: Run, result: SLOResult, lasted: timedelta) -> Pace | None:
    """Return what a result and the run's earlier weights tell; None while that is too little.

    The rate is stable's, where it was counted: the canary's own may be what is wrong.
    """
    strategy, mine = run.plan.strategy, result.samples or 0
    events, samples, both = result.events or 0, mine, float(mine)
    weight, others = run.plan.steps[0].weight, _of_others(run)
    part = weight / (100 - others) if others else None  # what others answer is counted elsewhere
    if run.status.weight == 0:  # stable alone answers, and all that users ask
        both = samples * (1 - others / 100)
        if strategy == "Shadow":
            both /= 1 - foresight.share(strategy, weight)
    elif strategy == "BlueGreen":
        events, samples = _shown_before(goal, run) or (events, samples)
    elif result.stable_samples is None:
        both /= foresight.share(strategy, run.status.weight)
    else:
        past = total(stretches(run.status.strata, goal.name))
        events = (result.stable_events or 0) + past.stable_events
        samples = result.stable_samples + past.stable_samples
        both += result.stable_samples
        here, before = result.firsts, past.firsts or NOTHING
        if here is not None:
            events = here.stable_events + before.stable_events
            samples = here.stable_samples + before.stable_samples
            both = float(here.samples + here.stable_samples)
    if samples < _FEWEST or not both:
        return None
    found = replace(foresight.pace(events, samples, both / lasted.total_seconds()), share=part)
    return found if strategy != "BlueGreen" else _switching(goal, run, found, samples)


def _of_others(run: Run) -> int:
    """Return the percent of the traffic of what is tested beside the canary, as it is planned."""
    test = run.plan.ab_test
    return sum(each.weight for each in test.others) if test is not None else 0


def _shown_before(goal: Objective, run: Run) -> tuple[int, int] | None:
    """Return what stable had shown before it fell silent."""
    kept = (each for each in run.status.before_switch if each.slo == goal.name)
    return next(((each.events, each.samples) for each in kept), None)


def _switching(goal: Objective, run: Run, found: Pace, samples: int) -> Pace:
    """Return it with what stable shows before the switch: so far, or what the switch waits for."""
    awaited = run.status.weight == 0
    shown = _shown_before(goal, run)
    if not awaited and shown is None:
        return found
    if awaited:
        most = float(max(samples, goal.slo.min_samples))
        before = Before(events=found.high * most, samples=most, is_awaited=True)
    else:
        assert shown is not None, "what was shown is on record"
        before = Before(events=min(shown), samples=shown[1], is_awaited=False)
    return replace(found, before=before)


def _mean_pace(goal: Objective, run: Run, result: SLOResult, lasted: timedelta) -> MeanPace | None:
    """Return what stable's values tell beside the canary's, at this weight and earlier ones.

    Where values are scored the guards sample both arms as evenly as the weights allow.
    """
    if run.status.weight == 0 or not result.samples or not result.stable_samples:
        return None
    past = total(stretches(run.status.strata, goal.name))
    number = result.stable_samples + past.stable_samples
    if number < _FEWEST:
        return None
    values = (moments_of(result.stable_sums) + past.stable_moments).of(number)
    both = result.samples + result.stable_samples
    scored = None
    if goal.measure.scorer is not None:
        part = result.samples / both
        scored = foresight.scored_share(part, run.plan.strategy, run.status.weight)
    return foresight.mean_pace(values, both / lasted.total_seconds(), scored)
