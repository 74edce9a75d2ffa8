"""One simulated rollout: the operator's own rules, in a world made of dice.

The rules, the verdicts and the record are the real ones from `core`. Only what they look at is
made up: answers arrive by chance, pods get ready on time, the router obeys at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random
from types import MappingProxyType

from rlhf_operator.api.evidence import GoldenResult
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import Outcome, RolloutStatus
from rlhf_operator.api.schema import parse_duration
from rlhf_operator.cli import dice
from rlhf_operator.cli.bench import Bench
from rlhf_operator.cli.scene import Played, Scene
from rlhf_operator.core import capacity, freeze, plans, record, rollout
from rlhf_operator.core.decision import Action, Decision
from rlhf_operator.core.observed import Assessment, Observed, Route, Run, Workload

LOOKS = 60
"""Looks that a step gets at most while it is held; the operator takes one each interval."""
RARER = 0.05
"""After the hold each look comes after this share more of the time that the step has lasted."""
_DRAIN = timedelta(seconds=5)
_AT_REST = 20
_FROZEN_LOOK = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """How one simulated rollout went."""

    outcome: Outcome | None
    """None where it was still going at the limit, or never started."""
    reason: str
    took: timedelta
    highest: int
    """The highest weight that it reached."""
    answers: int
    """Answers that users got from the canary before the outcome."""
    bad: int
    """Flagged ones among them."""


class _World:
    """One run's mutable state."""

    def __init__(self, scene: Scene, chance: Random) -> None:
        self.scene, self.chance = scene, chance
        self.now: datetime = scene.assumed.start
        self.run: Run = scene.before
        self.previous: Run | None = None
        self.bench = Bench(scene)
        self.answers = self.bad = self.highest = 0

    # -- what the rules see ---------------------------------------------------------------------

    def seen(self, *, in_full: bool = False) -> Observed:
        """Return the picture; in full, results are as a record keeps them."""
        scene, run = self.scene, self.run
        replicas = scene.spec.serving.replicas
        opened = run.status.started_at or self.now
        is_up = run is not scene.before and self.now >= opened + scene.assumed.ready_after
        serving = Workload(wanted=replicas, ready=replicas)
        starting = Workload(wanted=replicas, ready=replicas if is_up else 0)
        judged = run.status.weight > 0 and self.bench.is_open

        def assessment(version: str) -> Assessment | None:
            results = self.bench.results(version, in_full=in_full) if judged else ()
            return Assessment(results=results) if judged else None

        return Observed(
            now=self.now,
            key=scene.key,
            spec=scene.spec,
            invalid=scene.invalid,
            target=scene.canary,
            fallback=scene.fallback,
            policies=scene.policies,
            run=run,
            previous=self.previous,
            last_revision=run.spec.revision,
            workloads=MappingProxyType({scene.stable.name: serving, scene.canary.name: starting}),
            route=Route(weights=capacity.declared(run), accepted=True),
            canary=assessment(scene.canary.name),
            stable=assessment(scene.stable.name),
            golden=GoldenResult(at=self.now, passed=True) if is_up else None,
            frozen=freeze.open_window(scene.spec.rollout.freeze_windows, self.now),
        )

    # -- what happens ---------------------------------------------------------------------------

    def decide(self) -> Decision:
        """Let the rules decide until they rest, and return the last decision."""
        for _ in range(_AT_REST):
            seen = self.seen()
            decision = rollout.decide(seen)
            if decision.action is Action.START:
                assert decision.start is not None, "a start has its record"
                self.previous = self.run
                name = plans.run_name(self.scene.key.name, decision.start.revision)
                self.run = Run(
                    name=name,
                    resource_version="1",
                    uid=name,
                    spec=decision.start,
                    status=RolloutStatus(),
                )
                continue
            if not self._record(seen, decision):
                return decision
        raise AssertionError("the rules do not come to rest")

    def _record(self, seen: Observed, decision: Decision) -> bool:
        """Write the record's next status; False where nothing new is to be written."""
        before = self.run.status
        if (
            decision.action is Action.HOLD
            and decision.reason == before.reason
            and before.in_force_at
        ):
            return False
        if decision.action not in (Action.HOLD, Action.KEEP):
            seen = self.seen(in_full=True)
        since = before.in_force_at or self.now
        checkpoint = self.bench.checkpoint(since, self.now) if self.bench.is_open else None
        status = record.next_status(seen, decision, epoch=1, drain=_DRAIN, checkpoint=checkpoint)
        if status is None:
            return False
        self.run = replace(self.run, status=status)
        if status.weight != before.weight:
            self.highest = max(self.highest, status.weight)
            self.bench.restart()
        return self.run.is_active

    def pass_time(self, span: timedelta) -> None:
        """Let users ask for a while, and judge what was answered."""
        self._answer(span)
        self.now += span
        status = self.run.status
        if status.weight > 0:
            self.bench.judge(self.now, status.in_force_at or self.now, status.strata)

    def _answer(self, span: timedelta) -> None:
        scene, weight = self.scene, self.run.status.weight
        expected = scene.assumed.traffic * span.total_seconds()
        shares = ((scene.canary.name, weight), (scene.stable.name, 100 - weight))
        for version, share in shares:
            is_canary = version == scene.canary.name
            flags = scene.assumed.flags
            rate = flags.canary if is_canary else flags.stable
            mean = expected * share / 100
            bad = dice.poisson(mean * rate, self.chance)
            answers = bad + dice.poisson(mean * (1 - rate), self.chance)
            events = {
                each.name: bad if each.is_of_flags else self._thrown(each, mean, answers, is_canary)
                for each in scene.objectives
                if each.rates is not None
            }
            self.bench.count(version, answers, events)
            if is_canary:
                self.answers += answers
                self.bad += bad

    def _thrown(self, played: Played, mean: float, answers: int, is_canary: bool) -> int:
        assert played.rates is not None, "only objectives with rates are thrown"
        rate = played.rates.canary if is_canary else played.rates.stable
        return min(answers, dice.poisson(mean * rate, self.chance))

    def next_look(self) -> timedelta:
        """Return how long until the rules look again."""
        status, plan = self.run.status, self.run.spec.plan
        interval = min(parse_duration(each.interval) for each in self.scene.policies)
        if self.run is self.scene.before:
            return _FROZEN_LOOK
        if status.step < 0 or status.in_force_at is None:
            return max(interval, self.scene.assumed.ready_after / 10)
        hold = parse_duration(plan.steps[status.step].hold)
        lasted = self.now - status.in_force_at
        if lasted < hold:
            return min(max(interval, hold / LOOKS), max(hold - lasted, interval))
        return max(interval, lasted * RARER)


def play(scene: Scene, chance: Random) -> Ending:
    """Return how one rollout goes; the same chance gives the same ending."""
    world = _World(scene, chance)
    start, end = world.now, world.now + scene.assumed.limit
    while True:
        decision = world.decide()
        waits = world.run is scene.before and decision.reason is not Reason.FROZEN
        over = world.run is not scene.before and not world.run.is_active
        if over or waits or world.now >= end:
            break
        world.pass_time(world.next_look())
    status, bad, took = world.run.status, world.bad, world.now - start
    if over and status.outcome is not Outcome.PROMOTED:
        # What the rules decided reaches the router a moment later.
        late = scene.assumed.lag.total_seconds() * scene.assumed.traffic * _last_weight(status)
        bad += dice.poisson(late * scene.assumed.flags.canary / 100, chance)
    return Ending(
        outcome=status.outcome if over else None,
        reason=str(status.reason if over else decision.reason),
        took=took + (scene.assumed.lag if over else timedelta()),
        highest=world.highest,
        answers=world.answers,
        bad=bad,
    )


def _last_weight(status: RolloutStatus) -> int:
    return status.steps[-1].weight if status.steps else 0
