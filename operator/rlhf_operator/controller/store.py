"""The objects that the watches have brought, trimmed and indexed by model.

The store may lag behind the API server. That does no harm: every act is first recorded under
the resourceVersion that was read, so a pass over an old picture gets a conflict.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from sys import intern
from typing import Any, Generic, TypeVar

from rlhf_operator.api.schema import GROUP
from rlhf_operator.controller.packing import Kept, Unpacked
from rlhf_operator.core import names
from rlhf_operator.core.observed import Key
from rlhf_operator.reconcile.ports import Raw

Address = tuple[str, str]
# Only so many objects are kept as they are, the others packed to a twentieth. Of a model in a run
# what passes parse is needed again soon, and of a hundred models at once when their versions fail;
# one that rests is looked at each few minutes. Sixteen passes at a time use some ten each, again
# and again until they end.
AT_WORK, AT_REST = 512, 256
_PARSED = frozenset({"RLHFModel", "RLHFModelVersion", "RLHFRollout"})
_PLACING = ("nodeSelector", "affinity", "tolerations")
"""What a pod template says of where its pods may go."""


Mark = TypeVar("Mark")
Entry = TypeVar("Entry")


class _Index(Generic[Mark, Entry]):
    """What belongs to a mark, mostly one or two entries: a set for each would be most of it."""

    def __init__(self) -> None:
        self._found: dict[Mark, tuple[Entry, ...]] = {}

    def __len__(self) -> int:
        return len(self._found)

    def of(self, mark: Mark) -> tuple[Entry, ...]:
        """Return the entries of a mark."""
        return self._found.get(mark, ())

    def add(self, mark: Mark, entry: Entry) -> None:
        """Note an entry, once."""
        if entry not in (known := self.of(mark)):
            self._found[mark] = (*known, entry)

    def discard(self, mark: Mark, entry: Entry) -> None:
        """Forget an entry, and a mark that has no other."""
        left = tuple(each for each in self.of(mark) if each != entry)
        if left:
            self._found[mark] = left
        else:
            self._found.pop(mark, None)


class MemoryStore:
    """All objects of the watched kinds, by kind, namespace and name."""

    def __init__(self, at_work: int = AT_WORK, at_rest: int = AT_REST) -> None:
        self._objects: dict[str, dict[Address, Kept]] = defaultdict(dict)
        self._room, self._at_rest = at_work, Unpacked(at_rest)
        self._at_work: set[tuple[str, Address]] = set()
        self._by_model: _Index[Key, tuple[str, Address]] = _Index()
        self._by_namespace: dict[tuple[str, str], set[Address]] = defaultdict(set)
        self._quarantining: _Index[Address, Address] = _Index()
        self._by_host: _Index[str, Address] = _Index()
        self._by_identity: _Index[Address, tuple[str, str, Key]] = _Index()
        self._active: dict[tuple[str, str | None], set[Address]] = defaultdict(set)
        self._unsettled: _Index[Key, str] = _Index()

    def get(self, kind: str, namespace: str, name: str) -> Raw | None:
        """Return one object, or None."""
        address = (namespace, name)
        return self._one(kind, address) if address in self._objects[kind] else None

    def mark(self, kind: str, namespace: str, name: str) -> object:
        """Return what changes when an object's content does; None where it is not known."""
        kept = self._objects[kind].get((namespace, name))
        return None if kept is None else kept.mark

    def _one(self, kind: str, address: Address) -> Raw:
        kept = self._objects[kind][address]
        raw = kept.unpacked()
        if (kind, address) not in self._at_work:
            self._use(kind, address, kept)
        return raw

    def _use(self, kind: str, address: Address, kept: Kept) -> None:
        at, key = (kind, address), model_of(kind, kept.unpacked())
        works = key is not None and bool(self._unsettled.of(key))
        has_place = at in self._at_work or len(self._at_work) < self._room
        if works and kind in _PARSED and has_place:
            self._at_rest.pop(at, None)
            self._at_work.add(at)
            return
        self._at_work.discard(at)
        self._at_rest.use(at, kept)
        self._rest(kind, key)

    def _rest(self, kind: str, key: Key | None) -> None:
        """Let the objects of a model be packed, if this was about a run and all have settled."""
        if kind != "RLHFRollout" or key is None or self._unsettled.of(key):
            return
        for at in self._by_model.of(key):
            if at in self._at_work:
                self._at_work.discard(at)
                self._at_rest.use(at, self._objects[at[0]][at[1]])

    def of_model(self, kind: str, key: Key) -> Sequence[Raw]:
        """Return the objects of a kind that belong to a model."""
        found = [address for each, address in self._by_model.of(key) if each == kind]
        return [self._one(kind, address) for address in sorted(found)]

    def in_namespace(self, kind: str, namespace: str | None) -> Sequence[Raw]:
        """Return the objects of a kind in a namespace; of all namespaces for None."""
        return [self._one(kind, address) for address in sorted(self.addresses(kind, namespace))]

    def quarantining(self, namespace: str, identities: Collection[str]) -> Sequence[Raw]:
        """Return the records of a namespace that quarantine one of these identities, or did."""
        found = {at for each in identities for at in self._quarantining.of((namespace, each))}
        return [self._one("RLHFRollout", at) for at in sorted(found)]

    def sharing_hosts(self, hostnames: Sequence[str]) -> Sequence[Raw]:
        """Return the models that claim one of these host names."""
        found = {address for host in hostnames for address in self._by_host.of(host)}
        return [self._one("RLHFModel", address) for address in sorted(found)]

    def having(self, namespace: str, identity: str) -> frozenset[Key]:
        """Return the models that have a version of this identity, or serve one."""
        found = self._by_identity.of((namespace, identity))
        return frozenset(key for _, _, key in found)

    def lacks(self, kind: str, raw: Raw) -> bool:
        """Return whether this is a later state of an object than the one that is kept, if any."""
        before = self._objects[kind].get(_address(raw))
        return before is None or _is_newer(raw, before)

    def active(self, kind: str, pool: str | None = None) -> int:
        """Return how many runs of a type are going: all, or those that a pool must count.

        What is on record without a pool may be in any.
        """
        return sum(
            len(found)
            for (each, where), found in self._active.items()
            if each == kind and (pool is None or where in (None, pool))
        )

    def put(self, raw: Mapping[str, Any]) -> bool:
        """Keep an object; False when nothing of it is new or it is older than what is kept."""
        kept = trim(raw)
        kind, address = kept["kind"], _address(kept)
        before = self._objects[kind].get(address)
        if before is not None and not _is_newer(kept, before):
            return False
        if before is not None:
            self._unindex(kind, address, before.unpacked())
        self._objects[kind][address] = made = Kept(kept)
        self._index(kind, address, kept)
        self._use(kind, address, made)
        return True

    def drop(self, kind: str, namespace: str, name: str) -> Raw | None:
        """Forget an object that is gone; return what was known of it."""
        address = (namespace, name)
        before = self._objects[kind].pop(address, None)
        self._at_work.discard((kind, address))
        self._at_rest.pop((kind, address), None)
        if before is None:
            return None
        raw = before.unpacked()
        self._unindex(kind, address, raw)
        self._rest(kind, model_of(kind, raw))
        return raw

    def addresses(self, kind: str, namespace: str | None = None) -> frozenset[Address]:
        """Return namespace and name of every object of a kind, or of those in a namespace."""
        if namespace is None:
            return frozenset(self._objects[kind])
        return frozenset(self._by_namespace.get((kind, namespace), ()))

    def _index(self, kind: str, address: Address, raw: Raw) -> None:
        key = model_of(kind, raw)
        if key is not None:
            self._by_model.add(key, (kind, address))
            for identity in _identities(kind, raw):
                self._by_identity.add((address[0], identity), (kind, address[1], key))
        self._by_namespace[(kind, address[0])].add(address)
        if kind == "RLHFRollout":
            status = raw.get("status") or {}
            for identity in quarantined(raw):
                self._quarantining.add((address[0], identity), address)
            if not status.get("outcome"):
                self._active[_place(raw)].add(address)
            if key is not None and not status.get("settledAt"):
                self._unsettled.add(key, address[1])
        if kind == "RLHFModel":
            for host in (raw["spec"].get("traffic") or {}).get("hostnames") or ():
                self._by_host.add(host, address)

    def _unindex(self, kind: str, address: Address, raw: Raw) -> None:
        key = model_of(kind, raw)
        if key is not None:
            self._by_model.discard(key, (kind, address))
            for identity in _identities(kind, raw):
                self._by_identity.discard((address[0], identity), (kind, address[1], key))
        self._by_namespace[(kind, address[0])].discard(address)
        if kind == "RLHFRollout":
            for identity in quarantined(raw):
                self._quarantining.discard((address[0], identity), address)
            self._active[_place(raw)].discard(address)
            if key is not None:
                self._unsettled.discard(key, address[1])
        if kind == "RLHFModel":
            for host in (raw["spec"].get("traffic") or {}).get("hostnames") or ():
                self._by_host.discard(host, address)


