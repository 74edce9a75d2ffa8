"""Which models an event is about."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from rlhf_operator.adapters.applied import Applied
from rlhf_operator.controller import sweeps
from rlhf_operator.controller.store import MemoryStore
from rlhf_operator.controller.watches import Receiver, Watched
from rlhf_operator.core.observed import Key

KINDS = [Watched(kind=kind) for kind in ("RLHFModel", "RLHFModelVersion", "RLHFRollout")]
BAD, GOOD = "sha256:" + "b" * 64, "sha256:" + "a" * 64


def raw(name: str, namespace: str = "team", **parts: Any) -> dict[str, Any]:
    metadata = {"namespace": namespace, "name": name, "uid": name, "resourceVersion": "1"}
    return {"metadata": metadata, **parts}


def version(name: str, model: str, identity: str | None, namespace: str = "team") -> Any:
    status = {"identity": identity} if identity else {}
    return "RLHFModelVersion", raw(name, namespace, spec={"model": model}, status=status)


def model(name: str, **status: Any) -> Any:
    return "RLHFModel", raw(name, spec={}, status=status)


def ref(name: str, identity: str) -> dict[str, str]:
    return {"name": name, "identity": identity}


def woken(*stored: Any, **status: Any) -> set[str]:
    """Return the models that a record of the model `one` wakes."""
    queue: list[Key] = []
    receiver = Receiver(MemoryStore(), queue.append, lambda _: None, "rlhf-system", KINDS)
    for kind, each in stored:
        receiver.receive(kind, None, each)
    queue.clear()
    spec = {"model": "one", "type": "Rollout"}
    receiver.receive("RLHFRollout", "MODIFIED", raw("one-2", spec=spec, status=status))
    return {key.name for key in queue}


QUARANTINE = {"quarantine": {"identity": BAD}}


@pytest.mark.parametrize(
    ("stored", "status", "names"),
    [
        pytest.param([], {}, {"one"}, id="a record is about its model"),
        pytest.param([version("v", "two", BAD)], {}, {"one"}, id="and of no other without blame"),
        pytest.param([version("v", "two", BAD)], QUARANTINE, {"one", "two"},
                     id="a quarantine is about who has a version of that identity"),
        pytest.param([version("v", "two", BAD)], {"vetoes": [{"identity": BAD}]}, {"one", "two"},
                     id="a veto too"),
        pytest.param([version("v", "two", GOOD), model("two", stable=ref("v", GOOD))], QUARANTINE,
                     {"one"}, id="and about nobody else"),
        pytest.param([version("v", "two", None)], QUARANTINE, {"one"},
                     id="nor about a version that was not looked at yet: that comes of itself"),
        pytest.param([model("two", canary=ref("gone", BAD))], QUARANTINE, {"one", "two"},
                     id="who tries a version whose object was deleted is meant"),
        pytest.param([model("two", stable=ref("gone", BAD))], QUARANTINE, {"one", "two"},
                     id="and who serves one"),
        pytest.param([version("v", "two", BAD, "elsewhere")], QUARANTINE, {"one"},
                     id="a quarantine ends at its namespace"),
    ],
)  # fmt: skip
def test_whom_a_record_wakes(stored: list[Any], status: dict[str, Any], names: set[str]) -> None:
    assert woken(*stored, **status) == names


def test_a_policy_wakes_every_model_of_its_namespace() -> None:
    queue: list[Key] = []
    receiver = Receiver(MemoryStore(), queue.append, lambda _: None, "rlhf-system", KINDS)
    for name in ("one", "two"):
        kind, each = model(name)
        receiver.receive(kind, None, each)
    queue.clear()
    receiver.receive("AlignmentPolicy", "ADDED", raw("safe", spec={}))
    assert {key.name for key in queue} == {"one", "two"}


@dataclass
class Server:
    """An API server with some objects of one kind; it notes what is asked."""

    objects: dict[str, dict[str, Any]]
    asked: list[str] = field(default_factory=list)

    async def request(
        self, method: str, path: str, *, query: dict[str, str], accept: str
    ) -> dict[str, Any]:
        whole = accept == "application/json"
        self.asked.append("everything" if whole else "metadata")
        items = self.objects.values() if "rlhfmodels" in path.split("/") else ()
        return {
            "items": [each if whole else {"metadata": each["metadata"]} for each in items],
            "metadata": {},
        }

    async def read(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        self.asked.append(name)
        return self.objects.get(name)

    @property
    def applied(self) -> Applied:
        return Applied(lambda *_: None)


def versioned(name: str, number: str) -> dict[str, Any]:
    made = raw(name, spec={})
    return {**made, "metadata": {**made["metadata"], "resourceVersion": number}}


async def _whole(kinds: AsyncIterator[str]) -> list[str]:
    return [kind async for kind in kinds]


def test_a_sweep_reads_what_has_changed_and_drops_what_is_gone() -> None:
    store, keys = MemoryStore(), list[Key]()
    kinds = (Watched(kind="RLHFModel"),)
    receiver = Receiver(store, keys.append, lambda _: None, "rlhf-system", list(kinds))
    server = Server({name: raw(name, spec={}) for name in ("a", "b", "c")})

    waited = []

    async def calm() -> None:
        waited.append("until no failure waits")

    def sweep() -> list[str]:
        server.asked.clear()
        keys.clear()
        cluster: Any = server
        waited.clear()
        asyncio.run(_whole(sweeps.sweep(store, cluster, receiver, kinds, ("team",), calm)))
        assert len(waited) == 3, "a page of each of three kinds"
        return [each for each in server.asked if each != "metadata"]

    assert sweep() == ["everything"] and {key.name for key in keys} == {"a", "b", "c"}
    assert sweep() == [] and keys == []
    receiver.receive("RLHFModel", "MODIFIED", versioned("a", "2"))
    assert sweep() == [] and keys == [], "a watch that is ahead of the list was asked again"
    server.objects["b"] = raw("b", spec={"suspend": True})
    server.objects["b"]["metadata"]["resourceVersion"] = "2"
    del server.objects["c"]
    assert sweep() == ["b"] and {key.name for key in keys} == {"b", "c"}
    changed = store.get("RLHFModel", "team", "b")
    assert changed is not None and changed["spec"] == {"suspend": True}
    assert store.get("RLHFModel", "team", "c") is None
