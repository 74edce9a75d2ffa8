"""A promoted version under the engine: windows that end, survive a restart, and cost nothing."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_operator.api.evidence import BaselineRecord, SLOResult, Verdict
from rlhf_operator.api.measurements import Problem, Series, Silence
from rlhf_operator.api.metrics import (
    EVALUATOR_REWARD_SQUARES,
    EVALUATOR_REWARD_SUM,
    EVALUATOR_REWARDS,
    GUARD_ERRORS,
    GUARD_REQUESTS,
)
from rlhf_operator.controller import recall
from rlhf_operator.controller.assessment import Assessment
from rlhf_operator.controller.engine import Subject
from rlhf_operator.controller.vigil import Vigil
from rlhf_operator.core.counters import delta
from rlhf_operator.core.indicators import measure
from tests.controller.test_engine import KEY, Metrics, World, at, policy, scripted

MAX = {"name": "unsafe", "class": "Safety", "indicator": {"type": "UnsafeServedRate"},
       "max": "0.02"}  # fmt: skip
ERRORS = {"name": "e", "class": "Quality", "indicator": {"type": "ErrorRate"}, "max": "0.5"}
DOWN = Silence(Problem.SOURCE_DOWN, "down")


def promoted(*slos: dict[str, Any], since: float = 0, **changes: Any) -> Subject:
    return replace(
        Subject(key=KEY, policies=(policy(*(slos or (MAX,))),), version="v2", stable=None,
                since=at(since), promoted=True),
        **changes,
    )  # fmt: skip


class Served(World):
    """A version that answers once a second, with unsafe answers at a rate that may change."""

    def __init__(self, *rates: tuple[int, float], until: int = 3 * 3600) -> None:
        super().__init__()
        unsafe, responses = self.guard()
        events, place = 0.0, 0
        for second in range(-10, until):
            while place + 1 < len(rates) and second >= rates[place + 1][0]:
                place += 1
            events += rates[place][1]
            stamp = at(second).timestamp()
            unsafe.points.append((stamp, float(int(events)), stamp))
            responses.points.append((stamp, float(second + 10), stamp))

    async def live(self, start: int, end: int, *, every: int = 20) -> None:
        for second in range(start, end, every):
            await self.tick(second)

    @property
    def result(self) -> SLOResult:
        found = self.engine.results(KEY)
        assert found is not None
        return found.results[0]

    @property
    def vigil(self) -> Vigil:
        vigil = self.engine._followed[KEY][0].goals[0].vigil
        assert vigil is not None
        return vigil


async def test_a_slow_breach_is_proven_over_many_windows() -> None:
    """4.5 % against a bound of 2 %: no window of 300 answers proves it, and an hour does."""
    world = Served((-10, 0.045))
    world.engine.follow(promoted())
    await world.live(10, 900)
    assert world.result.verdict is Verdict.INCONCLUSIVE
    await world.live(900, 3600)
    assert world.result.verdict is Verdict.FAILED
    assert "> 0.02: evidence" in world.result.message
    assert world.urgent == [KEY], "told once, at once"


async def test_sudden_harm_after_long_innocence_is_found_within_a_window() -> None:
    world = Served((-10, 0.002), (7200, 0.4))
    world.engine.follow(promoted())
    await world.live(10, 7200, every=50)
    assert world.result.verdict is Verdict.SUCCESSFUL
    await world.live(7200, 7400)
    assert world.result.verdict is Verdict.FAILED


async def test_a_window_costs_no_query_and_tells_nothing() -> None:
    world = Served((-10, 0.002))
    world.engine.follow(promoted())
    await world.live(10, 320)
    told = len(world.told)
    for second in range(320, 1600, 10):
        world.metrics.asked.clear()
        await world.tick(second)
        assert len(world.metrics.asked) == 2, "two counters, and nothing else"
    expected = [(0, 300), (1, 300), (0, 300), (1, 300), (1, 300)]
    assert list(world.vigil._windows.each()) == expected
    assert len(world.told) == told


async def test_a_restarted_operator_reads_the_windows_back() -> None:
    """By one subquery a counter; it then finds what the first would have found."""
    world, other = Served((-10, 0.04)), Served((-10, 0.04))
    for each in (world, other):
        each.engine.follow(promoted())
        await each.live(10, 1000)
    world.restarted().follow(promoted())
    world.metrics.asked.clear()
    await world.live(1000, 1040)
    await other.live(1000, 1040)
    subqueries = [query for query in world.metrics.asked if ":" in query]
    assert len(subqueries) == 2 and len(set(subqueries)) == 2
    assert list(world.vigil._windows.each()) == list(other.vigil._windows.each())
    assert len(world.vigil._windows) == 3
    assert world.result.harm == other.result.harm


async def test_windows_are_read_back_once_the_source_answers() -> None:
    world = Served((-10, 0.04))
    world.metrics.silence = DOWN
    world.engine.follow(promoted(since=-3000))
    world.metrics.now = at(1000)
    world.restarted().follow(promoted())
    await world.live(1000, 1020)
    assert len([query for query in world.metrics.asked if ":" in query]) == 1, "asked once"
    world.metrics.silence = None
    await world.live(1020, 1280)
    assert len(world.vigil._windows) == 1, "not yet; the window that has ended since is there"
    await world.live(1280, 1340)
    assert len(world.vigil._windows) == 4
    assert [samples for _, samples in world.vigil._windows.each()] == [300] * 4


async def test_what_was_counted_before_the_promotion_is_left_out() -> None:
    world = Served((-10, 0.04))
    world.metrics.now = at(1000)
    world.engine.follow(promoted(since=450))
    await world.live(1000, 1040)
    assert [samples for _, samples in world.vigil._windows.each()] == [300]
    assert world.result.samples == 300 + 120


async def test_an_outage_makes_one_long_window_and_loses_nothing() -> None:
    world = Served((-10, 0.01))
    world.engine.follow(promoted())
    await world.live(10, 400)
    world.metrics.silence = DOWN
    await world.live(400, 1700)
    assert world.result.verdict is Verdict.ERROR
    world.metrics.silence = None
    await world.live(1700, 1900)
    assert sum(samples for _, samples in world.vigil._windows.each()) == 1800


async def test_an_edit_of_the_policy_keeps_the_windows() -> None:
    world = Served((-10, 0.04))
    world.engine.follow(promoted())
    await world.live(10, 1600)
    before, vigil = world.result.harm, world.vigil
    edited = policy(MAX | {"minSamples": 9}, ERRORS | {"class": "Informational"})
    world.engine.follow(promoted(policies=(edited,)))
    await world.live(1600, 1620)
    assert world.vigil is vigil
    assert float(world.result.harm or 0) == pytest.approx(float(before or 0), abs=1)
    assert len(vigil._windows) == 5
    stricter = policy(MAX | {"max": "0.005"})
    world.engine.follow(promoted(policies=(stricter,)))
    await world.live(1620, 1640)
    assert world.result.verdict is Verdict.FAILED, "what was counted is judged by the new bound"


async def test_another_weight_begins_anew() -> None:
    world = Served((-10, 0.04))
    world.engine.follow(promoted())
    await world.live(10, 1600)
    world.engine.follow(promoted(since=1600))
    await world.live(1610, 1620)
    assert len(world.vigil._windows) == 0 and world.result.samples == 10


async def test_a_version_is_compared_with_its_own_run() -> None:
    world = Served((-10, 0.2))
    slo = {"name": "unsafe", "class": "Quality", "indicator": {"type": "GuardBlockRate"},
           "versusStable": {"ratio": "1.5"}}  # fmt: skip
    unsafe, responses = world.metrics.series
    unsafe.labels["__name__"] = "rlhf_guard_blocked_responses_total"
    known = BaselineRecord(
        slo="p/unsafe", events=100, samples=2000,
        measure=f"{unsafe.labels['__name__']} / {responses.labels['__name__']}",
    )  # fmt: skip
    world.engine.follow(promoted(slo))
    await world.live(10, 600)
    assert "no baseline" in world.result.message
    world.engine.follow(promoted(slo, baseline=(known,)))
    await world.live(600, 700)
    assert world.result.verdict is Verdict.FAILED
    assert "what its own run and versusStable allow" in world.result.message


async def test_fast_burn_fails_also_where_plain_numbers_are_compared() -> None:
    world = Served((-10, 0.35))
    world.engine.follow(promoted(MAX | {"failureLimit": 100, "minSamples": 50}))
    await world.live(60, 400)
    assert world.result.verdict is Verdict.FAILED
    assert "spends its budget 18 times as fast as allowed over 1 h" in world.result.message


async def test_a_count_begins_anew_with_each_window() -> None:
    world = Served((-10, 0.0))
    count = {"name": "n", "class": "Safety", "indicator": {"type": "UnsafeServedCount"},
             "maxCount": 0}  # fmt: skip
    unsafe = world.metrics.series[0]
    unsafe.points = [(t, v + (t > at(100).timestamp()), s) for t, v, s in unsafe.points]
    world.engine.follow(promoted(count))
    await world.live(10, 100)
    assert world.result.verdict is Verdict.SUCCESSFUL
    await world.live(100, 140)
    assert world.result.verdict is Verdict.FAILED
    await world.live(140, 340)
    assert (world.result.verdict, world.result.events) == (Verdict.SUCCESSFUL, 0)


def grown(metrics: Metrics, name: str, since: float) -> int:
    """What all series of a counter truly grew after an instant, as far as scrapes show."""
    found = 0.0
    for series in metrics.series:
        if series.labels["__name__"] == name:
            points = [(time, value) for time, value, _ in series.points]
            found += delta(points, at(since).timestamp(), at(-30).timestamp())
    return round(found)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), interval=st.sampled_from([0.3, 1, 7]))
async def test_windows_are_exact_through_resets_gaps_and_late_scrapes(
    seed: int, interval: float
) -> None:
    """A window ends at 0, in the middle of the script."""
    random, world = Random(seed), World()
    for pod in range(random.randint(1, 3)):
        scripted(random, world.metrics, pod, -25)
    second = -24.0
    world.metrics.now = at(second)
    world.engine.follow(promoted(ERRORS, since=-25))
    while second < 85:
        down = random.random() < 0.15
        world.metrics.silence = DOWN if down else None
        await world.tick(second)
        second += random.choice([interval, 1, 1])
    world.metrics.silence = None
    await world.tick(86)
    [goal] = world.engine._followed[KEY][0].goals
    assert goal.vigil is not None
    (ended,) = goal.vigil._windows.each()
    names = (GUARD_ERRORS.name, GUARD_REQUESTS.name)
    whole = tuple(grown(world.metrics, name, -25) for name in names)
    after = tuple(grown(world.metrics, name, 0) for name in names)
    assert ended == (whole[0] - after[0], whole[1] - after[1])
    reader = world.engine._readers["default"]
    tally = reader.ledger.tally(
        ("shop", "support"), "v2", goal.objective.measure, goal.starts["v2"].mark
    )
    assert tally is not None and (tally.events, tally.samples) == after
    assert goal.vigil.start == at(0).timestamp()


LENGTH = {"name": "long", "class": "Quality", "indicator": {"type": "ResponseLength"},
          "versusStable": {"difference": "100", "method": "Threshold"}}  # fmt: skip
SLOW = {
    "name": "slow", "class": "Performance",
    "query": {"promQL": "sum by (namespace, rlhf_model, rlhf_version) (rate(d[1m]))",
              "samples": "rlhf_guard_responses_total", "betterWhen": "Lower"},
    "versusStable": {"difference": "1", "method": "Threshold"},
}  # fmt: skip


class Lengths(Served):
    """Answers of 800 tokens, a little more or less, and from a moment on of more."""

    def __init__(self, later: float, since: int = 2 * 3600) -> None:
        super().__init__((-10, 0.0))
        total = 0.0
        sums = self.metrics.add("rlhf_guard_response_length_tokens_sum")
        counts = self.metrics.add("rlhf_guard_response_length_tokens_count")
        for second in range(-10, 3 * 3600):
            wobble = 10 if second // 300 % 2 else -10
            total += (800 if second < since else later) + wobble
            stamp = at(second).timestamp()
            sums.points.append((stamp, total, stamp))
            counts.points.append((stamp, float(second + 11), stamp))


async def test_a_mean_that_drifts_from_its_first_hour_is_found() -> None:
    world = Lengths(later=900)
    world.engine.follow(promoted(LENGTH))
    await world.live(10, 3600, every=50)
    assert "11 of 12 windows" in world.result.message
    await world.live(3600, 7200, every=50)
    assert world.result.verdict is Verdict.INCONCLUSIVE
    assert "as its first hour's 800, so far" in world.result.message
    await world.live(7200, 8100, every=50)
    assert world.result.verdict is Verdict.FAILED
    assert "has moved from its first hour's 800" in world.result.message


async def test_the_baseline_of_a_mean_is_handed_out_until_it_is_on_record() -> None:
    world = Lengths(later=900)
    world.engine.follow(promoted(LENGTH))
    await world.live(10, 3500, every=50)
    found = world.engine.results(KEY)
    assert found is not None and found.baselines == ()
    await world.live(3500, 4000, every=50)
    found = world.engine.results(KEY)
    assert found is not None
    (record,) = found.baselines
    assert record.slo == "p/long" and float(record.mean or 0) == pytest.approx(800, abs=1)
    vigil = world.vigil
    world.engine.follow(promoted(LENGTH, baseline=(record,)))
    await world.live(4000, 4050, every=50)
    found = world.engine.results(KEY)
    assert found is not None and found.baselines == () and world.vigil is vigil
    world.restarted().follow(promoted(LENGTH, baseline=(record,)))
    await world.live(7000, 8100, every=50)
    assert world.result.verdict is Verdict.FAILED, "the baseline outlives the process"


async def test_an_expression_that_drifts_is_found_too() -> None:
    world = Served((-10, 0.0))
    world.engine.follow(promoted(SLOW))
    labels = {"namespace": "shop", "rlhf_model": "support", "rlhf_version": "v2"}
    verdicts = []
    for second in range(10, 7200, 50):
        value = 2.0 + (0.1 if second % 100 else -0.1) + (2.0 if second > 5400 else 0.0)
        text = SLOW["query"]["promQL"]  # type: ignore[index]
        world.metrics.values = {text: (Series(labels, [(at(second).timestamp(), value)]),)}
        await world.tick(second)
        found = world.engine.results(KEY)
        verdicts.append(found.results[0].verdict if found else None)
    assert Verdict.FAILED not in verdicts[: 5400 // 50]
    assert verdicts[-1] is Verdict.FAILED


@pytest.mark.parametrize("models", [1, 30])
async def test_windows_are_read_back_by_one_subquery_for_all_models(
    models: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recall, "FEW", 20)
    world = World()
    for number in range(models):
        labels = {"rlhf_model": f"m{number}"}
        names = (GUARD_ERRORS.name, GUARD_REQUESTS.name)
        world.grow(1000, *((world.metrics.add(name, **labels), 1.0) for name in names))
        world.metrics.now = at(950)
        key = replace(KEY, name=f"m{number}")
        world.engine.follow(promoted(ERRORS, key=key))
    await world.tick(950)
    await world.tick(951)
    asked = [query for query in world.metrics.asked if ":" in query]
    assert len(asked) == 2
    assert all(("rlhf_model" in query) is (models == 1) for query in asked)
    for (followed,) in world.engine._followed.values():
        vigil = followed.goals[0].vigil
        assert vigil is not None and list(vigil._windows.each()) == [(300, 300)] * 3


REWARDED = {"name": "reward", "class": "Quality", "indicator": {"type": "RewardScore"},
            "versusStable": {"difference": "0.3"}}  # fmt: skip
REWARD_MEASURE = str(measure(policy(REWARDED).slos[0]))


class Rewards(World):
    """Ten answers are scored a second, half of them one above the mean and half one below.

    Each part is (from when, which reward model, what mean), up to the next part.
    """

    def __init__(self, *parts: tuple[int, str, float], until: int = 4 * 3600) -> None:
        super().__init__()
        ends = [*(begins for begins, _, _ in parts[1:]), until]
        spans = [(*part, end) for part, end in zip(parts, ends, strict=True)]
        for scorer in dict.fromkeys(scorer for _, scorer, _ in parts):
            mine = [(begins, mean, end) for begins, who, mean, end in spans if who == scorer]
            self.score(scorer, mine, until)

    def score(self, scorer: str, parts: list[tuple[int, float, int]], until: int) -> None:
        """One evaluator's series; where it scores no more it goes on exporting its counts."""
        about = {"about_version": "v2", "reward_model": scorer}
        positive, negative = (
            self.metrics.add(EVALUATOR_REWARD_SUM.name, "v1", "e", **about, sign=sign)
            for sign in ("positive", "negative")
        )
        number = self.metrics.add(EVALUATOR_REWARDS.name, "v1", "e", **about)
        squares = self.metrics.add(EVALUATOR_REWARD_SQUARES.name, "v1", "e", **about)
        for second in range(parts[0][0], until, 10):
            stamp = at(second).timestamp()
            lasted = [(mean, max(0, min(second, end) - begins)) for begins, mean, end in parts]
            for scraped, rates in (
                (number, [10.0 for _ in parts]),
                (positive, [5 * (mean + 1) for mean, _ in lasted]),
                (negative, [5 * (1 - mean) for mean, _ in lasted]),
                (squares, [5 * ((mean + 1) ** 2 + (mean - 1) ** 2) for mean, _ in lasted]),
            ):
                grown = sum(rate * s for rate, (_, s) in zip(rates, lasted, strict=True))
                scraped.points.append((stamp, grown, stamp))

    async def live(self, start: int, end: int, *, every: int = 100) -> None:
        for second in range(start, end, every):
            await self.tick(second)

    @property
    def assessed(self) -> Assessment:
        found = self.engine.results(KEY)
        assert found is not None
        return found

    @property
    def result(self) -> SLOResult:
        return self.assessed.results[0]


