"""Protocol-buffer text, the form of Triton's `config.pbtxt`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Fields = Mapping[str, Any]
"""Field names to values: text, numbers, `Word`s, further fields, or lists of one of these."""


class Word(str):
    """A bare word, such as the name of an enum's member."""

    __slots__ = ()


def render(fields: Fields) -> str:
    """Return fields as text; a list becomes one entry for each of its items."""
    return "".join(f"{line}\n" for line in _lines(fields))


def tensor(name: str, kind: str, *dims: int, optional: bool = False) -> Fields:
    """Return one input or output of a model."""
    found: dict[str, Any] = {"name": name, "data_type": Word(f"TYPE_{kind}"), "dims": dims}
    return {**found, "optional": True} if optional else found


def _lines(fields: Fields) -> Iterator[str]:
    for name, value in fields.items():
        items = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        if items is value and not (items and isinstance(items[0], Mapping)):
            yield f"{name}: [{', '.join(_scalar(item) for item in items)}]"
            continue
        for item in items:
            if isinstance(item, Mapping):
                yield f"{name} {{"
                yield from (f"  {line}" for line in _lines(item))
                yield "}"
            else:
                yield f"{name}: {_scalar(item)}"


def _scalar(value: Any) -> str:
    match value:
        case Word():
            return str(value)
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case str():
            escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
            return f'"{escaped}"'
    raise TypeError(f"no protocol-buffer text for {type(value).__name__}")
