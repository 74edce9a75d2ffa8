"""The API server as the bench uses it: objects, and watches on what is stored."""

from __future__ import annotations

import asyncio
import json
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp

from e2e.bench.prometheus import NAMESPACE
from rlhf_operator.adapters.cluster import RESOURCES, KubernetesCluster
from rlhf_operator.api.errors import Transient

Weights = dict[str, int]
"""Percent by the name of the Service."""
_LONG = aiohttp.ClientTimeout(total=None, sock_connect=3)


class Api(KubernetesCluster):
    """Requests of the bench itself; the operator's are made by the operator's own process."""

    async def make(self, made: dict[str, Any]) -> None:
        """Create an object of the bench's namespace."""
        resource = RESOURCES[made["kind"]]
        await self.request("POST", resource.path(made["metadata"]["namespace"]), made)

    async def change(self, kind: str, name: str, change: dict[str, Any]) -> None:
        """Merge a change into an object."""
        path = RESOURCES[kind].path(NAMESPACE, name)
        await self.request("PATCH", path, change, "application/merge-patch+json")

    async def watch(self, kind: str) -> AsyncIterator[dict[str, Any]]:
        """Yield the events of a kind in the bench's namespace until the server ends the watch."""
        path = RESOURCES[kind].path(NAMESPACE) + "?watch=1&timeoutSeconds=1800"
        headers = {"Accept": "application/json"}
        _, full, signed, _, _ = await self._client.param_serialize(
            "GET", path, header_params=headers, auth_settings=["BearerToken"]
        )
        session = self._session()
        async with session.request("GET", full, headers=signed, timeout=_LONG) as answer:
            async for line in answer.content:
                yield json.loads(line)


class Watch(ABC):
    """Follows one kind and keeps what each object last said."""

    kind = ""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def follow(self) -> None:
        """Watch until cancelled."""
        while True:
            try:
                async for event in self._api.watch(self.kind):
                    self._take(event["object"], event["type"] == "DELETED", time.monotonic())
            except (aiohttp.ClientError, Transient, ValueError, KeyError) as error:
                print(f"the bench's watch is opened anew: {error!r}")
                await asyncio.sleep(0.2)

    @abstractmethod
    def _take(self, stored: dict[str, Any], deleted: bool, now: float) -> None:
        """Note what an object says now."""


class Routes(Watch):
    """What each model's stored VirtualService says."""

    kind = "VirtualService"

    def __init__(self, api: Api) -> None:
        super().__init__(api)
        self.weights: dict[str, Weights] = {}
        self._waiting: dict[str, list[tuple[Callable[[Weights], bool], asyncio.Future[float]]]] = {}

    def _take(self, stored: dict[str, Any], deleted: bool, now: float) -> None:
        name = stored["metadata"]["name"]
        if deleted:
            self.weights.pop(name, None)
            return
        weights = self.weights[name] = _weights(stored)
        for entry in list(self._waiting.get(name, ())):
            wanted, future = entry
            if wanted(weights):
                self._waiting[name].remove(entry)
                if not future.done():
                    future.set_result(now)

    def when(self, model: str, wanted: Callable[[Weights], bool]) -> asyncio.Future[float]:
        """Return the moment of the next event by which the stored weights are as wanted."""
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(model, []).append((wanted, future))
        return future

    def weight(self, model: str, version: str) -> int:
        """Return the stored weight of a version now."""
        return self.weights.get(model, {}).get(service(version), 0)


class Readiness(Watch):
    """When each model first said that it is ready."""

    kind = "RLHFModel"

    def __init__(self, api: Api) -> None:
        super().__init__(api)
        self._waiting: dict[str, asyncio.Future[float]] = {}

    def _take(self, stored: dict[str, Any], deleted: bool, now: float) -> None:
        future = self._waiting.get(stored["metadata"]["name"])
        if future is None or future.done() or deleted:
            return
        for condition in (stored.get("status") or {}).get("conditions") or ():
            if (condition["type"], condition["status"]) == ("Ready", "True"):
                future.set_result(now)

    def when(self, model: str) -> asyncio.Future[float]:
        """Return the moment when a model that is to be made is first ready."""
        found = self._waiting[model] = asyncio.get_running_loop().create_future()
        return found


def service(version: str) -> str:
    """Return the name of a version's Service."""
    return f"{version}-serving"


def _weights(stored: dict[str, Any]) -> Weights:
    found: Weights = {}
    for entry in stored["spec"].get("http") or []:
        for target in entry.get("route") or [] if not entry.get("match") else []:
            host = target["destination"]["host"]
            found[host] = found.get(host, 0) + target.get("weight", 100)
    return found
