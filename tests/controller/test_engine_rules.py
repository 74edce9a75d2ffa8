"""Versions whose guards judge by different rules are not compared."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rlhf_operator.api.evidence import SLOResult, Verdict
from rlhf_operator.api.measurements import Problem, Series, Silence
from rlhf_operator.api.metrics import GUARD_UNSAFE_SERVED
from rlhf_operator.core.rules_in_force import TAKEN, TAKING
from tests.controller.test_engine import CSAE, KEY, LATENCY, World, subject

COMPARED = {
    "name": "unsafe",
    "class": "Safety",
    "indicator": {"type": "UnsafeServedRate"},
    "versusStable": {"ratio": "2"},
    "minSamples": 100,
}


def told(*rules: tuple[str, str, str]) -> tuple[Series, ...]:
    """Return what guards tell: version, pod, digest."""
    return tuple(
        Series(
            {
                "namespace": "shop",
                "rlhf_model": "support",
                "rlhf_version": version,
                "pod": pod,
                "rules_digest": digest,
            },
            [(0.0, 1.0)],
        )
        for version, pod, digest in rules
    )


def busy(*slos: dict[str, object]) -> World:
    """Return a world with two versions that do equally well."""
    world = World()
    for version in ("v1", "v2"):
        unsafe, responses = world.guard(version)
        world.grow(120, (unsafe, 10), (responses, 100))
    world.engine.follow(subject(*(slos or (COMPARED,)), stable="v1"))
    return world


def result(world: World) -> SLOResult:
    found = world.engine.results(KEY)
    assert found is not None
    return found.results[0]


SAME = told(("v1", "a", "old"), ("v2", "b", "old"))
MIXED = told(("v1", "a", "old"), ("v2", "b", "new"))
WITHIN = told(("v1", "a", "old"), ("v1", "b", "new"), ("v2", "c", "new"))
NEW = told(("v1", "a", "new"), ("v2", "b", "new"))


async def test_guards_are_known_also_where_no_objective_yields_anything() -> None:
    world = World()
    world.metrics.rules = told(("v2", "a", "old"))
    world.engine.follow(subject(LATENCY))
    await world.tick(60)
    assert result(world).samples is None
    found = world.engine.results(KEY)
    assert found is not None
    assert found.rules.agreed == "old"


async def test_versions_under_the_same_rules_are_compared() -> None:
    world = busy()
    world.metrics.rules = SAME
    await world.tick(60)
    assert result(world).verdict is Verdict.SUCCESSFUL
    assert result(world).stable_samples == 6000
    found = world.engine.results(KEY)
    assert found is not None
    assert found.rules.agreed == "old"


@pytest.mark.parametrize("mixed", [MIXED, WITHIN], ids=["between versions", "within one"])
async def test_while_rules_differ_nothing_is_compared(mixed: tuple[Series, ...]) -> None:
    world = busy()
    world.metrics.rules = SAME
    await world.tick(60)
    world.metrics.rules = mixed
    await world.tick(61)
    assert result(world).verdict is Verdict.INCONCLUSIVE
    assert result(world).stable_samples is None
    assert TAKING in (result(world).message or "")
    found = world.engine.results(KEY)
    assert found is not None
    assert found.rules.is_mixed


async def test_new_rules_of_all_need_a_new_stratum() -> None:
    world = busy()
    world.metrics.rules = SAME
    await world.tick(60)
    world.metrics.rules = NEW
    await world.tick(61)
    assert result(world).verdict is Verdict.INCONCLUSIVE
    assert TAKEN in (result(world).message or "")
    world.engine.follow(replace(subject(COMPARED, since=61, stable="v1"), rules="new"))
    await world.tick(110)
    assert result(world).verdict is Verdict.SUCCESSFUL
    assert result(world).samples == 4900


async def test_a_successor_knows_under_which_rules_was_counted() -> None:
    world = busy()
    world.restarted().follow(replace(subject(COMPARED, stable="v1"), rules="old"))
    world.metrics.rules = NEW
    await world.tick(60)
    assert TAKEN in (result(world).message or "")


async def test_one_event_is_one_too_many_under_any_rules() -> None:
    world = busy(CSAE)
    world.metrics.rules = MIXED
    counter = world.metrics.add(GUARD_UNSAFE_SERVED.name, category="csae")
    world.grow(120, (counter, 1))
    await world.tick(60)
    assert result(world).verdict is Verdict.FAILED


async def test_guards_that_say_nothing_stand_in_no_way() -> None:
    world = busy()
    await world.tick(60)
    assert result(world).verdict is Verdict.SUCCESSFUL


async def test_a_source_that_is_silent_takes_no_knowledge_away() -> None:
    world = busy()
    world.metrics.rules = MIXED
    await world.tick(60)
    world.metrics.rules = Silence(Problem.SOURCE_DOWN, "away")
    await world.tick(61)
    assert TAKING in (result(world).message or "")


async def test_a_floor_that_blocks_has_the_rules_of_the_others() -> None:
    world = busy()
    world.metrics.rules = told(("v1", "a", "old+block"), ("v2", "b", "old"))
    await world.tick(60)
    assert result(world).verdict is Verdict.SUCCESSFUL
