"""Live rules: the ConfigMap that guards read, and what only new pods bring."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from rlhf_operator.api.guard import LiveGuard
from rlhf_operator.core.guards import Offer
from rlhf_operator.reconcile.ports import Settings
from tests.reconcile.fakes import SETTINGS
from tests.reconcile.stage import KEY, Stage

OFFERS = (
    Offer(name="moderation", url="https://moderation.example/v1", namespaces=frozenset({"team"})),
    Offer(name="sink", url="http://sink.other:9000"),
    Offer(name="private", url="https://private.example", namespaces=frozenset({"other"})),
)


def offering() -> Settings:
    serving = dataclasses.replace(SETTINGS.serving, guard_providers=OFFERS)
    return dataclasses.replace(SETTINGS, serving=serving)


def rules(*keywords: str) -> dict[str, Any]:
    stage = {
        "name": "words",
        "type": "Rules",
        "appliesTo": ["Output"],
        "action": "Block",
        "rules": [{"category": "bad", "keywords": list(keywords)}],
    }
    return {"stages": [stage]}


def asking(**external: Any) -> dict[str, Any]:
    stage = {
        "name": "service",
        "type": "External",
        "appliesTo": ["Input"],
        "action": "Block",
        "external": {"contract": "OpenAIModeration", **external},
    }
    return {"stages": [stage]}


def told(stage: Stage) -> LiveGuard:
    raw = stage.world.store.get("ConfigMap", KEY.namespace, "support-guard")
    assert raw is not None
    return LiveGuard.model_validate_json(raw["data"]["live.json"])


def pins(stage: Stage) -> set[str]:
    return {
        raw["metadata"]["name"] for raw in stage.world.store.of_model("ControllerRevision", KEY)
    }


def test_guards_are_told_the_spec_and_each_change_of_it() -> None:
    stage = Stage()
    stage.edit(guard=rules("one"))
    stage.run()
    raw = stage.world.store.get("ConfigMap", KEY.namespace, "support-guard")
    assert raw is not None
    assert raw["metadata"]["ownerReferences"][0]["kind"] == "RLHFModel"
    assert raw["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "rlhf-operator"
    before, writes = pins(stage), len(stage.cluster.history)
    stage.edit(guard=rules("two"))
    stage.run()
    assert told(stage).guard.stages[0].rules[0].keywords == ("two",)  # type: ignore[index]
    assert pins(stage) == before, "no pod is made anew"
    kinds = [kind for _, kind, _ in stage.cluster.history[writes:]]
    assert kinds.count("ConfigMap") == 1
    assert "Deployment" not in kinds


def test_a_pass_that_changes_nothing_writes_nothing() -> None:
    stage = Stage()
    stage.run()
    writes = stage.cluster.writes
    stage.run()
    assert stage.cluster.writes == writes


def test_what_someone_changes_by_hand_is_put_right() -> None:
    stage = Stage()
    stage.edit(guard=rules("one"))
    stage.run()
    raw = dict(stage.world.store.get("ConfigMap", KEY.namespace, "support-guard") or {})
    stage.cluster.keep(raw | {"metadata": {**raw["metadata"]}, "data": {"live.json": "{}"}})
    stage.run()
    assert told(stage).guard.stages[0].name == "words"


@pytest.mark.parametrize(
    ("guard", "reason", "message"),
    [
        (
            {"refusalPatterns": ["("]},
            "SpecInvalid",
            "guard: refusalPatterns: ",
        ),
        (
            asking(provider="nowhere"),
            "UnknownProvider",
            "guard: provider nowhere is not among those that the operator's configuration offers "
            "to team (guardProviders): moderation, sink; name one of them, or have it added",
        ),
        (
            asking(provider="private"),
            "UnknownProvider",
            "guard: provider private is not among",
        ),
        (
            {"limits": {"concurrency": 1000}},
            "SpecInvalid",
            "guard.limits: concurrency is at most 256: the operator's configuration sets this",
        ),
        (
            {"limits": {"timeout": "1h"}},
            "SpecInvalid",
            "guard.limits: timeout in seconds is at most 120",
        ),
        (
            {"tls": {"secretName": "cert"}, "fallback": {"type": "Version"}},
            "SpecInvalid",
            "guard: with tls the fallback must be of type Message",
        ),
    ],
    ids=["a bad pattern", "unknown", "not for this namespace", "over a bound", "too long", "tls"],
)
def test_what_guards_could_not_use_is_not_told_to_them(
    guard: dict[str, Any], reason: str, message: str
) -> None:
    stage = Stage(settings=offering())
    stage.edit(guard=rules("one"))
    stage.run()
    before, weights = told(stage), stage.weights
    stage.edit(guard=guard)
    stage.run()
    assert told(stage) == before
    assert stage.weights == weights
    assert stage.condition("Stalled") == ("True", reason)
    assert message in stage.message("Stalled")
    stage.edit(guard=rules("two"))
    stage.run()
    assert told(stage) != before
    assert stage.condition("Stalled") is None


def test_a_provider_is_told_with_its_address() -> None:
    stage = Stage(settings=offering())
    stage.edit(guard=asking(provider="moderation"))
    stage.run()
    (provider,) = told(stage).providers
    assert (provider.name, provider.url) == ("moderation", "https://moderation.example/v1")


NEEDS = [
    (asking(provider="moderation"), "port 443 outside"),
    (asking(service={"name": "checks", "port": 8000}), "Service checks, port 8000"),
    (
        asking(
            provider="moderation", credentials={"secretName": "moderation-token", "key": "token"}
        ),
        "key token of Secret moderation-token, port 443 outside",
    ),
    ({"tls": {"secretName": "cert"}}, "certificate in Secret cert"),
]


@pytest.mark.parametrize(("guard", "missing"), NEEDS)
def test_what_only_new_pods_bring_is_told_and_a_restart_brings_it(
    guard: dict[str, Any], missing: str
) -> None:
    stage = Stage(settings=offering())
    stage.run()
    assert stage.condition("GuardNeedsRestart") is None
    stage.edit(guard=guard)
    stage.run()
    assert stage.condition("GuardNeedsRestart") == ("True", "PodsLackWhatTheSpecNeeds")
    assert f"sft ({missing}); v1 ({missing})" in stage.message("GuardNeedsRestart")
    stage.say("Restart")
    stage.run()
    assert f"sft ({missing})." in stage.message("GuardNeedsRestart"), "the floor's pods are old"
    stage.edit(guard={})
    stage.run()
    wanted = ("True", "PodsLackWhatTheSpecNeeds") if "tls" in guard else None
    assert stage.condition("GuardNeedsRestart") == wanted


def test_the_floor_itself_needs_no_way_to_the_floor() -> None:
    stage = Stage()
    stage.run()
    stage.edit(guard={"fallback": {"type": "Version"}})
    stage.run()
    assert "v1 (fallback version sft)" in stage.message("GuardNeedsRestart")
    assert "sft (" not in stage.message("GuardNeedsRestart")


def test_ports_of_pods_behind_a_service_are_opened() -> None:
    stage = Stage()
    ports = [{"port": 80, "targetPort": 8000}, {"port": 9, "targetPort": 99}]
    stage.put(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "checks", "namespace": "team"},
            "spec": {"ports": ports},
        }
    )
    stage.edit(guard=asking(service={"name": "checks", "port": 80}))
    stage.run()
    policy = stage.world.store.get("NetworkPolicy", "team", "v1-serving")
    assert policy is not None
    asked = [each for each in policy["spec"]["egress"] if each.get("to") == [{"podSelector": {}}]]
    assert [port["port"] for port in asked[0]["ports"]] == [80, 8000]


def test_pods_of_an_earlier_operator_are_told_apart() -> None:
    stage = Stage()
    stage.run()
    raw = dict(stage.world.store.get("Deployment", "team", "v1-serving") or {})
    kept = {"rlhf.dev/pinned-as": raw["metadata"]["annotations"]["rlhf.dev/pinned-as"]}
    pin = stage.world.store.get("ControllerRevision", "team", kept["rlhf.dev/pinned-as"])
    assert pin is not None
    data = {name: value for name, value in pin["data"].items() if name != "reach"}
    stage.cluster.keep(dict(pin) | {"metadata": {**pin["metadata"]}, "data": data})
    stage.cluster.keep(raw | {"metadata": {**raw["metadata"], "annotations": kept}})
    stage.run()
    assert "v1 (rules that change while they run)" in stage.message("GuardNeedsRestart")
    stage.say("Restart")
    stage.run()
    assert stage.condition("GuardNeedsRestart") is None


def test_the_file_holds_what_a_guard_can_read() -> None:
    stage = Stage()
    stage.edit(guard=rules("één") | {"limits": {"timeout": "30s"}})
    stage.run()
    raw = stage.world.store.get("ConfigMap", KEY.namespace, "support-guard")
    assert raw is not None
    assert json.loads(raw["data"]["live.json"])["guard"]["limits"] == {"timeout": "30s"}
    assert told(stage).guard.stages[0].rules[0].keywords == ("één",)  # type: ignore[index]
