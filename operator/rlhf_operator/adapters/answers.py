"""What the API server answers: JSON, of which a part is left out where it is long."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from pydantic_core import from_json

_LONG = 256 * 1024


def content(payload: bytes) -> Any:
    """Return the JSON; a long one, which is a list, comes without `managedFields`.

    Nobody here reads them, and they are nine tenths of a page of metadata. Objects that are built
    all at once, and remembered strings among them, would keep their place in memory for good.
    Raises ValueError.
    """
    if len(payload) < _LONG:
        return from_json(payload, cache_strings="keys")
    return json.loads(payload, object_hook=_without_managed_fields)


def _without_managed_fields(found: dict[str, Any]) -> dict[str, Any]:
    found.pop("managedFields", None)
    return found


async def read(payload: bytes) -> Any:
    """Return the JSON; a long one is read in a thread, for no rollback should wait for it."""
    return content(payload) if len(payload) < _LONG else await asyncio.to_thread(content, payload)


def message(payload: bytes) -> str:
    """Return the sentence by which an error is told, cut where it is long."""
    try:
        return str(from_json(payload).get("message", ""))[:500]
    except (ValueError, AttributeError):
        return payload[:200].decode(errors="replace")
