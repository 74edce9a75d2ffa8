"""kopf's part: watches that bring objects into the store and put keys into the queue.

Handlers only enqueue. kopf never tells that an object vanished while a watch was down: that is
found by `sweeps`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import kopf
from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory
from kubernetes.aio.client import Configuration

from rlhf_operator.adapters.cluster import RESOURCES
from rlhf_operator.controller.config import OperatorConfig
from rlhf_operator.controller.store import MemoryStore, model_of, quarantined, without_template
from rlhf_operator.core import names
from rlhf_operator.core.observed import Key
from rlhf_operator.reconcile.ports import Raw

_OURS = ("RLHFModel", "RLHFModelVersion", "AlignmentPolicy", "RLHFRollout", "RLHFDecision")
_MANAGED = {names.MANAGED_BY_LABEL: names.MANAGER}
PAGE = 100
Enqueue = Callable[[Key], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """One kind that is watched."""

    kind: str
    ours: bool = False
    """Whether only objects that the operator made are of interest."""


def watched(config: OperatorConfig) -> tuple[Watched, ...]:
    """Return the kinds to watch under this configuration."""
    found = [Watched(kind=kind) for kind in _OURS]
    found += [Watched(kind="Deployment", ours=True), Watched(kind="Service", ours=True)]
    if config.routers.gateway_api:
        found.append(Watched(kind="HTTPRoute", ours=True))
    if config.routers.istio:
        found.append(Watched(kind="VirtualService", ours=True))
    if config.read_nodes:
        found.append(Watched(kind="Node"))
    return tuple(found)


def settings() -> kopf.OperatorSettings:
    """Return kopf's settings: watching only, no marks on users' objects, no peering."""
    wanted = kopf.OperatorSettings()
    wanted.peering.standalone = True
    wanted.posting.enabled = False
    wanted.scanning.disabled = True
    wanted.networking.request_timeout = 10
    wanted.networking.connect_timeout = 3
    wanted.networking.error_backoffs = (0.2, 0.5, 1, 2, 4)
    wanted.watching.server_timeout = 300
    wanted.watching.inactivity_timeout = 70
    wanted.watching.reconnect_backoff = 0.2
    # kopf would list a kind all at once, and keep the last event of each object, with a task and a
    # queue for it, for five seconds: at 1,000 models hundreds of megabytes.
    wanted.watching.chunk_size = PAGE
    wanted.queueing.idle_timeout = 1.0
    wanted.persistence.finalizer = "rlhf.dev/kopf"
    wanted.persistence.diffbase_storage = _NoEssence()
    wanted.persistence.progress_storage = _NoProgress()
    return wanted


class _NoEssence(kopf.DiffBaseStorage):
    """Remembers no earlier state: who only enqueues needs no difference.

    kopf would copy each object of each event two times to find one.
    """

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Return nothing that could differ."""
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        """Return that nothing was remembered."""
        return None

    def store(self, **_: Any) -> None:
        """Remember nothing."""


class _NoProgress(kopf.ProgressStorage):
    """Remembers no retries: a handler that only enqueues does not fail."""

    def fetch(self, **_: Any) -> None:
        """Return that no handler is under way."""

    def store(self, **_: Any) -> None:
        """Remember nothing."""

    def purge(self, **_: Any) -> None:
        """Forget nothing: nothing was remembered."""

    def touch(self, **_: Any) -> None:
        """Mark nothing."""

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        """Return it as it is: there are no marks in it."""
        return essence


class NoMemories(ResourceMemories):
    """Memories that keep nothing: ours is the store.

    kopf would keep a record of nearly a kilobyte for each object that it ever saw, for daemons,
    memos and retries, none of which a handler that only enqueues has.
    """

    async def recall(self, *given: Any, **named: Any) -> ResourceMemory:
        """Return a record that is forgotten after this event."""
        return await super().recall(*given, **{**named, "ephemeral": True})


def registry(kinds: tuple[Watched, ...], receive: Callable[..., None]) -> kopf.OperatorRegistry:
    """Return a registry with one event handler per kind."""
    made = kopf.OperatorRegistry()
    kopf.on.login(registry=made, id="login")(_login)
    for each in kinds:
        resource = RESOURCES[each.kind]
        group, _, version = resource.api_version.rpartition("/")
        kopf.on.event(
            group or "",
            version,
            resource.plural,
            registry=made,
            id=f"watch-{resource.plural}",
            labels=_MANAGED if each.ours else None,
        )(_handler(each.kind, receive))
    return made


def _login(**context: Any) -> kopf.ConnectionInfo | None:
    found = kopf.login_with_service_account(**context)
    if found is None:
        return kopf.login_with_kubeconfig(**context)
    # kopf would take the usual name; a pod may be told another address by its environment, and
    # watches must go where our own client reads and writes.
    return replace(found, server=Configuration.get_default_copy().host)


def _handler(kind: str, receive: Callable[..., None]) -> Callable[..., Any]:
    async def on_event(event: Mapping[str, Any], **_: object) -> None:
        raw = event["object"]
        # What kopf makes of an event refers to itself, and waits for the garbage collector.
        raw["metadata"].pop("managedFields", None)
        receive(kind, event.get("type"), raw)

    return on_event


class Receiver:
    """Takes what watches bring: into the store, and the models it is about into the queue."""

    def __init__(
        self,
        store: MemoryStore,
        enqueue: Enqueue,
        enqueue_policy: Callable[[tuple[str, str]], None],
        own_namespace: str,
        kinds: Iterable[Watched],
    ) -> None:
        self._store = store
        self._kinds = frozenset(each.kind for each in kinds)
        self._enqueue = enqueue
        self._enqueue_policy = enqueue_policy
        self._own_namespace = own_namespace

    def receive(self, kind: str, event: str | None, raw: Raw) -> None:
        """Take one event."""
        raw = dict(raw) | {"kind": kind, "apiVersion": RESOURCES[kind].api_version}
        metadata = raw["metadata"]
        if event == "DELETED":
            self.gone(kind, metadata.get("namespace", ""), metadata["name"])
        else:
            self._put(kind, raw)

    def stored(self, raw: Raw) -> None:
        """Take what a write of our own has stored, where it is of a kind that is watched."""
        if raw.get("kind") in self._kinds:
            self._put(raw["kind"], raw)

    def _put(self, kind: str, raw: Raw) -> None:
        kept = without_template(raw) if kind == "Deployment" else raw
        if self._store.put(kept):
            self._about(kind, raw)

    def gone(self, kind: str, namespace: str, name: str) -> None:
        """Take that an object is gone."""
        before = self._store.drop(kind, namespace, name)
        if before is not None:
            self._about(kind, before)

    def _about(self, kind: str, raw: Raw) -> None:
        namespace = raw["metadata"].get("namespace", "")
        if kind == "AlignmentPolicy":
            self._enqueue_policy((namespace, raw["metadata"]["name"]))
            self._everyone(None if namespace == self._own_namespace else namespace)
            return
        if kind == "Node":
            return  # GPUs are counted when a run wants to start, and looked at again then
        key = model_of(kind, raw)
        if key is not None:
            self._enqueue(key)
        if kind == "RLHFRollout":
            for identity in quarantined(raw):
                for each in self._store.having(namespace, identity):
                    self._enqueue(each)

    def _everyone(self, namespace: str | None) -> None:
        for place, name in self._store.addresses("RLHFModel", namespace):
            self._enqueue(Key(namespace=place, name=name))
