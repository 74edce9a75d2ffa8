"""The simulated world: what each arm answers between two looks, for many runs at once.

It knows nothing of how rollouts are judged. All arrays have one entry for each run that goes on.

- The answers of an arm are Poisson, so many of them flagged at random, as its rate says.
- Diurnal: the rate of flags swings by ±80 % in a day and traffic by ±60 %, in step, beginning at
  any hour. Ramping weights: the rate rises from half to one and a half in the first hour.
- Idle canary: no answers for the first ten minutes, then off and on, ten minutes each on average.
- Counter resets: every ten minutes on average an arm restarts, and up to 15 seconds are lost, but
  no more than from one look to the next.
- Scrape gaps: the canary alone, stable alone (every 30 minutes on average, for three) or both
  (every hour, for four) cannot be read. Counters go on meanwhile.
- Heavy users: one hundred of ten thousand make half of all flags, at random moments. Sticky users
  stay with the arm that chance gave them until the weight passes them; of others each answer is
  assigned anew. The light users are taken as so many that none is flagged twice.
- An attacker sends an answer a second, half of them flagged, to one arm from the fifth minute on,
  from one account or shared among twenty. They are not counted as bad answers served.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2e.bench.decisions.scenarios import Scenario, Trait

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]

LOOK = 10
"""Seconds from one look to the next: the default interval of a policy."""
MINUTE = 60
_DAY = 24 * 60 * MINUTE
HEAVY_USERS = 100
_ATTACK_BEGINS = 4 * MINUTE
_ATTACKS = {
    Trait.ATTACK_CANARY: 1, Trait.ATTACK_STABLE: 1,
    Trait.ACCOUNTS_CANARY: 20, Trait.ACCOUNTS_STABLE: 20,
}  # fmt: skip
_ON_CANARY = (Trait.ATTACK_CANARY, Trait.ACCOUNTS_CANARY)


class Unit(StrEnum):
    """What one event is, where one user may have many flagged answers."""

    ANSWER = "answer"
    USER_A_STRATUM = "user, once a stratum"
    USER_A_RUN = "user, once a run"
    FIRST_FLAG = "answers up to a user's first flag, anew with each weight"
    """What is built for sticky users, in comparisons and in bounds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """What happened since the last look: answers, flagged ones, and what could be read."""

    canary: Numbers
    stable: Numbers
    canary_flags: Numbers
    stable_flags: Numbers
    canary_events: Numbers
    """Flags as the unit counts them."""
    stable_events: Numbers
    canary_samples: Numbers
    """Answers as the unit counts them."""
    stable_samples: Numbers
    bad: Numbers
    """Flagged answers that the canary served to ordinary users."""
    canary_read: Flags
    stable_read: Flags