def model_of(kind: str, raw: Raw) -> Key | None:
    """Return the model that an object belongs to, if it belongs to one."""
    metadata = raw["metadata"]
    if kind == "RLHFModel":
        name = metadata["name"]
    elif kind in ("RLHFRollout", "RLHFDecision", "RLHFModelVersion"):
        name = (raw.get("spec") or {}).get("model")
    else:
        name = (metadata.get("labels") or {}).get(names.MODEL_LABEL)
    return Key(namespace=intern(metadata.get("namespace", "")), name=intern(name)) if name else None


def _place(record: Raw) -> tuple[str, str | None]:
    """Return the type of a run and the pool in which it counts."""
    return record["spec"].get("type", ""), record["spec"].get("pool")


def quarantined(record: Raw) -> Iterator[str]:
    """Yield the identities that a record quarantines, or did."""
    status = record.get("status") or {}
    found = (status.get("quarantine"), *(status.get("vetoes") or ()))
    yield from (each["identity"] for each in found if each)


def _identities(kind: str, raw: Raw) -> Iterator[str]:
    """Yield what an object's status says it is or serves, also where a version was deleted."""
    status = raw.get("status") or {}
    if kind == "RLHFModelVersion" and status.get("identity"):
        yield status["identity"]
    if kind == "RLHFModel":
        serving = (status.get("stable"), status.get("canary"))
        yield from (ref["identity"] for ref in serving if ref and ref.get("identity"))


