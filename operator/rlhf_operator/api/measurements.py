"""What a metric source answers: series of points, or why it is silent. Knows no kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Problem(StrEnum):
    """Why there is no usable number."""

    NO_SERIES = "NoSeries"
    """The source knows no such series."""
    NOT_A_NUMBER = "NotANumber"
    """The value is NaN or infinite."""
    SEVERAL_SERIES = "SeveralSeries"
    """More than one series speaks for the same version."""
    STALE = "Stale"
    """The newest point is older than two scrape intervals and five seconds."""
    RULES_DIFFER = "RulesDiffer"
    """The guards that are compared have different rules just now."""
    TOO_EARLY = "TooEarly"
    """The range of the query still reaches back before the last weight change."""
    PARTIAL = "Partial"
    """The source itself says that its answer is incomplete."""
    TOO_LARGE = "TooLarge"
    """The answer has more series or bytes than are allowed."""
    REFUSED = "Refused"
    """The source or the operator does not accept the query."""
    SOURCE_DOWN = "SourceDown"
    """The source does not answer, or answers with an error of its own."""

    @property
    def is_error(self) -> bool:
        """Return whether there was no answer at all, as opposed to a useless one."""
        return self in (Problem.SOURCE_DOWN, Problem.REFUSED, Problem.TOO_LARGE)


@dataclass(frozen=True, slots=True)
class Series:
    """One series: its labels, and points of (Unix seconds, value) in order of time."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Silence:
    """No usable answer, and a sentence that says why."""

    problem: Problem
    message: str


Answer = tuple[Series, ...] | Silence
