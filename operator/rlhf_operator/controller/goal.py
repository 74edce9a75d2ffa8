"""One SLO of one followed model: whence it is counted, and how its reading comes about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from rlhf_operator.api.evidence import ArmCount
from rlhf_operator.api.measurements import Answer, Problem, Silence
from rlhf_operator.api.metrics import MODEL, NAMESPACE, VERSION
from rlhf_operator.controller.reader import Reader
from rlhf_operator.controller.vigil import Vigil
from rlhf_operator.core import onset, steady, unseen
from rlhf_operator.core.indicators import Counter, Form, Measure
from rlhf_operator.core.ledger import ModelKey, Tally
from rlhf_operator.core.moments import NO_VALUES, Moments, contradicts, moments_of
from rlhf_operator.core.objective import Judgement, Objective, Reading
from rlhf_operator.core.stretches import NO_PAST, Past
from rlhf_operator.core.watch import Found
from rlhf_operator.core.windows import WINDOW


@dataclass(frozen=True, slots=True)
class Beat:
    """What is read together: one source's counters, or its teams' queries, at one interval."""

    source: str
    interval: timedelta
    is_query: bool


@dataclass(frozen=True, slots=True)
class Start:
    """Whence one SLO is counted on one version, and what had been counted up to there."""

    mark: float
    events: int = 0
    samples: int = 0
    first_events: int = 0
    first_samples: int = 0
    moments: Moments = NO_VALUES
    scorers: frozenset[str] = frozenset()

    def grown(self, tally: Tally | None) -> Start:
        """Return it with what a tally has counted from there on."""
        if tally is None:
            return self
        return replace(
            self,
            events=self.events + tally.events,
            samples=self.samples + tally.samples,
            moments=self.moments + tally.moments,
            scorers=self.scorers | tally.scorers,
        )


def started(goal: Objective, mark: float, count: ArmCount) -> Start:
    """Return the start that a checkpoint has on record."""
    moments = moments_of(count.sums)
    if count.sums is None and goal.measure.form is Form.MEAN:
        moments = Moments(float(count.events))  # a record of before sums had their place
        count = count.model_copy(update={"events": 0})
    scorers = frozenset(count.scorer.split(",")) if count.scorer else frozenset()
    return Start(
        mark=mark,
        events=count.events,
        samples=count.samples,
        first_events=count.first_events or 0,
        first_samples=count.first_samples or 0,
        moments=moments,
        scorers=scorers,
    )


@dataclass(slots=True)
class Verdicts:
    """The last judgement of one version, and the last that rested on a measurement."""

    last: Judgement | None = None
    measured: Judgement | None = None

    def note(self, judgement: Judgement) -> None:
        """Take in a new judgement."""
        self.last = judgement
        if judgement.measured:
            self.measured = judgement


@dataclass(slots=True)
class Goal:
    """One SLO of one subject."""

    objective: Objective
    source: str
    beat: Beat
    refused: str | None
    starts: Mapping[str, Start]
    canary: Verdicts
    stable: Verdicts
    users: Measure | None = None
    """How users are counted, where they stay with their version and the guard tells them."""
    users_unknown: bool = False
    """Whether users should count, but the guard does not tell them for this measure."""
    past: Past = NO_PAST
    """What the run showed of it before; a stretch is closed every `WINDOW`."""
    stable_past: Past = NO_PAST
    """What stable showed at this weight against its own bound."""
    vigil: Vigil | None = None
    """The windows of a promoted version."""

    def turn(self, model: ModelKey, version: str, reader: Reader, now: datetime) -> bool:
        """End the window that goes on, if it is over; return whether it was."""
        vigil, measure = self.vigil, self.objective.measure
        if vigil is None or not all(
            vigil.is_over(reader.settled_until(counter.name)) and reader.ready(model, counter.name)
            for counter in measure.counters
        ):
            return False
        whole = reader.ledger.tally(model, version, measure, vigil.start)
        after = reader.ledger.tally(model, version, measure, vigil.ends)
        mark, events, samples, moments = vigil.ends, 0, 0, None
        if whole is not None and after is not None:
            events, samples = whole.events - after.events, whole.samples - after.samples
            if vigil.drift is not None and whole.scorers <= {vigil.drift.scorer}:
                moments = whole.moments - after.moments
        vigil.close(events, samples, now, moments)
        self.starts = dict.fromkeys(self.starts, Start(mark))
        return True

    def drifted(self, judged: Judgement) -> Judgement:
        """Return a verdict after what the means of a promoted version's windows show."""
        if self.vigil is None or self.vigil.drift is None:
            return judged
        is_query = self.objective.measure.form is Form.QUERY
        self.vigil.look(judged, self.objective.slo.min_samples, averaged=is_query)
        doubtful = self.vigil.is_doubtful
        return steady.drifted(self.objective, judged, self.vigil.drift, doubtful=doubtful)

    def found(self, reading: Reading) -> Found | None:
        """Return what a promoted version shows of a rate; None for all else."""
        return None if self.vigil is None else self.vigil.found(reading)

    @property
    def counters(self) -> tuple[Counter, ...]:
        """Return the counters to read."""
        mine = self.objective.measure.counters
        return mine if self.users is None else (*mine, *self.users.counters)

    @property
    def events(self) -> str | None:
        """Return the counter that counts events alone, and not all answers, if there is one."""
        measure = self.objective.measure
        if measure.events is None or measure.events.name == measure.samples.name:
            return None
        return measure.events.name

    def close(self, now: datetime, since: datetime) -> None:
        """End the stretch that goes on, if it is judged by evidence and its time is over."""
        last = self.canary.measured
        if last is None or last.evidence is None:
            return
        compared = last.stable is not None and last.stable.problem is None
        if not compared and self.past.change is None:
            return
        if not self.past.is_under(last.evidence.stretches):
            return
        if now >= since + WINDOW * (len(self.past.closed) + 1):
            newest, asked = last.evidence.stretches[-1], self.objective.rate
            self.past = onset.closed(self.past, asked, newest)
            if self.stable_past.change is not None:
                self.stable_past = onset.closed(self.stable_past, asked, onset.of_stable(newest))