class Traffic:
    """The answers of so many runs of one scenario."""

    def __init__(
        self,
        scenario: Scenario,
        runs: int,
        rng: np.random.Generator,
        unit: Unit = Unit.ANSWER,
        every: int = LOOK,
    ) -> None:
        """Begin; `every` is from one look to the next, in seconds that make up whole minutes."""
        self._scenario, self._rng, self._unit = scenario, rng, unit
        self._now, self._every = 0, every
        self._phase = rng.random(runs)
        self._off = np.full(runs, scenario.trait is Trait.IDLE)
        self._gaps = np.zeros((3, runs), dtype=bool)
        self._is_heavy = scenario.trait in (Trait.HEAVY, Trait.HEAVY_STICKY)
        users = HEAVY_USERS if self._is_heavy else 0
        self._place = rng.random((runs, users), dtype=np.float32)
        self._met = np.zeros((2, runs, users), dtype=bool)
        self._attacked = np.zeros(runs, dtype=bool)

    def keep(self, going: Flags) -> None:
        """Forget the runs that are over."""
        self._phase, self._off = self._phase[going], self._off[going]
        self._gaps, self._place = self._gaps[:, going], self._place[going]
        self._met, self._attacked = self._met[:, going], self._attacked[going]

    def begin_stratum(self, which: Flags) -> None:
        """Let every user of these runs count once more, where they count once a stratum."""
        if self._unit is Unit.USER_A_STRATUM:
            self._forget(which)

    def begin_step(self, which: Flags) -> None:
        """Go on at another weight in these runs."""
        if self._unit is Unit.FIRST_FLAG:
            self._forget(which)

    def _forget(self, which: Flags) -> None:
        self._met[:, which] = False
        self._attacked[which] = False

    def tick(self) -> None:
        """Go to the next look; with each minute it changes who is idle and what cannot be read."""
        self._now += self._every
        runs, trait = len(self._phase), self._scenario.trait
        if (self._now - self._every) % MINUTE:
            return
        if trait is Trait.IDLE and self._now > 10 * MINUTE:
            self._off ^= self._rng.random(runs) < 0.1
        if trait is Trait.GAPS:
            chance = self._rng.random((3, runs))
            begins = np.array([[1 / 30], [1 / 30], [1 / 60]])
            ends = np.array([[1 / 3], [1 / 3], [1 / 4]])
            self._gaps = np.where(self._gaps, chance >= ends, chance < begins)

    def interval(self, weight: Numbers) -> Interval:
        """Return the answers up to this look, with the canary's set weight in each run."""
        weight = self._real(weight)
        rates, answers = self._base(), self._every * self._scenario.requests * self._busy()
        share = np.where(self._off, 0.0, weight)
        arms = [self._rng.poisson(answers * part).astype(float) for part in (share, 1 - share)]
        if self._is_heavy:
            rates = rates / 2
        factors = (self._scenario.factor, 1.0)
        flags = [
            self._rng.binomial(arm.astype(np.int64), np.minimum(rates * factor, 1)).astype(float)
            for arm, factor in zip(arms, factors, strict=True)
        ]
        arms, flags = self._lose(arms, flags) if self._resets else (arms, flags)
        events = [each.copy() for each in flags]
        samples = [each.copy() for each in arms]
        bad = flags[0]
        if self._is_heavy:
            made, first = self._heavy(share)
            bad = flags[0] + made[0]
            arms, flags = _added(arms, made), _added(flags, made)
            events = _added(events, made if self._unit is Unit.ANSWER else first)
            samples = _added(samples, first if self._unit is Unit.FIRST_FLAG else made)
        if self._scenario.trait in _ATTACKS:
            arms, flags, events, samples = self._attack(arms, flags, events, samples)
        return Interval(
            canary=arms[0], stable=arms[1], canary_flags=flags[0], stable_flags=flags[1],
            canary_events=events[0], stable_events=events[1],
            canary_samples=samples[0], stable_samples=samples[1],
            bad=bad,
            canary_read=~(self._gaps[0] | self._gaps[2]),
            stable_read=~(self._gaps[1] | self._gaps[2]),
        )  # fmt: skip

    @property
    def _resets(self) -> bool:
        return self._scenario.trait is Trait.RESETS

    def _real(self, weight: Numbers) -> Numbers:
        """Return the share that the gateway really gives the canary."""
        if self._scenario.trait is Trait.SPLIT:
            return np.minimum(1.4 * weight, 0.6)
        return weight

    def _sun(self) -> Numbers:
        return np.sin(2 * np.pi * (self._now / _DAY + self._phase))

    def _base(self) -> Numbers:
        """Return stable's rate of flags now."""
        level: Any = 1.0
        if self._scenario.trait is Trait.DIURNAL:
            level = 1 + 0.8 * self._sun()
        if self._scenario.trait is Trait.RAMPING:
            level = 0.5 + min(self._now / (60 * MINUTE), 1.0)
        rates: Numbers = self._scenario.base * level * np.ones(len(self._phase))
        return rates

    def _busy(self) -> Numbers:
        """Return the traffic now over the usual."""
        if self._scenario.trait is Trait.DIURNAL:
            return 1 + 0.6 * self._sun()
        return np.ones(len(self._phase))

    def _lose(self, arms: list[Numbers], flags: list[Numbers]) -> tuple[list[Numbers], ...]:
        """Return what is left of each arm's counts, for restarts take the last seconds along."""
        left_arms, left_flags = [], []
        for arm, flagged in zip(arms, flags, strict=True):
            restarted = self._rng.random(len(arm)) < self._every / (10 * MINUTE)
            lost = np.minimum(15 / self._every * self._rng.random(len(arm)), 1.0)
            kept = 1 - lost * restarted
            found = self._rng.binomial(flagged.astype(np.int64), kept)
            others = self._rng.binomial((arm - flagged).astype(np.int64), kept)
            left_arms.append((found + others).astype(float))
            left_flags.append(found.astype(float))
        return left_arms, left_flags

    def _heavy(self, share: Numbers) -> tuple[list[Numbers], list[Numbers]]:
        """Return each arm's flags from heavy users, and how many users were not met before."""
        scenario, runs = self._scenario, len(share)
        each = self._every * scenario.requests * scenario.base / 2
        # As if both arms were as bad as the worse one; of the other's some are then left out.
        most = max(scenario.factor, 1.0)
        run = np.repeat(np.arange(runs), self._rng.poisson(each * most, runs))
        user = self._rng.integers(HEAVY_USERS, size=len(run))
        is_sticky = scenario.trait is Trait.HEAVY_STICKY
        place = self._place[run, user] if is_sticky else self._rng.random(len(run))
        is_canary = place < share[run]
        factor = np.where(is_canary, scenario.factor, 1.0)
        kept = self._rng.random(len(run)) * most < factor
        made, first = [], []
        for arm, is_mine in enumerate((is_canary & kept, ~is_canary & kept)):
            who = run[is_mine] * HEAVY_USERS + user[is_mine]
            new = np.unique(who[~self._met[arm, run[is_mine], user[is_mine]]])
            self._met[arm, new // HEAVY_USERS, new % HEAVY_USERS] = True
            for found, which in ((made, who), (first, new)):
                found.append(np.bincount(which // HEAVY_USERS, minlength=runs).astype(float))
        return made, first

    def _attack(
        self,
        arms: list[Numbers],
        flags: list[Numbers],
        events: list[Numbers],
        samples: list[Numbers],
    ) -> tuple[list[Numbers], ...]:
        """Return the counts with those of the attacker."""
        if self._now <= _ATTACK_BEGINS:
            return arms, flags, events, samples
        aimed = 0 if self._scenario.trait in _ON_CANARY else 1
        accounts, every = _ATTACKS[self._scenario.trait], float(self._every)
        made = self._rng.binomial(self._every, 0.5, len(arms[0])).astype(float)
        first = np.where(self._attacked, 0.0, accounts)
        self._attacked[:] = True
        counted = made if self._unit is Unit.ANSWER else first

        def aim(at: list[Numbers], more: Any) -> list[Numbers]:
            return [each + more if arm == aimed else each for arm, each in enumerate(at)]

        # Where users are counted, so are the attacker's accounts among those who were answered.
        answers: Any = every if self._unit is Unit.ANSWER else counted
        if self._unit is Unit.FIRST_FLAG:
            fine = self._rng.negative_binomial(np.maximum(first, 1).astype(np.int64), 0.5)
            answers = np.where(first > 0, first + fine, 0.0)
        return aim(arms, every), aim(flags, made), aim(events, counted), aim(samples, answers)


def _added(ours: list[Numbers], more: list[Numbers]) -> list[Numbers]:
    return [one + other for one, other in zip(ours, more, strict=True)]
