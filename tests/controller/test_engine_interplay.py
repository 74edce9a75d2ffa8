"""What features do to each other under the engine: nothing is lost, and nothing counts twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rlhf_operator.api.evidence import Verdict
from rlhf_operator.api.measurements import Problem, Silence
from rlhf_operator.api.metrics import GUARD_RESPONSES, GUARD_UNSAFE_SERVED
from rlhf_operator.controller.engine import Engine
from rlhf_operator.core.observed import Key
from rlhf_operator.core.stretches import stretches, total
from rlhf_operator.core.subject import Subject
from tests.controller.test_engine import CSAE, KEY, REWARD, Scraped, World, at, scored, subject
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


CAPPED = COMPARED | {"max": "0.02"}
ERRORS: dict[str, Any] = {
    "name": "unsafe", "class": "Quality", "indicator": {"type": "UnsafeServedRate"}, "max": "0.02",
}  # fmt: skip


def controlled(*slos: dict[str, Any]) -> Subject:
    return replace(subject(*slos, stable="v1"), controlled=True)


class Controlled(Served):
    """A promoted version beside a control arm; both turn bad at the same time."""

    def __init__(self, *rates: tuple[int, float], until: int = 5 * 3600) -> None:
        super().__init__(*rates, until=until)
        for each in list(self.metrics.series):
            other = self.metrics.add(each.labels["__name__"], "v1")
            other.points = each.points


@pytest.mark.parametrize("slo", [CAPPED, ERRORS], ids=["compared too", "only bounded"])
async def test_harm_after_long_innocence_is_found_beside_a_control_arm(slo: dict[str, Any]) -> None:
    """Four hours of innocence: its evidence is 1440 answers' worth, 20 % is bad for 300."""
    world = Controlled((-10, 0.004), (4 * 3600, 0.2))
    world.engine.follow(controlled(slo))
    await world.live(10, 4 * 3600, every=60)
    assert world.result.verdict is not Verdict.FAILED
    await world.live(4 * 3600, 4 * 3600 + 300)
    assert world.result.verdict is Verdict.FAILED
    assert "> 0.02 of late: evidence" in world.result.message


async def test_a_restart_beside_a_control_arm_forgets_no_stretch() -> None:
    world = Controlled((-10, 0.004), (4 * 3600, 0.2))
    world.engine.follow(controlled(CAPPED))
    await world.live(10, 4 * 3600, every=60)
    checkpoint = world.engine.checkpoint(KEY, at(4 * 3600))
    world.restarted().follow(replace(controlled(CAPPED), checkpoint=checkpoint))
    await world.live(4 * 3600, 4 * 3600 + 300)
    assert world.result.verdict is Verdict.FAILED


@pytest.mark.parametrize(
    ("most", "happened", "verdict"),
    [
        pytest.param(0, 900, Verdict.FAILED, id="what must never happen is found afterwards"),
        pytest.param(0, -5, Verdict.SUCCESSFUL, id="but not what was before the promotion"),
        pytest.param(1, 900, Verdict.SUCCESSFUL, id="a number is one of a single window"),
    ],
)
async def test_an_event_while_no_operator_was_there(
    most: int, happened: int, verdict: Verdict
) -> None:
    world = Served((-10, 0.0))
    unsafe = world.metrics.add(GUARD_UNSAFE_SERVED.name, category="csae")
    stamps = [at(second).timestamp() for second in range(-10, 3000)]
    unsafe.points = [(t, float(t >= at(happened).timestamp()), t) for t in stamps]
    asked = promoted(CSAE | {"maxCount": most, "minSamples": 1})
    world.engine.follow(asked)
    await world.live(10, 800)
    world.restarted()  # it is up again at 1510, two windows after the event
    world.metrics.now = at(1510)
    world.engine.follow(asked)
    await world.live(1510, 1600)
    assert world.result.verdict is verdict


@pytest.mark.parametrize(
    ("since", "verdict"),
    [
        pytest.param(0, Verdict.INCONCLUSIVE, id="at a weight that began before them: no evidence"),
        pytest.param(320, Verdict.SUCCESSFUL, id="at the next weight they are as good as any"),
    ],
)
async def test_squares_that_are_exported_late(since: int, verdict: Verdict) -> None:
    """Without the squares of most values these would seem to vary less than they do."""
    world = World()
    for version in ("v1", "v2"):
        scored(world, version, 0.2, until=600)
    for each in world.metrics.series:
        if "squares" in each.labels["__name__"]:  # the evaluator is renewed in place
            first = each.points[310][1]
            each.points = [(t, v - first, seen) for t, v, seen in each.points[310:]]
    world.engine.follow(subject(REWARD, stable="v1", since=since))
    for second in range(since + 10, 560, 10):
        await world.tick(second)
    found = world.engine.results(KEY)
    assert found is not None
    assert found.results[0].verdict is verdict


