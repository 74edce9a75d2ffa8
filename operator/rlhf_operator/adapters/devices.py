"""Lists the pods on all nodes that ask for devices: once for all models that want to know."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from rlhf_operator.adapters.api_error import ApiError
from rlhf_operator.api.errors import Transient

Raw = Mapping[str, Any]
Request = Callable[..., Awaitable[Any]]

_STANDS = 10.0
"""For how many seconds a list is taken as it is."""
_QUERY = {
    "fieldSelector": "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed",
    "limit": "500",
}


class Devices:
    """The newest list; who asks while it is being read waits for it."""

    def __init__(self) -> None:
        self._newest: tuple[float, Sequence[Raw] | None] = (float("-inf"), None)
        self._reading = asyncio.Lock()

    async def pods(self, request: Request) -> Sequence[Raw] | None:
        """Return the pods, with what is needed to count them; None where it is forbidden.

        Raises Transient where the API server did not do it.
        """
        async with self._reading:
            now = asyncio.get_running_loop().time()
            if now >= self._newest[0]:
                self._newest = (now + _STANDS, await _read(request))
            return self._newest[1]


async def _read(request: Request) -> Sequence[Raw] | None:
    found: list[Raw] = []
    query = dict(_QUERY)
    while True:
        try:
            page = await request("GET", "/api/v1/pods", query=query)
        except ApiError as error:
            if error.code == 403:
                return None
            raise Transient(f"pods cannot be listed: {error}", 5.0) from error
        found += (_counted(pod) for pod in page["items"] if _asks_for_devices(pod))
        token = page["metadata"].get("continue")
        if not token:
            return found
        query["continue"] = token


def _asks_for_devices(pod: Raw) -> bool:
    """Return whether a container asks for a resource of a vendor: those have a domain."""
    spec = pod["spec"]
    containers = (*spec.get("containers", ()), *(spec.get("initContainers") or ()))
    return any(
        "/" in name
        for each in containers
        for name in (each.get("resources") or {}).get("limits") or ()
    )


def _counted(pod: Raw) -> Raw:
    """Return a pod without what counting does not need."""
    spec = pod["spec"]

    def kept(containers: Any) -> list[Raw]:
        parts = ("resources", "restartPolicy")
        return [{part: each[part] for part in parts if part in each} for each in containers or ()]

    return {
        "metadata": {
            "namespace": pod["metadata"].get("namespace", ""),
            "labels": pod["metadata"].get("labels") or {},
        },
        "spec": {
            "nodeName": spec.get("nodeName", ""),
            "containers": kept(spec.get("containers")),
            "initContainers": kept(spec.get("initContainers")),
        },
    }
