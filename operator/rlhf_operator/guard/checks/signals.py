"""Signals: weak signs of an attack, in the main languages; only several near each other count.

A signal is a core that is looked for in the whole text, and words that make it stronger where they
stand beside it, in whatever order a language puts them. No core reaches 1 by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import re2

from rlhf_operator.guard.checks.expressions import compile_own, occurrences
from rlhf_operator.guard.text import Span, View

_NEAR = 90
"""How many bytes beside a core are looked at: about a clause in each direction."""
_TOGETHER = 500
"""Within how many bytes signals add up: a page with one here and there is no attack."""
FURTHEST = _TOGETHER + 2 * 4 * _NEAR + 200
"""Bytes that decide on signals together: between them, beside the first and the last, and one."""
ENOUGH = 1.0
_EXCUSED = 0.3
"""What is left of a signal that is only talked about."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Signal:
    """One sign of an attack."""

    name: str
    core: re2._Regexp
    weight: float
    needs: re2._Regexp | None = None
    """What must stand beside the core, in the same sentence and not negated."""
    near: int = 60
    """Within how many bytes."""
    adds: tuple[tuple[re2._Regexp, float], ...] = ()
    """What makes it stronger where it stands beside the core."""
    takes: tuple[tuple[re2._Regexp, float], ...] = ()
    """What makes it weaker there."""


_END = compile_own(r"[.!?;\n。！？।](?:\s|$)|[。！？।\n]")
_QUOTE = compile_own(r"[\"“”„«»`‘「『]")
_NOT = compile_own(
    r"(?:\bnot|n't|\bnever|\bnicht|\bnie|\bne pas|\bno|\bnon|\bnão|не|不要|别|不|لا|मत) ?$"
)


def words(*choices: str) -> re2._Regexp:
    """Return an expression for any of some choices."""
    return compile_own("|".join(f"(?:{choice})" for choice in choices))


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """A signal in a text."""

    name: str
    start: int
    end: int
    weight: float


def places(signals: Sequence[Signal], view: View, excuse: re2._Regexp | None = None) -> list[Span]:
    """Return the ranges of bytes in which signals near each other add up to enough."""
    if not _may_be_enough(signals, view.encoded):
        return []
    found: list[Span] = []
    latest: dict[str, Seen] = {}
    for each in sorted(_seen(signals, view.encoded, excuse), key=lambda seen: seen.start):
        before = latest.get(each.name)
        if before is None or each.weight >= before.weight or _is_far(before, each):
            latest[each.name] = each
        together = [seen for seen in latest.values() if not _is_far(seen, each)]
        if sum(seen.weight for seen in together) >= ENOUGH:
            found.append((min(s.start for s in together), max(s.end for s in together)))
            latest.clear()
    return found


def _may_be_enough(signals: Sequence[Signal], encoded: bytes) -> bool:
    """Tell whether the signals whose words are there at all could add up: most texts end here."""
    most = 0.0
    for signal in signals:
        if signal.core.search(encoded) and (
            signal.needs is None or signal.needs.search(encoded) is not None
        ):
            most += signal.weight + sum(more for _, more in signal.adds)
    return most >= ENOUGH


def _is_far(seen: Seen, other: Seen) -> bool:
    return other.start - seen.start > _TOGETHER


def _seen(signals: Sequence[Signal], encoded: bytes, excuse: re2._Regexp | None) -> Iterator[Seen]:
    wide = 1 if encoded.isascii() else 2  # most letters beyond ASCII have two bytes or three
    for signal in signals:
        for start, end in _groups(occurrences(signal.core, encoded)):
            if signal.needs is not None:
                before, after = _clause(encoded, start, end)
                near = signal.near * wide
                pieces = (before[-near:], encoded[start:end], after[:near])
                if not any(_has(signal.needs, piece) for piece in pieces):
                    continue
            beside = encoded[max(0, start - _NEAR * wide) : end + _NEAR * wide]
            weight = signal.weight
            weight += sum(more for expression, more in signal.adds if expression.search(beside))
            weight -= sum(less for expression, less in signal.takes if expression.search(beside))
            if excuse is not None and _QUOTE.search(beside) and excuse.search(beside):
                weight *= _EXCUSED
            yield Seen(name=signal.name, start=start, end=end, weight=weight)


def _clause(encoded: bytes, start: int, end: int) -> tuple[bytes, bytes]:
    """Return what stands before and behind a core in its sentence, as far as anyone looks."""
    before = encoded[max(0, start - 2 * _NEAR) : start]
    if ends := [found.end() for found in _END.finditer(before)]:
        before = before[ends[-1] :]
    after = encoded[end : end + 2 * _NEAR]
    if stop := _END.search(after):
        after = after[: stop.start()]
    return before, after


def _has(needed: re2._Regexp, piece: bytes) -> bool:
    """Tell whether something stands in a piece of text, and nobody says not to."""
    return any(
        not _NOT.search(piece[max(0, begin - 14) : begin])
        for begin, _ in occurrences(needed, piece)
    )


def _groups(cores: Iterable[Span]) -> Iterator[Span]:
    """Yield cores, those that crowd together as one: a flood of them costs no more for it."""
    first: Span | None = None
    for start, end in cores:
        if first is not None and start - first[0] < _NEAR // 2:
            first = (first[0], end)
        else:
            if first is not None:
                yield first
            first = (start, end)
    if first is not None:
        yield first
