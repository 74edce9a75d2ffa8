"""Sweeps: from time to time the store is compared with fresh lists.

kopf never tells that an object vanished while a watch was down.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from rlhf_operator.adapters.api_error import ApiError
from rlhf_operator.adapters.applied import UNWATCHED, mark
from rlhf_operator.adapters.cluster import RESOURCES, KubernetesCluster
from rlhf_operator.controller.store import MemoryStore
from rlhf_operator.controller.watches import MANAGED, PAGE, Receiver, Watched

log = logging.getLogger(__name__)

_OF_OURS = {"labelSelector": MANAGED}
_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_WHOLE = "application/json"


async def sweep(
    store: MemoryStore,
    cluster: KubernetesCluster,
    receiver: Receiver,
    kinds: tuple[Watched, ...],
    namespaces: tuple[str, ...],
    calm: Callable[[], Awaitable[object]],
) -> AsyncIterator[str]:
    """Drop what no longer exists, and take in what a watch has missed; yield each kind when done.

    Where much is known, only metadata are listed, and what has changed is read one by one. Lists
    of thousands take time that a rollback may be in need of: between two kinds one may wait, and
    each page is asked for when `calm` returns.
    """
    for each in kinds:
        present: set[tuple[str, str]] = set()
        before = store.addresses(each.kind)
        accept = _METADATA if before else _WHOLE
        for namespace in each.places(namespaces):
            path = RESOURCES[each.kind].path(namespace)
            try:
                async for raw in pages(cluster, path, _OF_OURS if each.ours else {}, calm, accept):
                    metadata = raw["metadata"]
                    place = metadata.get("namespace", ""), metadata["name"]
                    present.add(place)
                    if accept == _WHOLE:
                        receiver.receive(each.kind, None, raw)
                    elif store.lacks(each.kind, raw):
                        await _read(each.kind, place, cluster, receiver)
            except ApiError as error:
                log.warning("%s cannot be listed: %s", each.kind, error)
                break
        else:
            for namespace_name, name in before - present:
                receiver.gone(each.kind, namespace_name, name)
        yield each.kind
    for kind in UNWATCHED:
        await _compare(kind, cluster, namespaces, calm)
        yield kind


async def _read(
    kind: str, place: tuple[str, str], cluster: KubernetesCluster, receiver: Receiver
) -> None:
    """Take in one object as it is now; one that has gone meanwhile is found by the next sweep."""
    raw = await cluster.read(kind, *place)
    if raw is not None:
        receiver.receive(kind, None, raw)


async def _compare(
    kind: str,
    cluster: KubernetesCluster,
    namespaces: tuple[str, ...],
    calm: Callable[[], Awaitable[object]],
) -> None:
    """Find out what someone has changed or deleted of what no watch brings."""
    marks: dict[tuple[str, str], object] = {}
    for namespace in namespaces or (None,):
        path = RESOURCES[kind].path(namespace)
        try:
            async for raw in pages(cluster, path, _OF_OURS, calm, accept=_METADATA):
                metadata = raw["metadata"]
                marks[metadata["namespace"], metadata["name"]] = mark(metadata)
        except ApiError as error:
            log.warning("%s cannot be listed: %s", kind, error)
            return
    cluster.applied.compare(kind, marks)


async def pages(
    cluster: KubernetesCluster,
    path: str,
    query: Mapping[str, str],
    calm: Callable[[], Awaitable[object]],
    accept: str = _WHOLE,
) -> Any:
    """Yield the objects of a collection, some hundred at a time."""
    token, limit = "", PAGE if accept == _WHOLE else 5 * PAGE
    while True:
        asked = {**query, "limit": str(limit), **({"continue": token} if token else {})}
        await calm()
        page = await cluster.request("GET", path, query=asked, accept=accept)
        for raw in page["items"] or ():  # metadata alone comes as null when there is none
            yield raw
        token = page["metadata"].get("continue", "")
        if not token:
            return
