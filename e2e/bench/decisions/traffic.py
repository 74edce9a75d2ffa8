"""The simulated world: what each arm answers in a minute, for many runs at once.

It knows nothing of how rollouts are judged. All arrays have one entry for each run that goes on.

- The answers of an arm are Poisson, so many of them flagged at random, as its rate says.
- Diurnal: the rate of flags swings by ±80 % in a day and traffic by ±60 %, in step, beginning at
  any hour. Ramping weights: the rate rises from half to one and a half in the first hour.
- Idle canary: no answers for the first ten minutes, then off and on, ten minutes each on average.
- Counter resets: in a minute in ten an arm restarts and up to a quarter of the minute is lost.
- Scrape gaps: the canary alone, stable alone (every 30 minutes on average, for three) or both
  (every hour, for four) cannot be read. Counters go on meanwhile.
- Heavy users: one hundred of ten thousand make half of all flags, at random moments. Sticky users
  stay with the arm that chance gave them until the weight passes them; of others each answer is
  assigned anew. The light users are taken as so many that none is flagged twice.
- An attacker sends an answer a second, half of them flagged, to one arm from the fifth minute on,
  from one account or shared among twenty. They are not counted as bad answers served.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2e.bench.decisions.scenarios import Scenario, Trait

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]

DAY = 1440
HEAVY_USERS = 100
_ATTACK_BEGINS = 5
_ATTACK_ANSWERS = 60.0
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
    FIRST_FLAG = "answers up to a user's first flag"
    """What is built for sticky users: so versions are compared; bounds count every answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Minute:
    """What happened in a minute: answers, flagged ones among them, and what could be read."""

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
    bounded: Numbers
    """The canary's answers as a bound counts them, and the events among them."""
    bounded_events: Numbers
    bad: Numbers
    """Flagged answers that the canary served to ordinary users."""
    canary_read: Flags
    stable_read: Flags


