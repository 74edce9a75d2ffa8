"""Means of a promoted version in its first hour, and what of them outlives the process."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rlhf_operator.api.evidence import BaselineRecord, DriftRecord, Sums, Verdict
from rlhf_operator.controller.engine import Subject
from tests.controller.test_engine import KEY
from tests.controller.test_vigil import REWARD_MEASURE, REWARDED, Lengths, Rewards, promoted

LENGTH = {"name": "long", "class": "Quality", "indicator": {"type": "ResponseLength"},
          "versusStable": {"difference": "100", "method": "Threshold"}}  # fmt: skip


def run_of(mean: float, scorer: str = "rm-a") -> BaselineRecord:
    """4000 scores at the last weight of its own run, half of them one above and one below."""
    squares = 2000 * ((mean + 1) ** 2 + (mean - 1) ** 2)
    return BaselineRecord(
        slo="p/reward", measure=REWARD_MEASURE, scorer=scorer, samples=4000,
        sums=Sums(total=str(4000 * mean), squares=str(squares)),
    )  # fmt: skip


def after(*baselines: BaselineRecord) -> Subject:
    return promoted(REWARDED, baseline=baselines)


async def test_a_reward_that_falls_in_the_first_hour_is_found_in_it() -> None:
    """It would have become the baseline of all that comes."""
    world = Rewards((-10, "rm-a", 1.0), (300, "rm-a", 0.6))
    world.engine.follow(after(run_of(1.0)))
    await world.live(10, 300)
    assert world.result.verdict is Verdict.INCONCLUSIVE, world.result.message
    await world.live(300, 3600)
    assert world.result.verdict is Verdict.FAILED
    assert "has moved from the 1 (of 4000) of its own run" in world.result.message
    await world.live(3600, 9000)
    assert world.result.verdict is Verdict.FAILED, "an hour does not make it good"
    assert world.assessed.baselines == ()


@pytest.mark.parametrize(
    "known",
    [
        pytest.param(run_of(1.0), id="as in its own run"),
        pytest.param(run_of(0.5), id="better than in its own run"),
        pytest.param(run_of(3.0, scorer="rm-b"), id="which another reward model had scored"),
    ],
)
async def test_a_reward_that_does_not_fall_gets_its_baseline(known: BaselineRecord) -> None:
    world = Rewards((-10, "rm-a", 1.0))
    world.engine.follow(after(known))
    await world.live(10, 3900)
    assert world.result.verdict is Verdict.INCONCLUSIVE, world.result.message
    (record,) = world.assessed.baselines
    assert (record.mean, record.scorer) == ("1", "rm-a")
    assert record.sums == (known.sums if known.scorer == "rm-a" else None)


async def test_restarts_do_not_keep_a_baseline_from_being_finished() -> None:
    """An operator that lives for twenty minutes at a time, and writes what it has seen."""
    world, drifts, lives = Lengths(later=800), (), 0
    found = None
    for start in range(10, 6000, 1200):
        lives += 1
        world.restarted().follow(promoted(LENGTH, drifts=drifts))
        await world.live(start, start + 1200, every=50)
        found = world.engine.results(KEY)
        assert found is not None and found.drifts is not None
        if found.baselines:
            break
        drifts = found.drifts
    assert found is not None
    (record,) = found.baselines
    assert lives == 4 and float(record.mean or 0) == pytest.approx(800, abs=5)


async def test_a_fall_is_found_across_restarts_as_well() -> None:
    world, drifts, verdicts = Rewards((-10, "rm-a", 0.75)), (), []
    for start in range(10, 3600, 900):
        world.restarted().follow(replace(after(run_of(1.0)), drifts=drifts))
        await world.live(start, start + 900)
        verdicts.append(world.result.verdict)
        assert world.assessed.drifts is not None
        drifts = world.assessed.drifts
    (record,) = drifts
    assert (record.scorer, record.samples) == ("rm-a", 36000 - 3000)
    assert verdicts[0] is Verdict.INCONCLUSIVE, "a quarter of an hour is too little for so small"
    assert verdicts[-1] is Verdict.FAILED, world.result.message


async def test_what_was_exceeded_outlives_the_process() -> None:
    """Half the difference is tolerated: what is a little more adds up for hours."""
    known = BaselineRecord(slo="p/long", measure=MEASURE, mean="800", deviation="10")
    past = DriftRecord(slo="p/long", measure=MEASURE, level="100")
    world = Lengths(later=870, since=-20)
    world.engine.follow(promoted(LENGTH, baseline=(known,), drifts=(past,)))
    await world.live(10, 100)
    assert world.result.verdict is Verdict.FAILED
    world.restarted().follow(promoted(LENGTH, baseline=(known,)))
    await world.live(100, 200)
    assert world.result.verdict is Verdict.INCONCLUSIVE, "it had to begin anew"


async def test_where_nothing_is_on_its_way_there_is_nothing_to_write() -> None:
    known = BaselineRecord(slo="p/long", measure=MEASURE, mean="800", deviation="10")
    world = Lengths(later=800)
    world.engine.follow(promoted(LENGTH, baseline=(known,)))
    await world.live(10, 1000)
    found = world.engine.results(KEY)
    assert found is not None and found.drifts == ()


MEASURE = "rlhf_guard_response_length_tokens_sum / rlhf_guard_response_length_tokens_count"
