"""How answers leave the plugin: text for people, JSON and YAML for programs.

Colours only on a terminal, and never where NO_COLOR is set; rich sees to both.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import IO, Any, Literal

import yaml
from pydantic import BaseModel
from pydantic.alias_generators import to_camel
from rich.console import Console, RenderableType
from rich.theme import Theme

from rlhf_operator.api.schema import ApiType, format_duration, format_time

Form = Literal["text", "json", "yaml"]

THEME = Theme(
    {
        "good": "green",
        "bad": "red",
        "wait": "yellow",
        "faint": "dim",
        "name": "bold",
    }
)


def console(file: IO[str] | None = None, width: int | None = None) -> Console:
    """Return where text goes; a width that is not given is the terminal's."""
    made = Console(file=file, width=width, theme=THEME, highlight=False, emoji=False)
    if width is None and not made.is_terminal:
        made.width = 200  # what goes into a file or a pipe does not depend on a window
    return made


def show(made: Console, answer: object, text: RenderableType, form: Form) -> None:
    """Write an answer in the form that was asked for."""
    match form:
        case "text":
            made.print(text)
        case "json":
            made.file.write(json.dumps(data(answer), indent=2, ensure_ascii=False) + "\n")
        case "yaml":
            made.file.write(yaml.safe_dump(data(answer), sort_keys=False, allow_unicode=True))


def data(value: object) -> Any:
    """Return a value as JSON-ready data, with the names that the API would give its fields."""
    match value:
        case ApiType():
            return value.dump()
        case BaseModel():
            dumped = value.model_dump(mode="json", by_alias=True, exclude_none=True)
            return {name: part for name, part in dumped.items() if part not in ("", {})}
        case Enum():
            return value.value
        case datetime():
            return format_time(value)
        case timedelta():
            return format_duration(value)
        case Mapping():
            return {str(name): data(part) for name, part in value.items()}
        case tuple() | list():
            return [data(part) for part in value]
        case _ if dataclasses.is_dataclass(value):
            fields = (
                (field.name, getattr(value, field.name)) for field in dataclasses.fields(value)
            )
            return {
                to_camel(name.rstrip("_")): data(part) for name, part in fields if part is not None
            }
        case _:
            return value
