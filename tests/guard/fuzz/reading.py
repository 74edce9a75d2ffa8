"""What a client reads in an answer, by whichever of the guard's dialects it came."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.guard.fuzz.loopback import Said

_LENGTH = "Inference-Header-Content-Length"
_OURS = {"id", "object", "model", "model_name", "finish_reason", "rlhf", "role", "datatype", "name"}
"""Fields whose words are the guard's own; that nobody else's are is tested by itself."""


def texts(said: Said) -> list[str]:
    """Return all texts of an answer; one that cannot be read is a failure.

    Of a stream there is one: its pieces put together. A part that was broken off is left out.
    """
    kind = said.headers.get_content_type()
    if kind == "text/event-stream":
        return ["".join(text for event in events(said) for text in _strings(event))]
    if kind == "application/octet-stream":
        length = int(said.headers[_LENGTH])
        fields = json.loads(said.body[:length])
        return [*_strings(fields), *_elements(said.body[length:])]
    assert kind == "application/json", kind
    assert not said.is_broken
    return list(_strings(json.loads(said.body)))


def events(said: Said) -> list[Any]:
    """Return the events of a stream; none stands behind the end."""
    blocks = said.body.decode().split("\n\n")
    assert blocks[-1] == "" or said.is_broken
    lines = [block.removeprefix("data: ") for block in blocks[:-1]]
    assert not any("\n" in line for line in lines)
    if lines and lines[-1] == "[DONE]":
        lines.pop()
    return [json.loads(line) for line in lines]


def _strings(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, list):
        for each in data:
            yield from _strings(each)
    elif isinstance(data, dict):
        for name, each in data.items():
            if name not in _OURS:
                yield from _strings(each)


def _elements(blob: bytes) -> Iterator[str]:
    while blob:
        size = int.from_bytes(blob[:4], "little")
        yield blob[4 : 4 + size].decode()
        blob = blob[4 + size :]
