"""Regular expressions: compiled for RE2, with where they match and how long that can be."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import re2

from rlhf_operator.guard.text import Span

if TYPE_CHECKING:  # the views are made with expressions
    from rlhf_operator.guard.checks.views import Readings

_parser: Any = re._parser  # type: ignore[attr-defined]
_parse, _UNBOUNDED = _parser.parse, _parser.MAXREPEAT

_WRITTEN_AS = 2
"""How many characters of an original one character of its normal form counts as: a letter and its
accent, or and a space. Wider disguises and invisible characters may stretch a word without end;
only a whole text is sure against that."""


_MEMORY = 64 << 20
"""How many bytes an expression may take: all patterns of a category are one, too."""


class BadPattern(ValueError):  # noqa: N818 - it names what is wrong, not that something is
    """A pattern in the configuration does not compile."""


class Finder(Protocol):
    """One way to find what a rule looks for."""

    @property
    def longest(self) -> int | None:
        """The longest original that it finds, with what it looks at beside; None: no bound."""
        ...

    @property
    def beside(self) -> int:
        """How many characters before a match it looks at."""
        ...

    def find(self, readings: Readings) -> list[Span] | None:
        """Return where it finds something, and None where it finds nothing.

        An empty list means that it is there, and nobody can say where.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class PatternFinder:
    """The patterns that a team wrote for one category: they see the normal form, nothing else."""

    any_of_them: re2._Regexp
    """All as one expression: a text without a match, which most are, is read but once."""
    expressions: tuple[re2._Regexp, ...]
    longest: int | None
    beside: int = 2

    def find(self, readings: Readings) -> list[Span] | None:
        """Return where the patterns match; a match of nothing has no place."""
        view = readings.normal
        if not self.any_of_them.search(view.encoded):
            return None
        return [
            view.originally(start, end)
            for expression in self.expressions
            for start, end in occurrences(expression, view.encoded)
            if end > start
        ]


def pattern_finder(patterns: Sequence[str], *, where: str) -> PatternFinder:
    """Return a finder for patterns; BadPattern where one does not compile."""
    widths = [longest_match(pattern) for pattern in patterns]
    bounded = [width for width in widths if width is not None]
    return PatternFinder(
        expressions=tuple(compile_pattern(pattern, where=where) for pattern in patterns),
        any_of_them=compile_pattern("|".join(f"(?:{each})" for each in patterns), where=where),
        longest=max(bounded) if len(bounded) == len(widths) else None,
    )


def occurrences(expression: re2._Regexp, encoded: bytes, group: int = 0) -> Iterator[Span]:
    """Yield the byte ranges of a group in all matches.

    The search goes on right behind the group, so that two words may share the space between them.
    """
    at = 0
    while found := expression.search(encoded, at):
        start, end = found.span(group)
        yield start, end
        if at > len(encoded) or end >= len(encoded):
            return
        at = max(end, at + (end <= start))


def longest_match(pattern: str) -> int | None:
    """Return how many characters of an original a pattern can match; None without a bound."""
    try:
        width = _parse(pattern).getwidth()[1]
    except (re.error, OverflowError, RecursionError):
        return None
    return None if width >= _UNBOUNDED else original_width(int(width))


def original_width(normal: int) -> int:
    """Return how long the original of so many normal characters may be, with one on each side."""
    return _WRITTEN_AS * normal + 2


def compile_pattern(pattern: str, *, where: str) -> re2._Regexp:
    """Return a pattern ready for normalised text, whose letters are composed."""
    pattern = unicodedata.normalize("NFC", pattern)
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _MEMORY
    return _compile(pattern, options, where)


def compile_own(pattern: str, *, memory: int = 8 << 20) -> re2._Regexp:
    """Return an expression of ours for normalised text; its groups count, and case does too.

    With less memory than its states need an expression is slow, and not wrong.
    """
    options = re2.Options()
    options.log_errors = False
    options.max_mem = memory
    return _compile(pattern, options, "built in")


def _compile(pattern: str, options: re2.Options, where: str) -> re2._Regexp:
    try:
        return re2.compile(pattern, options=options)
    except re2.error as error:
        why = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
        raise BadPattern(f"{where}: pattern {pattern!r} does not compile: {why}") from error