def without_template(deployment: Mapping[str, Any]) -> dict[str, Any]:
    """Return a Deployment with nothing of its pods but what they ask for, and of which nodes.

    How they should be stands in the pin; that someone changed them shows in the generation.
    """
    spec = deployment["spec"]
    containers = [
        {"name": each["name"], "resources": each.get("resources", {})}
        for each in spec["template"]["spec"]["containers"]
    ]
    pods = spec["template"]["spec"]
    placing = {part: pods[part] for part in _PLACING if part in pods}
    slim = {**spec, "template": {"spec": {"containers": containers, **placing}}}
    return {**deployment, "spec": slim}


def trim(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object without what nobody here reads."""
    metadata = {
        key: value
        for key, value in raw["metadata"].items()
        if key not in ("managedFields", "selfLink")
    }
    annotations = {
        key: value
        for key, value in (metadata.get("annotations") or {}).items()
        if key.startswith(GROUP)
    }
    metadata["annotations"] = annotations
    return {**raw, "metadata": metadata}


def _address(raw: Raw) -> Address:
    return intern(raw["metadata"].get("namespace", "")), intern(raw["metadata"]["name"])


def _is_newer(raw: Raw, before: Kept) -> bool:
    """Return whether this is a later state; only the order of one object's is compared.

    The numbers are opaque by contract, and increase in every API server since 1.35.
    """
    one, two = raw["metadata"].get("resourceVersion"), before.version
    if raw["metadata"].get("uid") != before.uid:
        return True
    try:
        return int(one) > int(two)
    except (TypeError, ValueError):
        return bool(one != two)