async def test_another_reward_model_begins_another_baseline() -> None:
    """Its scores say nothing of a version beside those of the one before, and fail nothing."""
    world = Rewards((-10, "rm-a", 1.0), (5400, "rm-b", 0.2))
    world.engine.follow(promoted(REWARDED))
    await world.live(10, 5400)
    (first,) = world.assessed.baselines
    assert (first.scorer, first.mean) == ("rm-a", "1")
    world.engine.follow(promoted(REWARDED, baseline=(first,)))
    await world.live(5400, 9000)
    assert world.result.verdict is Verdict.INCONCLUSIVE, world.result.message
    assert "rm-b scores it now" in world.result.message
    await world.live(9000, 10800)
    (second,) = world.assessed.baselines
    assert (second.scorer, second.mean) == ("rm-b", "0.2")
    assert world.result.verdict is Verdict.INCONCLUSIVE, world.result.message


async def test_a_fall_under_another_reward_model_is_found_against_its_own_baseline() -> None:
    known = BaselineRecord(slo="p/reward", measure=REWARD_MEASURE, scorer="rm-a", mean="1",
                           deviation="0.01")  # fmt: skip
    world = Rewards((-10, "rm-b", 0.2), (7200, "rm-b", -0.4))
    world.engine.follow(promoted(REWARDED, baseline=(known,)))
    await world.live(10, 7200)
    assert world.result.verdict is Verdict.INCONCLUSIVE, world.result.message
    await world.live(7200, 9000)
    assert world.result.verdict is Verdict.FAILED
    assert "has moved from its first hour's 0.2" in world.result.message
