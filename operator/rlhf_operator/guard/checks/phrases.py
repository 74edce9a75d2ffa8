"""Phrases: lists of words and stems by language, made into expressions for normalised text.

A list is written for people: phrases with commas between them. `*` stands for the rest of a word,
` .. ` for up to three words between two others, `^` for the beginning of a sentence or a quotation;
what else is special is as in regular expressions.
Where a script has spaces, phrases match whole words; letters that people write in more than one
way, such as ё, hamzas and nuktas, match in all of them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence

import re2

from rlhf_operator.guard.checks.expressions import compile_own
from rlhf_operator.guard.text import normalise

_LATIN = r"a-z0-9_\x{df}-\x{24f}"
_LETTERS = {
    "ru": r"a-z0-9_\x{400}-\x{52f}",
    "ar": r"a-z0-9_\x{620}-\x{6ff}",
    "hi": r"a-z0-9_\x{900}-\x{963}\x{966}-\x{97f}",
}
"""What a word is made of where it is not Latin."""
_ANY_LETTER = rf"{_LATIN}\x{{400}}-\x{{52f}}\x{{900}}-\x{{963}}\x{{966}}-\x{{97f}}"
_LARGE = 32 << 20
"""Bytes for an expression that every text is read with."""
_SMALL = 1 << 20
"""Bytes for one that only sentences are read with, and there are hundreds of it."""
_UNSPACED = ("zh", "ja")
_ARTICLE = "[وفبلكس]{0,2}(?:ال|لل)?"
"""What Arabic writes in one with the word behind it."""

_SPACE = r",?[\s-]{1,3}"
_GAP = rf"(?:[^\s.!?;:]+{_SPACE}){{0,3}}"
_REST = r"[^\s.,!?;:()\"]*"
_UNSPACED_GAP = "[^。！？\n]{0,8}"
_SIGNS = r".!?\"“”„«»>:;()\[\]\n—–-"
"""What stands before the beginning of a sentence or a quotation."""
_MARKS = re.compile(
    r"(?P<set>\[[^\]]*\])|(?P<gap> \.\. )|(?P<open>\((?!\?))|(?P<rest>\*(?!$))|(?P<space> )"
)
_VARIANTS = {
    "ru": {"е": "её", "ё": "её"},
    "ar": {**dict.fromkeys("اأإآ", "اأإآ"), "ي": "يى", "ى": "يى", "ة": "ةه"},
    "hi": {"ं": "ंँ", "ँ": "ंँ"},
}


@functools.cache
def expression(language: str, phrases: str) -> re2._Regexp:
    """Return an expression for any phrase of a list, as whole words."""
    written = _written(language, phrases)
    if language in _UNSPACED:
        return compile_own("|".join(each.removesuffix("*") for each in written), memory=_SMALL)
    letters = _LETTERS.get(language, _LATIN)
    first = [each for each in written if each.startswith("^")]
    rest = [each for each in written if not each.startswith("^")]
    article = _ARTICLE if language == "ar" else ""
    ways = [f"(?:^|[^{letters}]){article}(?:{_bounded(rest, letters)})"] * bool(rest)
    ways += [rf"(?:(?:^|[{_SIGNS}])\s?)(?:{_bounded(first, letters)})"] * bool(first)
    return compile_own("|".join(ways), memory=_SMALL)


def _bounded(written: Sequence[str], letters: str) -> str:
    """Return an alternation of phrases, of which all but stems end with their word."""
    stems = [each.removeprefix("^").removesuffix("*") for each in written if each.endswith("*")]
    words = [each.removeprefix("^") for each in written if not each.endswith("*")]
    ways = [*stems, f"(?:{'|'.join(words)})(?:$|[^{letters}])"] if words else stems
    return "|".join(ways)


def sign(phrases: Mapping[str, str]) -> re2._Regexp:
    """Return an expression that is cheap, and matches any phrase of any language."""
    bounded: set[str] = set()
    free: set[str] = set()
    for language, listed in phrases.items():
        ways = free if language in (*_UNSPACED, "ar") else bounded
        ways |= set(_written(language, listed))
    any_bounded = _bounded(sorted(bounded), _ANY_LETTER)
    any_free = "|".join(each.removesuffix("*") for each in sorted(free))
    return compile_own(f"(?:^|[^{_ANY_LETTER}])(?:{any_bounded})|{any_free}", memory=_LARGE)


@functools.cache
def _written(language: str, phrases: str) -> tuple[str, ...]:
    """Return phrases as regular expressions; one that ends with `*` is a stem."""
    space = f"{_SPACE}{_ARTICLE}" if language == "ar" else _SPACE
    gap = _UNSPACED_GAP if language in _UNSPACED else f"{_SPACE}{_GAP}"
    ways = {"set": None, "open": "(?:", "gap": gap, "rest": _REST, "space": f"(?:{space})"}

    def write(match: re.Match[str]) -> str:
        return ways[match.lastgroup or "set"] or match.group()

    return tuple(
        _MARKS.sub(write, phrase.removesuffix(" .."))
        for each in re.split(r",\s|\n", _of_variants(language, normalise(phrases)))
        if (phrase := each.strip(" ,"))
    )


def _of_variants(language: str, phrases: str) -> str:
    variants = _VARIANTS.get(language)
    if variants is None:
        return phrases
    if language == "hi":
        phrases = re.sub("([कखगजडढफ])", "\\1\u093c?", phrases.replace("\u093c", ""))

    def vary(match: re.Match[str]) -> str:
        if group := match.group(1):
            return "".join(variants.get(char, char) for char in group)
        return f"[{variants[match.group()]}]"

    return re.sub(rf"(\[[^\]]*\])|[{''.join(variants)}]", vary, phrases)
