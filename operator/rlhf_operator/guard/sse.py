"""Server-sent events, out of bytes that come in pieces, however those were cut. Pure."""

from __future__ import annotations

import json
from typing import Any

_LONGEST = 16 * 1024 * 1024


class Broken(ValueError):  # noqa: N818 - says what the stream is
    """The bytes are no stream of events."""


class Reader:
    """Puts events together; only their `data` counts."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the data of the events that these bytes complete."""
        self._size += len(piece)
        if self._size > _LONGEST:
            raise Broken("an event is too long")
        whole, held = self._rest + piece, b""
        if b"\r" in whole:
            # At the end it may be half of a line's end.
            held = whole[-1:] if whole.endswith(b"\r") else b""
            whole = whole[: len(whole) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = whole.split(b"\n")
        self._rest = rest + held
        events = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line:
                self._size = len(self._rest)
                if self._data:
                    events.append(b"\n".join(self._data))
                    self._data.clear()
        return events

    def finish(self) -> None:
        """Raise Broken where the stream ends within an event."""
        if self._rest.strip() or self._data:
            raise Broken("the stream ends within an event")


def event(fields: dict[str, Any]) -> bytes:
    """Return an event with a JSON object in it."""
    return b"data: " + json.dumps(fields).encode() + b"\n\n"
