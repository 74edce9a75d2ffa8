"""Events: what is told to people beside the objects. Posted in the background, at leisure."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from rlhf_operator.adapters.api_error import ApiError
from rlhf_operator.api.errors import Transient

Raw = Mapping[str, Any]
log = logging.getLogger(__name__)

_WAITING = 5000
_AT_ONCE = 2


class Events:
    """Posts Events a few at a time, when `calm` returns; nothing waits for one."""

    def __init__(
        self,
        post: Callable[[Raw], Awaitable[object]],
        component: str,
        calm: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._post = post
        self._component = component
        self._calm = calm
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(_AT_ONCE)

    def tell(self, about: Raw, kind: str, reason: str, message: str) -> None:
        """Post an Event in the background; a lost one does no harm."""
        if len(self._tasks) < _WAITING:
            event = _event(about, kind, reason, message, self._component)
            task = asyncio.get_running_loop().create_task(self._tell(event))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _tell(self, event: Raw) -> None:
        try:
            async with self._places:
                if self._calm is not None:
                    await self._calm()
                await self._post(event)
        except (ApiError, Transient) as error:
            log.info("an event was lost: %s", error)


def _event(about: Raw, kind: str, reason: str, message: str, component: str) -> dict[str, Any]:
    metadata = about["metadata"]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")  # noqa: TID251 - a log's time
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{metadata['name']}.", "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
        },
        "reason": reason,
        "message": message[:1024],
        "type": kind,
        "source": {"component": component},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
