"""Views: a text as it reads once a disguise is taken off.

Each disguise has a cheap sign. A text without any is looked at in its normal form alone; patterns
of a team never see anything else. Words that are really Cyrillic or Greek stay as they are:
only a word that mixes scripts is folded.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rlhf_operator.guard.checks import spacing
from rlhf_operator.guard.checks.expressions import compile_own
from rlhf_operator.guard.checks.lookalikes import (
    ENCLOSED,
    LEET,
    LOOSE,
    ONLY_CYRILLIC,
    ONLY_LATIN,
    SURE,
    TO_CYRILLIC,
)
from rlhf_operator.guard.text import Span, View

_OTHER = r"\p{Cyrillic}\p{Greek}\p{Armenian}\p{Cherokee}"
_MIXED = compile_own(
    rf"\p{{Latin}}[{_OTHER}]|[{_OTHER}]\p{{Latin}}|[ɑɡɩʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢᴀ🅐-🅩🅰-🆉]"
)
_MARKED = compile_own(r"[\p{Latin}\p{Arabic}]\p{Mn}|ـ")
_ESCAPED = compile_own(
    r"&#(?:x[0-9a-f]{2,4}|[0-9]{2,5});?|%[2-7][0-9a-f]|\\x[2-7][0-9a-f]|\\u00[2-7][0-9a-f]"
)
_SPACED = compile_own(
    r"(?:^|[^\p{L}\p{M}\p{N}])(?:[\p{L}\p{N}]\p{M}*[\s\p{Z}._*·•|/\\+~^=:-]{1,3}){3,}[\p{L}\p{N}]\p{M}*"
    r"(?:$|[^\p{L}\p{M}\p{N}])"
)
_LEET = compile_own(
    r"[a-z][013457@$!|+€]{1,3}[a-z]|(?:^|[^a-z0-9.,])[013457@$][a-z]{2}[a-z]?(?:$|[^a-z0-9])"
)
_REPEATED = compile_own("|".join(f"{letter}{{3}}" for letter in "abcdefghijklmnopqrstuvxyzаеиоуы"))

_ANY_ESCAPE = re.compile(
    r"&#x([0-9a-f]{2,4});?|&#([0-9]{2,5});?|%([2-7][0-9a-f])|\\x([2-7][0-9a-f])|\\u00([2-7][0-9a-f])"
)
_WORD = re.compile(r"[^\W_]+")
_LEET_WORD = re.compile(r"(?<![\w@$])[a-z0-9@$!|+€ç]{3,}")
_GAP = r"(?:[^\S\n]{1,3}|[^\S\n]?[._*·•|/\\+~^=:-]{1,2}[^\S\n]?)"
_RUN = re.compile(rf"(?<![^\W_])[^\W_](?:{_GAP}[^\W_](?![^\W_]))+")
# Words of one letter, which may stand before letters that are set apart.
_ARTICLES = frozenset("aieouyàéèóивскяу")
_LETTER = re.compile(r"[^\W_]")
_REPETITION = re.compile(r"([^\W\d_])\1{2,}")
_FEWEST_APART = 4
_FEWEST_ALIKE = 8
_UNITS = "st nd rd th er re do ta kg km cm mm ml mb gb tb kb ms ns px pm am hz kw mw".split()  # noqa: SIM905
# A digit and two letters, as in ordinary text.
_MEASURES = frozenset(digit + unit for digit in "013457" for unit in _UNITS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Readings:
    """All readings of one text."""

    normal: View
    """The normal form, as patterns see it."""
    words: tuple[View, ...]
    """For words: the normal form with plain apostrophes, then what is behind disguises."""


_SURE, _LOOSE = str.maketrans(SURE), str.maketrans({**LOOSE, **SURE})
_TO_CYRILLIC = str.maketrans(TO_CYRILLIC)
_ENCLOSED = str.maketrans(ENCLOSED)


def read(view: View) -> Readings:
    """Return the readings of a text in its normal form; without a disguise there is but one."""
    plain = view
    if "\u2019" in view.text:
        plain = dataclasses.replace(view, text=view.text.replace("\u2019", "'"))
    base = plain
    for sign, uncover in ((_ESCAPED, _unescaped), (_MARKED, _unmarked), (_MIXED, _of_one_script)):
        if sign.search(plain.encoded):
            plain = uncover(plain)
    readings = [plain]
    if _SPACED.search(plain.encoded):
        readings = [_joined(plain, 0), _joined(plain, 1), _joined(plain, 0, by_words=True)]
        readings = list({reading.text: reading for reading in readings}.values())
    if any(_LEET.search(reading.encoded) for reading in readings):
        readings = [_unleet(reading, one) for reading in readings for one in "il"]
    if any(_REPEATED.search(reading.encoded) for reading in readings):
        readings = [_squeezed(reading, most) for reading in readings for most in (1, 2)]
    different = {base.text: base, **{reading.text: reading for reading in readings}}
    return Readings(normal=view, words=tuple(different.values()))


def _derived(parent: View, pieces: Iterator[tuple[str, int, int]]) -> View:
    """Return a view made of pieces, each with the range of its parent that it stands for."""
    parts: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for part, start, end in pieces:
        parts.append(part)
        if len(part) == end - start:
            starts += range(start, end)
            ends += range(start + 1, end + 1)
        else:
            starts += [start] * len(part)
            ends += [end] * len(part)
    return View(text="".join(parts), place=_placing(parent, starts, ends), original=parent.original)


def _placing(
    parent: View, starts: Sequence[int], ends: Sequence[int]
) -> Callable[[int, int], Span]:
    def place(start: int, end: int) -> Span:
        if start >= len(starts):
            return parent.place(len(parent.text), len(parent.text))
        return parent.place(starts[start], ends[end - 1] if end > start else starts[start])

    return place


def _replaced(parent: View, found: re.Pattern[str], new: Callable[[re.Match[str]], str]) -> View:
    """Return a view in which all matches of an expression are replaced."""

    def pieces() -> Iterator[tuple[str, int, int]]:
        at = 0
        for match in found.finditer(parent.text):
            yield parent.text[at : match.start()], at, match.start()
            yield new(match), match.start(), match.end()
            at = match.end()
        yield parent.text[at:], at, len(parent.text)

    return _derived(parent, pieces())


def _unescaped(view: View) -> View:
    """Return a view without the escapes of HTML, web addresses and programming languages."""

    def unescape(match: re.Match[str]) -> str:
        decimal = match.group(2)
        digits = next(filter(None, match.groups()))
        code = int(digits, 10 if decimal else 16)
        return chr(code).lower() if 0x20 <= code < 0x7F else match.group()

    return _replaced(view, _ANY_ESCAPE, unescape)


def _unmarked(view: View) -> View:
    """Return a view of Latin and Arabic letters without what is drawn above, below and through."""

    def pieces() -> Iterator[tuple[str, int, int]]:
        for at, char in enumerate(view.text):
            if char < "\x80":
                yield char, at, at + 1
            elif char == "ـ" or unicodedata.category(char) == "Mn":
                continue
            else:
                yield unicodedata.normalize("NFD", char)[0] if char < "\u1f00" else char, at, at + 1

    return _derived(view, pieces())


def _of_one_script(view: View) -> View:
    """Return a view in which each word is of one script: that of the letters that are sure."""
    view = dataclasses.replace(view, text=view.text.translate(_ENCLOSED))
    return _replaced(view, _WORD, lambda match: _in_one_script(match.group()))


def _in_one_script(word: str) -> str:
    if word.isascii():
        return word
    cyrillic = sum(char in ONLY_CYRILLIC for char in word)
    latin = sum(char in ONLY_LATIN for char in word)
    is_mixed = any(char < "\x80" and char.isalpha() for char in word)
    if not is_mixed:
        # All letters may be look-alikes; a word of which some are not is what it seems.
        folded = word.translate(_SURE)
        return folded if folded.isascii() else word
    return word.translate(_TO_CYRILLIC if cyrillic > latin else _LOOSE)


def _joined(view: View, articles: int, *, by_words: bool = False) -> View:
    """Return a view in which letters that are set apart are words again.

    The gap that is there most often parts letters, any other parts words; where all gaps are the
    same, known words may part them. The first letter may be a word of its own, such as an article:
    up to `articles` of them are left alone.
    """

    def pieces() -> Iterator[tuple[str, int, int]]:
        at = 0
        for run in _RUN.finditer(view.text):
            letters = [match.start() for match in _LETTER.finditer(view.text, *run.span())]
            if sum(view.text[place].isalpha() for place in letters) < _FEWEST_APART:
                continue
            yield view.text[at : run.start()], at, run.start()
            gaps = [view.text[one + 1 : other] for one, other in itertools.pairwise(letters)]
            usual = Counter(gaps).most_common(1)[0][0]
            parted = {0} if articles and view.text[letters[0]] in _ARTICLES else set()
            if by_words and len(set(gaps)) == 1 and len(letters) >= _FEWEST_ALIKE:
                starts = spacing.beginnings("".join(view.text[place] for place in letters))
                parted = {start - 1 for start in starts}
            for at_letter, (place, gap) in enumerate(zip(letters, (*gaps, usual), strict=True)):
                yield view.text[place], place, place + 1
                if gap != usual or at_letter in parted:
                    yield " ", place + 1, place + 1 + len(gap)
            at = run.end()
        yield view.text[at:], at, len(view.text)

    return _derived(view, pieces())


def _unleet(view: View, one: str) -> View:
    """Return a view with letters for the digits and signs inside words; `one` is what 1 stands for.

    Only in words that keep at least two letters, or one for every digit: `4ll`, `pr0mp7`.
    """
    table = str.maketrans({**LEET, "1": one, "!": one, "|": one})

    def fold(match: re.Match[str]) -> str:
        word = match.group().rstrip("!|+")
        rest = match.group()[len(word) :]
        letters = sum(char.isalpha() for char in word)
        is_word = letters >= 2 and len(word) >= 3 and word not in _MEASURES
        return (word.translate(table) if is_word and 2 * letters >= len(word) - 2 else word) + rest

    return _replaced(view, _LEET_WORD, fold)


def _squeezed(view: View, most: int) -> View:
    """Return a view in which letters that stand three times or more stand `most` times."""
    return _replaced(view, _REPETITION, lambda match: match.group(1) * most)
