"""One simulated rollout: the operator's own rules, in a world made of dice.

The rules, the verdicts and the record are the real ones from `core`. Only what they look at is
made up: answers arrive by chance, pods get ready on time, the router obeys at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from types import MappingProxyType

from rlhf_operator.api.arms import Arms
from rlhf_operator.api.evidence import GoldenResult
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import RolloutStatus
from rlhf_operator.api.schema import parse_duration
from rlhf_operator.cli import consents, dice
from rlhf_operator.cli.bench import Bench
from rlhf_operator.cli.ending import Ending, of_each
from rlhf_operator.cli.played import Counted
from rlhf_operator.cli.scene import Scene
from rlhf_operator.core import capacity, freeze, plans, record, rollout
from rlhf_operator.core.decision import Action, Decision
from rlhf_operator.core.observed import NO_WORKLOAD, ArmSeen, Observed, Route, Run, Workload
from rlhf_operator.core.subject import subjects

LOOKS = 60
"""Looks that a step gets at most while it is held; the operator takes one each interval."""
RARER = 0.05
"""After the hold each look comes after this share more of the time that the step has lasted."""
_DRAIN = timedelta(seconds=5)
_AT_REST = 64
"""Passes after which the rules must rest: two gates of sixteen people each are among them."""
_FROZEN_LOOK = timedelta(minutes=1)
_READ_NO_MORE = (Action.HOLD, Action.KEEP, Action.PROMOTE, Action.ROLL_BACK)
"""What a record keeps of evidence then is read by nobody here: the same weight goes on, or none."""


class _World:
    """One run's mutable state."""

    def __init__(self, scene: Scene, chance: Random) -> None:
        self.scene, self.chance = scene, chance
        self.now: datetime = scene.assumed.start
        self.run: Run = scene.before
        self.previous: Run | None = None
        self.benches = {name: Bench(scene) for name in scene.tested}
        self.golden = GoldenResult(at=self.now, passed=True)
        self.answers = self.flagged = self.highest = 0

    # -- what the rules see ---------------------------------------------------------------------

    def seen(self, *, in_full: bool = False) -> Observed:
        """Return the picture; in full, results are as a record keeps them."""
        scene, run = self.scene, self.run
        replicas = scene.spec.serving.replicas
        opened = run.status.started_at or self.now
        is_up = run is not scene.before and self.now >= opened + scene.assumed.ready_after
        serving = Workload(wanted=replicas, ready=replicas)
        starting = Workload(wanted=replicas, ready=replicas if is_up else 0)
        # What a test drops is drained at once.
        front, *others = left = self._tested()
        tested = {name: starting if name in left else NO_WORKLOAD for name in scene.tested}
        golden = self.golden if is_up else None
        return Observed(
            now=self.now,
            key=scene.key,
            spec=scene.spec,
            invalid=scene.invalid,
            target=scene.canary,
            others=scene.others,
            fallback=scene.fallback,
            policies=scene.policies,
            run=run,
            previous=self.previous,
            last_revision=run.spec.revision,
            workloads=MappingProxyType({scene.stable.name: serving} | tested),
            route=Route(weights=capacity.declared(run), mirror=capacity.mirror(run), accepted=True),
            canary=self.benches[front].assessment(front, in_full=in_full),
            arms={
                name: ArmSeen(
                    judged=self.benches[name].assessment(name, in_full=in_full), golden=golden
                )
                for name in others
            },
            stable=self.benches[front].assessment(scene.stable.name, in_full=in_full),
            golden=golden,
            changed_by=scene.changed_by,
            acts=consents.said(run, scene.assumed.approve_after, self.now),
            frozen=freeze.open_window(scene.spec.rollout.freeze_windows, self.now),
        )

    def _tested(self) -> tuple[str, ...]:
        """Return the versions that are tested still, the canary first."""
        status = self.run.status
        if self.run is self.scene.before or status.canary is None:
            return self.scene.tested
        return (status.canary.name, *(arm.version for arm in status.testing))

    # -- what happens ---------------------------------------------------------------------------

    def decide(self) -> Decision:
        """Let the rules decide until they rest, and return the last decision."""
        for _ in range(_AT_REST):
            seen = self.seen()
            decision = rollout.decide(seen)
            if decision.reason is Reason.OTHER_WON:
                # Which of several is the best is read off estimates, which full results have.
                seen = self.seen(in_full=True)
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
            and decision.act is None
            and decision.reason == before.reason
            and before.in_force_at
        ):
            return False
        if decision.action not in _READ_NO_MORE:
            seen = self.seen(in_full=True)
        made = ((name, self.benches[name].checkpoint(self.now)) for name in self._tested())
        checkpoints = {name: found for name, found in made if found is not None}
        status = record.next_status(
            seen,
            decision,
            epoch=1,
            drain=_DRAIN,
            checkpoint=checkpoints.get(self._tested()[0]),
            checkpoints=checkpoints,
        )
        if status is None:
            return False
        if decision.action is Action.ROLL_BACK:
            self._answer_late(self._tested())
        elif decision.action is Action.DROP:
            self._answer_late(decision.arms)
        self.run = replace(self.run, status=status)
        self.highest = max(self.highest, status.weight)
        self._follow()
        return self.run.is_active

    def _answer_late(self, versions: Iterable[str]) -> None:
        """Let versions answer for a while more: what is decided reaches the router that late."""
        arms, assumed = self._arms(), self.scene.assumed
        rate = sum(
            arms.tested[name] / 100 * assumed.flags.of(is_canary=True, version=name)
            for name in versions
        )
        self.flagged += dice.poisson(
            assumed.lag.total_seconds() * assumed.traffic * rate, self.chance
        )

    def _follow(self) -> None:
        """Let the benches judge what the operator's engine would now."""
        scene, run = self.scene, self.run
        seen = Observed(now=self.now, key=scene.key, policies=scene.policies, run=run)
        found = subjects(seen, run) if run.is_active else ()
        wanted = dict(zip(self._tested(), found, strict=False))  # before a weight there is one
        for name, bench in self.benches.items():
            bench.follow(wanted.get(name))

    def pass_time(self, span: timedelta) -> None:
        """Let users ask for a while, and judge what was answered."""
        self._answer(span)
        self.now += span
        self._follow()  # what stable is to be compared with later is counted by the hour
        for bench in self.benches.values():
            bench.judge(self.now)

    def _answer(self, span: timedelta) -> None:
        """Let every version answer; a shadow answers copies beside what stable answers."""
        scene, arms = self.scene, self._arms()
        asked = scene.assumed.traffic * span.total_seconds()
        for version in (*arms.tested, scene.stable.name):
            is_canary = version != scene.stable.name
            share = arms.share_of(version)
            if not share:
                continue
            rate = scene.assumed.flags.of(is_canary=is_canary, version=version)
            flagged = dice.poisson(asked * share * rate, self.chance)
            answers = flagged + dice.poisson(asked * share * (1 - rate), self.chance)
            flags = Counted(events=flagged, samples=answers)
            judged = arms if self.run.status.weight > 0 else None
            found = {
                each.name: flags
                if each.is_of_flags
                else each.thrown(
                    asked * share * each.share(judged, version),
                    self.chance,
                    is_canary=is_canary,
                    version=version,
                )
                for each in scene.objectives
                if each.is_played
            }
            for bench in self.benches.values():
                bench.count(version, found)
            if is_canary:
                self.answers += answers
                self.flagged += flagged

    def _arms(self) -> Arms:
        """Return what the router tells the guards of the run."""
        run, status = self.run, self.run.status
        return Arms(
            canary=self._tested()[0],
            percent=status.weight,
            others=tuple((arm.version, arm.weight) for arm in status.testing),
            step=max(0, status.step),
            run=run.name,
            is_copied=run.is_shadow,
        )

    def next_look(self, decision: Decision) -> timedelta:
        """Return how long until the rules look again: at their next deadline, if not before."""
        answered = consents.due(self.run, self.scene.assumed.approve_after)
        wakes = [decision.wake, self._test_end(), answered]
        left = [wake - self.now for wake in wakes if wake is not None and wake > self.now]
        return min([self._pause(), *left])

    def _test_end(self) -> datetime | None:
        """Return until when a test may go on without a winner."""
        test, since = self.run.plan.ab_test, self.run.since
        return None if test is None or since is None else since + parse_duration(test.duration)

    def _pause(self) -> timedelta:
        status, plan = self.run.status, self.run.spec.plan
        interval = min(parse_duration(each.interval) for each in self.scene.policies)
        if self.run is self.scene.before:
            return _FROZEN_LOOK
        if status.step < 0 or status.in_force_at is None:
            waited = self.now - (status.started_at or self.now)
            return max(interval, self.scene.assumed.ready_after / 10, waited * RARER)
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
        world.pass_time(world.next_look(decision))
    status, took = world.run.status, world.now - start
    flagged, is_shadow = world.flagged, world.run.is_shadow
    return Ending(
        outcome=status.outcome if over else None,
        reason=str(status.reason if over else decision.reason),
        took=took + (scene.assumed.lag if over else timedelta()),
        highest=world.highest,
        answers=world.answers,
        bad=0 if is_shadow else flagged,
        unread=flagged if is_shadow else 0,
        shown_before=max((each.samples for each in status.before_switch), default=0),
        ends=tuple(of_each(world.run)) if scene.others and world.run is not scene.before else (),
    )
