"""The bench that judges a simulated rollout: counts of made-up answers, real verdicts on them.

It is asked about a `core/subject`, as the operator's engine is, and goes about it as that does:
which versions are judged, since when, and on what is on record all come from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from rlhf_operator.api.evidence import Checkpoint, SLOResult, Verdict
from rlhf_operator.cli.played import NOTHING_COUNTED, Counted, Played
from rlhf_operator.cli.scene import Scene
from rlhf_operator.core import analysis, onset, results, reward_hacking
from rlhf_operator.core.indicators import Form
from rlhf_operator.core.objective import Judgement, Reading
from rlhf_operator.core.observed import Assessment
from rlhf_operator.core.stretches import NOTHING, Past, Stretch, record_of, stretches
from rlhf_operator.core.subject import Subject
from rlhf_operator.core.windows import WINDOW

_Place = tuple[str, str]
"""An objective by policy/objective, and a version."""


class Bench:
    """What was answered since the last weight change in force, and what that means."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._played = tuple(each for each in scene.objectives if each.is_played)
        self._plain = {
            (each.name, version): _plain(each, version)
            for each in scene.objectives
            for version in scene.versions
        }
        # Only a suspicion is read off what a verdict rests on; all other rules read verdicts.
        slos = [each.slo for each in scene.objectives]
        self._suspects = reward_hacking.missing(slos) is None
        self._subject: Subject | None = None
        self._begin()

    def _begin(self) -> None:
        self._counted: dict[_Place, Counted] = {}
        self._judged: dict[_Place, Judgement] = {}
        self._past: dict[str, Past] = {each.name: Past() for each in self._played}
        # Stable served before: harm of it may begin at any time, also in a step of a day.
        self._stable_past = {
            each.name: Past(change=onset.change(each.goal.rate, ())) for each in self._played
        }
        self.is_open = False

    def follow(self, subject: Subject | None) -> None:
        """Judge this subject from now on; another one than before is counted from nothing.

        What serves for good is not judged here: a simulation ends with the outcome.
        """
        if subject is not None and subject.promoted:
            subject = None
        known = self._subject
        same = known is not None and subject is not None and subject.question == known.question
        self._subject = subject
        if same:
            return
        self._begin()
        if subject is not None:
            for each in self._played:
                self._past[each.name] = Past(
                    before=stretches(subject.strata, each.name),
                    stable_before=_before_switch(subject, each.name),
                )

    def count(self, version: str, found: Mapping[str, Counted]) -> None:
        """Add what each objective, by policy/objective, counted of a version in a while."""
        for name, counted in found.items():
            before = self._counted.get((name, version), NOTHING_COUNTED)
            self._counted[name, version] = before + counted

    def judge(self, now: datetime) -> None:
        """Judge all that was counted of the subject, and what was before it."""
        subject = self._subject
        if subject is None:
            return
        for each in self._played:
            mine, other = self._reading(each, subject.version, now), None
            is_safety = each.slo.class_ == "Safety"
            if subject.stable is not None and (each.slo.versus_stable or is_safety):
                other = self._reading(each, subject.stable, now)
            self._weigh(each, subject.version, mine, other, now, self._past[each.name])
            self._close(each, subject, now)
            if other is not None and is_safety and subject.stable is not None:
                past = self._stable_past[each.name]
                self._weigh(each, subject.stable, other, None, now, past)
        self.is_open = True

    def _weigh(
        self,
        played: Played,
        version: str,
        mine: Reading,
        other: Reading | None,
        now: datetime,
        past: Past,
    ) -> None:
        assert self._subject is not None, "only a subject is judged"
        place = (played.name, version)
        self._judged[place] = analysis.weigh(
            played.goal,
            mine,
            other,
            self._judged.get(place),
            now=now,
            since=self._subject.since,
            stale=analysis.STALE_AFTER,
            past=past,
        )

    def _close(self, played: Played, subject: Subject, now: datetime) -> None:
        """End a stretch of evidence every five minutes, as the operator does."""
        last, past = self._judged[played.name, subject.version], self._past[played.name]
        if last.evidence is None or last.stable is None:
            return
        if not past.is_under(last.evidence.stretches):
            return
        if now >= subject.since + WINDOW * (len(past.closed) + 1):
            newest, asked, theirs = last.evidence.stretches[-1], played.goal.rate, self._stable_past
            self._past[played.name] = onset.closed(past, asked, newest)
            if theirs[played.name].change is not None:
                stable = onset.of_stable(newest)
                theirs[played.name] = onset.closed(theirs[played.name], asked, stable)

    def _reading(self, played: Played, version: str, now: datetime) -> Reading:
        counted = self._counted.get((played.name, version), NOTHING_COUNTED)
        samples = counted.samples
        match played.goal.measure.form:
            case Form.MEAN:
                value = counted.moments.total / samples if samples else None
                return Reading(samples=samples, value=value, moments=counted.moments, at=now)
            case Form.COUNT:
                value = float(counted.events)
            case _:
                value = counted.events / samples if samples else None
        return Reading(events=counted.events, samples=samples, value=value, at=now)

    def assessment(self, version: str, *, in_full: bool) -> Assessment | None:
        """Return what the objectives say of a version; None where it was not judged.

        In full, as a record keeps it; else what rules read. Beside a canary only Safety is judged
        of stable.
        """
        if not self.is_open or self._subject is None:
            return None
        is_judged = version == self._subject.version
        if not is_judged and version != self._subject.stable:
            return None
        return Assessment(
            results=tuple(
                self._result(each, version, in_full or self._suspects)
                for each in (self._scene.objectives if is_judged else self._played)
                if is_judged or each.slo.class_ == "Safety"
            )
        )

    def _result(self, played: Played, version: str, in_full: bool) -> SLOResult:
        plain, found = self._plain[played.name, version], self._judged.get((played.name, version))
        if found is None:
            return plain
        if in_full:
            return results.result(played.goal, version, found)
        return plain.model_copy(
            update={
                "verdict": found.verdict,
                "samples": (found.reading.samples or 0) if found.measured else None,
                "message": found.message,
            }
        )

    def checkpoint(self, now: datetime) -> Checkpoint | None:
        """Return the finished stretches, as the record wants them when the weight changes."""
        if not self.is_open or self._subject is None:
            return None
        records = tuple(
            record_of(name, stretch) for name, past in self._past.items() for stretch in past.closed
        )
        return Checkpoint(since=self._subject.since, at=now, strata=records)


def _before_switch(subject: Subject, name: str) -> Stretch | None:
    """Return what an objective counted of stable before it fell silent, where it did."""
    if subject.before_switch is None:
        return None
    found = (each for each in subject.before_switch if each.slo == name)
    kept = next(found, None)
    return Stretch(events=kept.events, samples=kept.samples) if kept is not None else NOTHING


def _plain(played: Played, version: str) -> SLOResult:
    """Return the result of an objective that is assumed to hold."""
    return SLOResult(
        policy=played.policy.name,
        name=played.slo.name,
        class_=played.slo.class_,
        version=version,
        verdict=Verdict.SUCCESSFUL,
        samples=played.slo.min_samples,
        message=f"{played.slo.name} is assumed to hold",
    )
