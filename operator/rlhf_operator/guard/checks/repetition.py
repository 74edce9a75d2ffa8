"""Limits: how long a text is, and which share of it repeats what stands before."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from rlhf_operator.api.stages import TextLimits
from rlhf_operator.guard.checks.views import Readings
from rlhf_operator.guard.text import Span

SHORTEST = 200
"""Texts with fewer characters are never repetitive."""
SHORT = 1000
"""In texts with fewer characters half as much that is new is enough: somebody quotes a chorus or a
log and asks about it, and so short a text does a model no harm."""
_WORDS = 3
_LETTERS = 8
_LONG_WORDS = 12
"""Where words are longer than this on average, a text is read letter by letter."""


def repeated_share(text: str) -> float:
    """Return the share of a text, from 0 to 1, that repeats earlier text; linear in its length.

    A word is repeated where three words in a row with it among them stood in the text before;
    in text without spaces, a letter where eight letters in a row did. Case does not matter.
    """
    if len(text) < SHORTEST:
        return 0.0
    words: Sequence[str] = text.casefold().split()
    if len(words) * _LONG_WORDS >= len(text):
        return _share(words, _WORDS)
    return _share("".join(words) or text, _LETTERS)


def _share(units: Sequence[str], size: int) -> float:
    seen: set[tuple[str, ...]] = set()
    repeated = 0
    reached = 0  # units before this one are counted
    for at, gram in enumerate(
        zip(*(itertools.islice(units, n, None) for n in range(size)), strict=False)
    ):
        if gram in seen:
            repeated += at + size - max(at, reached)
            reached = at + size
        else:
            seen.add(gram)
    return repeated / len(units)


@dataclass(frozen=True, kw_only=True, slots=True)
class LimitFinder:
    """The limits of one rule; nobody can say which part of a text is too much."""

    characters: int | None
    repetition: float | None
    longest: int | None = None
    beside: int = 0

    def is_too_long(self, text: str) -> bool:
        """Tell whether a text has more characters than it may, which needs no reading."""
        return self.characters is not None and len(text) > self.characters

    def is_beyond(self, text: str) -> bool:
        """Tell whether a text is beyond a limit, which needs none of its readings."""
        if self.is_too_long(text):
            return True
        if self.repetition is None:
            return False
        most = self.repetition if len(text) >= SHORT else (1 + self.repetition) / 2
        return repeated_share(text) > most

    def find(self, readings: Readings) -> list[Span] | None:
        """Return no places where a text is beyond a limit, and None where it is within."""
        return [] if self.is_beyond(readings.normal.original) else None


def limit_finder(limits: TextLimits) -> LimitFinder:
    """Return a finder for limits."""
    repetition = None if limits.repetition is None else float(limits.repetition)
    return LimitFinder(characters=limits.characters, repetition=repetition)
