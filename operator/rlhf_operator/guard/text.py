"""Text as rules see it: one form for all the ways in which Unicode writes the same words."""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


def _shows_nothing(char: str) -> bool:
    category = unicodedata.category(char)
    return category == "Cf" or (category == "Cc" and not char.isspace())


# Format and control characters, fillers and variation selectors. The planes between hold none,
# and looking through them would double the time to start.
_INVISIBLE = dict.fromkeys(
    {code for code in (*range(0x20000), *range(0xE0000, 0xE1000)) if _shows_nothing(chr(code))}
    | {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0}
    | {*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}
)

# What is left of the Turkish capital İ in lower case, beside an i that has its dot already.
_DOTTED = re.compile("i\u0307+")

Span = tuple[int, int]
"""A half-open range of characters."""


def merged(spans: Iterable[Span]) -> list[Span]:
    """Return ranges in their order, those that overlap as one."""
    whole: list[Span] = []
    for start, end in sorted(spans):
        if whole and start < whole[-1][1]:
            whole[-1] = (whole[-1][0], max(end, whole[-1][1]))
        else:
            whole.append((start, end))
    return whole


@dataclass(frozen=True, kw_only=True)
class View:
    """One way to read a text, and where what is read stands in the original."""

    text: str
    original: str
    place: Callable[[int, int], Span]
    """The range of the original that a range of `text` was read from."""

    @functools.cached_property
    def encoded(self) -> bytes:
        """Return the text as RE2 reads it, made once for all expressions."""
        return self.text.encode()

    @functools.cached_property
    def _characters(self) -> Sequence[int] | None:
        """Return how many characters begin before each byte; none where the two are the same."""
        if self.text.isascii():
            return None
        begins = ((byte & 0xC0) != 0x80 for byte in self.encoded)
        return tuple(itertools.accumulate(begins, initial=0))

    def characters(self, start: int, end: int) -> Span:
        """Return the range of characters of `text` that a range of its bytes is."""
        counts = self._characters
        return (start, end) if counts is None else (counts[start], counts[end])

    def originally(self, start: int, end: int) -> Span:
        """Return the range of the original that a range of bytes was read from."""
        return self.place(*self.characters(start, end))


def normal_view(text: str) -> View:
    """Return the normal form of a text as a view of it."""
    normal = normalise(text)
    if text.isascii() and len(normal) == len(text):
        return View(text=normal, original=text, place=lambda start, end: (start, end))

    @functools.cache
    def origins() -> tuple[Sequence[int], Sequence[int]]:
        return _origins(text, normal)

    def place(start: int, end: int) -> Span:
        starts, ends = origins()
        return starts[start], ends[end - 1] if end > start else starts[start]

    return View(text=normal, original=text, place=place)


def _origins(text: str, normal: str) -> tuple[Sequence[int], Sequence[int]]:
    """Return where the original of each normal character begins and ends.

    A character is normalised with all that may change it: what combines with it and stands after
    it. Should the parts not add up to the whole, words are tried, and then the whole text.
    """
    edges = [at for at, char in enumerate(text) if at and begins(char)]
    spaces = [at for at in edges if text[at].isspace()]
    for cuts in (edges, spaces, []):
        starts: list[int] = []
        ends: list[int] = []
        parts: list[str] = []
        for start, end in itertools.pairwise((0, *cuts, len(text))):
            part = normalise(text[start:end])
            parts.append(part)
            starts += [start] * len(part)
            ends += [end] * len(part)
        if "".join(parts) == normal:
            break
    return (*starts, len(text)), ends


@functools.lru_cache(maxsize=8192)
def begins(char: str) -> bool:
    """Tell whether a character never combines with one before it."""
    normal = normalise(char)
    first = normal[:1]
    is_jamo = "\u1160" <= first <= "\u11ff"  # Hangul vowels and finals join what stands before
    return bool(first) and not is_jamo and unicodedata.category(first)[0] != "M"


def normalise(text: str) -> str:
    """Return text in NFKC form, case-folded, without characters that show nothing."""
    if text.isascii():
        return text.translate(_INVISIBLE).lower()
    # Half of a surrogate pair can arrive by JSON and has no form in UTF-8.
    text = text.encode("utf-8", "replace").decode("utf-8")
    text = unicodedata.normalize("NFKC", text).translate(_INVISIBLE).casefold()
    text = _DOTTED.sub("i", text)
    # Folding and removing may leave characters that compose anew.
    return unicodedata.normalize("NFKC", text).translate(_INVISIBLE)


def count_words(text: str) -> int:
    """Return the number of words, the stand-in where nobody counted tokens."""
    return len(text.split())
