"""kopf's streams of events: it lists and watches, logs in, and comes back where a watch broke.

Its handlers are not used: they would take a task and most of a millisecond for each event, and
most events tell only what we have just written. kopf never tells that an object vanished while a
watch was down: that is found by `sweeps`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NoReturn

import kopf
from kopf._cogs.clients import errors
from kopf._cogs.clients.auth import vault_var
from kopf._cogs.clients.watching import Bookmark, WatchingError, infinite_watch
from kopf._cogs.structs.credentials import Vault
from kopf._cogs.structs.references import NamespaceName, Resource
from kubernetes.aio.client import Configuration

from rlhf_operator.adapters.cluster import RESOURCES
from rlhf_operator.controller.watches import MANAGED, PAGE, Watched

log = logging.getLogger(__name__)

Receive = Callable[[str, str | None, Any], None]
"""Takes a kind, what happened (ADDED, MODIFIED, DELETED; None where it was listed), an object."""

AGAIN = 10.0
"""Seconds until a kind is asked for again that the API server does not let us watch."""
_TURN = 20
"""So many events are taken before others have their turn."""


async def follow(kinds: Iterable[Watched], namespaces: tuple[str, ...], receive: Receive) -> None:
    """Hand every event of these kinds to `receive`, for ever."""
    vault = Vault()
    vault_var.set(vault)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_log_in(vault))
            for each in kinds:
                for namespace in each.places(namespaces):
                    group.create_task(_follow(each, namespace, receive))
    finally:
        await vault.close()


async def _log_in(vault: Vault) -> NoReturn:
    """Log in at first, and again whenever the API server does not know us any more."""
    while True:
        await vault.wait_for_emptiness()
        found = login(settings=settings())
        await vault.populate({} if found is None else {"login": found})


def login(**context: Any) -> kopf.ConnectionInfo | None:
    """Return how to talk to the API server, as the pod or the kubeconfig says."""
    found = kopf.login_with_service_account(**context)
    if found is None:
        return kopf.login_with_kubeconfig(**context)
    # kopf would take the usual name; a pod may be told another address by its environment, and
    # watches must go where our own client reads and writes.
    return replace(found, server=Configuration.get_default_copy().host)


async def _follow(each: Watched, namespace: str | None, receive: Receive) -> NoReturn:
    while True:
        try:
            await _receive(each, namespace, receive)
        except (errors.APIError, WatchingError) as error:
            log.warning("%s cannot be watched now: %s", each.kind, error)
        await asyncio.sleep(AGAIN)


async def _receive(each: Watched, namespace: str | None, receive: Receive) -> None:
    group, _, version = RESOURCES[each.kind].api_version.rpartition("/")
    resource = Resource(
        group=group,
        version=version,
        plural=RESOURCES[each.kind].plural,
        kind=each.kind,
        namespaced=each.is_namespaced,
    )
    chosen = settings()
    if each.ours:
        chosen.watching.label_selectors[resource.group, resource.version, resource.plural] = MANAGED
    place = None if namespace is None else NamespaceName(namespace)
    taken = 0
    async for event in infinite_watch(settings=chosen, resource=resource, namespace=place):
        if isinstance(event, Bookmark) or event["type"] == "BOOKMARK":
            continue
        receive(each.kind, event["type"], event["object"])
        taken += 1
        if taken % _TURN == 0:
            await asyncio.sleep(0)


def settings() -> kopf.OperatorSettings:
    """Return kopf's settings: how long it waits, and that it lists a kind page by page."""
    wanted = kopf.OperatorSettings()
    wanted.networking.request_timeout = 10
    wanted.networking.connect_timeout = 3
    wanted.networking.error_backoffs = (0.2, 0.5, 1, 2, 4)
    wanted.watching.server_timeout = 300
    wanted.watching.inactivity_timeout = 70
    wanted.watching.reconnect_backoff = 0.2
    wanted.watching.chunk_size = PAGE
    return wanted
