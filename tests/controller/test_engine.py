from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_operator.api.evidence import Checkpoint, FirstCounts, Verdict
from rlhf_operator.api.measurements import Answer, Problem, Series, Silence
from rlhf_operator.api.metrics import (
    EVALUATOR_DIVERGENCE_SQUARES,
    EVALUATOR_DIVERGENCE_SUM,
    EVALUATOR_DIVERGENCES,
    EVALUATOR_REWARD_SQUARES,
    EVALUATOR_REWARD_SUM,
    EVALUATOR_REWARDS,
    GUARD_ERRORS,
    GUARD_FEEDBACK,
    GUARD_FIRST_EVENTS,
    GUARD_FIRST_FEEDBACK,
    GUARD_FIRST_SAMPLES,
    GUARD_GENERATED_RESPONSES,
    GUARD_INFO,
    GUARD_REQUESTS,
    GUARD_RESPONSE_LENGTH,
    GUARD_RESPONSE_LENGTH_SQUARES,
    GUARD_RESPONSES,
    GUARD_UNSAFE_SERVED,
    GUARD_UNSAFE_SERVED_RESPONSES,
)
from rlhf_operator.api.plan import PinnedPolicy
from rlhf_operator.controller.engine import Engine, Subject
from rlhf_operator.core import reward_hacking
from rlhf_operator.core.observed import Key
from tests import builders

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
KEY = Key(namespace="shop", name="support")
SECOND = timedelta(seconds=1)
_SUBQUERY = re.compile(r'(\w+)(?:\{rlhf_model=~"(.*?)"\})?\[(\d+)s:(\d+)s\]')
_QUERY = re.compile(r'(?:last_over_time\()?(\w+)(?:\{rlhf_model=~"(.*?)"\})?\[(\d+)([sm])\]\)?')


