"""Keywords: words and phrases that match where they stand as whole words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import re2

from rlhf_operator.guard.checks.expressions import compile_own, occurrences, original_width
from rlhf_operator.guard.checks.views import Readings
from rlhf_operator.guard.text import Span, normalise

# RE2's \b knows ASCII only. Scripts that are written without spaces have no word boundaries.
_WORD = r"\p{L}\p{M}\p{N}_"
_UNSPACED = re2.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]",
)
_LEADING = 32
"""How much space a phrase may have between two of its words, for the longest match."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeywordFinder:
    """The keywords of one category."""

    plain: tuple[re2._Regexp, ...]
    longest: int | None
    beside: int = 2

    def find(self, readings: Readings) -> list[Span] | None:
        """Return where the keywords stand, disguised or not."""
        spans = [
            view.originally(start, end)
            for view in readings.words
            for expression in self.plain
            for start, end in occurrences(expression, view.encoded, 1)
        ]
        return spans or None


def keyword_finder(keywords: Sequence[str]) -> KeywordFinder | None:
    """Return a finder for keywords; none where there is nothing but space in them."""
    phrases = [
        words
        for keyword in keywords
        if (words := normalise(keyword).replace("\u2019", "'").split())
    ]
    if not phrases:
        return None
    # The longest first: the first alternative wins, and a phrase is more than its first word.
    phrases.sort(key=lambda words: -len("".join(words)))
    widths = (len("".join(words)) + _LEADING * (len(words) - 1) for words in phrases)
    return KeywordFinder(plain=_bounded(phrases), longest=original_width(max(widths)))


def _bounded(phrases: Sequence[Sequence[str]]) -> tuple[re2._Regexp, ...]:
    """Return one expression for each kind of edges that phrases have."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for words in phrases:
        before = "" if _UNSPACED.search(words[0][0]) else f"(?:^|[^{_WORD}])"
        after = "" if _UNSPACED.search(words[-1][-1]) else f"(?:$|[^{_WORD}])"
        phrase = r"[\s\p{Z}]+".join(re2.escape(word) for word in words)
        kinds.setdefault((before, after), []).append(phrase)
    return tuple(
        compile_own(f"{before}({'|'.join(choices)}){after}")
        for (before, after), choices in kinds.items()
    )
