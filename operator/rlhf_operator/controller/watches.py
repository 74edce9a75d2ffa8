"""What is watched, and what becomes of it: objects go to the store, and keys to the queue."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rlhf_operator.adapters.cluster import RESOURCES
from rlhf_operator.controller.config import OperatorConfig
from rlhf_operator.controller.store import MemoryStore, model_of, quarantined, without_template
from rlhf_operator.core import names
from rlhf_operator.core.observed import Key
from rlhf_operator.reconcile.ports import Raw

_OURS = ("RLHFModel", "RLHFModelVersion", "AlignmentPolicy", "RLHFRollout", "RLHFDecision")
MANAGED = f"{names.MANAGED_BY_LABEL}={names.MANAGER}"
PAGE = 100
Enqueue = Callable[[Key], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """One kind that is watched."""

    kind: str
    ours: bool = False
    """Whether only objects that the operator made are of interest."""

    @property
    def is_namespaced(self) -> bool:
        """Return whether its objects lie in namespaces."""
        return self.kind != "Node"

    def places(self, namespaces: tuple[str, ...]) -> tuple[str | None, ...]:
        """Return the namespaces to look in; None is the whole cluster."""
        return namespaces if namespaces and self.is_namespaced else (None,)


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
