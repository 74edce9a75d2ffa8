"""A promoted version whose guards take new rules: nothing is compared across the change."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf_operator.api.evidence import BaselineRecord, Verdict
from rlhf_operator.api.measurements import Series
from rlhf_operator.controller.engine import Subject
from tests.controller.test_engine import KEY, at
from tests.controller.test_engine_rules import told
from tests.controller.test_vigil import LENGTH, Lengths, Served, promoted

CHANGE = 3600
BLOCKED = {"name": "blocked", "class": "Quality", "indicator": {"type": "GuardBlockRate"},
           "versusStable": {"ratio": "1.5"}, "minSamples": 100}  # fmt: skip
OLD, MIXED, NEW = (
    told(*(("v2", pod, digest) for pod, digest in pods))
    for pods in ([("a", "old")], [("a", "old"), ("b", "new")], [("a", "new")])
)
KNOWN = BaselineRecord(slo="p/blocked", events=80, samples=4000,
                       measure="rlhf_guard_blocked_responses_total / rlhf_guard_responses_total",
                       )  # fmt: skip


class Blocking(Served):
    """A guard that blocks answers once a second at rates that may change."""

    def __init__(self, *rates: tuple[int, float]) -> None:
        super().__init__(*rates, until=5 * 3600)
        self.metrics.series[0].labels["__name__"] = "rlhf_guard_blocked_responses_total"

    async def on(self, start: int, end: int, rules: tuple[Series, ...] = NEW) -> None:
        self.metrics.rules = rules
        await self.live(start, end, every=50)

    @property
    def found(self) -> tuple[BaselineRecord, ...]:
        found = self.engine.results(KEY)
        assert found is not None
        return found.baselines


def before(**changes: Any) -> Subject:
    return promoted(BLOCKED, baseline=(KNOWN,), rules="old", **changes)


def after(*known: BaselineRecord) -> Subject:
    return promoted(BLOCKED, baseline=known, rules="new", rules_since=at(CHANGE + 50))


async def test_what_guards_block_while_they_take_new_rules_accuses_nobody() -> None:
    """The new rules block ten times as much, and kubelet brings them pod by pod."""
    world = Blocking((-10, 0.02), (CHANGE, 0.2))
    world.engine.follow(before())
    await world.on(10, CHANGE, OLD)
    assert world.result.verdict is not Verdict.FAILED
    for second, rules in ((CHANGE, MIXED), (CHANGE + 350, MIXED), (CHANGE + 700, NEW)):
        await world.on(second, second + 350, rules)
        assert world.result.verdict is not Verdict.FAILED, world.result.message
    assert list(world.vigil._windows.each())[-1] == (60, 300), "counted it is all the same"


async def test_a_change_that_was_taken_back_accuses_nobody_either() -> None:
    world = Blocking((-10, 0.02), (CHANGE, 0.2), (CHANGE + 600, 0.02))
    world.engine.follow(before())
    await world.on(10, CHANGE, OLD)
    await world.on(CHANGE, CHANGE + 600, MIXED)
    await world.on(CHANGE + 600, CHANGE + 3600, OLD)
    assert world.result.verdict is not Verdict.FAILED, world.result.message


async def test_the_first_hour_under_new_rules_is_the_baseline_of_a_rate() -> None:
    world = Blocking((-10, 0.02), (CHANGE, 0.2), (CHANGE + 7200, 0.6))
    world.engine.follow(before())
    await world.on(10, CHANGE, OLD)
    world.engine.follow(after())
    await world.on(CHANGE + 50, CHANGE + 3850)
    assert world.found == (), "a window in which rules changed is no part of it"
    assert "no baseline under its guards' new rules" in world.result.message
    await world.on(CHANGE + 3850, CHANGE + 4050)
    (record,) = world.found
    assert (record.events, record.samples, record.since) == (720, 3600, at(CHANGE + 3900))
    world.engine.follow(after(record))
    await world.on(CHANGE + 4050, CHANGE + 7200)
    assert world.found == ()
    assert world.result.verdict is Verdict.SUCCESSFUL, world.result.message
    await world.on(CHANGE + 7200, CHANGE + 7800)
    assert world.result.verdict is Verdict.FAILED
    assert "what its own run and versusStable allow" in world.result.message


async def test_windows_from_before_the_baseline_are_not_compared_with_it() -> None:
    """Six hours are read back after a restart; half of them were counted by looser rules."""
    world = Blocking((-10, 0.2), (CHANGE, 0.02))
    record = KNOWN.model_copy(update={"since": at(CHANGE + 3900)})
    world.metrics.now = at(CHANGE + 7300)
    world.restarted().follow(after(record))
    await world.on(CHANGE + 7300, CHANGE + 7500)
    assert len(world.vigil._windows) > 30
    assert world.result.verdict is Verdict.SUCCESSFUL, world.result.message


async def test_a_restart_in_the_first_hour_loses_nothing_of_it() -> None:
    world = Blocking((-10, 0.02), (CHANGE, 0.2))
    world.metrics.now = at(CHANGE + 2000)
    world.restarted().follow(after())
    await world.on(CHANGE + 2000, CHANGE + 4050)
    (record,) = world.found
    assert (record.events, record.samples) == (720, 3600)


async def test_few_answers_take_longer_than_an_hour() -> None:
    world = Blocking((-10, 0.02))
    slow = BLOCKED | {"minSamples": 4000}
    world.engine.follow(promoted(slow, rules="new", rules_since=at(0)))
    await world.on(10, 3900)
    assert world.found == ()
    await world.on(3900, 4300)
    (record,) = world.found
    assert record.samples == 4200


@pytest.mark.parametrize(
    ("known", "since"),
    [
        pytest.param((), None, id="a refuge, whose rules are the first, gets none"),
        pytest.param((KNOWN,), at(0), id="what is on record is not made again"),
    ],
)
async def test_no_baseline_is_made(known: tuple[BaselineRecord, ...], since: Any) -> None:
    world = Blocking((-10, 0.02))
    world.engine.follow(promoted(BLOCKED, baseline=known, rules="new", rules_since=since))
    await world.on(10, 4300)
    assert world.found == ()


async def test_the_first_hour_under_new_rules_is_the_baseline_of_a_mean() -> None:
    """Answers get longer with the rules; those of before do not come back as a baseline."""
    world = Lengths(later=1200, since=CHANGE)
    world.engine.follow(promoted(LENGTH, rules="old"))
    await world.live(10, CHANGE + 50, every=50)
    found = world.engine.results(KEY)
    assert found is not None and found.baselines, "of the old rules, not on record yet"
    world.engine.follow(promoted(LENGTH, rules="new", rules_since=at(CHANGE + 50)))
    await world.live(CHANGE + 50, CHANGE + 3850, every=50)
    found = world.engine.results(KEY)
    assert found is not None and found.baselines == ()
    assert "11 of 12 windows" in found.results[0].message
    await world.live(CHANGE + 3850, CHANGE + 4050, every=50)
    found = world.engine.results(KEY)
    assert found is not None
    (record,) = found.baselines
    assert float(record.mean or 0) == pytest.approx(1200, abs=1)
