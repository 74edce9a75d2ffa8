"""How many examples are tried, and strategies that several tests share."""

from __future__ import annotations

import itertools
import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

MANY = int(os.environ.get("FUZZ_EXAMPLES", "0"))
"""Examples for each property, at random; by default few, the same in every run."""


def examples(few: int) -> settings:
    """Return settings for a property: `few` examples, or many where that was asked for."""
    return settings(
        deadline=None,
        max_examples=MANY or few,
        derandomize=not MANY,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def words(said: str) -> list[str]:
    """Return the words of a text."""
    return said.split()


def cut(whole: bytes, places: list[int]) -> tuple[bytes, ...]:
    """Return bytes in pieces, cut at these places (modulo their length)."""
    edges = sorted({place % (len(whole) + 1) for place in places} | {0, len(whole)})
    return tuple(whole[a:b] for a, b in itertools.pairwise(edges))


PLACES = st.lists(st.integers(0, 2**16), max_size=6)
"""Where to cut."""

# Halves of surrogate pairs are among them: JSON can say them.
TEXT = st.text(st.characters(), max_size=12) | st.sampled_from(
    ["\ud800", "\udfff\ud800", "\x00", "\ufeff", "a\u0301\u0302", "\U0010ffff", "\u202e", "é" * 300]
)
NUMBERS = (
    st.integers()
    | st.floats()
    | st.sampled_from([2**63, -(2**63) - 1, 10**400, 1e308, -0.0, float("nan"), float("inf")])
)


def shapes(keys: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Return JSON of any shape, with these keys among others."""
    return st.recursive(
        st.none() | st.booleans() | NUMBERS | TEXT | keys,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys | TEXT, inner, max_size=5),
        max_leaves=12,
    )
