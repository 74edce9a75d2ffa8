"""What many simulated rollouts say together, as data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from rlhf_operator.api.strategies import StrategyName


@dataclass(frozen=True, kw_only=True, slots=True)
class Assumed:
    """One objective and what was assumed of it."""

    objective: str
    class_: str
    canary: float | None
    """A rate, or a mean; None where it is assumed to hold."""
    stable: float | None
    deviation: float | None
    """Of single values, where these are means."""
    others: tuple[float | None, ...]
    """As canary, of each further version of a test."""
    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Chance:
    """One way in which rollouts went."""

    outcome: str
    reason: str
    runs: int
    share: float
    took_median: timedelta
    took_p90: timedelta
    bad_mean: float
    bad_p90: float
    unread_mean: float
    unread_p90: float
    answers_median: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Stand:
    """How all rollouts stand some time after they began, as shares."""

    after: timedelta
    promoted: float
    ended: float
    """In any other way."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Test:
    """How an A/B test went, in rollouts; what is left ended otherwise."""

    won: int
    lost: int
    no_difference: int


@dataclass(frozen=True, kw_only=True, slots=True)
class End:
    """One way in which one of several tested versions ended."""

    version: str
    reason: str
    runs: int
    share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Odds:
    """What many simulated rollouts say together."""

    model: str
    from_: str
    to: str
    others: tuple[str, ...]
    """What a test compares with `from` beside `to`."""
    strategy: StrategyName
    plan: str
    """The plan in words."""
    supposed: tuple[str, ...]
    """What people are supposed to do where the plan asks them."""
    runs: int
    seed: int
    traffic: float
    objectives: tuple[Assumed, ...]
    chances: tuple[Chance, ...]
    """The most frequent first."""
    stands: tuple[Stand, ...]
    test: Test | None
    ends: tuple[End, ...]
    """Of a test of several versions, by version, the most frequent first."""
    took_median: timedelta | None
    """Within which half of all rollouts were decided; None where fewer than half ever were."""
    limit: timedelta
    """After which a rollout was left as it was."""
    bad_median: float
    bad_mean: float
    bad_p95: float
    bad_most: int
    unread_mean: float
    """Flagged answers of a shadow, which nobody got."""
    shown_before_median: float | None
    """Answers that stable had shown before it fell silent, where there is a switch."""
    notes: tuple[str, ...]
    not_modelled: tuple[str, ...]
