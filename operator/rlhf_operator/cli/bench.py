"""The bench that judges a simulated rollout: counts of made-up answers, real verdicts on them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from rlhf_operator.api.evidence import Checkpoint, SLOResult, StratumRecord, Verdict
from rlhf_operator.cli.scene import Played, Scene
from rlhf_operator.core import analysis, objective
from rlhf_operator.core.indicators import Form
from rlhf_operator.core.objective import Judgement, Reading
from rlhf_operator.core.stretches import NO_PAST, Past, record_of, stretches
from rlhf_operator.core.windows import WINDOW

_Place = tuple[str, str]
"""An objective by policy/objective, and a version."""


class Bench:
    """What both versions have answered since the last weight change, and what that means."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._played = tuple(each for each in scene.objectives if each.rates is not None)
        self._plain = {
            (each.name, version): _plain(each, version)
            for each in scene.objectives
            for version in (scene.canary.name, scene.stable.name)
        }
        self._judged: dict[_Place, Judgement] = {}
        self.restart()

    def restart(self) -> None:
        """Count from nothing: another weight is in force."""
        self._answers: dict[str, int] = {}
        self._events: dict[_Place, int] = {}
        self._past: dict[str, Past] = {each.name: Past() for each in self._played}
        self.is_open = False

    def count(self, version: str, answers: int, events: dict[str, int]) -> None:
        """Add what a version answered in a while; events by policy/objective."""
        self._answers[version] = self._answers.get(version, 0) + answers
        for name, number in events.items():
            self._events[name, version] = self._events.get((name, version), 0) + number

    def judge(self, now: datetime, since: datetime, before: tuple[StratumRecord, ...]) -> None:
        """Judge all that was counted since a weight came into force, and what was before it."""
        canary, stable = self._scene.canary.name, self._scene.stable.name
        for each in self._played:
            compares = each.slo.versus_stable is not None or each.slo.class_ == "Safety"
            mine, other = self._reading(each, canary, now), self._reading(each, stable, now)
            past = replace(self._past[each.name], before=stretches(before, each.name))
            self._weigh(each, canary, mine, other if compares else None, now, since, past)
            if each.slo.class_ == "Safety":
                self._weigh(each, stable, other, None, now, since, NO_PAST)
            self._close(each, now, since)
        self.is_open = True

    def _weigh(
        self,
        played: Played,
        version: str,
        mine: Reading,
        other: Reading | None,
        now: datetime,
        since: datetime,
        past: Past,
    ) -> None:
        place = (played.name, version)
        self._judged[place] = analysis.weigh(
            played.goal,
            mine,
            other,
            self._judged.get(place),
            now=now,
            since=since,
            stale=analysis.STALE_AFTER,
            past=past,
        )

    def _close(self, played: Played, now: datetime, since: datetime) -> None:
        """End a stretch of evidence every five minutes, as the operator does."""
        last = self._judged[played.name, self._scene.canary.name]
        past = self._past[played.name]
        if last.evidence is None or last.stable is None:
            return
        if now >= since + WINDOW * (len(past.closed) + 1):
            newest = last.evidence.stretches[-1]
            self._past[played.name] = replace(past, closed=(*past.closed, newest))

    def _reading(self, played: Played, version: str, now: datetime) -> Reading:
        answers = self._answers.get(version, 0)
        events = self._events.get((played.name, version), 0)
        value = float(events)
        if played.goal.measure.form is Form.RATE:
            value = events / answers if answers else float("nan")
        return Reading(events=events, samples=answers, value=value, at=now)

    def results(self, version: str, *, in_full: bool) -> tuple[SLOResult, ...]:
        """Return the results on a version; in full as a record keeps them, else what rules read.

        Of stable only Safety is judged.
        """
        is_canary = version == self._scene.canary.name
        return tuple(
            self._result(each, version, in_full)
            for each in (self._scene.objectives if is_canary else self._played)
            if is_canary or each.slo.class_ == "Safety"
        )

    def _result(self, played: Played, version: str, in_full: bool) -> SLOResult:
        plain, found = self._plain[played.name, version], self._judged.get((played.name, version))
        if found is None:
            return plain
        if in_full:
            return objective.result(played.goal, version, found)
        return plain.model_copy(
            update={
                "verdict": found.verdict,
                "samples": (found.reading.samples or 0) if found.measured else None,
                "message": found.message,
            }
        )

    def checkpoint(self, since: datetime, now: datetime) -> Checkpoint:
        """Return the finished stretches, as the record wants them when the weight changes."""
        records = tuple(
            record_of(name, stretch) for name, past in self._past.items() for stretch in past.closed
        )
        return Checkpoint(since=since, at=now, strata=records)


def _plain(played: Played, version: str) -> SLOResult:
    """Return the result of an objective that is assumed to hold."""
    return SLOResult(
        policy=played.policy.name,
        name=played.slo.name,
        class_=played.slo.class_,
        version=version,
        verdict=Verdict.SUCCESSFUL,
        samples=0,
        message=f"{played.slo.name} is assumed to hold",
    )
