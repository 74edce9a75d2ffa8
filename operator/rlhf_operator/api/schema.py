"""The ground of every API type: a frozen pydantic base, bounded scalars, and rules told twice.

A rule between fields is written once as a Python predicate and beside it as CEL, so that the
API server and this package accept and refuse the same objects. Knows no kind.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    PlainSerializer,
    ValidationInfo,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

GROUP = "rlhf.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

Predicate = TypeVar("Predicate", bound=Callable[..., bool])


@dataclass(frozen=True, kw_only=True)
class CelRule:
    """One `x-kubernetes-validations` entry, with the name of its Python twin if it has one."""

    cel: str
    message: str
    predicate: str | None = None
    came_later: bool = False
    """Whether objects that were stored before it was made are taken as they are."""

    def render(self) -> dict[str, str]:
        """Return the entry as the CRD wants it."""
        return {"rule": self.cel, "message": self.message}


STORED = {"stored": True}
"""The context in which an object is read that the API server has: it was taken under the rules
of its day."""


def rule(cel: str, message: str, *, came_later: bool = False) -> Callable[[Predicate], Predicate]:
    """Mark a method as the Python twin of a CEL rule; True means the object is fine.

    A rule that came later than the first objects of its kind is not asked of those that are
    stored already (`STORED`): they go on serving.
    """

    def mark(predicate: Predicate) -> Predicate:
        entry = CelRule(
            cel=cel, message=message, predicate=predicate.__name__, came_later=came_later
        )
        predicate.__cel__ = entry  # type: ignore[attr-defined]
        return predicate

    return mark


def immutable(*fields: str, optional: tuple[str, ...] = ()) -> tuple[CelRule, ...]:
    """Return the transition rules that forbid a change of these fields (CRD names)."""
    firm = [
        CelRule(cel=f"self.{name} == oldSelf.{name}", message=f"{name} is immutable")
        for name in fields
    ]
    loose = [
        CelRule(
            cel=f"has(self.{name}) == has(oldSelf.{name}) && "
            f"(!has(self.{name}) || self.{name} == oldSelf.{name})",
            message=f"{name} is immutable",
        )
        for name in optional
    ]
    return (*firm, *loose)


def _be_exact(node: Any) -> None:
    """Take no text and no number for true or false, and neither for a number, as the server does.

    In place. Text for an instant and a list for a tuple are as JSON has them.
    """
    if isinstance(node, dict):
        if node.get("type") in ("int", "bool"):
            node["strict"] = True
        for key, value in node.items():
            if key not in ("default", "metadata"):
                _be_exact(value)
    elif isinstance(node, list):
        for value in node:
            _be_exact(value)


_RECORDED: ContextVar[bool] = ContextVar("recorded", default=False)
"""Whether what is read stands in a record."""


class ApiType(BaseModel):
    """Base of every type in the API: frozen, closed, camelCase outside, docstrings as help."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        use_attribute_docstrings=True,
    )
    transitions: ClassVar[tuple[CelRule, ...]] = ()

    @classmethod
    @functools.cache
    def cel_rules(cls) -> tuple[CelRule, ...]:
        """Return the rules of this type, in the order of their definition."""
        found: dict[str, CelRule] = {}
        for parent in reversed(cls.__mro__):
            for name, member in vars(parent).items():
                entry = getattr(member, "__cel__", None)
                if isinstance(entry, CelRule):
                    found[name] = entry
        return (*found.values(), *cls.transitions)

    @model_validator(mode="after")
    def _obey_rules(self, asked: ValidationInfo) -> ApiType:
        if _RECORDED.get():
            return self
        for entry in self.cel_rules():
            if entry.came_later and asked.context == STORED:
                continue
            if entry.predicate and not getattr(self, entry.predicate)():
                raise PydanticCustomError("rule", "{message}", {"message": entry.message})
        return self

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        schema = handler(source)
        _be_exact(handler.resolve_ref_schema(schema))
        return schema

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        rendered = handler(schema)
        rules = [entry.render() for entry in cls.cel_rules()]
        if rules:
            handler.resolve_ref_schema(rendered)["x-kubernetes-validations"] = rules
        return rendered

    def dump(self) -> dict[str, Any]:
        """Return the object as JSON-ready data under its API names, without empty fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Recorded(ApiType):
    """What the operator alone writes, on record: rules were asked where its parts came from.

    Neither this package nor the API server asks them again. The server would with each write of a
    status, and spend more than half of it on what cannot have changed.
    """

    @model_validator(mode="wrap")
    @classmethod
    def _take_as_recorded(cls, given: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        before = _RECORDED.set(True)
        try:
            return read(given)
        finally:
            _RECORDED.reset(before)


_DURATION = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"
_DURATION_PART = re.compile(r"([0-9]{1,5})(h|ms|m|s)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def parse_duration(text: str) -> timedelta:
    """Return the length of a GEP-2257 duration such as `1h30m`."""
    return timedelta(
        seconds=sum(int(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(text))
    )


def format_duration(length: timedelta) -> str:
    """Return a GEP-2257 duration, rounded down to milliseconds."""
    left = int(length.total_seconds() * 1000)
    parts = []
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def format_time(moment: datetime) -> str:
    """Return an instant as RFC 3339 in UTC with microseconds, as `MicroTime` has it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _as_told(moment: Any) -> Any:
    """Refuse numbers and mere days, which pydantic would read and the server would not."""
    if isinstance(moment, datetime) or (isinstance(moment, str) and moment[10:11] in ("T", "t")):
        return moment
    raise PydanticCustomError("time", "must be an instant, such as 2026-01-31T12:00:00Z")


Name = Annotated[
    str,
    Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"),
]
Text = Annotated[str, Field(max_length=1024)]
Duration = Annotated[str, Field(pattern=_DURATION, max_length=32)]
DecimalText = Annotated[str, Field(pattern=r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$", max_length=32)]
Digest = Annotated[str, Field(pattern=r"^sha256:[a-f0-9]{64}$", max_length=71)]
Percent = Annotated[int, Field(ge=0, le=100)]
Replicas = Annotated[int, Field(ge=0, le=1000)]
Time = Annotated[datetime, BeforeValidator(_as_told), PlainSerializer(format_time, return_type=str)]


def decimal(text: str) -> Decimal:
    """Return the exact number of a decimal string."""
    return Decimal(text)


@dataclass(frozen=True)
class Keyed:
    """Describes a list whose items are told apart by one attribute (`listType: map`)."""

    key: str
    max_length: int

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(schema) | {
            "maxItems": self.max_length,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": [to_camel(self.key)],
        }

    def _check(self, items: tuple[Any, ...]) -> tuple[Any, ...]:
        keys = [getattr(item, self.key) for item in items]
        if len(keys) > self.max_length:
            raise PydanticCustomError("too_long", "more than {n} items", {"n": self.max_length})
        if len(set(keys)) < len(keys):
            raise PydanticCustomError("duplicate", "{key} must be unique", {"key": self.key})
        return items