@dataclass(frozen=True, slots=True)
class Values:
    """One expression's values by namespace, model and version."""

    found: Mapping[tuple[str, str, str], float | Problem]
    silence: Silence | None = None

    @staticmethod
    def of(answer: Answer) -> Values:
        """Return the values of an answer; two series for one version are a problem."""
        if isinstance(answer, Silence):
            return Values({}, answer)
        found: dict[tuple[str, str, str], float | Problem] = {}
        for series in answer:
            get = series.labels.get
            who = (get(NAMESPACE, ""), get(MODEL, ""), get(VERSION, ""))
            found[who] = Problem.SEVERAL_SERIES if who in found else series.points[-1][1]
        return Values(found)


def reading(
    goal: Goal, model: ModelKey, version: str, reader: Reader | None, values: Mapping[str, Values]
) -> Reading:
    """Return what one version shows on this goal."""
    if reader is None:
        message = f"the metric source {goal.source} is not configured"
        return Reading(problem=Problem.REFUSED, message=message)
    if goal.refused is not None:
        return Reading(problem=Problem.REFUSED, message=f"query refused: {goal.refused}")
    start, measure = goal.starts[version], goal.objective.measure
    tally = reader.ledger.tally(model, version, measure, start.mark)
    for counter in goal.counters:
        silence = reader.silence(model, counter.name)
        if silence is not None:
            events = None if tally is None else start.events + tally.events
            return Reading(events=events, problem=silence.problem, message=silence.message)
    if tally is None:
        return _nothing(goal, model, version, reader)
    if measure.form is Form.QUERY:
        return _queried(goal, model, version, start, tally, values)
    if measure.form is Form.MEAN:
        return _mean(goal, version, start, tally)
    events, samples = start.events + tally.events, start.samples + tally.samples
    value = float(events) if measure.form is Form.COUNT else None
    if value is None and samples:
        value = events / samples
    at = datetime.fromtimestamp(tally.at, UTC)
    found = Reading(
        events=events, samples=samples, value=value, at=at, users_unknown=goal.users_unknown
    )
    return found if goal.users is None else _with_users(found, goal, model, version, reader)


def _nothing(goal: Goal, model: ModelKey, version: str, reader: Reader) -> Reading:
    """Say that there is nothing to read, and why if a guard is there that does not count it."""
    measure = goal.objective.measure
    told = f"{measure} and {measure.squares}" if measure.squares else str(measure)
    message = f"no series {told} for version {version}"
    answers = Measure(Form.COUNT, measure.better, measure.samples, measure.samples)
    reason = unseen.guess(measure)
    if reason and reader.ledger.tally(model, version, answers, goal.starts[version].mark):
        message = f"{reason}: {message}"
    return Reading(problem=Problem.NO_SERIES, message=message)


def _with_users(
    found: Reading, goal: Goal, model: ModelKey, version: str, reader: Reader
) -> Reading:
    """Count each user once; a guard of an older image knows no users."""
    assert goal.users is not None
    start = goal.starts[version]
    tally = reader.ledger.tally(model, version, goal.users, start.mark)
    if tally is None:
        return replace(found, users_unknown=True)
    events, samples = start.first_events + tally.events, start.first_samples + tally.samples
    return replace(
        found,
        value=events / samples if samples else None,
        first_events=events,
        first_samples=samples,
    )


def _mean(goal: Goal, version: str, start: Start, tally: Tally) -> Reading:
    counted = start.grown(tally)
    if len(counted.scorers) > 1:
        message = (
            f"{version} was scored by {len(counted.scorers)} of {goal.objective.measure.scorer} "
            f"since the last weight change; an Abort and a Retry decision begin the run anew"
        )
        return Reading(problem=Problem.SEVERAL_SERIES, message=message)
    samples, moments = counted.samples, counted.moments
    if goal.objective.measure.squares is not None and contradicts(moments, samples):
        message = f"the sums of {version} contradict each other: no values have such squares"
        return Reading(problem=Problem.NOT_A_NUMBER, message=message)
    return Reading(
        samples=samples,
        value=moments.total / samples if samples else None,
        moments=moments,
        scorer=next(iter(counted.scorers), None),
        at=datetime.fromtimestamp(tally.at, UTC),
        users_unknown=goal.users_unknown,
    )


def _queried(
    goal: Goal,
    model: ModelKey,
    version: str,
    start: Start,
    tally: Tally,
    values: Mapping[str, Values],
) -> Reading:
    """Return an expression's value; the counter beside it says how fresh it is."""
    assert goal.objective.slo.query is not None
    answer = values[goal.objective.slo.query.text]
    if answer.silence is not None:
        return Reading(problem=answer.silence.problem, message=answer.silence.message)
    value = answer.found.get((*model, version))
    if value is None:
        message = f"the query yields nothing for version {version}"
        return Reading(problem=Problem.NO_SERIES, message=message)
    if isinstance(value, Problem):
        message = f"the query yields several series for version {version}; it must yield one"
        return Reading(problem=value, message=message)
    samples = start.samples + tally.samples
    return Reading(samples=samples, value=value, at=datetime.fromtimestamp(tally.at, UTC))
