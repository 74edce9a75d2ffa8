"""The bench of `simulate` judges as the operator's engine does: same counts, same results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from rlhf_operator.api.evidence import ArmCount
from rlhf_operator.api.metrics import (
    GUARD_ERRORS,
    GUARD_REQUESTS,
    GUARD_RESPONSE_LENGTH,
    GUARD_RESPONSE_LENGTH_SQUARES,
    GUARD_RESPONSES,
    GUARD_UNSAFE_SERVED_RESPONSES,
)
from rlhf_operator.cli.assumptions import Rates, Spread
from rlhf_operator.cli.bench import Bench
from rlhf_operator.cli.played import Counted
from rlhf_operator.cli.scene import Scene
from rlhf_operator.core import plans
from rlhf_operator.core.moments import Moments
from rlhf_operator.core.subject import Subject
from tests.cli.test_simulate import make_scene
from tests.cli.test_simulate_strategies import CANARY, SHADOW, SWITCH, TEST, text
from tests.controller.test_engine import KEY, World, at

UNSAFE = {"name": "unsafe", "class": "Safety", "indicator": {"type": "UnsafeServedRate"},
          "max": "0.05", "versusStable": {"ratio": "1.5"}, "minSamples": 50}  # fmt: skip
ERRORS = {"name": "errors", "class": "Performance", "indicator": {"type": "ErrorRate"},
          "max": "0.2"}  # fmt: skip
LENGTH = {"name": "length", "class": "Quality", "indicator": {"type": "ResponseLength"},
          "versusStable": {"difference": "5"}}  # fmt: skip
RATED = TEST | {
    "abTest": TEST["abTest"] | {"primary": {"name": "won", "indicator": {"type": "ErrorRate"}}}
}
A_SECOND: Mapping[str, Mapping[str, int]] = {
    "v1": {"asked": 10, "unsafe": 0, "errors": 1, "length": 500, "squares": 26_000},
    "sft": {"asked": 30, "unsafe": 1, "errors": 4, "length": 1500, "squares": 78_000},
}
"""What each version counts in a second."""
SHOWN = (ArmCount(slo="safe/unsafe", version="sft", events=40, samples=4000),)


def scene(rollout: dict[str, Any], *slos: dict[str, Any]) -> Scene:
    rate = Rates(canary=0.1, stable=0.1)
    return make_scene(
        text(rollout, *slos),
        rates={"errors": rate} | ({"won": rate} if rollout is RATED else {}),
        means={"length": Spread(mean=50, deviation=10)} if LENGTH in slos else {},
    )


def counted(version: str, seconds: int) -> dict[str, Counted]:
    """Return what objectives count of a version in so many seconds."""
    each = {name: number * seconds for name, number in A_SECOND[version].items()}
    errors = Counted(events=each["errors"], samples=each["asked"])
    return {
        "safe/unsafe": Counted(events=each["unsafe"], samples=each["asked"]),
        "safe/errors": errors,
        "ab-test/won": errors,
        "safe/length": Counted(
            samples=each["asked"], moments=Moments(float(each["length"]), float(each["squares"]))
        ),
    }


def exported(world: World, until: int) -> None:
    """Let both versions' guards count as much."""
    for version, rates in A_SECOND.items():
        names = {
            GUARD_RESPONSES.name: "asked",
            GUARD_REQUESTS.name: "asked",
            GUARD_UNSAFE_SERVED_RESPONSES.name: "unsafe",
            GUARD_ERRORS.name: "errors",
            f"{GUARD_RESPONSE_LENGTH.name}_count": "asked",
            f"{GUARD_RESPONSE_LENGTH.name}_sum": "length",
            GUARD_RESPONSE_LENGTH_SQUARES.name: "squares",
        }
        for name, kind in names.items():
            world.grow(until, (world.metrics.add(name, version), float(rates[kind])))


@pytest.mark.parametrize(
    ("made", "changes"),
    [
        pytest.param(scene(CANARY, UNSAFE, ERRORS, LENGTH), {}, id="a canary"),
        pytest.param(scene(SHADOW, UNSAFE, ERRORS, LENGTH), {}, id="a shadow"),
        pytest.param(scene(RATED, UNSAFE, ERRORS), {}, id="a test"),
        pytest.param(scene(SWITCH, UNSAFE, ERRORS), {"before_switch": SHOWN}, id="a switch"),
        pytest.param(scene(SWITCH, UNSAFE, ERRORS), {"before_switch": ()}, id="one from nothing"),
        pytest.param(
            scene(SWITCH, UNSAFE, ERRORS), {"version": "sft", "stable": None}, id="before a switch"
        ),
    ],
)
async def test_the_bench_judges_as_the_engine_does(made: Scene, changes: dict[str, Any]) -> None:
    asked = plans.asked(plans.plan(made.spec), made.policies)
    subject = replace(
        Subject(key=KEY, policies=asked, version="v1", stable="sft", since=at(0)), **changes
    )
    bench, world, last = Bench(made), World(), 0
    exported(world, 700)
    world.engine.follow(subject)
    bench.follow(subject)
    for second in (20, 60, 250, 310, 500, 650):  # two stretches of evidence end on the way
        for version in A_SECOND:
            bench.count(version, counted(version, second - last))
        bench.judge(at(second))
        await world.tick(second)
        last, found = second, world.engine.results(KEY)
        mine = bench.assessment(subject.version, in_full=True)
        other = bench.assessment(subject.stable, in_full=True) if subject.stable else None
        assert found is not None and mine is not None
        assert mine.results == found.results
        assert (other.results if other else ()) == found.stable_results
        light = bench.assessment(subject.version, in_full=False)
        assert light is not None
        assert [each.verdict for each in light.results] == [each.verdict for each in mine.results]
    checkpoint = bench.checkpoint(at(650))
    theirs = world.engine.checkpoint(KEY, at(650))
    assert checkpoint is not None and theirs is not None
    assert checkpoint.strata == theirs.strata