async def test_a_guard_that_tells_no_users_apart_is_not_one_without_users() -> None:
    """Zeros on record would pass for users, and take the answers' place in the comparison."""
    world = World()
    both(world, 120, 1.0, 1.0)
    world.engine.follow(replace(subject(COMPARED, stable="v1"), sticky=True))
    for second in (10, 60, 100):
        await world.tick(second)
    checkpoint = world.engine.checkpoint(KEY, at(100))
    assert checkpoint is not None and len(checkpoint.counts) == 2
    assert all(each.samples and each.first_samples is None for each in checkpoint.counts)


async def test_reading_a_new_model_says_nothing_of_those_that_are_read_less_often() -> None:
    """Else their checkpoint would stand later than what was read, and lose what lies between."""
    world, other = World(), ("shop", "other")
    world.grow(200, (world.metrics.add(GUARD_RESPONSES.name), 1))
    reader = world.engine._readers["default"]
    for model, second in ((("shop", "support"), 10), (other, 100)):
        world.metrics.now = at(second)
        reader.ledger.start(model, (at(0).timestamp(),))
        await reader.read(GUARD_RESPONSES.name, [model], at(second))
    assert reader.settled_until(GUARD_RESPONSES.name) == at(10) - reader.settle
    await reader.read(GUARD_RESPONSES.name, [other], at(110))
    assert reader.settled_until(GUARD_RESPONSES.name) == at(110) - reader.settle
    await reader.read(GUARD_RESPONSES.name, [], at(150))
    assert reader.settled_until(GUARD_RESPONSES.name) == at(110) - reader.settle


async def test_a_stable_version_that_turns_bad_in_a_long_step_is_found() -> None:
    """It is out of bounds alone, after four good hours of a run."""
    world = Served((-10, 0.004), (4 * 3600, 0.2), until=5 * 3600)
    for each in list(world.metrics.series):
        each.labels["rlhf_version"] = "v1"
        world.grow(5 * 3600, (world.metrics.add(each.labels["__name__"]), 0.0))
    world.metrics.series[-1].points = [
        (t, t - at(-11).timestamp(), t) for t, _, t in world.metrics.series[-1].points
    ]
    world.engine.follow(subject(CAPPED, stable="v1"))
    await world.live(10, 4 * 3600, every=60)
    found = world.engine.results(KEY)
    assert found is not None and found.stable_results[0].verdict is not Verdict.FAILED
    await world.live(4 * 3600, 4 * 3600 + 400)
    found = world.engine.results(KEY)
    assert found is not None and found.stable_results[0].verdict is Verdict.FAILED
    assert "of late" in found.stable_results[0].message


@pytest.mark.parametrize(
    ("busy", "order"),
    [
        pytest.param(0, ["tested", "promoted"], id="what is tested comes first"),
        pytest.param(2, ["tested", "acted on", "promoted"], id="and is acted on first"),
        pytest.param(99, ["tested", "promoted"], id="but nothing waits for ever"),
    ],
)
async def test_in_which_order_a_round_judges(busy: int, order: list[str]) -> None:
    """`busy`: how many of five looks find many failures waiting."""
    found, looks = list[str](), 0

    def crowded() -> bool:
        nonlocal looks
        looks += 1
        if busy and looks == busy + 1:
            found.append("acted on")
        return looks <= busy

    def tell(key: Key, failed: bool) -> None:
        found.append("promoted" if key.name == "old" else "tested")

    world = World()
    for series in world.guard() + world.guard():
        world.grow(20, (series, 10))
    for series in world.metrics.series[2:]:
        series.labels["rlhf_model"] = "old"
    engine = Engine(
        sources={"default": world.metrics}, now=world.metrics.clock, notify=tell, crowded=crowded
    )
    engine.follow(replace(promoted(), key=replace(KEY, name="old")))
    engine.follow(subject())
    world.metrics.now = at(20)
    await engine.tick()
    assert found == order


async def test_who_has_just_shown_events_is_judged_first() -> None:
    world, told = World(), list[str]()
    engine = Engine(
        sources={"default": world.metrics},
        now=world.metrics.clock,
        notify=lambda key, _: told.append(key.name),
    )
    for place, (name, bad) in enumerate((("calm", 0), ("shaken", 50), ("quiet", 0))):
        unsafe, responses = world.guard()
        world.grow(20, (unsafe, 0), (responses, 100))
        (last, _, visible) = unsafe.points[-1]
        unsafe.points[-1] = (last, bad, visible)
        for series in world.metrics.series[2 * place :]:
            series.labels["rlhf_model"] = name
        engine.follow(replace(subject(since=19), key=replace(KEY, name=name)))
    for second, order in ((19, ["calm", "shaken", "quiet"]), (20, ["shaken", "calm", "quiet"])):
        told.clear()
        world.metrics.now = at(second)
        await engine.tick()
        assert told == order
