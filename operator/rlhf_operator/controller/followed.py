"""One model that the engine follows: its goals, and what was last judged of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from rlhf_operator.api.evidence import StratumRecord, Verdict
from rlhf_operator.api.measurements import Problem
from rlhf_operator.api.plan import PinnedPolicy
from rlhf_operator.api.schema import parse_duration
from rlhf_operator.controller import promoted
from rlhf_operator.controller.assessment import Assessment
from rlhf_operator.controller.goal import Beat, Goal, Start, Values, Verdicts, reading, started
from rlhf_operator.controller.reader import Reader, Rules
from rlhf_operator.controller.recall import Gap
from rlhf_operator.core import onset
from rlhf_operator.core.analysis import STALE_AFTER, weigh
from rlhf_operator.core.indicators import Form
from rlhf_operator.core.objective import Judgement, Objective, Reading, objectives
from rlhf_operator.core.queries import problem
from rlhf_operator.core.results import remembered, result
from rlhf_operator.core.rules_in_force import UNKNOWN, InForce
from rlhf_operator.core.steady import watched
from rlhf_operator.core.stretches import NOTHING, Past, Stretch, record_of, stretches
from rlhf_operator.core.subject import Subject


class Followed:
    """One subject and what was judged of it. Mutable; owned by the engine."""

    def __init__(self, subject: Subject, now: datetime, before: Followed | None = None) -> None:
        self.subject = subject = replace(subject, policies=_shared(subject.policies))
        fits = subject.checkpoint is not None and subject.checkpoint.since == subject.since
        self.checkpoint = subject.checkpoint if fits else None
        self.versions = (
            (subject.version,)
            if subject.stable in (None, subject.version)
            else (subject.version, subject.stable or "")
        )
        self.goals = tuple(
            self._goal(policy, goal)
            for policy, goal in (
                watched(subject.policies, subject.baseline, renewed=subject.rules_since is not None)
                if subject.promoted
                else objectives(subject.policies)
            )
        )
        if subject.promoted:
            old = before.goals if before is not None else ()
            last = before.subject if before is not None else None
            promoted.watch_over(self.goals, subject, last, old, now)
        self.beats = frozenset(goal.beat for goal in self.goals) | frozenset(
            Beat(goal.source, goal.beat.interval, False) for goal in self.goals
        )
        self.model = (subject.key.namespace, subject.key.name)
        self._on = {
            beat: tuple(goal for goal in self.goals if goal.beat == beat) for beat in self.beats
        }
        self._names = {
            beat: frozenset(
                counter.name
                for goal in self.goals
                if (goal.source, goal.beat.interval) == (beat.source, beat.interval)
                for counter in goal.counters
            )
            for beat in self.beats
        }
        self.in_force = UNKNOWN
        self._counted_under = subject.rules
        self._told: tuple[Verdict | None, ...] | None = None
        self._at: datetime | None = None
        self._looked: dict[Beat, datetime] = {}

    def _goal(self, policy: PinnedPolicy, goal: Objective) -> Goal:
        query, is_query = goal.slo.query, goal.measure.form is Form.QUERY
        starts = {version: self._start(goal, version) for version in self.versions}
        # A mean is never counted by user; that is told where it is compared all the same.
        sticky = self.subject.sticky and goal.tests is not None and len(self.versions) > 1
        users = goal.measure.by_user if sticky else None
        closed = stretches(self.checkpoint.strata if self.checkpoint else (), goal.name)
        made = Goal(
            objective=goal,
            source=policy.metric_source,
            beat=Beat(policy.metric_source, parse_duration(policy.interval), is_query),
            refused=None if query is None else problem(query),
            starts=starts,
            users=users,
            users_unknown=sticky and users is None,
            canary=Verdicts(),
            stable=Verdicts(),
            past=Past(
                before=stretches(self.subject.strata, goal.name),
                closed=closed,
                stable_before=self._stable_before(goal.name),
                change=onset.change(goal.rate, closed) if self.subject.controlled else None,
            ),
        )
        if len(self.versions) > 1 and goal.slo.class_ == "Safety":
            # It served before: harm may begin at any time, also in a step of a day.
            theirs = tuple(map(onset.of_stable, closed))
            made.stable_past = Past(closed=theirs, change=onset.change(goal.rate, theirs))
        for before in self.subject.previous:
            if (before.policy, before.name) == (goal.policy, goal.slo.name):
                if before.version == self.subject.version:
                    made.canary.measured = remembered(before)
                elif before.version == self.subject.stable:
                    made.stable.measured = remembered(before)
        return made

    def _stable_before(self, name: str) -> Stretch | None:
        if self.subject.before_switch is None:
            return None
        found = (each for each in self.subject.before_switch if each.slo == name)
        kept = next(found, None)
        return Stretch(events=kept.events, samples=kept.samples) if kept is not None else NOTHING

    def _start(self, goal: Objective, version: str) -> Start:
        for count in self.checkpoint.counts if self.checkpoint else ():
            if count.slo == goal.name and count.version == version:
                assert self.checkpoint is not None
                return started(goal, self.checkpoint.at.timestamp(), count)
        return Start(self.subject.since.timestamp())

    def marks(self, source: str) -> tuple[float, ...]:
        """Return the instants from which a source's counters are counted, also later."""
        goals = [goal for goal in self.goals if goal.source == source]
        now = {start.mark for goal in goals for start in goal.starts.values()}
        return tuple(now | {goal.vigil.ends for goal in goals if goal.vigil is not None})

    def gaps(self, beat: Beat, now: datetime, settle: timedelta) -> Iterable[Gap]:
        """Return what the goals of a beat lack of the windows before they were followed."""
        who = (*self.model, self.subject.version)
        return promoted.gaps(self.on(beat), who, now, settle) if self.subject.promoted else ()

    @property
    def newest_mark(self) -> datetime:
        """Return the newest instant from which anything is counted."""
        newest = max((s.mark for goal in self.goals for s in goal.starts.values()), default=0.0)
        return max(self.subject.since, datetime.fromtimestamp(newest, UTC))

    def on(self, beat: Beat) -> Iterable[Goal]:
        """Return the goals that are judged on a beat."""
        return self._on.get(beat, ())

    def names(self, beat: Beat) -> frozenset[str]:
        """Return the counters that must be read on a beat."""
        return self._names.get(beat, frozenset())

    def texts(self, beat: Beat) -> frozenset[str]:
        """Return the teams' expressions that must be asked on a beat."""
        return frozenset(
            goal.objective.slo.query.text
            for goal in self.on(beat)
            if goal.objective.slo.query is not None
            and goal.objective.measure.form is Form.QUERY
            and goal.refused is None
        )

    def note_rules(self, found: Rules) -> None:
        """Take in which rules the guards have now."""
        digests = [
            each for version in self.versions for each in found.get((*self.model, version), ())
        ]
        self.in_force = InForce.of(digests)
        if self._counted_under is None:
            self._counted_under = self.in_force.agreed

    # -- judging ------------------------------------------------------------------------------

    def judge(
        self, beat: Beat, reader: Reader | None, values: Mapping[str, Values], now: datetime
    ) -> None:
        """Judge the goals of one beat anew."""
        stable = self.versions[1] if len(self.versions) > 1 else None
        stale = reader.settle if reader else timedelta(0)
        since = self.subject.since
        obstacle = self.in_force.obstacle(self._counted_under)
        if reader is not None and self.subject.promoted:
            who = (self.model, self.subject.version)
            if promoted.turn(self.on(beat), *who, reader, now):
                reader.ledger.start(self.model, self.marks(beat.source))
            if obstacle is not None:
                promoted.doubt(self.on(beat))
        for goal in self.on(beat):
            mine = reading(goal, self.model, self.subject.version, reader, values)
            other = None
            if stable is not None and (
                goal.objective.slo.versus_stable or goal.objective.slo.class_ == "Safety"
            ):
                other = reading(goal, self.model, stable, reader, values)
            beside = other
            if beside is not None and obstacle is not None:
                beside = Reading(problem=Problem.RULES_DIFFER, message=obstacle)
            goal.canary.note(
                goal.drifted(
                    weigh(
                        goal.objective,
                        mine,
                        beside,
                        goal.canary.measured,
                        now=now,
                        since=since,
                        stale=stale,
                        past=goal.past,
                        found=goal.found(mine),
                    )
                )
            )
            goal.close(now, since)
            if other is not None and goal.objective.slo.class_ == "Safety":
                goal.stable.note(
                    weigh(
                        goal.objective,
                        other,
                        None,
                        goal.stable.measured,
                        now=now,
                        since=since,
                        stale=stale,
                        past=goal.stable_past,
                    )
                )
        self._at = self._looked[beat] = now

    def strata(self) -> tuple[StratumRecord, ...]:
        """Return the stretches that ended at this weight, as they go on record."""
        return tuple(
            record_of(goal.objective.name, stretch)
            for goal in self.goals
            for stretch in goal.past.closed
        )

    # -- telling ------------------------------------------------------------------------------

    def has_news(self) -> bool:
        """Return whether the verdicts differ from those last told, and take them as told."""
        lasts = [each.last for goal in self.goals for each in (goal.canary, goal.stable)]
        verdicts = tuple(None if last is None else last.verdict for last in lasts)
        if not self._is_telling or verdicts == self._told:
            return False
        self._told = verdicts
        return True

    def has_failed(self) -> bool:
        """Return whether an objective has failed, on either version."""
        return self._told is not None and Verdict.FAILED in self._told

    @property
    def _is_telling(self) -> bool:
        """Return whether all goals were judged; a failure does not wait for the others."""
        lasts = [goal.canary.last for goal in self.goals]
        found = [last for goal in self.goals if (last := goal.stable.last)]
        found += [last for last in lasts if last is not None]
        return None not in lasts or any(last.verdict is Verdict.FAILED for last in found)

    def assessment(self, now: datetime) -> Assessment | None:
        """Return what was judged, as it goes on record; what was good long ago is not good now."""
        if self._at is None or not self._is_telling:
            return None
        subject = self.subject
        return Assessment(
            key=subject.key,
            version=subject.version,
            since=subject.since,
            at=self._at,
            results=tuple(
                result(
                    goal.objective,
                    subject.version,
                    self.as_of(now, goal, goal.canary.last or _NOT_YET),
                )
                for goal in self.goals
            ),
            stable_results=tuple(
                result(
                    goal.objective,
                    subject.stable or "",
                    self.as_of(now, goal, goal.stable.last),
                )
                for goal in self.goals
                if goal.stable.last is not None
            ),
            baselines=promoted.baselines(self.goals),
            drifts=promoted.drifts(self.goals) if subject.promoted else None,
            rules=self.in_force,
        )

    def as_of(self, now: datetime, goal: Goal, found: Judgement) -> Judgement:
        """Return a judgement, or that there is none: rounds are put off, and may fail.

        A failure stands until a round takes it back.
        """
        since = now - self._looked.get(goal.beat, now)
        if found.verdict is Verdict.FAILED or since <= 2 * goal.beat.interval + STALE_AFTER:
            return found
        message = f"{goal.objective.slo.name}: not judged for {since.total_seconds():.0f} s"
        unseen = Reading(problem=Problem.STALE, message=message)
        return Judgement(
            verdict=Verdict.ERROR, failures=found.failures, message=message, reading=unseen
        )


@lru_cache(maxsize=64)
def _shared(policies: tuple[PinnedPolicy, ...]) -> tuple[PinnedPolicy, ...]:
    """Return one of all that are equal: a thousand models mostly have the same few."""
    return policies


_NOT_YET = Judgement(
    verdict=Verdict.INCONCLUSIVE,
    failures=0,
    message="not measured yet",
    reading=Reading(problem=Problem.NO_SERIES, message="not measured yet"),
)
