"""What a promoted version's goals have beyond a run's: windows that begin, end and are kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from rlhf_operator.api.evidence import BaselineRecord, DriftRecord
from rlhf_operator.controller.goal import Goal, Start
from rlhf_operator.controller.reader import Reader
from rlhf_operator.controller.recall import Gap
from rlhf_operator.controller.vigil import Vigil
from rlhf_operator.core import drift
from rlhf_operator.core.drift import Drift
from rlhf_operator.core.ledger import ModelKey
from rlhf_operator.core.objective import Objective
from rlhf_operator.core.steady import frozen, frozen_rate
from rlhf_operator.core.subject import Subject
from rlhf_operator.core.watch import HOUR


def watch_over(
    goals: Iterable[Goal], mine: Subject, before: Subject | None, old: Sequence[Goal], now: datetime
) -> None:
    """Begin windows, or go on with the old goals' of the same version at the same weight."""
    # What must never happen may have happened while no operator was there to see it.
    same = before is not None and (before.version, before.since) == (mine.version, mine.since)
    known = {(goal.source, goal.objective.name): goal for goal in old if same}
    for goal in goals:
        asked, last = goal.objective, known.get((goal.source, goal.objective.name))
        if last is None or last.vigil is None or last.objective.measure != asked.measure:
            reach = HOUR if asked.slo.max_count == 0 else 0
            goal.vigil = Vigil(
                asked.watch,
                mine.since,
                now,
                _resumed(asked, mine),
                reach=reach,
                rules_since=mine.rules_since,
            )
        else:
            goal.vigil = last.vigil
            goal.vigil.retuned(asked.watch, asked.drift, mine.rules_since)
            goal.canary.measured = last.canary.measured
        goal.starts = dict.fromkeys(goal.starts, Start(goal.vigil.start))


def _resumed(goal: Objective, mine: Subject) -> Drift | None:
    """Return how far the watch over a mean was; None where none is watched."""
    if goal.drift is None:
        return None
    known = next((each for each in mine.drifts if each.slo == goal.name), None)
    return drift.resumed(goal.drift, drift.measured_by(goal.slo, goal.measure), known)


def turn(
    goals: Iterable[Goal], model: ModelKey, version: str, reader: Reader, now: datetime
) -> bool:
    """End the windows that are over; return whether there were any."""
    return any([goal.turn(model, version, reader, now) for goal in goals])


def gaps(
    goals: Iterable[Goal], who: tuple[str, str, str], now: datetime, settle: timedelta
) -> Iterator[Gap]:
    """Yield what goals lack of the windows before they were followed."""
    for goal in goals:
        if goal.vigil is not None and goal.vigil.lacks(now, settle):
            yield Gap(who, goal.objective.measure, goal.vigil)


def baselines(goals: Iterable[Goal]) -> tuple[BaselineRecord, ...]:
    """Return the baselines that should go on record: of means, and of rates under new rules."""
    found = []
    for goal in goals:
        vigil, asked = goal.vigil, goal.objective
        if vigil is not None and vigil.drift is not None:
            found.append(frozen(asked, vigil.drift))
        if vigil is not None:
            found.append(frozen_rate(asked, vigil.first_hour(asked.slo.min_samples)))
    return tuple(record for record in found if record is not None)


def drifts(goals: Iterable[Goal]) -> tuple[DriftRecord, ...]:
    """Return how far the watch over each mean is."""
    found = []
    for goal in goals:
        asked = goal.objective
        if goal.vigil is not None and goal.vigil.drift is not None:
            formula = drift.measured_by(asked.slo, asked.measure)
            found.append(drift.record_of(asked.name, formula, goal.vigil.drift))
    return tuple(record for record in found if record is not None)


def doubt(goals: Iterable[Goal]) -> None:
    """Compare nothing that is counted now: the guards take new rules."""
    for goal in goals:
        if goal.vigil is not None:
            goal.vigil.doubt()
