"""Harms: what people ask for, say or threaten, by words of several kinds in one sentence.

A frame names lists of words: a sentence in which one of each stands near the first, and none of
those that excuse it, says what the frame is about, in whatever order a language puts them. Lists
are by language and never mixed: what is a weapon in one is a present in another.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import re2

from rlhf_operator.guard.checks import phrases
from rlhf_operator.guard.checks.expressions import compile_own, occurrences
from rlhf_operator.guard.text import Span, View

LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "pl", "tr", "ru", "zh", "ja", "ar", "hi")
_BYTES = {"ru": 2, "ar": 2, "hi": 3, "zh": 1.5, "ja": 2}
"""How many bytes a language takes for what needs one in English."""

_BEFORE, _AFTER = 320, 480
"""How many bytes of a sentence are looked at beside its first telling word."""
FURTHEST = 2 * (_BEFORE + _AFTER) + 100
"""Bytes that decide on one sentence: as far as it is looked at, and what stands around."""
_END = compile_own(r"[.!?;](?:[\s\"”»)]|$)|[。！？।؟\n]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """Lists of words that say something together."""

    words: tuple[re2._Regexp, ...]
    """One of each must stand in a sentence, near the first."""
    also: tuple[re2._Regexp, ...]
    """One of each must stand anywhere in the sentence."""
    unless: tuple[re2._Regexp, ...]
    """None of these may stand there."""
    within: int
    """How many bytes beside the first the others may be."""
    order: str
    """Where the others must stand: `behind` the first, each behind the one before it; all `before`
    it; or, where there is nothing, on any side."""
    is_apart: bool
    """Whether the first may not be one of the others as well."""
    is_wide: bool
    """Whether the sentences beside count as well."""

    def is_said(self, sentence: bytes, around: bytes) -> bool:
        """Tell whether a sentence says what the frame is about."""
        text = around if self.is_wide else sentence
        if not all(each.search(text) for each in self.also):
            return False
        return any(
            self._is_joined(text, start, end) for start, end in occurrences(self.words[0], text)
        ) and not any(excuse.search(text) for excuse in self.unless)

    def _is_joined(self, text: bytes, start: int, end: int) -> bool:
        if self.order != "behind":
            until = end + self.within if not self.order else start + 1
            near = text[max(0, start - self.within) : until]
            if self.is_apart:  # the edges of a word are signs that belong to neither
                near = near.replace(text[start + 1 : end - 1], b"")
            return all(each.search(near) for each in self.words[1:])
        for each in self.words[1:]:
            # One byte earlier: the edge of a word is a sign that belongs to neither.
            found = each.search(text[max(0, end - 1) : end + self.within])
            if not found:
                return False
            end += found.end() - 1
        return True


@dataclass(frozen=True, kw_only=True)
class Tongue:
    """The frames of one kind of harm in one language."""

    name: str
    lists: Mapping[str, str]
    table: Sequence[Mapping[str, Any]]

    @property
    def firsts(self) -> str:
        """Return the first words of all frames, which the others must stand beside."""
        return ", ".join(_joined(self.lists, frame["of"][0]) for frame in self.table)

    @functools.cached_property
    def first(self) -> re2._Regexp:
        """Return an expression for the first words."""
        return phrases.expression(self.name, self.firsts)

    @functools.cached_property
    def frames(self) -> tuple[Frame, ...]:
        """Return the frames; made when the first text needs them, for most need few languages."""
        return tuple(_frame(self.name, self.lists, frame) for frame in self.table)

    @functools.cached_property
    def _spoken(self) -> re2._Regexp | None:
        common = self.lists["spoken"]
        return phrases.expression(self.name, common) if common else None

    def is_said(self, sentence: bytes, around: bytes) -> bool:
        """Tell whether a text may be of the language, and a sentence of it says any frame."""
        if not self.first.search(sentence):
            return False
        if self._spoken is not None and not self._spoken.search(around):
            return False
        return any(frame.is_said(sentence, around) for frame in self.frames)


@dataclass(frozen=True, kw_only=True, slots=True)
class Harm:
    """One kind of harm, in all languages."""

    sign: re2._Regexp
    """Matches wherever a frame may begin, and reads all languages in one go."""
    tongues: tuple[Tongue, ...]
    latin: tuple[Tongue, ...]

    def places(self, view: View) -> Iterator[Span]:
        """Yield the ranges of bytes of sentences that say it; linear in the length of the text."""
        encoded = view.encoded
        at = 0
        while found := self.sign.search(encoded, at):
            start, end = _sentence(encoded, *found.span())
            around = encoded[max(0, start - _BEFORE) : end + _AFTER]
            sentence = encoded[start:end]
            # What is all ASCII is of no language with a script of its own.
            tongues = self.latin if sentence.isascii() else self.tongues
            if any(tongue.is_said(sentence, around) for tongue in tongues):
                yield start, end
            at = max(end, found.end())
            if at >= len(encoded):
                return


def _sentence(encoded: bytes, start: int, end: int) -> Span:
    """Return the sentence around a range, as far as anyone looks."""
    before = encoded[max(0, start - _BEFORE) : start]
    ends = [each.end() for each in _END.finditer(before)]
    first = start - len(before) + ends[-1] if ends else start - len(before)
    # What was found may end with the sign that ends the sentence.
    stop = _END.search(encoded, end - 1, min(len(encoded), end + _AFTER))
    return first, stop.end() if stop else min(len(encoded), end + _AFTER)


@functools.cache
def harm(name: str) -> Harm:
    """Return a kind of harm by the name of its file, ready to look for."""
    table, common = _table(name), _table("common")
    tongues = tuple(
        Tongue(name=each, lists=common[each] | table[each], table=table["frames"])
        for each in LANGUAGES
    )
    return Harm(
        sign=phrases.sign({each.name: each.firsts for each in tongues}),
        tongues=tongues,
        latin=tuple(each for each in tongues if each.name not in _BYTES),
    )


def _frame(language: str, lists: Mapping[str, str], frame: Mapping[str, Any]) -> Frame:
    def expressions(key: str) -> tuple[re2._Regexp, ...]:
        listed = (_joined(lists, names) for names in frame.get(key, ()))
        return tuple(phrases.expression(language, each) for each in listed if each)

    return Frame(
        words=expressions("of"),
        also=expressions("also"),
        unless=expressions("unless"),
        within=int(frame["within"] * _BYTES.get(language, 1)),
        order=frame.get("order", ""),
        is_apart=frame.get("apart", False),
        is_wide=frame.get("wide", False),
    )


def _joined(lists: Mapping[str, str], names: str) -> str:
    """Return the lists that a frame names, such as `burn+kill`, as one."""
    return ", ".join(filter(None, (lists[name].strip() for name in names.split("+"))))


@functools.cache
def _table(name: str) -> dict[str, Any]:
    data = resources.files("rlhf_operator.guard.checks").joinpath("harms", f"{name}.toml")
    return tomllib.loads(data.read_text("utf-8"))