class Traffic:
    """The answers of so many runs of one scenario."""

    def __init__(
        self, scenario: Scenario, runs: int, rng: np.random.Generator, unit: Unit = Unit.ANSWER
    ) -> None:
        self._scenario, self._rng, self._unit = scenario, rng, unit
        self._now = 0
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
            self._met[:, which] = False
            self._attacked[which] = False

    def tick(self) -> None:
        """Go to the next minute: who is idle, and what cannot be read."""
        self._now += 1
        runs, trait = len(self._phase), self._scenario.trait
        if trait is Trait.IDLE and self._now > 10:
            self._off ^= self._rng.random(runs) < 0.1
        if trait is Trait.GAPS:
            chance = self._rng.random((3, runs))
            begins = np.array([[1 / 30], [1 / 30], [1 / 60]])
            ends = np.array([[1 / 3], [1 / 3], [1 / 4]])
            self._gaps = np.where(self._gaps, chance >= ends, chance < begins)

    def minute(self, weight: Numbers) -> Minute:
        """Return this minute's answers, with the canary's set weight in each run."""
        weight = self._real(weight)
        rates, answers = self._base(), 60 * self._scenario.requests * self._busy()
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
        by_answer = self._unit is Unit.FIRST_FLAG
        return Minute(
            canary=arms[0], stable=arms[1], canary_flags=flags[0], stable_flags=flags[1],
            canary_events=events[0], stable_events=events[1],
            canary_samples=samples[0], stable_samples=samples[1],
            bounded=arms[0] if by_answer else samples[0],
            bounded_events=flags[0] if by_answer else events[0], bad=bad,
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
        return np.sin(2 * np.pi * (self._now / DAY + self._phase))

    def _base(self) -> Numbers:
        """Return stable's rate of flags at this minute."""
        level: Any = 1.0
        if self._scenario.trait is Trait.DIURNAL:
            level = 1 + 0.8 * self._sun()
        if self._scenario.trait is Trait.RAMPING:
            level = 0.5 + min(self._now / 60, 1.0)
        rates: Numbers = self._scenario.base * level * np.ones(len(self._phase))
        return rates

    def _busy(self) -> Numbers:
        """Return this minute's traffic over the usual."""
        if self._scenario.trait is Trait.DIURNAL:
            return 1 + 0.6 * self._sun()
        return np.ones(len(self._phase))

    def _lose(self, arms: list[Numbers], flags: list[Numbers]) -> tuple[list[Numbers], ...]:
        """Return what is left of each arm's counts, for restarts take the last seconds along."""
        left_arms, left_flags = [], []
        for arm, flagged in zip(arms, flags, strict=True):
            restarted = self._rng.random(len(arm)) < 0.1
            kept = 1 - 0.25 * self._rng.random(len(arm)) * restarted
            found = self._rng.binomial(flagged.astype(np.int64), kept)
            others = self._rng.binomial((arm - flagged).astype(np.int64), kept)
            left_arms.append((found + others).astype(float))
            left_flags.append(found.astype(float))
        return left_arms, left_flags

    def _heavy(self, share: Numbers) -> tuple[list[Numbers], list[Numbers]]:
        """Return each arm's flags from heavy users, and how many users were not met before."""
        scenario = self._scenario
        each = 60 * scenario.requests * scenario.base / 2 / HEAVY_USERS
        is_canary = self._place < share[:, None]
        made, first = [], []
        for arm, factor in enumerate((scenario.factor, 1.0)):
            if scenario.trait is Trait.HEAVY_STICKY:
                chance = each * factor * (is_canary if arm == 0 else ~is_canary)
            else:
                chance = (
                    each
                    * factor
                    * np.broadcast_to(
                        (share if arm == 0 else 1 - share)[:, None], self._place.shape
                    )
                )
            flags = self._rng.poisson(chance)
            new = (flags > 0) & ~self._met[arm]
            self._met[arm] |= new
            made.append(flags.sum(axis=1).astype(float))
            first.append(new.sum(axis=1).astype(float))
        return made, first

    def _attack(
        self,
        arms: list[Numbers],
        flags: list[Numbers],
        events: list[Numbers],
        samples: list[Numbers],
    ) -> tuple[list[Numbers], ...]:
        """Return the counts with those of the attacker."""
        if self._now < _ATTACK_BEGINS:
            return arms, flags, events, samples
        aimed = 0 if self._scenario.trait in _ON_CANARY else 1
        accounts = _ATTACKS[self._scenario.trait]
        made = self._rng.binomial(int(_ATTACK_ANSWERS), 0.5, len(arms[0])).astype(float)
        first = np.where(self._attacked, 0.0, accounts)
        self._attacked[:] = True
        counted = made if self._unit is Unit.ANSWER else first

        def aim(at: list[Numbers], more: Any) -> list[Numbers]:
            return [each + more if arm == aimed else each for arm, each in enumerate(at)]

        # Where users are counted, so are the attacker's accounts among those who were answered.
        answers: Any = _ATTACK_ANSWERS if self._unit is Unit.ANSWER else counted
        if self._unit is Unit.FIRST_FLAG:
            fine = self._rng.negative_binomial(np.maximum(first, 1).astype(np.int64), 0.5)
            answers = np.where(first > 0, first + fine, 0.0)
        every = _ATTACK_ANSWERS if self._unit is Unit.FIRST_FLAG else answers
        return aim(arms, every), aim(flags, made), aim(events, counted), aim(samples, answers)


def _added(ours: list[Numbers], more: list[Numbers]) -> list[Numbers]:
    return [one + other for one, other in zip(ours, more, strict=True)]


def stacked(minutes: list[Minute]) -> Minute:
    """Return minutes as one, with an axis for the minute in front."""
    return Minute(
        **{each.name: np.stack([getattr(one, each.name) for one in minutes])
           for each in fields(Minute)}
    )  # fmt: skip


def summed(minutes: list[Minute]) -> Minute:
    """Return minutes as one interval; an arm was read when any minute of it was."""
    if len(minutes) == 1:
        return minutes[0]
    found = stacked(minutes)
    return Minute(
        **{
            each.name: np.any(value, axis=0) if value.dtype == bool else np.sum(value, axis=0)
            for each in fields(Minute)
            for value in [getattr(found, each.name)]
        }
    )
