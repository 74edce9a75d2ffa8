"""What may befall a rollout: the scenarios, each with a twin in which both versions are equal.

Unless a scenario says otherwise the plan is 5, 25 and 50 % of the traffic for ten minutes each,
2 % of stable's answers are flagged, and 20 answers are given each second.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

RAMP = (0.05, 0.25, 0.5)
SLOW_RAMP = (0.01, 0.02, 0.05, 0.1, 0.25, 0.5)


class Trait(StrEnum):
    """What is odd about the traffic, the counters or the users of a scenario."""

    PLAIN = "plain"
    DIURNAL = "diurnal"
    RAMPING = "ramping weights"
    IDLE = "idle canary"
    RESETS = "counter resets"
    GAPS = "scrape gaps"
    SPLIT = "7 % for 5 %"
    HEAVY = "heavy users"
    HEAVY_STICKY = "heavy users, sticky"
    ATTACK_CANARY = "attacker on canary"
    ATTACK_STABLE = "attacker on stable"
    ACCOUNTS_CANARY = "20 accounts on canary"
    ACCOUNTS_STABLE = "20 accounts on stable"


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """One world; `factor` and `shift` say how much worse its canary is than its stable."""

    trait: Trait = Trait.PLAIN
    base: float = 0.02
    """Stable's rate of flagged answers; for rewards, the share of answers that count as bad."""
    factor: float = 1.0
    """The canary's rate of flagged answers over stable's."""
    shift: float | None = None
    """By how many deviations the canary's mean reward is lower; None judges flags, not rewards."""
    requests: float = 20.0
    """Answers of both arms together, each second."""

    @property
    def steps(self) -> tuple[float, ...]:
        """Return the weights of the plan."""
        return SLOW_RAMP if self.trait is Trait.RAMPING else RAMP

    @property
    def is_bad(self) -> bool:
        """Return whether the canary is worse, so that it should be rolled back."""
        return self.factor > 1 or bool(self.shift)

    @property
    def is_aimed_at(self) -> bool:
        """Return whether a promotion in more than 1 % of the runs misses the aim."""
        return self.factor >= 2 and not self.is_beyond

    @property
    def is_beyond(self) -> bool:
        """Return whether it is told of, but beyond the aim: many people who act as one."""
        return self.trait in (Trait.ACCOUNTS_CANARY, Trait.ACCOUNTS_STABLE)

    @property
    def twin(self) -> Scenario:
        """Return the same world with two equal versions."""
        return replace(self, factor=1.0, shift=None if self.shift is None else 0.0)

    @property
    def name(self) -> str:
        """Return what the report calls it."""
        worse = f"x{self.factor:g}" if self.shift is None else f"reward -{self.shift:g} sd"
        if not self.is_bad:
            worse = "equal" if self.shift is None else "reward equal"
        world = f"{self.requests:g}/s" if self.shift is not None else self._world
        return f"{world}, {worse}"

    @property
    def _world(self) -> str:
        if self.trait is Trait.PLAIN:
            return f"{100 * self.base:g} %, {self.requests:g}/s"
        return self.trait.value


def every() -> tuple[Scenario, ...]:
    """Return all scenarios, the equal twin of each among them and before it."""
    return (*_plain(), *_rewards(), *_odd(), *_attacks())


def _plain() -> tuple[Scenario, ...]:
    return tuple(
        Scenario(base=base, requests=requests, factor=factor)
        for base in (0.005, 0.02, 0.05)
        for requests in (2.0, 20.0, 200.0)
        for factor in (1.0, 1.5, 2.0, 3.0)
    )


def _rewards() -> tuple[Scenario, ...]:
    return tuple(
        Scenario(shift=shift, requests=requests)
        for requests in (2.0, 20.0, 200.0)
        for shift in (0.0, 0.1, 0.3)
    )


def _odd() -> tuple[Scenario, ...]:
    traits = (
        Trait.DIURNAL, Trait.RAMPING, Trait.IDLE, Trait.RESETS, Trait.GAPS, Trait.SPLIT,
        Trait.HEAVY, Trait.HEAVY_STICKY,
    )  # fmt: skip
    return tuple(
        Scenario(trait=trait, factor=factor) for trait in traits for factor in (1.0, 2.0, 3.0)
    )


def _attacks() -> tuple[Scenario, ...]:
    traits = (
        Trait.ATTACK_CANARY, Trait.ATTACK_STABLE, Trait.ACCOUNTS_CANARY, Trait.ACCOUNTS_STABLE,
    )  # fmt: skip
    return tuple(Scenario(trait=trait, factor=factor) for trait in traits for factor in (1.0, 2.0))
