"""Strict reading of what services answer: each step takes exactly one type or fails. Pure."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn


class BadAnswer(ValueError):  # noqa: N818 - it names what came
    """An answer is not what its contract says; the message never repeats it."""


def parse(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a body; numbers that are none and keys given twice are refused."""
    try:
        answer = json.loads(body, parse_constant=_refuse, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        raise BadAnswer("not JSON") from None
    return an_object(answer)


def an_object(value: Any) -> dict[str, Any]:
    """Return a value that must be an object."""
    if not isinstance(value, dict):
        raise BadAnswer("not an object where there must be one")
    return value


def a_list(value: Any, *, length: int | None = None) -> list[Any]:
    """Return a value that must be a list, of this length where one is given."""
    if not isinstance(value, list) or length not in (None, len(value)):
        raise BadAnswer("not a list, or not of the right length")
    return value


def a_text(value: Any) -> str:
    """Return a value that must be a text."""
    if not isinstance(value, str):
        raise BadAnswer("not a text where there must be one")
    return value


def a_flag(value: Any) -> bool:
    """Return a value that must be true or false."""
    if not isinstance(value, bool):
        raise BadAnswer("neither true nor false")
    return value


def a_number(value: Any, *, most: float = math.inf, least: float = -math.inf) -> float:
    """Return a value that must be a finite number within bounds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadAnswer("not a number where there must be one")
    try:
        number = float(value)
    except OverflowError:
        raise BadAnswer("a number beyond all bounds") from None
    if not math.isfinite(number) or not least <= number <= most:
        raise BadAnswer("a number out of its bounds")
    return number


def _refuse(_constant: str) -> NoReturn:
    raise BadAnswer("a number that is none")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadAnswer("a key stands twice")
    return found
