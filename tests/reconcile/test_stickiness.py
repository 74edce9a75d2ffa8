"""Where a client goes that comes back with what a guard gave it."""

from __future__ import annotations

import re

from rlhf_operator.api.arms import token_of
from rlhf_operator.api.evidence import Verdict
from rlhf_operator.reconcile.traffic import arm_token
from tests.reconcile.stage import KEY, MINUTE, MODEL_UID, Stage


def sticky(**changes: object) -> Stage:
    stage = Stage(script=lambda *_: Verdict.INCONCLUSIVE)
    traffic = stage.model["spec"]["traffic"] | {"stickiness": {"mode": "Arm"}}
    stage.edit(traffic=traffic, **changes)
    return stage


def token(version: str, run: str) -> str:
    return token_of(arm_token(MODEL_UID, version), run)


def goes_to(stage: Stage, given: str) -> set[str]:
    """The versions that a client may come to, by header and by cookie alike."""
    route = stage.world.store.get("HTTPRoute", KEY.namespace, KEY.name)
    assert route is not None
    said = {"x-rlhf-arm": given, "Cookie": f"a=b; rlhf-arm={given}; c=d"}
    ways = {name: _first(route["spec"]["rules"], {name: value}) for name, value in said.items()}
    assert len(set(map(frozenset, ways.values()))) == 1, ways
    return ways["Cookie"]


def _first(rules: list[dict], headers: dict[str, str]) -> set[str]:  # type: ignore[type-arg]
    for rule in rules:
        for match in rule["matches"]:
            if all(_matches(asked, headers) for asked in match.get("headers", ())):
                refs = [ref for ref in rule["backendRefs"] if ref["weight"] > 0]
                return {ref["name"].removesuffix("-serving") for ref in refs}
    return set()


def _matches(asked: dict[str, str], headers: dict[str, str]) -> bool:
    value = headers.get(asked["name"])
    if value is None or asked["type"] == "Exact":
        return value == asked["value"]
    return re.search(asked["value"], value) is not None


def named(stage: Stage) -> str | None:
    """The run that the router names to the guards."""
    route = stage.world.store.get("HTTPRoute", KEY.namespace, KEY.name)
    assert route is not None
    changes = [rule["filters"][0]["requestHeaderModifier"] for rule in route["spec"]["rules"]]
    told = [
        {each["name"]: each["value"] for each in change.get("set", ())}.get("x-rlhf-run")
        for change in changes
    ]
    assert len(set(told)) == 1, "all rules say the same"
    return told[0]


def test_a_client_stays_on_its_arm_whatever_the_weight_and_a_rollback_takes_it_home() -> None:
    stage = sticky()
    stage.run(MINUTE)
    run = stage.runs[-1].name
    for weight in (10, 50):
        while stage.weights != {"sft": 100 - weight, "v1": weight}:
            stage.script = lambda *_: Verdict.SUCCESSFUL
            stage.run(MINUTE / 6)
        assert named(stage) == run
        assert goes_to(stage, token("v1", run)) == {"v1"}
        assert goes_to(stage, token("sft", run)) == {"sft"}
    stage.say("Abort")
    stage.run(MINUTE)
    assert goes_to(stage, token("v1", run)) == {"sft"} and named(stage) is None


def test_who_comes_from_before_the_run_is_drawn_as_everybody_is() -> None:
    stage = sticky()
    stage.run(MINUTE)
    first = stage.runs[-1].name
    stage.say("Abort")
    stage.run(5 * MINUTE)
    stage.say("Retry", name="again")
    stage.run(5 * MINUTE)
    second = stage.runs[-1].name
    assert first != second and stage.weights == {"sft": 90, "v1": 10}
    for version in ("sft", "v1"):
        assert goes_to(stage, token(version, first)) == {"sft", "v1"}
        assert goes_to(stage, token(version, second)) == {version}


def test_a_guard_of_an_older_image_keeps_its_clients_as_it_did() -> None:
    stage = sticky()
    stage.run(MINUTE)
    assert goes_to(stage, arm_token(MODEL_UID, "sft")) == {"sft"}


def test_the_control_arm_keeps_who_it_had_in_the_run() -> None:
    stage = sticky(standby={"holdback": 5, "keep": "30m"})
    stage.script = lambda *_: Verdict.SUCCESSFUL
    stage.run(10 * MINUTE)
    run = stage.runs[-1].name
    assert stage.weights == {"v1": 95, "sft": 5} and not stage.runs[-1].is_active
    assert named(stage) == run, "whom it draws from now on it keeps too"
    assert goes_to(stage, token("sft", run)) == {"sft"}
    assert goes_to(stage, token("v1", run)) == {"v1"}
    stage.run(60 * MINUTE)
    assert named(stage) is None and goes_to(stage, token("sft", run)) == {"v1"}