def at(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


@dataclass
class Scraped:
    """One series: (time, value, when it becomes visible)."""

    labels: dict[str, str]
    points: list[tuple[float, float, float]] = field(default_factory=list)


class Metrics:
    """Answers as Prometheus does, from series that a test scripts; the clock is the test's."""

    scrape_interval = SECOND

    def __init__(self) -> None:
        self.now = EPOCH
        self.series: list[Scraped] = []
        self.values: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.silence: Silence | None = None
        self.rules: Answer = ()

    def clock(self) -> datetime:
        return self.now

    def add(self, name: str, version: str = "v2", pod: str = "a", **labels: str) -> Scraped:
        target = {"namespace": "shop", "rlhf_model": "support", "rlhf_version": version}
        made = Scraped({"__name__": name, "pod": pod} | target | labels)
        self.series.append(made)
        return made

    async def range_vector(self, query: str, at: datetime) -> Answer:
        self.asked.append(query)
        if self.silence is not None:
            return self.silence
        if ":" in query:
            return tuple(self._sampled(query, at.timestamp()))
        return tuple(self._chosen(query, at.timestamp()))

    async def instant(self, query: str, at: datetime) -> Answer:
        if query == GUARD_INFO.name:
            return self.rules
        self.asked.append(query)
        if self.silence is not None:
            return self.silence
        when = at.timestamp()
        return tuple(
            Series(each.labels, [(when, each.points[-1][1])]) for each in self._chosen(query, when)
        )

    async def expression(self, query: str, at: datetime) -> Answer:
        self.asked.append(query)
        return self.values.get(query, ())

    def _sampled(self, query: str, end: float) -> Iterable[Series]:
        """Answer a subquery: each series' value at the multiples of the step."""
        found = _SUBQUERY.fullmatch(query)
        assert found, query
        name, models, span, step = found.group(1), found.group(2), *map(int, found.groups()[2:])
        times = [t for t in range(int(end) - span, int(end) + 1) if t % step == 0]
        for each in self.series:
            if each.labels["__name__"] != name:
                continue
            if models is not None and each.labels["rlhf_model"] not in models.split("|"):
                continue
            # Prometheus looks five minutes back for a value.
            seen = [(t, v) for t, v, visible in each.points if visible <= self.now.timestamp()]
            points = [
                (float(time), before[-1][1])
                for time in times
                if (before := [(t, v) for t, v in seen if time - 300 < t <= time])
            ]
            if points:
                yield Series(dict(each.labels), points)

    def _chosen(self, query: str, end: float) -> Iterable[Series]:
        found = _QUERY.fullmatch(query)
        assert found, query
        name, models, number, unit = found.groups()
        start = end - int(number) * {"s": 1, "m": 60}[unit]
        for each in self.series:
            fits = models is None or each.labels["rlhf_model"] in models.split("|")
            if each.labels["__name__"] == name and fits:
                shown = [
                    (t, v)
                    for t, v, visible in each.points
                    if start <= t <= end and visible <= self.now.timestamp()
                ]
                if shown:
                    yield Series(dict(each.labels), shown)


def policy(*slos: dict[str, object], source: str = "default") -> PinnedPolicy:
    body = {"name": "p", "metricSource": source, "interval": "1s", "slos": list(slos)}
    return PinnedPolicy.model_validate(body)


UNSAFE = {
    "name": "unsafe",
    "class": "Safety",
    "indicator": {"type": "UnsafeServedRate"},
    "max": "0.02",
    "minSamples": 100,
    "failureLimit": 1,
}
CSAE = {
    "name": "csae",
    "class": "Safety",
    "indicator": {"type": "UnsafeServedCount", "categories": ["csae"]},
    "maxCount": 0,
}
LATENCY: dict[str, object] = {
    "name": "p95",
    "class": "Performance",
    "query": {
        "promQL": "sum by (namespace, rlhf_model, rlhf_version) (rate(d[1m]))",
        "samples": "n_total",
        "betterWhen": "Lower",
    },
    "max": "2.5",
}
BARE = {"namespace": "shop", "rlhf_model": "support"}


def subject(*slos: dict[str, object], since: float = 0, stable: str | None = None) -> Subject:
    chosen = policy(*(slos or (UNSAFE,)))
    return Subject(key=KEY, policies=(chosen,), version="v2", stable=stable, since=at(since))


class World:
    """An engine, its metrics, and whom it told."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.told: list[Key] = []
        self.urgent: list[Key] = []
        self.engine = self.restarted()

    def tell(self, key: Key, failed: bool) -> None:
        self.told.append(key)
        if failed:
            self.urgent.append(key)

    def restarted(self) -> Engine:
        self.engine = Engine(
            sources={"default": self.metrics}, now=self.metrics.clock, notify=self.tell
        )
        return self.engine

    async def tick(self, seconds: float) -> None:
        self.metrics.now = at(seconds)
        await self.engine.tick()

    def grow(self, until: int, *counters: tuple[Scraped, float], start: int = -10) -> None:
        for scraped, per_second in counters:
            scraped.points = [
                (at(t).timestamp(), max(0.0, per_second * (t - start)), at(t).timestamp())
                for t in range(start, until + 1)
            ]

    def guard(self, version: str = "v2") -> tuple[Scraped, Scraped]:
        unsafe = self.metrics.add(GUARD_UNSAFE_SERVED_RESPONSES.name, version)
        return unsafe, self.metrics.add(GUARD_RESPONSES.name, version)


async def test_counts_begin_at_the_last_weight_change() -> None:
    world = World()
    unsafe, responses = world.guard()
    world.grow(20, (unsafe, 1), (responses, 100))
    world.engine.follow(subject(since=10))
    await world.tick(20)
    found = world.engine.results(KEY)
    assert found is not None
    [result] = found.results
    assert (result.events, result.samples, result.value) == (10, 1000, "0.01")
    assert result.verdict is Verdict.SUCCESSFUL
    assert world.told == [KEY]


async def test_it_tells_when_a_verdict_changes_and_not_on_every_tick() -> None:
    world = World()
    unsafe, responses = world.guard()
    world.grow(40, (unsafe, 0), (responses, 100))
    world.engine.follow(subject())
    for second in range(2, 30):
        await world.tick(second)
    assert world.told == [KEY]
    unsafe.points = [(t, v if t < at(30).timestamp() else 500.0, s) for t, v, s in unsafe.points]
    await world.tick(31)
    await world.tick(32)
    assert world.told == [KEY, KEY]
    assert world.urgent == [KEY], "a failure waits for nothing else"
    found = world.engine.results(KEY)
    assert found is not None
    assert found.results[0].verdict is Verdict.FAILED
    assert found.results[0].message == "unsafe 0.1562 (500 of 3200) > 0.02"


async def test_results_of_another_stratum_or_version_are_never_returned() -> None:
    world = World()
    unsafe, responses = world.guard()
    world.grow(40, (unsafe, 1), (responses, 10))
    world.engine.follow(subject())
    await world.tick(20)
    assert world.engine.results(KEY) is not None
    world.engine.follow(subject(since=20))
    assert world.engine.results(KEY) is None
    await world.tick(31)
    found = world.engine.results(KEY)
    assert found is not None
    assert (found.since, found.results[0].events) == (at(20), 11)
    world.engine.follow(replace(subject(since=20), version="v3"))
    assert world.engine.results(KEY) is None
    world.engine.forget(KEY)
    assert world.engine.results(KEY) is None


async def test_following_the_same_subject_again_changes_nothing() -> None:
    world = World()
    unsafe, responses = world.guard()
    world.grow(40, (unsafe, 1), (responses, 10))
    world.engine.follow(subject())
    await world.tick(20)
    checkpoint = world.engine.checkpoint(KEY, at(20))
    world.engine.follow(replace(subject(), checkpoint=checkpoint))
    assert world.engine.results(KEY) is not None


async def test_a_change_of_weight_costs_no_extra_query() -> None:
    world = World()
    unsafe, responses = world.guard()
    world.grow(60, (unsafe, 1), (responses, 10))
    world.engine.follow(subject())
    await world.tick(20)
    world.metrics.asked.clear()
    world.engine.follow(subject(since=20.5))
    await world.tick(21)
    assert len(world.metrics.asked) == 2


async def test_each_counter_is_asked_once_however_many_models_there_are() -> None:
    world = World()
    for number in range(30):
        key = Key(namespace="shop", name=f"m{number}")
        chosen = policy(UNSAFE, CSAE, {**UNSAFE, "name": "again"})
        world.engine.follow(
            Subject(key=key, policies=(chosen,), version="v1", stable=None, since=at(0))
        )
    await world.tick(10)
    world.metrics.asked.clear()
    await world.tick(11)
    assert sorted(world.metrics.asked) == [
        "rlhf_guard_responses_total[8s]",
        "rlhf_guard_unsafe_served_responses_total[8s]",
        "rlhf_guard_unsafe_served_total[8s]",
    ]


async def test_a_long_time_is_read_in_pieces_that_fit_the_memory() -> None:
    world = World()
    unsafe, responses = world.guard()
    world.grow(200, (unsafe, 1), (responses, 100))
    world.engine.follow(subject())
    await world.tick(200)
    asked = [_QUERY.fullmatch(query) for query in world.metrics.asked if "last" not in query]
    spans = [int(query[3]) for query in asked if query is not None]
    assert max(spans) == 30, "no more than thirty scrapes at once"
    found = world.engine.results(KEY)
    assert found is not None and found.results[0].samples == 20000, "and nothing is lost between"


def test_equal_policies_are_kept_once() -> None:
    world = World()
    for name in ("one", "two"):
        world.engine.follow(replace(subject(), key=replace(KEY, name=name)))
    (one,), (two,) = world.engine._followed.values()
    assert one.subject.policies is two.subject.policies
    assert one.goals[0].objective is two.goals[0].objective
    assert one.goals[0] is not two.goals[0]


@pytest.mark.parametrize(
    ("problem", "verdict"),
    [(Problem.SOURCE_DOWN, Verdict.ERROR), (Problem.PARTIAL, Verdict.INCONCLUSIVE)],
)
async def test_silence_neither_fails_nor_passes_and_resumes_by_itself(
    problem: Problem, verdict: Verdict
) -> None:
    world = World()
    unsafe, responses = world.guard()
    world.grow(200, (unsafe, 0), (responses, 100))
    world.engine.follow(subject())
    await world.tick(10)
    world.metrics.silence = Silence(problem, "no answer")
    await world.tick(11)
    found = world.engine.results(KEY)
    assert found is not None
    assert found.results[0].verdict is verdict
    assert found.results[0].samples is None
    await world.tick(100)
    world.metrics.silence = None
    await world.tick(120)
    found = world.engine.results(KEY)
    assert found is not None
    assert found.results[0].verdict is Verdict.SUCCESSFUL
    assert found.results[0].samples == 12000


async def test_a_counted_safety_event_stays_failed_when_the_source_goes_away() -> None:
    world = World()
    csae = world.metrics.add(GUARD_UNSAFE_SERVED.name, category="csae")
    world.grow(10, (world.guard()[1], 10), (csae, 0.3), start=0)
    world.engine.follow(subject(CSAE))
    await world.tick(10)
    world.metrics.silence = Silence(Problem.SOURCE_DOWN, "no answer")
    await world.tick(60)
    found = world.engine.results(KEY)
    assert found is not None
    assert found.results[0].verdict is Verdict.FAILED


async def test_a_category_that_no_rule_looks_for_is_not_zero() -> None:
    world = World()
    world.grow(10, (world.guard()[1], 10))
    world.engine.follow(subject(CSAE))
    await world.tick(10)
    found = world.engine.results(KEY)
    assert found is not None
    assert found.results[0].verdict is Verdict.INCONCLUSIVE
    assert 'category="csae"' in found.results[0].message
    assert "no stage of the guard that looks at answers is known to" in found.results[0].message


async def test_refusals_that_no_pattern_tells_are_not_zero() -> None:
    refusals: dict[str, object] = {
        "name": "refusals", "class": "Quality", "indicator": {"type": "RefusalRate"}, "max": "0.1",
    }  # fmt: skip
    world = World()
    world.engine.follow(subject(refusals))
    for seconds, said in ((10, "refusals: no series"), (30, "guard.refusalPatterns is empty")):
        await world.tick(seconds)
        found = world.engine.results(KEY)
        assert found is not None
        assert found.results[0].verdict is Verdict.INCONCLUSIVE
        assert said in found.results[0].message
        world.grow(30, (world.metrics.add(GUARD_GENERATED_RESPONSES.name), 10))


async def test_points_that_no_longer_come_are_stale() -> None:
    world = World()
    world.grow(10, *((each, 10) for each in world.guard()))
    world.engine.follow(subject({**UNSAFE, "max": "1"}))
    await world.tick(10)
    await world.tick(18)
    found = world.engine.results(KEY)
    assert found is not None
    assert found.results[0].verdict is Verdict.INCONCLUSIVE
    assert "8 s old" in found.results[0].message


async def test_stable_is_judged_by_its_own_safety_bounds() -> None:
    world = World()
    world.grow(10, *zip(world.guard("v1"), (1, 10), strict=True))
    world.grow(10, *zip(world.guard("v2"), (0, 10), strict=True))
    world.engine.follow(subject(stable="v1", since=-9))
    await world.tick(10)
    found = world.engine.results(KEY)
    assert found is not None
    assert [each.verdict for each in found.results] == [Verdict.SUCCESSFUL]
    assert [each.verdict for each in found.stable_results] == [Verdict.FAILED]
    assert found.stable_results[0].version == "v1"


@pytest.mark.parametrize(
    ("sentence", "answer", "verdict", "said"),
    [
        ("one good value", [1.0], Verdict.SUCCESSFUL, "within max 2.5"),
        ("one bad value", [3.0], Verdict.FAILED, "3 (of 1000) > 2.5"),
        ("no value", [], Verdict.INCONCLUSIVE, "yields nothing for version v2"),
        ("two values", [1.0, 1.0], Verdict.INCONCLUSIVE, "several series"),
        ("NaN", [float("nan")], Verdict.INCONCLUSIVE, "not a number"),
        ("no answer", None, Verdict.ERROR, "timed out"),
    ],
)
async def test_a_teams_query(
    sentence: str, answer: list[float] | None, verdict: Verdict, said: str
) -> None:
    world = World()
    text = LATENCY["query"]["promQL"]  # type: ignore[index]
    labels = {**BARE, "rlhf_version": "v2"}
    world.grow(100, (world.metrics.add("n_total"), 10))
    world.metrics.values[text] = (
        Silence(Problem.SOURCE_DOWN, "timed out")
        if answer is None
        else tuple(Series({**labels, "x": str(n)}, [(0.0, v)]) for n, v in enumerate(answer))
    )
    world.engine.follow(subject(LATENCY))
    await world.tick(30)
    early = world.engine.results(KEY)
    assert early is not None
    assert early.results[0].verdict in (Verdict.INCONCLUSIVE, Verdict.ERROR)
    await world.tick(100)
    found = world.engine.results(KEY)
    assert found is not None
    assert found.results[0].verdict is verdict
    assert said in found.results[0].message


async def test_queries_are_tried_for_stable() -> None:
    world = World()
    text = LATENCY["query"]["promQL"]  # type: ignore[index]
    slos = (LATENCY, {**LATENCY, "name": "bad", "query": {**LATENCY["query"], "promQL": "1"}})  # type: ignore[dict-item]

    async def tried(*policies: PinnedPolicy) -> tuple[str, ...]:
        return await world.engine.try_queries(policies, "shop", "support", "v1")

    refused = "p/bad: query refused: it yields one number for all models"
    nothing, wrong = await tried(policy(*slos))
    assert nothing == "p/p95: the query yields nothing for version v1"
    assert wrong.startswith(refused)
    world.metrics.values[text] = (Series({**BARE, "rlhf_version": "v1"}, [(0.0, 1.0)]),)
    assert (await tried(policy(LATENCY)))[0].startswith("p/p95: samples: no fresh series n_total")
    world.grow(0, (world.metrics.add("n_total", "v1"), 10))
    assert await tried(policy(LATENCY)) == ()
    assert "not configured" in (await tried(policy(LATENCY, source="elsewhere")))[0]


async def test_an_unknown_source_is_an_error() -> None:
    world = World()
    chosen = policy(UNSAFE, source="elsewhere")
    world.engine.follow(
        Subject(key=KEY, policies=(chosen,), version="v2", stable=None, since=at(0))
    )
    await world.tick(10)
    found = world.engine.results(KEY)
    assert found is not None
    assert found.results[0].verdict is Verdict.ERROR
    assert "elsewhere is not configured" in found.results[0].message


async def test_the_loop_runs_by_the_clock_and_stops() -> None:
    world = World()
    loop = asyncio.get_running_loop()
    began = loop.time()
    engine = Engine(
        sources={"default": world.metrics},
        now=lambda: at(loop.time() - began),
        notify=world.tell,
    )
    world.grow(20, *((each, 10) for each in world.guard()))
    world.metrics.now = at(20)
    running = asyncio.create_task(engine.run())
    engine.follow(subject())
    while not world.told:
        await asyncio.sleep(0.05)
    await asyncio.sleep(1.3)  # at least another round
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled() and not any(not task.done() for task in engine._running.values())
    assert len(world.told) == 1


async def test_rounds_wait_while_many_failures_wait_to_be_acted_on() -> None:
    world, crowded = World(), True
    loop = asyncio.get_running_loop()
    began = loop.time()
    engine = Engine(
        sources={"default": world.metrics},
        now=lambda: at(loop.time() - began),
        notify=world.tell,
        crowded=lambda: crowded,
    )
    world.grow(20, *((each, 10) for each in world.guard()))
    world.metrics.now = at(20)
    running = asyncio.create_task(engine.run())
    engine.follow(subject())
    await asyncio.sleep(1.3)
    assert world.told == [] and world.metrics.asked == []
    crowded = False
    while not world.told:
        await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled() and not any(not task.done() for task in engine._running.values())


async def test_what_was_good_is_no_success_when_no_round_has_judged_it_for_long() -> None:
    world = World()
    world.grow(400, *((each, rate) for each, rate in zip(world.guard(), (0.1, 100), strict=True)))
    world.engine.follow(subject())

    async def verdict(seconds: float) -> tuple[Verdict, str, int | None]:
        world.metrics.now = at(seconds)
        found = world.engine.results(KEY)
        assert found is not None
        return found.results[0].verdict, found.results[0].message, found.results[0].samples

    await world.tick(60)
    assert (await verdict(90))[0] is Verdict.SUCCESSFUL
    late = (Verdict.ERROR, "unsafe: not judged for 240 s", None)
    assert await verdict(300) == late, "and Safety is blind"
    await world.tick(300)
    assert (await verdict(300))[0] is Verdict.SUCCESSFUL


async def test_a_failure_stands_however_long_ago_it_was_judged() -> None:
    world = World()
    world.grow(400, *((each, 100) for each in world.guard()))
    world.engine.follow(subject())
    await world.tick(60)
    world.metrics.now = at(300)
    found = world.engine.results(KEY)
    assert found is not None and found.results[0].verdict is Verdict.FAILED


# -- exact counts, whatever happens ---------------------------------------------------------------


def scripted(random: Random, metrics: Metrics, pod: int, since: float) -> tuple[int, int]:
    """Script one pod; return its true counts since the weight change."""
    born = random.choice([-30.0, -30.0, random.uniform(-29, 50)])
    died = random.choice([80.0, 80.0, random.uniform(born + 1, 80)])
    names = (GUARD_ERRORS.name, GUARD_REQUESTS.name)
    series = [metrics.add(name, pod=f"pod-{pod}") for name in names]
    values = [random.randrange(100) if born == -30 else 0 for _ in names]
    before: list[float | None] = [None, None]
    true, visible, time = [0, 0], 0.0, born
    while time < died:
        if random.random() < 0.03:
            values = [0, 0]
        step = random.randrange(0, 5)
        values = [values[0] + random.randint(0, step), values[1] + step]
        if random.random() > 0.1 or before[0] is None:
            visible = max(visible, at(time).timestamp() + random.uniform(0, 2))
            for index, value in enumerate(values):
                stamp = round(at(time).timestamp(), 3)
                series[index].points.append((stamp, float(value), visible))
                if stamp > at(since).timestamp():
                    base = before[index]
                    grown = value if base is None or value < base else value - base
                    true[index] += int(grown)
                before[index] = value
        time += random.uniform(0.8, 1.2) if random.random() > 0.03 else random.uniform(5, 20)
    return true[0], true[1]


async def live(random: Random, world: World, since: float, restarts: bool) -> None:
    """Run the engine through the script, with reads that fail and, if wanted, restarts."""
    asked = subject(
        {"name": "e", "class": "Quality", "indicator": {"type": "ErrorRate"}, "max": "1"},
        since=since,
    )
    saved: Checkpoint | None = None
    second = since + random.uniform(0, 3)
    world.engine.follow(asked)
    while second < 85:
        down = random.random() < 0.15
        world.metrics.silence = Silence(Problem.SOURCE_DOWN, "down") if down else None
        await world.tick(second)
        if random.random() < 0.3:
            saved = world.engine.checkpoint(KEY, at(second)) or saved
        if restarts and random.random() < 0.1:
            kept = saved and Checkpoint.model_validate(saved.dump())
            world.restarted().follow(replace(asked, checkpoint=kept))
        second += random.choice([0.3, 1, 1, 1, 7])
    world.metrics.silence = None
    await world.tick(86)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), since=st.floats(0, 40), restarts=st.booleans())
async def test_counts_are_exact_through_resets_gaps_late_scrapes_and_restarts(
    seed: int, since: float, restarts: bool
) -> None:
    random, world = Random(seed), World()
    since = round(since, 3)
    true = [scripted(random, world.metrics, pod, since) for pod in range(random.randint(1, 3))]
    await live(random, world, since, restarts)
    [goal] = world.engine._followed[KEY][0].goals
    reader = world.engine._readers["default"]
    start = goal.starts["v2"]
    tally = reader.ledger.tally(("shop", "support"), "v2", goal.objective.measure, start.mark)
    assert tally is not None
    counted = (start.events + tally.events, start.samples + tally.samples)
    assert counted == tuple(map(sum, zip(*true, strict=True)))


async def test_a_model_forgotten_in_the_middle_of_a_round_does_no_harm() -> None:
    world = World()
    world.engine.follow(subject())
    (reader,) = world.engine._readers.values()
    gone = ("shop", "gone-meanwhile")
    await reader.read(GUARD_RESPONSES.name, [gone, ("shop", "support")], at(1))
    assert not reader.ledger.knows(gone)


async def test_a_stretch_of_a_judged_rate_ends_every_five_minutes() -> None:
    """Both arms' counts are kept apart by time, and go on record with the checkpoint."""
    rate = {
        "name": "unsafe", "class": "Safety", "indicator": {"type": "UnsafeServedRate"},
        "max": "0.5", "versusStable": {"ratio": "1.5"},
    }  # fmt: skip
    world = World()
    for version in ("v1", "v2"):
        world.grow(700, *zip(world.guard(version), (1, 10), strict=True))
    world.engine.follow(subject(rate, stable="v1", since=0))
    for second in (100, 299, 301, 500, 650):
        await world.tick(second)
    checkpoint = world.engine.checkpoint(KEY, at(650))
    assert checkpoint is not None
    first, second_one = checkpoint.strata
    assert (first.slo, first.samples, first.stable_samples) == ("p/unsafe", 3010, 3010)
    assert (first.events, first.stable_events) == (301, 301)
    assert second_one.samples == 6500 - 3010
    found = world.engine.results(KEY)
    assert found is not None and found.results[0].harm is not None


STICKY = {
    "name": "unsafe", "class": "Safety", "indicator": {"type": "UnsafeServedRate"},
    "versusStable": {"ratio": "1.5"},
}  # fmt: skip


def sticky_world() -> World:
    """A minute of two versions: two flags a second on the canary, all of one user."""
    world = World()
    for version, flags in (("v1", 0.2), ("v2", 2)):
        world.grow(60, *zip(world.guard(version), (flags, 10), strict=True))
    return world


def firsts(world: World, version: str, events: float, samples: float) -> None:
    for name, per_second in ((GUARD_FIRST_EVENTS, events), (GUARD_FIRST_SAMPLES, samples)):
        for kind, rate in (("unsafe_served", per_second), ("error", 5.0)):
            world.grow(60, (world.metrics.add(name.name, version, kind=kind), rate))


async def test_users_are_compared_where_they_stay_with_their_version() -> None:
    world = sticky_world()
    firsts(world, "v1", 0.2, 10)
    firsts(world, "v2", 0.2, 9)
    world.engine.follow(replace(subject(STICKY, stable="v1", since=0), sticky=True))
    await world.tick(60)
    found = world.engine.results(KEY)
    assert found is not None
    [result] = found.results
    assert (result.events, result.samples) == (120, 600)
    assert result.firsts is not None
    assert (result.firsts.events, result.firsts.samples) == (12, 540)
    assert (result.firsts.stable_events, result.firsts.stable_samples) == (12, 600)
    assert result.verdict is Verdict.INCONCLUSIVE, result.message
    assert len({query.split("[")[0].split("{")[0] for query in world.metrics.asked
                if not query.startswith("last")}) == 4  # fmt: skip


async def test_a_maximum_counts_each_user_once_on_both_versions() -> None:
    """One attacker on each of them breaks nothing; counted by answers, 20 % are over 5 %."""
    world = World()
    for version in ("v1", "v2"):
        world.grow(60, *zip(world.guard(version), (2, 10), strict=True))
        firsts(world, version, 0.02, 9)
    capped = {name: value for name, value in STICKY.items() if name != "versusStable"}
    world.engine.follow(replace(subject(capped | {"max": "0.05"}, stable="v1"), sticky=True))
    for second in (20, 40, 60):
        await world.tick(second)
    found = world.engine.results(KEY)
    assert found is not None
    verdicts = [each.verdict for each in (*found.results, *found.stable_results)]
    assert verdicts == [Verdict.SUCCESSFUL] * 2, found.results[0].message
    assert "each user once" in found.results[0].message


async def test_answers_are_compared_where_chance_decides_on_each() -> None:
    world = sticky_world()
    firsts(world, "v1", 0.2, 10)
    firsts(world, "v2", 0.2, 9)
    world.engine.follow(subject(STICKY, stable="v1", since=0))
    await world.tick(60)
    found = world.engine.results(KEY)
    assert found is not None
    assert found.results[0].verdict is Verdict.FAILED
    assert found.results[0].firsts is None
    assert not any("first" in query for query in world.metrics.asked)


async def test_a_guard_of_an_older_image_makes_answers_count_and_it_is_told() -> None:
    world = sticky_world()
    firsts(world, "v2", 0.2, 9)
    world.engine.follow(replace(subject(STICKY, stable="v1", since=0), sticky=True))
    await world.tick(60)
    found = world.engine.results(KEY)
    assert found is not None
    assert found.results[0].verdict is Verdict.FAILED
    assert "answers are counted, for users are not told apart" in found.results[0].message


THUMBS: dict[str, object] = {
    "name": "thumbs", "class": "Quality", "indicator": {"type": "ThumbsDownRate"},
    "versusStable": {"ratio": "1.5"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("told", "verdict", "says"),
    [
        pytest.param(("v1", "v2"), Verdict.INCONCLUSIVE, "each user once", id="one account"),
        pytest.param(("v2",), Verdict.FAILED, "answers are counted, for users are not told apart",
                     id="an older guard on stable: all its votes, and it is told"),
    ],
)  # fmt: skip
async def test_one_account_decides_nothing_by_its_votes(
    told: tuple[str, ...], verdict: Verdict, says: str
) -> None:
    """Two thumbs down a second on the canary, all of one user."""
    world = World()
    for version, down in (("v1", 0.2), ("v2", 2)):
        votes = {GUARD_FEEDBACK: (down, 10 - down)}
        votes |= {GUARD_FIRST_FEEDBACK: (0.1, 4.9)} if version in told else {}
        for metric, rates in votes.items():
            for value, rate in zip(("down", "up"), rates, strict=True):
                labels = {"about_version": version, "kind": "thumbs", "value": value}
                world.grow(60, (world.metrics.add(metric.name, "v2", **labels), rate))
    world.engine.follow(replace(subject(THUMBS, stable="v1", since=0), sticky=True))
    await world.tick(60)
    found = world.engine.results(KEY)
    assert found is not None
    assert (found.results[0].verdict, says in found.results[0].message) == (verdict, True)


async def test_chosen_categories_are_compared_by_answers_and_it_is_told() -> None:
    chosen = STICKY | {"indicator": {"type": "UnsafeServedRate", "categories": ["csae"]}}
    world = World()
    for version in ("v1", "v2"):
        unsafe = world.metrics.add(GUARD_UNSAFE_SERVED.name, version, category="csae")
        world.grow(60, (unsafe, 0.2), (world.guard(version)[1], 10))
    world.engine.follow(replace(subject(chosen, stable="v1", since=0), sticky=True))
    await world.tick(60)
    found = world.engine.results(KEY)
    assert found is not None
    assert "answers are counted" in found.results[0].message


async def test_a_successor_counts_users_on_from_the_checkpoint() -> None:
    world = sticky_world()
    firsts(world, "v1", 0.2, 10)
    firsts(world, "v2", 0.2, 9)
    wanted = replace(subject(STICKY, stable="v1", since=0), sticky=True)
    world.engine.follow(wanted)
    for second in (20, 40):
        await world.tick(second)
    checkpoint = world.engine.checkpoint(KEY, at(40))
    assert checkpoint is not None
    counts = {each.version: each for each in checkpoint.counts}
    assert counts["v2"].first_samples is not None
    assert 0 < counts["v2"].first_samples < 540
    engine = world.restarted()
    engine.follow(replace(wanted, checkpoint=checkpoint))
    await world.tick(60)
    found = engine.results(KEY)
    assert found is not None
    assert found.results[0].firsts == FirstCounts(
        events=12, samples=540, stable_events=12, stable_samples=600
    )


REWARD: dict[str, object] = {
    "name": "reward",
    "class": "Quality",
    "indicator": {"type": "RewardScore"},
    "versusStable": {"difference": "0.3"},
}


def scored(world: World, version: str, mean: float, until: int, reward_model: str = "rm") -> None:
    """Ten answers of a version are scored a second: half one above the mean, half below."""
    about = {"about_version": version, "reward_model": reward_model}
    positive, negative = (
        world.metrics.add(EVALUATOR_REWARD_SUM.name, "v1", "e", **about, sign=sign)
        for sign in ("positive", "negative")
    )
    world.grow(
        until,
        (world.metrics.add(EVALUATOR_REWARDS.name, "v1", "e", **about), 10),
        (positive, 5 * (mean + 1)),
        (negative, 5 * (1 - mean)),
        (
            world.metrics.add(EVALUATOR_REWARD_SQUARES.name, "v1", "e", **about),
            5 * (mean + 1) ** 2 + 5 * (mean - 1) ** 2,
        ),
    )


@pytest.mark.parametrize(
    ("canary", "verdict"),
    [
        pytest.param(0.2, Verdict.SUCCESSFUL, id="an equal reward passes"),
        pytest.param(-0.4, Verdict.FAILED, id="a lower one rolls back"),
        pytest.param(-0.1, Verdict.INCONCLUSIVE, id="one at the margin is neither"),
    ],
)
async def test_rewards_are_compared_by_evidence(canary: float, verdict: Verdict) -> None:
    world = World()
    scored(world, "v1", 0.2, 400)
    scored(world, "v2", canary, 400)
    world.engine.follow(subject(REWARD, stable="v1"))
    for second in (100, 301, 390):
        await world.tick(second)
    found = world.engine.results(KEY)
    assert found is not None
    (shown,) = found.results
    assert shown.verdict is verdict, shown.message
    assert shown.difference is not None
    assert float(shown.difference) == pytest.approx(canary - 0.2)
    assert shown.sums is not None and shown.value is not None
    assert float(shown.value) == pytest.approx(canary)


@pytest.mark.parametrize(
    ("down", "suspected"),
    [
        pytest.param(4, True, id="people like its answers less"),
        pytest.param(2, False, id="people see no difference"),
    ],
)
async def test_reward_hacking_is_seen_in_the_counters(down: int, suspected: bool) -> None:
    """Every objective passes, and together they tell."""
    world, scores = World(), {"v1": 0.0, "v2": 0.5}
    divergence = [EVALUATOR_DIVERGENCES, EVALUATOR_DIVERGENCE_SUM, EVALUATOR_DIVERGENCE_SQUARES]
    for version, mean in scores.items():
        scored(world, version, mean, 400)
        about = {"about_version": version, "reference": "sft"}
        for metric, each in zip(
            divergence, (10, 10 * (mean + 1), 15 * (mean + 1) ** 2), strict=True
        ):
            sign = {"sign": "positive"} if metric is EVALUATOR_DIVERGENCE_SUM else {}
            world.grow(400, (world.metrics.add(metric.name, "v1", "e", **about, **sign), each))
        name = EVALUATOR_DIVERGENCE_SUM.name
        world.grow(400, (world.metrics.add(name, "v1", "e", **about, sign="negative"), 0))
        bad = 2 if version == "v1" else down
        for value, votes in (("down", bad), ("up", 20 - bad)):
            labels = {"about_version": version, "kind": "thumbs", "value": value}
            world.grow(400, (world.metrics.add(GUARD_FEEDBACK.name, version, **labels), votes))
    thumbs = {
        "name": "thumbs", "class": "Quality", "indicator": {"type": "ThumbsDownRate"},
        "versusStable": {"ratio": "9"},
    }  # fmt: skip
    kl = REWARD | {
        "name": "kl",
        "indicator": {"type": "KLToSFT"},
        "versusStable": {"difference": "9"},
    }
    slos = (REWARD, kl, thumbs)
    world.engine.follow(subject(*slos, stable="v1"))
    await world.tick(390)
    found = world.engine.results(KEY)
    assert found is not None
    assert {each.verdict for each in found.results} == {Verdict.SUCCESSFUL}
    seen = builders.make_observed(
        run=builders.make_run(policies=(policy(*slos),)), policies=(policy(*slos),), canary=found
    )
    assert seen.run is not None
    assert (reward_hacking.suspicion(seen, seen.run) is not None) is suspected


async def test_sums_go_on_after_a_restart() -> None:
    """As they stood at the checkpoint, and as they grew since: nothing twice, nothing missing."""
    world = World()
    scored(world, "v1", 0.2, 700)
    scored(world, "v2", 0.1, 700)
    world.engine.follow(subject(REWARD, stable="v1"))
    for second in (100, 301, 350):
        await world.tick(second)
    kept = world.engine.checkpoint(KEY, at(350))
    assert kept is not None and len(kept.strata) == 1
    assert {each.scorer for each in kept.counts} == {"rm"}
    shown = {}
    for name in ("as it went on", "restarted"):
        if name == "restarted":
            again = Checkpoint.model_validate(kept.dump())
            world.restarted().follow(replace(subject(REWARD, stable="v1"), checkpoint=again))
        await world.tick(500)
        found = world.engine.results(KEY)
        assert found is not None
        (shown[name],) = found.results
    went_on, restarted = shown.values()
    assert went_on.sums is not None and restarted.sums is not None
    assert restarted.samples == went_on.samples == 5000
    assert float(restarted.sums.squares) == pytest.approx(float(went_on.sums.squares))
    assert restarted.good is not None and went_on.good is not None
    assert float(restarted.good) == pytest.approx(float(went_on.good), abs=1e-6)


async def test_a_new_reward_model_in_the_middle_of_a_step_holds() -> None:
    world = World()
    for version in ("v1", "v2"):
        scored(world, version, 0.2, 400)
    world.engine.follow(subject(REWARD, stable="v1"))
    await world.tick(300)
    scored(world, "v2", 0.2, 400, reward_model="other")
    await world.tick(390)
    found = world.engine.results(KEY)
    assert found is not None
    (shown,) = found.results
    assert shown.verdict is Verdict.INCONCLUSIVE
    assert "2 of reward_model" in shown.message


async def test_a_guard_of_before_exports_no_squares_and_the_run_waits() -> None:
    """Stable's pods keep their guard: an upgrade of the operator changes no running pod."""
    length: dict[str, object] = {
        "name": "length", "class": "Quality", "indicator": {"type": "ResponseLength"},
        "versusStable": {"difference": "20"},
    }  # fmt: skip
    world = World()
    for version in ("v1", "v2"):
        for suffix, each in (("_count", 10.0), ("_sum", 1000.0)):
            name = GUARD_RESPONSE_LENGTH.name + suffix
            world.grow(400, (world.metrics.add(name, version), each))
    squares = world.metrics.add(GUARD_RESPONSE_LENGTH_SQUARES.name, "v2")
    world.grow(400, (squares, 110_000))
    margin = {"difference": "20", "method": "Threshold"}
    for versus, verdict in ((margin, Verdict.SUCCESSFUL), (None, Verdict.INCONCLUSIVE)):
        asked = length if versus is None else length | {"versusStable": versus}
        world.restarted().follow(subject(asked, stable="v1"))
        await world.tick(390)
        found = world.engine.results(KEY)
        assert found is not None
        assert found.results[0].verdict is verdict, found.results[0].message
    assert "stable: no series" in found.results[0].message
    assert GUARD_RESPONSE_LENGTH_SQUARES.name in found.results[0].message


async def test_a_checkpoint_of_before_sums_were_kept_counts_on() -> None:
    """A mean's sum stood in the place of events then."""
    plain: dict[str, object] = {
        "name": "length", "class": "Quality", "indicator": {"type": "ResponseLength"}, "max": "200",
    }  # fmt: skip
    world = World()
    for suffix, each in (("_count", 10.0), ("_sum", 1000.0)):
        world.grow(100, (world.metrics.add(GUARD_RESPONSE_LENGTH.name + suffix), each))
    old = Checkpoint.model_validate(
        {"since": "2026-01-01T00:00:00Z", "at": "2026-01-01T00:00:50Z", "counts": [
            {"slo": "p/length", "version": "v2", "events": 250_000, "samples": 500}]}
    )  # fmt: skip
    world.engine.follow(replace(subject(plain), checkpoint=old))
    await world.tick(100)
    found = world.engine.results(KEY)
    assert found is not None
    assert found.results[0].value == "300"
    assert found.results[0].verdict is Verdict.FAILED


CHECKS: dict[str, object] = {
    "name": "checks",
    "class": "Quality",
    "query": {
        "counters": {
            "events": {"name": "checks_total", "where": [{"label": "result", "values": ["bad"]}]},
            "samples": {"name": "checks_total"},
        },
        "betterWhen": "Lower",
    },
    "versusStable": {"ratio": "1.5"},
}


@pytest.mark.parametrize(
    ("bad", "verdict"),
    [(1, Verdict.SUCCESSFUL), (4, Verdict.FAILED), (1.5, Verdict.INCONCLUSIVE)],
)
async def test_a_teams_own_counters_are_judged_by_evidence(bad: float, verdict: Verdict) -> None:
    world = World()
    for version, rate in (("v1", 1), ("v2", bad)):
        for result, each in (("bad", rate), ("good", 10 - rate)):
            world.grow(400, (world.metrics.add("checks_total", version, result=result), each))
    world.engine.follow(subject(CHECKS, stable="v1"))
    await world.tick(390)
    found = world.engine.results(KEY)
    assert found is not None
    (shown,) = found.results
    assert (shown.verdict, shown.samples) == (verdict, 3900), shown.message
    assert shown.harm is not None and shown.query == 'checks_total{result="bad"} / checks_total'


async def test_a_teams_counters_are_tried_for_stable() -> None:
    world = World()

    async def tried() -> tuple[str, ...]:
        return await world.engine.try_queries((policy(CHECKS),), "shop", "support", "v1")

    wanted = 'p/checks: events: no fresh series checks_total{result="bad"} for version v1'
    assert await tried() == (wanted,)
    world.grow(0, (world.metrics.add("checks_total", "v1", result="good"), 1))
    assert await tried() == (wanted,)
    world.grow(0, (world.metrics.add("checks_total", "v1", result="bad"), 0))
    assert await tried() == ()


async def test_sums_that_no_values_can_have_are_no_evidence() -> None:
    world = World()
    for version in ("v1", "v2"):
        scored(world, version, 0.5, 400)
    for each in world.metrics.series:
        if each.labels["__name__"] == EVALUATOR_REWARD_SQUARES.name:
            each.points = [(time, 0.0, visible) for time, _, visible in each.points]
    world.engine.follow(subject(REWARD, stable="v1"))
    await world.tick(390)
    found = world.engine.results(KEY)
    assert found is not None
    assert found.results[0].verdict is Verdict.INCONCLUSIVE
    assert "contradict" in found.results[0].message
