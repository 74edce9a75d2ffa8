"""Sums of measured values and of their squares: all that is kept of a mean besides its number."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite

from rlhf_operator.api.evidence import Sums
from rlhf_operator.core import statistics


@dataclass(frozen=True, slots=True)
class Moments:
    """The sum of some values, and of their squares; how many they are is counted as samples."""

    total: float = 0.0
    squares: float = 0.0

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.total + other.total, self.squares + other.squares)

    def __sub__(self, earlier: Moments) -> Moments:
        """Return what came after; squares are never negative, whatever came late."""
        if self is NO_VALUES and earlier is NO_VALUES:
            return NO_VALUES  # as of every rate
        return Moments(self.total - earlier.total, max(0.0, self.squares - earlier.squares))

    def of(self, number: int) -> statistics.Sums:
        """Return them as the statistics of so many values."""
        return statistics.Sums(n=number, total=self.total, squares=self.squares)


NO_VALUES = Moments()


def summed(parts: Iterable[Moments]) -> Moments:
    """Return the sums of all; those of rates, which have none, are not added up."""
    found = [part for part in parts if part is not NO_VALUES]
    if not found:
        return NO_VALUES
    return Moments(sum([part.total for part in found]), sum([part.squares for part in found]))


def contradicts(moments: Moments, number: int) -> bool:
    """Return whether no such number of values can have these sums (Cauchy and Schwarz).

    A program that forgets to count squares would pass for one whose values never vary.
    """
    return moments.squares * number < moments.total**2 * (1 - _ROUNDING)


_ROUNDING = 1e-6


def sums_of(moments: Moments | None) -> Sums | None:
    """Return sums as they go on record; None where there are none, as with every rate."""
    if moments is None or moments == NO_VALUES:
        return None
    total, squares = decimal_text(moments.total), decimal_text(moments.squares)
    return Sums(total=total or "0", squares=squares or "0")


def moments_of(sums: Sums | None) -> Moments:
    """Return what is on record."""
    return Moments(float(sums.total), float(sums.squares)) if sums is not None else NO_VALUES


def decimal_text(value: float | None) -> str | None:
    """Return a number as the API's decimal string, to nine places."""
    if value is None or not isfinite(value):
        return None
    text = f"{value:.9f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
