"""Objects of our kinds, made from the pydantic types: valid ones, and slightly broken ones.

They are used against pydantic here, and against the real API server by the differential test.
"""

from __future__ import annotations

import functools
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le, MaxLen, MinLen
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from rlhf_operator.api.crd import Kind
from rlhf_operator.api.schema import API_VERSION

Json = dict[str, Any]
_TEXT = st.text(alphabet="abcXYZ 0159-_.:/", max_size=12)
_BROKEN = (None, -1, 0, 10**12, "", "x" * 40_000, "Ä b", [], {}, True, ["x"], {"x": "y"}, "1.5.0")


def field(info: FieldInfo) -> st.SearchStrategy[Any]:
    return values(info.annotation, tuple(info.metadata))


def values(kind: Any, limits: tuple[Any, ...] = ()) -> st.SearchStrategy[Any]:
    """JSON values of a type, mostly within its limits."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return values(inner[0], (*_flat(inner[1:]), *limits))
    if origin in (Union, types.UnionType):
        return st.one_of(*(values(each, limits) for each in inner if each is not type(None)))
    if origin is Literal:
        return st.sampled_from(inner)
    if origin is tuple:
        least, most = _lengths(limits, 3)
        return st.lists(values(inner[0]), min_size=least, max_size=most)
    if origin is dict:
        content = values(inner[1]) if inner[1] is not Any else _TEXT
        return st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), content, max_size=2)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return objects(kind)
    return _scalar(kind, limits)


def _scalar(kind: Any, limits: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    if kind is bool:
        return st.booleans()
    if kind is int:
        least = next((limit.ge for limit in limits if isinstance(limit, Ge)), -5)
        most = next((limit.le for limit in limits if isinstance(limit, Le)), 100)
        return st.integers(int(least), min(int(most), int(least) + 200))  # type: ignore[arg-type]
    pattern = next((each for each in map(_pattern, limits) if each), None)
    if pattern:
        least, most = _lengths(limits, 10_000)
        made = st.from_regex(pattern.replace("$", r"\Z"), alphabet=st.characters(codec="ascii"))
        return made.filter(lambda text: least <= len(text) <= most)
    if isinstance(kind, type) and kind.__name__ == "datetime":
        return st.sampled_from(["2026-01-05T12:00:00Z", "2026-01-05T12:00:00.123456Z"])
    least, _ = _lengths(limits, 12)
    return _TEXT.filter(lambda text: len(text) >= least)


def _pattern(limit: Any) -> str | None:
    return getattr(limit, "pattern", None) or getattr(limit, "regex", None)


def _flat(limits: tuple[Any, ...]) -> tuple[Any, ...]:
    found: list[Any] = []
    for limit in limits:
        found += limit.metadata if isinstance(limit, FieldInfo) else [limit]
    return tuple(found)


def _lengths(limits: tuple[Any, ...], most: int) -> tuple[int, int]:
    least = next((limit.min_length for limit in limits if isinstance(limit, MinLen)), 0)
    longest = next((limit.max_length for limit in limits if isinstance(limit, MaxLen)), most)
    return least, max(least, min(longest, most))


@functools.cache
def _fields(kind: type[BaseModel]) -> tuple[tuple[str, bool, st.SearchStrategy[Any]], ...]:
    return tuple(
        (info.alias or name, info.is_required(), field(info))
        for name, info in kind.model_fields.items()
    )


# Most optional fields are left out, or an object of many fields would be all that is ever made.
_OPTIONAL = st.sampled_from((False, False, True))


@st.composite
def objects(draw: st.DrawFn, kind: type[BaseModel]) -> Json:
    """A JSON object of a type; rules between fields are not kept on purpose."""
    return {
        name: draw(values)
        for name, is_required, values in _fields(kind)
        if is_required or draw(_OPTIONAL)
    }


@st.composite
def broken(draw: st.DrawFn, kind: type[BaseModel]) -> Json:
    """An object in which one place was changed, taken away or made up."""
    made = draw(objects(kind))
    place: Any = made
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return made
        key = draw(st.sampled_from(keys))
        deeper = isinstance(place[key], dict | list) and bool(place[key])
        if deeper and draw(st.booleans()):
            place = place[key]
            continue
        match draw(st.sampled_from(["change", "drop", "add"])):
            case "change":
                place[key] = draw(st.sampled_from(_BROKEN))
            case "drop":
                del place[key]
            case "add" if isinstance(place, dict):
                place["unknown"] = "x"
        return made


def manifest(kind: Kind, spec: Json, name: str = "generated") -> Json:
    """The whole object, as it would be sent to the API server."""
    return {
        "apiVersion": API_VERSION,
        "kind": kind.kind,
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }
