"""The operator's own metrics: each is on its page, and ends with what it tells of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import Metric as Family
from prometheus_client.parser import text_string_to_metric_families

from rlhf_operator.api import operator_metrics as names
from rlhf_operator.api.evidence import Verdict
from rlhf_operator.api.metrics import Metric
from rlhf_operator.controller.telemetry import Telemetry
from rlhf_operator.core import plans
from tests.controller.test_engine import CSAE, KEY, LATENCY, UNSAFE, World, policy, subject
from tests.controller.test_engine_strategies import SEVERAL, erring
from tests.reconcile.stage import MINUTE, Stage
from tests.reconcile.test_several_arms import trial

DECLARED = {each.name: each for each in vars(names).values() if isinstance(each, Metric)}
PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
Series = Mapping[tuple[str, ...], float]


def scraped(telemetry: Telemetry) -> list[Family]:
    """Return what Prometheus reads; where that does not parse, nothing is scraped."""
    asked = telemetry.text()
    while True:
        try:
            asked.send(None)  # it waits for nothing, and gives way to others only
        except StopIteration as end:
            return list(text_string_to_metric_families(end.value.decode()))


def series(telemetry: Telemetry, metric: Metric) -> Series:
    """Return what is exported of a metric, by the values of its labels."""
    return told(scraped(telemetry), metric)


def told(families: list[Family], metric: Metric) -> Series:
    samples = [each for family in families for each in family.samples if each.name == metric.name]
    found = {tuple(each.labels[label] for label in metric.labels): each.value for each in samples}
    assert len(found) == len(samples), "a series that comes twice spoils the scrape"
    return found


def test_what_is_exported_is_what_is_declared_and_on_the_page() -> None:
    found = {
        family.name + ("_total" if family.type == "counter" else ""): (
            family.type,
            family.documentation,
        )
        for family in scraped(Telemetry())
    }
    assert found == {name: (str(each.type), each.help) for name, each in DECLARED.items()}
    missing = [name for name, (_, said) in found.items() if f"| `{name}` |" not in PAGE]
    assert missing == []
    assert all(each.help in PAGE for each in DECLARED.values())


def test_a_round_of_judging_tells_how_many_how_long_and_how_late() -> None:
    telemetry = Telemetry()
    telemetry.judged(3, 0.2, 0.5)
    telemetry.judged(2, 0.4, -0.001)
    found = {each.name: each.value for family in scraped(telemetry) for each in family.samples}
    assert found["rlhf_operator_judged_versions_total"] == 5
    assert found["rlhf_operator_judging_duration_seconds_sum"] == pytest.approx(0.6)
    assert found["rlhf_operator_judging_lateness_seconds_sum"] == 0.5


# -- decisions and weights: what passes put on record -------------------------------------------


def watched(stage: Stage) -> Telemetry:
    telemetry = Telemetry()
    stage.world = replace(stage.world, reported=telemetry.reported)
    return telemetry


def test_each_decision_counts_once_and_a_wait_when_it_begins() -> None:
    stage = Stage()
    telemetry = watched(stage)
    stage.run()
    found = series(telemetry, names.DECISIONS)
    assert found == {
        ("Start", "FirstDeployment"): 1, ("Start", "Started"): 1, ("Open", "Started"): 2,
        ("Hold", "Preparing"): 1, ("Hold", "Holding"): 2, ("Advance", "Advanced"): 2,
        ("Promote", "Serving"): 1, ("Promote", "Promoted"): 1,
    }  # fmt: skip
    for _ in range(20):
        stage._pass()
    assert series(telemetry, names.DECISIONS) == found, "passes that change nothing"


def test_a_rollback_counts_under_its_reason() -> None:
    stage = Stage(script=lambda name, _: Verdict.FAILED if name == "v1" else Verdict.SUCCESSFUL)
    telemetry = watched(stage)
    stage.run()
    assert series(telemetry, names.DECISIONS)[("RollBack", "SafetyFailed")] == 1


def test_a_run_tells_the_weight_of_each_version_until_it_ends() -> None:
    stage = trial()
    telemetry = watched(stage)
    stage.run(MINUTE)
    team = ("team", "support")
    assert series(telemetry, names.RUN_WEIGHT) == {
        (*team, "sft"): 40, (*team, "v1"): 20, (*team, "v2"): 30, (*team, "v3"): 10,
    }  # fmt: skip
    stage.say("Abort")
    stage.run(MINUTE)
    assert stage.runs[-1].status.outcome is not None
    assert series(telemetry, names.RUN_WEIGHT) == {}


def test_the_copies_of_a_shadow_leave_stable_all_its_traffic() -> None:
    stage = Stage(script=lambda *_: Verdict.INCONCLUSIVE)
    telemetry = watched(stage)
    stage.edit(rollout={"strategy": "Shadow", "shadow": {"percent": 20, "hold": "2m"}})
    stage.run(MINUTE)
    assert series(telemetry, names.RUN_WEIGHT) == {
        ("team", "support", "sft"): 100, ("team", "support", "v1"): 20,
    }  # fmt: skip


def test_a_model_that_is_deleted_in_a_run_tells_no_weight() -> None:
    stage = Stage(script=lambda *_: Verdict.INCONCLUSIVE)
    telemetry = watched(stage)
    stage.run(MINUTE)
    assert len(series(telemetry, names.RUN_WEIGHT)) == 2
    stage.world.store.drop("RLHFModel", "team", "support")  # type: ignore[attr-defined]
    stage.run(MINUTE)
    assert series(telemetry, names.RUN_WEIGHT) == {}


# -- estimates: what is judged now ---------------------------------------------------------------


def watching(world: World) -> Telemetry:
    return Telemetry(world.engine.estimates)


async def judged() -> World:
    """A canary without a fault that was judged for half a minute."""
    world = World()
    unsafe, responses = world.guard("v2")
    world.grow(30, (unsafe, 0.0), (responses, 100.0))
    world.engine.follow(subject(stable="v1"))
    await world.tick(30)
    return world


def about(version: str, objective: str, of: str = "p") -> tuple[str, ...]:
    return KEY.namespace, KEY.name, version, of, objective


async def test_a_tested_version_tells_verdict_value_and_evidence() -> None:
    world = World()
    telemetry = watching(world)
    (bad, answered), (fine, others) = world.guard("v2"), world.guard("v1")
    world.grow(30, (bad, 4.0), (answered, 100.0), (fine, 0.0), (others, 100.0))
    compared = {**UNSAFE, "versusStable": {"ratio": "1.5"}}
    del compared["failureLimit"]
    world.engine.follow(subject(compared, CSAE, LATENCY, stable="v1"))
    assert series(telemetry, names.VERDICT) == {}, "nothing was judged yet"
    await world.tick(30)
    found = world.engine.results(KEY)
    assert found is not None
    unsafe = found.results[0]
    assert series(telemetry, names.VERDICT) == {
        about("v2", "unsafe"): 3, about("v1", "unsafe"): unsafe_of(found.stable_results),
        about("v2", "csae"): 1, about("v1", "csae"): 1, about("v2", "p95"): 1,
    }  # fmt: skip
    values = series(telemetry, names.VALUE)
    assert values == {about("v2", "unsafe"): 0.04, about("v1", "unsafe"): 0.0}
    harm = series(telemetry, names.HARM)
    assert unsafe.harm is not None and unsafe.harm_proven is not None
    assert harm[about("v2", "unsafe")] == pytest.approx(
        float(unsafe.harm) / float(unsafe.harm_proven), rel=1e-3
    )
    assert harm[about("v2", "unsafe")] >= 1, "it failed"
    assert series(telemetry, names.GOOD)[about("v1", "unsafe")] > 0


def unsafe_of(results: object) -> float:
    assert isinstance(results, tuple)
    return float(next(each.verdict.badness for each in results if each.name == "unsafe"))


async def test_what_was_judged_long_ago_is_told_as_no_value() -> None:
    world = await judged()
    telemetry = watching(world)
    assert series(telemetry, names.VERDICT)[about("v2", "unsafe")] == 0
    world.metrics.now += 2 * MINUTE
    assert series(telemetry, names.VERDICT)[about("v2", "unsafe")] == 2
    assert series(telemetry, names.VALUE) == {}


async def test_several_tested_versions_tell_of_their_stable_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rlhf_operator.controller.estimates._TURN", 2)
    world = World()
    telemetry = watching(world)
    world.grow(100, *erring(world, v1=5.0, v2=2.0, v3=5.0))
    policies = plans.asked(SEVERAL, (policy(UNSAFE),))
    second = replace(subject(stable="v1"), policies=policies, tested=2)
    world.engine.follow(second, replace(second, version="v3"))
    await world.tick(100)
    assert sorted(series(telemetry, names.VERDICT)) == [
        about("v1", "unsafe"),
        about("v2", "errors", "ab-test"),
        about("v2", "unsafe"),
        about("v3", "errors", "ab-test"),
        about("v3", "unsafe"),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"promoted": True, "stable": None}, id="serves for good"),
        pytest.param({"controlled": True}, id="serves beside a control arm"),
        pytest.param({"stable": None}, id="is counted for a comparison to come"),
    ],
)
async def test_what_no_run_gives_weight_tells_nothing(changes: dict[str, object]) -> None:
    world = await judged()
    telemetry = watching(world)
    assert series(telemetry, names.VERDICT)
    world.engine.follow(replace(subject(stable="v1", since=10), **changes))  # type: ignore[arg-type]
    await world.tick(30)
    assert world.engine.results(KEY) is not None
    assert series(telemetry, names.VERDICT) == {}
    world.engine.forget(KEY)
    assert list(world.engine.estimates()) == []
