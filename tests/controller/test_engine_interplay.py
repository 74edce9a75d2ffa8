"""What features do to each other under the engine: nothing is lost, and nothing counts twice."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf_operator.api.evidence import Verdict
from rlhf_operator.api.measurements import Problem, Silence
from rlhf_operator.core.sequential import stretches, total
from tests.controller.test_engine import KEY, Scraped, World, at, subject
from tests.controller.test_vigil import Served, promoted

DOWN = Silence(Problem.SOURCE_DOWN, "down")
COMPARED: dict[str, Any] = {
    "name": "unsafe", "class": "Safety", "indicator": {"type": "UnsafeServedRate"},
    "versusStable": {"ratio": "1.5"},
}  # fmt: skip
SLOW: dict[str, Any] = {
    "name": "slow", "class": "Performance",
    "indicator": {"type": "SlowRatio", "slowerThan": "2.5"}, "max": "0.05",
}  # fmt: skip


def both(world: World, until: int, canary: float, stable: float) -> None:
    for version, rate in (("v2", canary), ("v1", stable)):
        world.grow(until, *zip(world.guard(version), (rate, 10), strict=True))


async def test_slow_answers_from_before_a_restart_are_those_beyond_the_bound() -> None:
    """Nothing is slow here; a successor that took every answer for a slow one would leave it."""
    world = Served((-10, 0.0))
    name = "rlhf_guard_request_duration_seconds"
    world.grow(
        2000,
        (world.metrics.add(f"{name}_count"), 1),
        (world.metrics.add(f"{name}_bucket", le="2.5"), 1),
    )
    world.engine.follow(promoted(SLOW))
    await world.live(10, 1300)
    world.restarted().follow(promoted(SLOW))
    await world.live(1300, 1400)
    assert len(world.vigil._windows) == 4
    assert {events for events, _ in world.vigil._windows.each()} == {0}
    assert world.result.verdict is not Verdict.FAILED


@pytest.mark.parametrize(
    ("canary", "blind"),
    [
        pytest.param(1.0, True, id="while nothing can be seen"),
        pytest.param(6.0, False, id="after a verdict that is final"),
    ],
)
async def test_no_stretch_is_closed_twice(canary: float, *, blind: bool) -> None:
    """All unsafe answers come in the first minutes; later stretches have none of them."""
    world = World()
    both(world, 2000, canary, 1.0)
    for each in world.metrics.series:
        if "unsafe" in each.labels["__name__"]:
            each.points = [(t, min(v, each.points[40][1]), seen) for t, v, seen in each.points]
    world.engine.follow(subject(COMPARED, stable="v1"))
    for second in range(10, 290, 20):
        await world.tick(second)
    world.metrics.silence = DOWN if blind else None
    for second in range(290, 1600, 20):
        await world.tick(second)
    world.metrics.silence = None
    for second in range(1600, 1660, 20):
        await world.tick(second)
    checkpoint = world.engine.checkpoint(KEY, at(1650))
    assert checkpoint is not None
    closed = total(stretches(checkpoint.strata, "p/unsafe"))
    assert 0 < closed.events <= 30 * canary
    assert 0 < closed.stable_events <= 30


async def test_a_stretch_goes_on_while_stable_cannot_be_seen() -> None:
    """Else the canary's answers of that time would stand in one stretch, stable's in the next."""
    world = World()
    both(world, 2000, 1.0, 1.0)
    hidden: list[Scraped] = [s for s in world.metrics.series if s.labels["rlhf_version"] == "v1"]
    for each in hidden:  # not scraped for a while
        gone = range(200, 900)
        each.points = [p for p in each.points if int(p[0] - at(0).timestamp()) not in gone]
    world.engine.follow(subject(COMPARED, stable="v1"))
    for second in range(10, 1000, 10):
        await world.tick(second)
    checkpoint = world.engine.checkpoint(KEY, at(1000))
    assert checkpoint is not None
    found = stretches(checkpoint.strata, "p/unsafe")
    assert found and all(part.samples == part.stable_samples for part in found)
