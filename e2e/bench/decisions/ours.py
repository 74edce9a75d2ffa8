"""Our decision, look by look, for many runs at once.

At each look, a minute apart: harm proven by any test → roll back; the step's hold not over → hold;
non-inferiority proven on every bound, and enough answers → advance; maxHold over → give up, which
counts as undecided; else hold. What cannot be read is not judged: neither arm's gap may decide.
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
from e2e.bench.decisions.traffic import Flags, Minute, Numbers, Traffic, Unit
from rlhf_operator.core.statistics import advance_threshold, rollback_threshold


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """The one default for all scenarios: a policy of unsafe answers and of rewards."""

    false_rollback: float = 0.01
    false_promotion: float = 0.05
    tests: int = 3
    """Tests that share false_rollback: unsafe answers against stable and max, rewards."""
    ratio: float = 1.5
    ceiling: float = 0.10
    difference: float = 0.1
    min_samples: float = 200
    hold: int = 10
    max_hold: int = 1440
    """Minutes that a step may last after its hold."""
    stratum: int = 5

    @property
    def harm(self) -> float:
        """Return the ln E that rolls back."""
        return rollback_threshold(self.false_rollback, self.tests)

    @property
    def good(self) -> float:
        """Return the ln E that advances."""
        return advance_threshold(self.false_promotion)


class _Judge(Protocol):
    def add(self, minute: Minute) -> None: ...
    def verdicts(self) -> tuple[Flags, Flags]: ...
    def close(self, which: Flags) -> None: ...
    def keep(self, going: Flags) -> None: ...


class _Rates:
    """Unsafe answers: Safety, so harm is tested at ratio 1; and a ceiling beside it."""

    def __init__(self, runs: int, setting: Setting) -> None:
        self._setting = setting
        self._harm = evidence.RatioEvidence(runs, 1.0, harm=True)
        self._good = evidence.RatioEvidence(runs, setting.ratio, harm=False)
        self._events, self._answers = np.zeros(runs), np.zeros(runs)
        # What an arm's counters gained since they were last read: samples and events of each arm
        # for the comparison, and of the canary for the bound.
        self._unread = np.zeros((6, runs))

    def add(self, minute: Minute) -> None:
        """Count what can be read; the rest is read later, for counters do not forget."""
        self._unread += np.stack(
            [minute.canary_samples, minute.stable_samples, minute.canary_events,
             minute.stable_events, minute.bounded, minute.bounded_events]
        )  # fmt: skip
        canary, stable = minute.canary_read, minute.stable_read
        told = self._unread * np.stack([canary, stable, canary, stable, canary, canary])
        self._unread -= told
        self._harm.add(*told[:4])
        self._good.add(*told[:4])
        self._answers += told[4]
        self._events += told[5]

    def verdicts(self) -> tuple[Flags, Flags]:
        """Return which runs are proven harmful, and which non-inferior with enough samples."""
        setting = self._setting
        above = evidence.log_e_ceiling(self._events, self._answers, setting.ceiling, exceeds=True)
        below = evidence.log_e_ceiling(self._events, self._answers, setting.ceiling, exceeds=False)
        harm = np.maximum(self._harm.log_e(), above) >= setting.harm
        good = np.minimum(self._good.log_e(), below) >= setting.good
        return harm, good & (self._answers >= setting.min_samples)

    def close(self, which: Flags) -> None:
        self._harm.close(which)
        self._good.close(which)

    def keep(self, going: Flags) -> None:
        self._harm.keep(going)
        self._good.keep(going)
        self._events, self._answers = self._events[going], self._answers[going]
        self._unread = self._unread[:, going]


class _Rewards:
    """The mean reward: Quality, so harm and non-inferiority are both tested at the margin."""

    def __init__(
        self, runs: int, setting: Setting, scenario: Scenario, rng: np.random.Generator
    ) -> None:
        self._setting, self._scenario, self._rng = setting, scenario, rng
        self._evidence = evidence.MeanEvidence(runs)
        self._answers = np.zeros(runs)

    def add(self, minute: Minute) -> None:
        self._evidence.add(rewards.scored(minute, self._scenario, self._rng))
        self._answers += minute.canary

    def verdicts(self) -> tuple[Flags, Flags]:
        setting, found = self._setting, self._evidence
        harm = found.log_e(setting.difference, harm=True) >= setting.harm
        good = found.log_e(setting.difference, harm=False) >= setting.good
        return harm, good & (self._answers >= setting.min_samples)

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
        self._minutes, self._cost = np.zeros(runs), np.zeros(runs)

    def follow(self, traffic: Traffic, judge: _Judge) -> Outcome:
        """Look every minute until every run is over."""
        now = 0
        while len(self._going):
            now += 1
            traffic.tick()
            minute = traffic.minute(self._steps[self._step])
            self._bad += self._bad_answers(minute)
            judge.add(minute)
            harm, good = judge.verdicts()
            fresh = minute.canary_read & minute.stable_read
            ended, advanced = self._decide(now, harm & fresh, good & fresh)
            cut = advanced | (now % self._setting.stratum == 0)
            judge.close(cut)
            traffic.begin_stratum(cut)
            if ended.any():
                going = ~ended
                judge.keep(going)
                traffic.keep(going)
                self._keep(going)
        return Outcome(
            rolled_back=self._rolled_back, promoted=self._promoted,
            minutes=self._minutes, bad=self._cost,
        )  # fmt: skip

    def _bad_answers(self, minute: Minute) -> Numbers:
        if self._scenario.shift is None:
            return minute.bad
        return minute.canary * rewards.bad_share(self._scenario)

    def _decide(self, now: int, harm: Flags, good: Flags) -> tuple[Flags, Flags]:
        """Return which runs ended at this look, and which go on with another weight."""
        held = now - self._entered >= self._setting.hold
        advances = held & good & ~harm
        is_last = self._step == len(self._steps) - 1
        promoted = advances & is_last
        gives_up = now - self._entered >= self._setting.hold + self._setting.max_hold
        ended = harm | promoted | (gives_up & ~advances)
        self._rolled_back[self._going[harm]] = True
        self._promoted[self._going[promoted]] = True
        self._minutes[self._going[ended]] = now
        self._cost[self._going[ended]] = self._bad[ended]
        advanced = advances & ~is_last
        self._step[advanced] += 1
        self._entered[advanced] = now
        return ended, advanced

    def _keep(self, going: Flags) -> None:
        self._going, self._step = self._going[going], self._step[going]
        self._entered, self._bad = self._entered[going], self._bad[going]
