"""Which ranges of a growing text were replaced on its way out. Pure."""

from __future__ import annotations

from bisect import bisect_right

from rlhf_operator.guard.text import Span


class Replaced:
    """Ranges of a text in their order, those that touch as one."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, start: int, end: int) -> None:
        """Note one more range, which begins no earlier than the last."""
        if self._ends and start <= self._ends[-1]:
            self._ends[-1] = max(end, self._ends[-1])
        else:
            self._starts.append(start)
            self._ends.append(end)

    def since(self, at: int) -> int | None:
        """Return where the range begins that ends at a place; None where none does."""
        return self._starts[-1] if self._ends and self._ends[-1] == at else None

    def bare(self, span: Span | None, end: int) -> int:
        """Return how many characters of a range before a place are in none of these ranges.

        Of what is nowhere in particular, all characters are.
        """
        if span is None:
            return end
        start, end = span[0], min(span[1], end)
        covered = 0
        for at in range(max(0, bisect_right(self._starts, start) - 1), len(self._starts)):
            if self._starts[at] >= end:
                break
            covered += max(0, min(self._ends[at], end) - max(self._starts[at], start))
        return max(0, end - start - covered)
