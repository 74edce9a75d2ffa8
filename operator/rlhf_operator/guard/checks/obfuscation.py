"""Obfuscation: text that is written so that filters do not read what a model does."""

from __future__ import annotations

import base64
import binascii
import codecs
import re
import unicodedata
from collections.abc import Callable, Iterator

import re2

from rlhf_operator.guard.checks.expressions import compile_own, occurrences
from rlhf_operator.guard.checks.signals import words
from rlhf_operator.guard.text import Span, View

IsAttack = Callable[[str], bool]

_TAGS = re.compile("(?<!\U0001f3f4)[\U000e0020-\U000e007f]{4,}")
_OVERRIDE = re.compile("[\u202d\u202e][^\u202c\n]{4,}")
# Joiners are part of how many scripts are written, and soft hyphens of how books are.
_HIDDEN = re.compile(
    "(?<=[a-zA-Z\u00c0-\u024f\u0400-\u04ff\u3040-\u30ff\u4e00-\u9fff])"
    "[\u200b-\u200f\u2060-\u2064\u2066-\u2069\ufeff\u180e]+"
    "(?=[a-zA-Z\u00c0-\u024f\u0400-\u04ff\u3040-\u30ff\u4e00-\u9fff])"
)
_MIXED = compile_own(
    r"(?:\p{Latin}{3,}[\p{Cyrillic}\p{Greek}]|[\p{Cyrillic}\p{Greek}]{3,}\p{Latin}|\p{Latin}[\p{Cyrillic}\p{Greek}]+\p{Latin}"
    r"|[\p{Cyrillic}\p{Greek}]\p{Latin}+[\p{Cyrillic}\p{Greek}])[\p{Latin}\p{Cyrillic}\p{Greek}]*"
)
_MARKS = compile_own(r"[\p{Latin}\p{Cyrillic}]\p{Mn}+")
_FEW = 6
"""How many hidden characters, drawn-over letters or mixed words may be there by chance."""
_SHARE = 0.15
"""Which share of the letters may be drawn over."""

_TEXT = 0.8
"""Which share of letters and spaces decoded text has."""
_CODED = compile_own(
    r"[a-z0-9+/_-]{16}|(?:[0-9a-f]{2}[ ,:]){7}|(?:(?:0x|\\x)[0-9a-f]{2}){7}"
    r"|(?:[0-9]{2,3}[ ,;]{1,2}){7}"
)
_BASE64 = compile_own(r"([A-Za-z0-9+/_-]{16,}={0,2})")
_HEX = compile_own(r"((?:(?:0x|\\x)?[0-9a-fA-F]{2}[ ,:]?){8,})")
_NUMBERS = compile_own(
    r"(?:^|[^0-9])((?:(?:3[2-9]|[4-9][0-9]|1[01][0-9]|12[0-6])[ ,;]{1,2}){7,}[0-9]+)"
)
_BINARY = compile_own(r"((?:[01]{8} ?){8,})")
_TOLD_ROT = words(r"\brot[ -]?(?:13|n\b)|\bcaesar|\bcäsar|\bcésar|цезар|凯撒|シーザー|सीज़र|قيصر")
_TOLD_REVERSE = words(
    r"\brevers|\bbackwards?\b|right[ -]to[ -]left|from the end|rückwärts|von hinten|à l'envers",
    r"al revés|al contrario|ao contrário|od tyłu|wspak|tersten|наоборот|задом наперёд",
    r"справа налево|倒着|反过来|逆から|後ろから|逆さ|بالعكس|معكوس|उल्टा",
)


def places(view: View, is_attack: IsAttack) -> list[Span]:
    """Return where a text hides something from filters."""
    original = view.original
    spans = (
        [match.span() for match in _OVERRIDE.finditer(original)] if not original.isascii() else []
    )
    if not original.isascii():
        spans += [match.span() for match in _TAGS.finditer(original)]
        spans += _hidden(original)
        spans += _many(view, _MIXED, _FEW // 2)
        spans += _drawn_over(view)
    spans += [span for span, plain in _decoded(view) if is_attack(plain)]
    spans += [(0, len(original)) for plain in _turned(view) if is_attack(plain)]
    return spans


def _hidden(original: str) -> list[Span]:
    found = [match.span() for match in _HIDDEN.finditer(original)]
    return found if len(found) > _FEW else []


def _many(view: View, expression: object, few: int) -> list[Span]:
    found = [view.originally(*span) for span in occurrences(expression, view.encoded)]
    return found if len(found) >= few else []


def _drawn_over(view: View) -> list[Span]:
    found = _many(view, _MARKS, _FEW)
    letters = sum(map(str.isalpha, view.text)) if found else 0
    return found if len(found) > _SHARE * letters else []


def _decoded(view: View) -> Iterator[tuple[Span, str]]:
    """Yield what runs of letters and digits say when they are decoded, where that is text."""
    if not _CODED.search(view.encoded):
        return
    original = view.original.encode("utf-8", "replace")
    for expression, decode in _CODES:
        for start, end in occurrences(expression, original, 1):
            try:
                text = decode(original[start:end].decode())
            except (ValueError, binascii.Error):
                continue
            if sum(char.isalpha() or char == " " for char in text) > _TEXT * len(text):
                before = len(original[:start].decode("utf-8", "ignore"))
                yield (before, before + end - start), text


def _base64(token: str) -> str:
    token = token.rstrip("=").translate(_URL_SAFE)
    return base64.b64decode(token + "=" * (-len(token) % 4)).decode()


def _hex(token: str) -> str:
    return bytes.fromhex(re.sub(r"0x|\\x|[ ,:]", "", token)).decode()


def _codes(base: int) -> Callable[[str], str]:
    return lambda token: "".join(chr(int(code, base)) for code in re.findall(r"[0-9]+", token))


_URL_SAFE = str.maketrans("-_", "+/")
_CODES: tuple[tuple[re2._Regexp, Callable[[str], str]], ...] = (
    (_BASE64, _base64),
    (_HEX, _hex),
    (_NUMBERS, _codes(10)),
    (_BINARY, _codes(2)),
)


def _turned(view: View) -> Iterator[str]:
    """Yield the whole text rotated or reversed, where it says that it is."""
    if _TOLD_ROT.search(view.encoded):
        yield codecs.encode(view.original, "rot13")
    if _TOLD_REVERSE.search(view.encoded) or "\u202e" in view.original:
        yield unicodedata.normalize("NFC", view.original)[::-1]
