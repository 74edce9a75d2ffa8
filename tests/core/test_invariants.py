"""Each invariant catches a bug that was put in on purpose, and none cries without one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rlhf_operator.api.evidence import Verdict
from rlhf_operator.core import (
    approvals,
    capacity,
    history,
    holdback,
    record,
    repins,
    rollout,
    summary,
    workloads,
)
from rlhf_operator.core.routes import gateway_api
from rlhf_operator.core.rules import drill, harm, resting, running
from rlhf_operator.reconcile import act, line, pods
from tests.reconcile import invariants
from tests.reconcile.stage import MINUTE, Stage

Patch = pytest.MonkeyPatch
Bug = Callable[[Patch], None]


def wrapped(patch: Patch, where: Any, name: str, change: Callable[..., Any]) -> None:
    """Put `change(result, *args)` around a function."""
    true = getattr(where, name)
    patch.setattr(where, name, lambda *args, **more: change(true(*args, **more), *args))


def without(*rules: Any) -> Bug:
    names = {rule.__name__ for rule in rules}
    return lambda patch: patch.setattr(
        rollout, "RULES", tuple(rule for rule in rollout.RULES if rule.__name__ not in names)
    )


def weights_do_not_sum(patch: Patch) -> None:
    def change(rule: Any, *_: Any) -> Any:
        rule["backendRefs"][0]["weight"] -= 1
        return rule

    wrapped(patch, gateway_api, "_rule", change)


def more_than_declared(patch: Patch) -> None:
    def change(layout: capacity.Layout, *_: Any) -> capacity.Layout:
        part = min(99, layout.weights.get("v1", 0) + 7)
        split = len(layout.weights) > 1
        return replace(layout, weights={"sft": 100 - part, "v1": part}) if split else layout

    wrapped(patch, capacity, "layout", change)


def weight_before_pods(patch: Patch) -> None:
    def change(layout: capacity.Layout, seen: Any, _: Any) -> capacity.Layout:
        return layout if layout.weights else replace(layout, weights={"sft": 100})

    wrapped(patch, capacity, "layout", change)


def pods_by(change: Callable[[str, int], int], version: str) -> Bug:
    def changed(layout: capacity.Layout, *_: Any) -> capacity.Layout:
        pods = {name: change(name, n) if name == version else n for name, n in layout.pods.items()}
        return replace(layout, pods=pods)

    return lambda patch: wrapped(patch, capacity, "layout", changed)


def stable_scaled_away(patch: Patch) -> None:
    def change(layout: capacity.Layout, *_: Any) -> capacity.Layout:
        split = len(layout.weights) > 1
        return replace(layout, pods={**layout.pods, "sft": 0}) if split else layout

    wrapped(patch, capacity, "layout", change)


def no_drain(patch: Patch) -> None:
    patch.setattr(capacity, "is_drained", lambda *_: True)


def pods_before_traffic(patch: Patch) -> None:
    no_drain(patch)
    true = act._route

    async def route(seen: Any, *more: Any) -> None:
        if seen.run.status.outcome != "RolledBack":
            await true(seen, *more)

    patch.setattr(act, "_route", route)


def status_by(**changes: Any) -> Bug:
    def change(status: Any, *_: Any) -> Any:
        return status.model_copy(update=changes) if status is not None else None

    return lambda patch: wrapped(patch, record, "next_status", change)


def restarted_history(patch: Patch) -> None:
    def change(status: Any, seen: Any, *_: Any) -> Any:
        return status.model_copy(update={"started_at": seen.now}) if status is not None else None

    wrapped(patch, record, "next_status", change)


def ahead(patch: Patch) -> None:
    wrapped(patch, summary, "model_status",
            lambda status, *_: status.model_copy(update={"observed_generation": 99}))  # fmt: skip


def without_owner(patch: Patch) -> None:
    wrapped(patch, workloads, "owner_reference", lambda owner, *_: owner | {"uid": "x"})


def blind_to_deletion(patch: Patch) -> None:
    true = line.act

    async def make(seen: Any, run: Any, world: Any) -> None:
        if not seen.deleted:
            await true(seen, run, world)
            return
        metadata = {"name": "orphan", "namespace": seen.key.namespace}
        await world.cluster.create({"kind": "Service", "metadata": metadata, "spec": {}})

    patch.setattr(line, "act", make)


def another_digest(patch: Patch) -> None:
    def change(made: Any, *_: Any) -> Any:
        return json.loads(json.dumps(made).replace("sha256:", "sha255:"))

    wrapped(patch, workloads, "deployment", change)


def deeds_wait_for_mirrors(patch: Patch) -> None:
    async def plain(mirror: Any) -> None:
        await mirror

    patch.setattr(line, "_attempt", plain)
    patch.setattr(line, "_takes_weight_away", lambda *_: False)


def restless(patch: Patch) -> None:
    def change(status: Any, seen: Any, *_: Any) -> Any:
        return status.model_copy(update={"message": f"{seen.now}"})

    wrapped(patch, summary, "model_status", change)


def blind_to_pins(patch: Patch) -> None:
    patch.setattr(pods, "_carries", lambda *_: True)


def spares_what_is_pinned(patch: Patch) -> None:
    def change(_: Any, runs: Any, gone: Any) -> Any:
        return tuple(pin for run in runs if run.name in gone for pin in run.status.pins)

    wrapped(patch, history, "spare_pins", change)


def blind_to_approvals(patch: Patch) -> None:
    patch.setattr(approvals, "closed", lambda _: None)


def one_step_too_far(patch: Patch) -> None:
    wrapped(patch, repins, "place", lambda step, *_: step + 1)


def held_for_ever(patch: Patch) -> None:
    patch.setattr(
        holdback, "inherited", lambda seen: seen.previous and seen.previous.status.standby
    )


def users_meet_the_shadow(patch: Patch) -> None:
    """A shadow gets weight where it should get copies."""

    def change(layout: capacity.Layout, *_: Any) -> capacity.Layout:
        copied = layout.mirror
        if copied is None:
            return layout
        return replace(layout, weights={"sft": 100 - copied.percent, "v1": copied.percent},
                       mirror=None)  # fmt: skip

    wrapped(patch, capacity, "layout", change)


def second_chance(patch: Patch) -> None:
    """What was dropped from a test comes back with its weight."""

    def change(status: Any, seen: Any, *_: Any) -> Any:
        gone = {arm.version for arm in seen.run.status.arms if arm.state == "Dropped"}
        if status is None or not gone:
            return status
        back = {"state": "Testing", "weight": 30}
        arms = [arm.model_copy(update=back if arm.version in gone else {}) for arm in status.arms]
        return status.model_copy(update={"arms": tuple(arms)})

    wrapped(patch, record, "next_status", change)


def still_routed(patch: Patch) -> None:
    """What was dropped from a test keeps its rule."""

    def change(layout: capacity.Layout, seen: Any, _: Any) -> capacity.Layout:
        gone = {arm.version: 30 for arm in seen.run.status.arms if arm.state == "Dropped"}
        if not gone or not seen.run.is_active:
            return layout
        weights = {**layout.weights, **gone}
        return replace(layout, weights=weights | {"sft": weights["sft"] - sum(gone.values())})

    wrapped(patch, capacity, "layout", change)


def good(stage: Stage) -> None:
    stage.run()


def unsafe(stage: Stage) -> None:
    stage.script = lambda name, _: Verdict.FAILED if name == "v1" else Verdict.SUCCESSFUL
    stage.run()


def silent(stage: Stage) -> None:
    stage.script = lambda *_: Verdict.INCONCLUSIVE
    stage.run()


def mirrors_fail(stage: Stage) -> None:
    """An unsafe canary, while nothing but records and deeds can be written."""
    stage.script = lambda *_: Verdict.INCONCLUSIVE
    stage.run(2 * MINUTE)
    assert stage.weights["v1"] == 10
    stage.script = lambda name, _: Verdict.FAILED if name == "v1" else Verdict.SUCCESSFUL
    stage.cluster.unwritable = frozenset({"RLHFModel", "RLHFModelVersion", "RLHFDecision"})
    stage._pass()
    stage.broken += invariants.i9_unsafe_weight_falls(stage.weights, "v1")


def deleted(stage: Stage) -> None:
    stage.run(MINUTE / 2)
    stage.world.store.drop("RLHFModel", "team", "support")  # type: ignore[attr-defined]
    stage._pass()


def at_rest(stage: Stage) -> None:
    stage.run()
    stage.now += MINUTE
    before = stage.cluster.writes
    stage._pass()
    stage.broken += invariants.i16_rest_is_quiet(stage.cluster.writes - before)


def suspended(stage: Stage) -> None:
    stage.script = lambda *_: Verdict.INCONCLUSIVE
    stage.run(2 * MINUTE)
    stage.edit(suspend=True)
    stage.script = lambda *_: Verdict.SUCCESSFUL
    stage.run()


def restarted(stage: Stage) -> None:
    """A person restarts v1 with another guard, and the operator dies before its first deed."""
    stage.run()
    stage.edit(serving={"replicas": 2, "images": {"guard": "guard-of-tomorrow"}})
    stage.say("Restart")
    stage.cluster.crash = lambda _: (
        "before" if stage.runs[-1].spec.type == "Restart" and stage.runs[-1].is_open else None
    )
    while not stage.crashes:
        stage._pass()
    stage.cluster.crash = lambda _: None
    stage.run()


def many_runs(stage: Stage) -> None:
    """A history of three records, and more runs than that."""
    stage.edit(history={"limit": 3})
    for target in ("v1", "v2", "v1", "v2"):
        stage.edit(version=target)
        stage.run()


def approved_by_one(stage: Stage) -> None:
    """A step that two people must approve, and one has."""
    approval = {"gate": "Enter", "count": 2}
    steps = [{"weight": 10, "hold": "1m"}, {"weight": 50, "hold": "1m", "approval": approval}]
    stage.edit(rollout=stage.model["spec"]["rollout"] | {"canary": {"steps": steps}})
    stage.run(4 * MINUTE)
    stage.say("Approve", identity=stage.identity("v1"))
    stage.run(4 * MINUTE)


def repinned(stage: Stage) -> None:
    """A person has another plan pinned at the first weight."""
    stage.script = lambda *_: Verdict.INCONCLUSIVE
    stage.run(3 * MINUTE)
    steps = [{"weight": weight, "hold": "1m"} for weight in (5, 10, 20)]
    stage.edit(rollout=stage.model["spec"]["rollout"] | {"canary": {"steps": steps}})
    stage.say("Repin")
    stage.run(3 * MINUTE)
    stage.script = lambda *_: Verdict.SUCCESSFUL
    stage.run()


def shadowed(stage: Stage) -> None:
    """A tenth of the requests is copied to v1, which is then promoted."""
    stage.edit(rollout={"strategy": "Shadow", "shadow": {"percent": 10, "hold": "1m"}})
    stage.run()


def drilled(stage: Stage) -> None:
    """A model that rests, and asks for drills."""
    stage.edit(rollbackDrill={"every": "15m", "percent": 1, "hold": "1m"})
    stage.run(40 * MINUTE)


def held_back(stage: Stage) -> None:
    """A promotion that keeps a control arm, and a new version beside it."""
    stage.edit(standby={"holdback": 5})
    stage.run(15 * MINUTE)
    stage.edit(version="v2")
    stage.run()


def one_is_worse(stage: Stage) -> None:
    """A test of v1 and v2, of which v2 is worse; later v1 is not better either."""
    test = {
        "weight": 20, "others": [{"version": "v2", "weight": 30}], "minimum": "1m",
        "duration": "5m", "primary": {"name": "thumbs", "indicator": {"type": "ThumbsDownRate"}},
    }  # fmt: skip
    stage.edit(rollout={"strategy": "ABTest", "abTest": test, "coolDown": "1m"})
    stage.slos.primaries = {"v2": (Verdict.FAILED, "2")}
    stage.run()


BUGS: list[tuple[str, Bug, Callable[[Stage], None]]] = [
    ("I1", weights_do_not_sum, good),
    ("I2", more_than_declared, good),
    ("I3", weight_before_pods, good),
    ("I4", stable_scaled_away, good),
    ("I5", no_drain, unsafe),
    ("I6", pods_before_traffic, unsafe),
    ("I7", without(resting.target_quarantined, resting.target_failed, harm.canary_unsafe,
                   harm.canary_not_serving), unsafe),
    ("I8", without(running.inconclusive), silent),
    ("I9", deeds_wait_for_mirrors, mirrors_fail),
    ("I10", status_by(epoch=0), good),
    ("I11", restarted_history, good),
    ("I12", ahead, good),
    ("I13", without_owner, good),
    ("I14", blind_to_deletion, deleted),
    ("I15", another_digest, good),
    ("I16", restless, at_rest),
    ("I17", pods_by(lambda _, count: count + 4, "v1"), good),
    ("I18", without(running.suspended), suspended),
    ("I19", blind_to_pins, restarted),
    ("I20", spares_what_is_pinned, many_runs),
    ("I21", blind_to_approvals, approved_by_one),
    ("I22", one_step_too_far, repinned),
    ("I23", users_meet_the_shadow, shadowed),
    ("I24", without(drill.drill_held), drilled),
    ("I25", held_for_ever, held_back),
    ("I26", second_chance, one_is_worse),
    ("I2", still_routed, one_is_worse),
]  # fmt: skip


def told(stage: Stage, story: Callable[[Stage], None]) -> set[str]:
    """Play a story to its end or its fall; return the invariants that it broke."""
    try:
        story(stage)
    except AssertionError:
        assert stage.broken
    return {text.split(":")[0] for text in stage.broken}


def prepared(number: str) -> Stage:
    stage = Stage()
    if number == "I7":  # the identity is quarantined already, by another model's record
        unsafe(stage)
        stage.edit(version="v1")
    if number == "I10":  # something was written under the present leadership
        stage.run(MINUTE / 2)
    return stage


@pytest.mark.parametrize(
    ("number", "bug", "story"), BUGS, ids=[f"{number} {bug.__name__}" for number, bug, _ in BUGS]
)
def test_an_invariant_catches_its_bug(
    number: str, bug: Bug, story: Callable[[Stage], None], monkeypatch: Patch
) -> None:
    stage = prepared(number)
    bug(monkeypatch)
    assert number in told(stage, story)


STORIES = [
    good, unsafe, silent, mirrors_fail, deleted, at_rest, suspended, restarted, many_runs,
    approved_by_one, repinned, shadowed, drilled, held_back, one_is_worse,
]  # fmt: skip


@pytest.mark.parametrize("story", STORIES)
def test_without_a_bug_none_cries(story: Callable[[Stage], None]) -> None:
    assert told(Stage(), story) == set()


def test_each_invariant_has_its_bug() -> None:
    assert {number for number, *_ in BUGS} == {f"I{number}" for number in range(1, 27)}
