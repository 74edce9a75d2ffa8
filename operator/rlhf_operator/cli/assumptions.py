"""What the user of a simulation says about the world that is not there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta


class Unplayable(Exception):  # noqa: N818 - it is told to the user as it stands
    """Why these files cannot be simulated, in one line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """How often an answer counts as an event, by version."""

    canary: float
    stable: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """How the values of a mean are spread: normally, the canary's moved by a shift."""

    mean: float
    """Stable's."""
    deviation: float
    """The standard deviation of single values, of either version; above 0."""
    shift: float = 0.0
    """By how much the canary's mean is higher."""

    def mean_of(self, *, is_canary: bool) -> float:
        """Return a version's mean."""
        return self.mean + (self.shift if is_canary else 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Assumptions:
    """What is assumed of traffic, answers and the cluster."""

    traffic: float
    """Answers a second that users get, of all versions together."""
    flags: Rates
    """The share of answers that the guard flags; they are the bad answers."""
    rates: Mapping[str, Rates]
    """The same for single objectives, by name."""
    start: datetime
    means: Mapping[str, Spread] = field(default_factory=dict)
    """Of objectives on means, by name."""
    sampled: Mapping[str, float] = field(default_factory=dict)
    """The share of all answers that an objective counts, by name: those voted on, or scored."""
    ready_after: timedelta = timedelta(minutes=1)
    """How long the canary's pods take to become ready."""
    lag: timedelta = timedelta(seconds=5)
    """From an answer to what the rules see of it, and to the router: scraping for the most part."""
    approve_after: timedelta | None = timedelta()
    """How long people take to approve from being asked; None where they never do."""
    limit: timedelta = timedelta(days=3)
    """After this a run is left as it is."""

    @property
    def named(self) -> Mapping[str, str]:
        """Return the objectives for which something is assumed, each with its option."""
        options = {"--sampled": self.sampled, "--mean": self.means, "--rate": self.rates}
        return {name: option for option, given in options.items() for name in given}
