"""Our decision, look by look, for many runs at once.

At each look, ten seconds apart: harm proven by any test → roll back; the step's hold not over →
hold; non-inferiority proven on every bound, and enough answers → advance; maxHold over → give up,
which counts as undecided; else hold. What cannot be read is not judged: no gap may decide.
The crossing of harm is final, for the run ends with it; non-inferiority is read now.

Strata end at each change of weight and every five minutes. Their share is what was counted of
each arm, never the weight. Evidence is carried over all strata of the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from e2e.bench.decisions import evidence, rewards
from e2e.bench.decisions.outcome import Outcome
from e2e.bench.decisions.scenarios import Scenario
from e2e.bench.decisions.traffic import LOOK, MINUTE, Flags, Interval, Numbers, Traffic, Unit
from rlhf_operator.core.sequential import Shared
from rlhf_operator.core.statistics import advance_threshold, rollback_threshold

_TESTS = Shared(comparisons=2, bounds=2)


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """The one default for all scenarios: a policy of unsafe answers and of rewards."""

    false_rollback: float = 0.01
    false_promotion: float = 0.05
    tests: Shared = _TESTS
    """They share false_rollback: unsafe answers against stable, and rewards; the bound of unsafe
    answers, and stable's own."""
    ratio: float = 1.5
    ceiling: float = 0.10
    difference: float = 0.1
    rewards_are_safety: bool = True
    """So harm of a mean is any at all, as of flags; else it must exceed the difference."""
    scores_evenly: bool = False
    """No more of stable's answers than of the canary's, so that a score less is paid; else all,
    which is what the last step scores anyway."""
    min_samples: float = 200
    hold: int = 10 * MINUTE
    """Seconds, as the others."""
    max_hold: int = 24 * 60 * MINUTE
    """How long a step may last after its hold."""
    stratum: int = 5 * MINUTE

    @property
    def harm(self) -> float:
        """Return the ln E that rolls back."""
        return rollback_threshold(self.false_rollback, self.tests.parts)

    @property
    def good(self) -> float:
        """Return the ln E that advances."""
        return advance_threshold(self.false_promotion)


class _Judge(Protocol):
    def add(self, seen: Interval) -> None: ...
    def harm(self) -> Flags: ...
    def good(self) -> Flags: ...
    def close(self, which: Flags) -> None: ...
    def keep(self, going: Flags) -> None: ...


class _Rates:
    """Unsafe answers: Safety, so harm is tested at ratio 1; and a ceiling beside it."""

    def __init__(self, runs: int, setting: Setting) -> None:
        self._setting = setting
        self._harm = evidence.RatioEvidence(runs, 1.0, harm=True)
        self._good = evidence.RatioEvidence(runs, setting.ratio, harm=False)
        self._events, self._answers = np.zeros(runs), np.zeros(runs)
        # What an arm's counters gained since they were last read: samples and events of each.
        self._unread = np.zeros((4, runs))

    def add(self, seen: Interval) -> None:
        """Count what can be read; the rest is read later, for counters do not forget."""
        self._unread += np.stack(
            [seen.canary_samples, seen.stable_samples, seen.canary_events, seen.stable_events]
        )
        told = self._unread * np.stack([seen.canary_read, seen.stable_read] * 2)
        self._unread -= told
        self._harm.add(*told)
        self._good.add(*told)
        self._answers += told[0]
        self._events += told[2]

    def harm(self) -> Flags:
        """Return which runs are proven harmful, by the comparison or by the bound."""
        setting = self._setting
        beyond = setting.harm + setting.tests.price
        return self._harm.reaches(setting.harm) | evidence.ceiling_reaches(
            self._events, self._answers, setting.ceiling, beyond, exceeds=True
        )

    def good(self) -> Flags:
        """Return which runs are proven non-inferior by both, with enough samples."""
        setting = self._setting
        below = evidence.ceiling_reaches(
            self._events, self._answers, setting.ceiling, setting.good, exceeds=False
        )
        return self._good.reaches(setting.good) & below & (self._answers >= setting.min_samples)

    def close(self, which: Flags) -> None:
        self._harm.close(which)
        self._good.close(which)

    def keep(self, going: Flags) -> None:
        self._harm.keep(going)
        self._good.keep(going)
        self._events, self._answers = self._events[going], self._answers[going]
        self._unread = self._unread[:, going]


class _Rewards:
    """The mean reward: non-inferior within the margin, harmful as the objective's class says."""

    def __init__(
        self, runs: int, setting: Setting, scenario: Scenario, rng: np.random.Generator
    ) -> None:
        self._setting, self._scenario, self._rng = setting, scenario, rng
        self._evidence = evidence.MeanEvidence(runs)
        self._answers = np.zeros(runs)

    def add(self, seen: Interval) -> None:
        evenly = self._setting.scores_evenly
        scores = rewards.scored(seen, self._scenario, self._rng, evenly=evenly)
        self._evidence.add(scores)
        self._answers += seen.canary

    def harm(self) -> Flags:
        setting = self._setting
        beyond = 0.0 if setting.rewards_are_safety else setting.difference
        return self._evidence.log_e(beyond, harm=True) >= setting.harm

    def good(self) -> Flags:
        setting = self._setting
        good = self._evidence.log_e(setting.difference, harm=False) >= setting.good
        return good & (self._answers >= setting.min_samples)

    def close(self, which: Flags) -> None:
        self._evidence.close(which)

    def keep(self, going: Flags) -> None:
        self._evidence.keep(going)
        self._answers = self._answers[going]


def simulate(
    scenario: Scenario, runs: int, seed: int, *, unit: Unit, setting: Setting | None = None
) -> Outcome:
    """Return how so many rollouts end."""
    setting = setting or Setting()
    rng = np.random.default_rng(seed)
    traffic = Traffic(scenario, runs, rng, unit)
    judge: _Judge = (
        _Rates(runs, setting) if scenario.shift is None else _Rewards(runs, setting, scenario, rng)
    )
    return _Runs(scenario, runs, setting).follow(traffic, judge)


class _Runs:
    """Where each run is in its plan, and how those ended that are over."""

    def __init__(self, scenario: Scenario, runs: int, setting: Setting) -> None:
        self._setting, self._scenario = setting, scenario
        self._steps = np.array(scenario.steps)
        self._going = np.arange(runs)
        self._step = np.zeros(runs, dtype=np.int64)
        self._entered = np.zeros(runs)
        self._bad = np.zeros(runs)
        self._rolled_back = np.zeros(runs, dtype=bool)
        self._promoted = np.zeros(runs, dtype=bool)
        self._seconds, self._cost = np.zeros(runs), np.zeros(runs)

    def follow(self, traffic: Traffic, judge: _Judge) -> Outcome:
        """Look until every run is over."""
        now = 0
        while len(self._going):
            now += LOOK
            traffic.tick()
            seen = traffic.interval(self._steps[self._step])
            self._bad += self._bad_answers(seen)
            judge.add(seen)
            fresh = seen.canary_read & seen.stable_read
            held = now - self._entered >= self._setting.hold
            harm = judge.harm() & fresh
            # Before the hold is over nothing can advance, and most of the time is holds.
            good = judge.good() & fresh & held if held.any() else held
            ended, advanced = self._decide(now, harm, good)
            cut = advanced | (now % self._setting.stratum == 0)
            judge.close(cut)
            traffic.begin_stratum(cut)
            traffic.begin_step(advanced)
            if ended.any():
                going = ~ended
                judge.keep(going)
                traffic.keep(going)
                self._keep(going)
        return Outcome(
            rolled_back=self._rolled_back, promoted=self._promoted,
            seconds=self._seconds, bad=self._cost,
        )  # fmt: skip

    def _bad_answers(self, seen: Interval) -> Numbers:
        if self._scenario.shift is None:
            return seen.bad
        return seen.canary * rewards.bad_share(self._scenario)

    def _decide(self, now: int, harm: Flags, good: Flags) -> tuple[Flags, Flags]:
        """Return which runs ended at this look, and which go on with another weight."""
        advances = good & ~harm
        is_last = self._step == len(self._steps) - 1
        promoted = advances & is_last
        gives_up = now - self._entered >= self._setting.hold + self._setting.max_hold
        ended = harm | promoted | (gives_up & ~advances)
        self._rolled_back[self._going[harm]] = True
        self._promoted[self._going[promoted]] = True
        self._seconds[self._going[ended]] = now
        self._cost[self._going[ended]] = self._bad[ended]
        advanced = advances & ~is_last
        self._step[advanced] += 1
        self._entered[advanced] = now
        return ended, advanced

    def _keep(self, going: Flags) -> None:
        self._going, self._step = self._going[going], self._step[going]
        self._entered, self._bad = self._entered[going], self._bad[going]
