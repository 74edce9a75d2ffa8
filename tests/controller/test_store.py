"""The store: what watches brought, by model, and never an older state."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf_operator.api.decision import RLHFDecision
from rlhf_operator.controller.store import MemoryStore, _Index, trim, without_template
from rlhf_operator.core.observed import Key
from rlhf_operator.reconcile import objects

KEY = Key(namespace="team", name="support")


def raw(kind: str, name: str, version: int = 1, **parts: Any) -> dict[str, Any]:
    metadata = {"namespace": "team", "name": name, "uid": name, "resourceVersion": str(version)}
    return {"kind": kind, "metadata": metadata | parts.pop("metadata", {}), **parts}


def rollout(name: str, version: int = 1, **status: Any) -> dict[str, Any]:
    spec = {"model": "support", "type": "Rollout"}
    return raw("RLHFRollout", name, version, spec=spec, status=status)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.mark.parametrize(
    ("object_", "mine"),
    [
        pytest.param(raw("RLHFModel", "support", spec={}), True, id="a model by its name"),
        pytest.param(rollout("support-1"), True, id="a record by its spec"),
        pytest.param(raw("RLHFDecision", "d", spec={"model": "support"}), True, id="a decision"),
        pytest.param(raw("RLHFModelVersion", "v", spec={"model": "other"}), False,
                     id="not a version of another model"),
        pytest.param(raw("Deployment", "v", metadata={"labels": {"rlhf.dev/model": "support"}}),
                     True, id="a Deployment by its label"),
        pytest.param(raw("Deployment", "v"), False, id="not a Deployment of someone else"),
    ],
)  # fmt: skip
def test_what_belongs_to_a_model(store: MemoryStore, object_: dict[str, Any], mine: bool) -> None:
    store.put(object_)
    assert bool(store.of_model(object_["kind"], KEY)) is mine


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [(1, 2, 2), (2, 1, 2), (9, 10, 10), (10, 9, 10)],
    ids=["newer", "older", "newer by number, not by text", "older by number"],
)
def test_an_older_state_is_not_kept(store: MemoryStore, first: int, second: int, kept: int) -> None:
    assert store.put(rollout("a", first))
    assert store.put(rollout("a", second)) is (kept == second)
    found = store.get("RLHFRollout", "team", "a")
    assert found is not None and found["metadata"]["resourceVersion"] == str(kept)


def test_the_same_state_twice_is_no_news(store: MemoryStore) -> None:
    store.put(rollout("a"))
    assert not store.put(rollout("a"))


def test_an_object_that_was_made_anew_is_kept(store: MemoryStore) -> None:
    store.put(rollout("a", 5))
    assert store.put(raw("RLHFRollout", "a", 6, spec={"model": "other"}, metadata={"uid": "new"}))
    assert not store.of_model("RLHFRollout", KEY)


def test_what_is_dropped_is_in_no_index(store: MemoryStore) -> None:
    store.put(rollout("a", quarantine={"identity": "x"}))
    assert store.drop("RLHFRollout", "team", "a") is not None
    assert store.drop("RLHFRollout", "team", "a") is None
    assert not store.of_model("RLHFRollout", KEY)
    assert not store.in_namespace("RLHFRollout", "team")
    assert not store.quarantining("team", ("x",)) and store.active("Rollout") == 0


def test_records_are_found_by_what_they_quarantine(store: MemoryStore) -> None:
    store.put(rollout("a", quarantine={"identity": "x"}))
    store.put(rollout("b", vetoes=[{"identity": "y"}, {"identity": "x"}]))
    store.put(rollout("c"))

    def found(*identities: str) -> list[str]:
        return [each["metadata"]["name"] for each in store.quarantining("team", identities)]

    assert (found("x"), found("y"), found("x", "y")) == (["a", "b"], ["b"], ["a", "b"])
    assert (found(), found("z")) == ([], [])


def test_only_runs_without_an_outcome_count_each_by_its_type(store: MemoryStore) -> None:
    store.put(rollout("a"))
    store.put(rollout("b", outcome="Promoted"))
    store.put(raw("RLHFRollout", "c", spec={"model": "support", "type": "Drill"}))
    assert store.active("Rollout") == store.active("Drill") == 1
    store.drop("RLHFRollout", "team", "c")
    assert store.active("Drill") == 0
    store.put(rollout("a", 2, outcome="RolledBack"))
    assert store.active("Rollout") == 0


def test_models_are_found_by_host(store: MemoryStore) -> None:
    def model(version: int, *hosts: str) -> dict[str, Any]:
        return raw("RLHFModel", "m", version, spec={"traffic": {"hostnames": list(hosts)}})

    store.put(model(1, "a.example", "b.example"))
    assert len(store.sharing_hosts(["b.example", "a.example"])) == 1
    store.put(model(2, "c.example"))
    assert not store.sharing_hosts(["a.example", "b.example"])
    assert store.sharing_hosts(["c.example"])


def test_models_are_found_by_the_identities_that_they_have_and_serve(store: MemoryStore) -> None:
    def model(version: int, **status: Any) -> dict[str, Any]:
        return raw("RLHFModel", "m", version, spec={}, status=status)

    store.put(raw("RLHFModelVersion", "v", spec={"model": "has"}, status={"identity": "a"}))
    store.put(model(1, stable={"name": "x", "identity": "a"}, canary={"name": "y"}))
    assert {key.name for key in store.having("team", "a")} == {"has", "m"}
    store.put(model(2, stable={"name": "x", "identity": "b"}))
    assert {key.name for key in store.having("team", "a")} == {"has"}
    assert store.having("other", "a") == frozenset() == store.having("team", "c")
    store.drop("RLHFModelVersion", "team", "v")
    assert store.having("team", "a") == frozenset()


def test_marks_with_nothing_left_are_forgotten() -> None:
    index = _Index[str, str]()
    for mark, entry in (("a", "x"), ("a", "y"), ("a", "x"), ("b", "x")):
        index.add(mark, entry)
    assert (index.of("a"), index.of("b"), index.of("c")) == (("x", "y"), ("x",), ())
    index.discard("a", "x")
    index.discard("b", "x")
    index.discard("c", "x")
    assert (index.of("a"), index.of("b"), len(index)) == (("y",), (), 1)


def test_what_nobody_reads_is_not_kept() -> None:
    annotations = {"rlhf.dev/x": "1", "kubectl.kubernetes.io/last-applied-configuration": "{}"}
    found = trim(raw("Pod", "p", metadata={"managedFields": [1], "annotations": annotations}))
    assert "managedFields" not in found["metadata"]
    assert found["metadata"]["annotations"] == {"rlhf.dev/x": "1"}


def test_namespaces_are_kept_apart(store: MemoryStore) -> None:
    store.put(rollout("a"))
    store.put(raw("RLHFRollout", "a", spec={"model": "support"}, metadata={"namespace": "other"}))
    assert len(store.in_namespace("RLHFRollout", "team")) == 1
    assert len(store.in_namespace("RLHFRollout", None)) == 2
    assert store.addresses("RLHFRollout") == {("team", "a"), ("other", "a")}


def test_what_is_not_in_use_is_packed_and_comes_back_whole() -> None:
    small = MemoryStore(at_work=0, at_rest=2)
    records = [rollout(f"support-{number}", outcome=f"é{number}") for number in range(6)]
    for record in records:
        small.put(record)
    packed = [kept.raw is None for kept in small._objects["RLHFRollout"].values()]
    assert packed == [True] * 4 + [False] * 2
    for record in records:
        found = small.get("RLHFRollout", "team", record["metadata"]["name"])
        assert found is not None and found["status"] == record["status"]
    assert not small.put(rollout("support-0", 0)), "an older state is told from packed ones too"
    assert small.drop("RLHFRollout", "team", "support-0") is not None
    assert len(small.of_model("RLHFRollout", KEY)) == 5


def test_what_a_run_needs_stays_at_hand_until_it_has_settled() -> None:
    small = MemoryStore(at_work=2, at_rest=1)
    small.put(raw("RLHFModel", "support", spec={}))
    small.put(rollout("support-1"))
    for number in range(6):
        other = {"metadata": {"labels": {"rlhf.dev/model": "other"}}}
        small.put(raw("Service", f"other-{number}", **other))

    def packed() -> list[bool]:
        found = (("RLHFModel", "support"), ("RLHFRollout", "support-1"), ("Service", "other-5"))
        return [small._objects[kind][("team", name)].raw is None for kind, name in found]

    small.of_model("RLHFModel", KEY)
    assert packed() == [False, False, False]
    small.put(rollout("support-1", 2, settledAt="2026-01-01T00:00:00Z"))
    assert packed() == [False, True, True], "the newest of what rests"
    assert not small._at_work


def test_what_a_deleted_run_needed_is_not_kept_at_hand() -> None:
    small = MemoryStore(at_work=2, at_rest=1)
    small.put(rollout("support-1"))
    small.put(raw("RLHFModel", "support", spec={}))
    assert len(small._at_work) == 2
    small.drop("RLHFRollout", "team", "support-1")
    assert not small._at_work


def test_a_stored_object_is_parsed_once_and_its_next_state_anew(store: MemoryStore) -> None:
    spec = {"model": "support", "action": "Abort", "author": "ann", "reason": "enough"}
    store.put(raw("RLHFDecision", "stop", spec=spec))
    [first] = store.of_model("RLHFDecision", KEY)
    known = objects.parse(RLHFDecision, first)
    assert known.spec.reason == "enough" and objects.parse(RLHFDecision, first) is known
    store.put(raw("RLHFDecision", "stop", 2, spec=spec | {"reason": "more"}))
    [second] = store.of_model("RLHFDecision", KEY)
    assert objects.parse(RLHFDecision, second).spec.reason == "more"


def test_a_deployment_is_kept_without_its_pod_template() -> None:
    limits = {"limits": {"nvidia.com/gpu": "2"}}
    containers = [{"name": "triton", "image": "x", "env": [], "resources": limits}]
    pods = {"containers": containers, "nodeSelector": {"pool": "a"}, "volumes": []}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pods}
    spec = {"replicas": 3, "template": template}
    kept = without_template(raw("Deployment", "v", spec=spec, status={"readyReplicas": 1}))
    assert kept["spec"]["replicas"] == 3 and kept["status"] == {"readyReplicas": 1}
    assert kept["spec"]["template"] == {
        "spec": {
            "containers": [{"name": "triton", "resources": limits}],
            "nodeSelector": {"pool": "a"},
        }
    }
    assert spec["template"] is template, "what was given is not changed"


def test_an_object_says_its_mark_also_while_it_is_packed() -> None:
    store = MemoryStore(at_rest=1)
    for name, generation in (("a", 3), ("b", 4)):
        store.put(
            {
                "kind": "Service",
                "metadata": {
                    "namespace": "team", "name": name, "uid": name, "resourceVersion": "9",
                    "generation": generation,
                },
            }
        )  # fmt: skip
    assert [store.mark("Service", "team", name) for name in "abc"] == [3, 4, None]
    for name in "abab":  # unpacked, packed and unpacked again it is still the same
        found = store.get("Service", "team", name)
        assert found is not None and found["metadata"]["generation"] == {"a": 3, "b": 4}[name]


def test_runs_count_in_their_pool_and_without_one_in_each(store: MemoryStore) -> None:
    for name, pool in (("a", "cpu"), ("b", "gpu"), ("c", None)):
        spec = {"model": name, "type": "Rollout"} | ({"pool": pool} if pool else {})
        store.put(raw("RLHFRollout", name, spec=spec))
    assert [store.active("Rollout", pool) for pool in ("cpu", "gpu", "other", None)] == [2, 2, 1, 3]
    store.drop("RLHFRollout", "team", "c")
    assert [store.active("Rollout", pool) for pool in ("cpu", "gpu", "other", None)] == [1, 1, 0, 2]
