"""What the user of a simulation says about the world that is not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta


class Unplayable(Exception):  # noqa: N818 - it is told to the user as it stands
    """Why these files cannot be simulated, in one line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """How often an answer counts as an event, by version."""

    canary: float
    stable: float
    others: Mapping[str, float] = field(default_factory=dict)
    """Of further versions of a test, by name; one that is not named is like the canary."""

    def of(self, *, is_canary: bool, version: str = "") -> float:
        """Return a version's rate, of a tested one or of stable."""
        return self.others.get(version, self.canary) if is_canary else self.stable


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """How the values of a mean are spread: normally, the canary's moved by a shift."""

    mean: float
    """Stable's."""
    deviation: float
    """The standard deviation of single values, of either version; above 0."""
    shift: float = 0.0
    """By how much the canary's mean is higher."""
    others: Mapping[str, float] = field(default_factory=dict)
    """The shifts of further versions of a test, by name; one not named is like the canary."""

    def mean_of(self, *, is_canary: bool, version: str = "") -> float:
        """Return a version's mean, of a tested one or of stable."""
        return self.mean + (self.others.get(version, self.shift) if is_canary else 0.0)


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

    def versions(self) -> Iterator[tuple[str, str]]:
        """Yield each version for which something of its own is assumed, with its option."""
        yield from ((version, "--flag-rate") for version in self.flags.others)
        given: Mapping[str, Mapping[str, Rates | Spread]] = {
            "--rate": self.rates, "--mean": self.means
        }  # fmt: skip
        for option, found in given.items():
            for name, each in found.items():
                yield from ((version, f"{option} {name}") for version in each.others)

    @property
    def named(self) -> Mapping[str, str]:
        """Return the objectives for which something is assumed, each with its option."""
        options = {"--sampled": self.sampled, "--mean": self.means, "--rate": self.rates}
        return {name: option for option, given in options.items() for name in given}
