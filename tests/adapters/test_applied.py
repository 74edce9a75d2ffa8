"""What was applied is not sent again while it stands, and is once someone changed it."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf_operator.adapters.applied import Applied, Refusals, mark

Store = dict[tuple[str, str, str], dict[str, Any]]


def manifest(kind: str = "Deployment", replicas: int = 1) -> dict[str, Any]:
    metadata = {"namespace": "team", "name": "v1"}
    return {"kind": kind, "metadata": metadata, "spec": {"replicas": replicas}}


def stored(generation: int | None = 1, version: str = "7") -> dict[str, Any]:
    metadata: dict[str, Any] = {"resourceVersion": version}
    return {"metadata": metadata | ({"generation": generation} if generation else {})}


@pytest.fixture
def server() -> Store:
    return {("Deployment", "team", "v1"): stored()}


@pytest.fixture
def applied(server: Store) -> Applied:
    made = Applied(
        lambda *address: mark(server[address]["metadata"]) if address in server else None
    )
    made.note(manifest(), stored())
    return made


@pytest.mark.parametrize(
    ("asked", "on_the_server", "stands"),
    [
        pytest.param(manifest(), stored(), True, id="the same, unchanged"),
        pytest.param(manifest(), stored(version="9"), True, id="the same, only its status moved"),
        pytest.param(manifest(replicas=2), stored(), False, id="another manifest"),
        pytest.param(manifest(), stored(generation=2), False, id="someone changed the object"),
        pytest.param(manifest(), None, False, id="someone deleted the object"),
        pytest.param(manifest("Service"), stored(), False, id="an object never applied"),
    ],
)
def test_what_stands(
    applied: Applied, server: Store, asked: dict[str, Any], on_the_server: Any, stands: bool
) -> None:
    server.clear()
    if on_the_server is not None:
        server["Deployment", "team", "v1"] = on_the_server
    assert applied.stands(asked) is stands


def test_what_was_deleted_by_us_is_applied_again(applied: Applied) -> None:
    applied.forget(("Deployment", "team", "v1"))
    assert not applied.stands(manifest())


@pytest.mark.parametrize(
    ("token", "generation", "stands"),
    [
        pytest.param("pin/2", 1, True, id="the same pin and count, nothing changed"),
        pytest.param("pin/3", 1, False, id="another count"),
        pytest.param("pin/2", 2, False, id="one of the set was changed"),
    ],
)
def test_a_set_stands_as_long_as_each_of_it(
    applied: Applied, server: Store, token: str, generation: int, stands: bool
) -> None:
    applied.note(manifest("NetworkPolicy"), stored())
    applied.note_set(("team", "v1"), "pin/2", (manifest(), manifest("NetworkPolicy")))
    server["Deployment", "team", "v1"] = stored(generation=generation)
    assert applied.set_stands(("team", "v1"), token) is stands


@pytest.mark.parametrize(
    ("marks", "stands"),
    [
        pytest.param({("team", "v1"): 1}, True, id="it is as it was"),
        pytest.param({("team", "v1"): 2}, False, id="someone changed it"),
        pytest.param({}, False, id="someone deleted it"),
    ],
)
def test_a_sweep_finds_changes_that_no_watch_brings(
    applied: Applied, marks: dict[tuple[str, str], object], stands: bool
) -> None:
    policy = manifest("NetworkPolicy")
    applied.note(policy, stored())
    assert applied.stands(policy), "no watch contradicts"
    applied.compare("NetworkPolicy", marks)
    assert applied.stands(policy) is stands
    assert applied.stands(manifest()), "other kinds are left alone"


def test_a_refusal_is_told_to_its_model_until_the_object_is_applied() -> None:
    refusals, refused = Refusals(), manifest()
    refused["metadata"]["ownerReferences"] = [{"kind": "RLHFModel", "name": "support"}]
    refusals.note(refused, "403: exceeded quota")
    assert refusals.of("team", "support") == "Deployment v1: 403: exceeded quota"
    assert refusals.of("team", "other") is None and refusals.of("other", "support") is None
    refusals.end(refused)
    assert refusals.of("team", "support") is None
