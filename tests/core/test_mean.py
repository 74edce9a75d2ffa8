"""Differences of means judged by evidence: what fails, what passes, and what is neither yet."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import log
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_operator.api.evidence import StratumRecord, Verdict
from rlhf_operator.api.measurements import Problem
from rlhf_operator.api.plan import PinnedPolicy
from rlhf_operator.core import analysis, mean
from rlhf_operator.core.moments import Moments, contradicts
from rlhf_operator.core.objective import Judgement, Objective, Reading, objectives
from rlhf_operator.core.results import result
from rlhf_operator.core.stretches import (
    NO_PAST,
    Past,
    Stretch,
    condensed,
    record_of,
    stretches,
    total,
)

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
NOW = SINCE + timedelta(minutes=4)
GOOD, UNSURE, WRONG, BAD = Verdict
BASE = {"name": "m", "class": "Quality"}
REWARD = BASE | {"indicator": {"type": "RewardScore"}, "versusStable": {"difference": "0.1"}}
KL = BASE | {"indicator": {"type": "KLToSFT"}, "versusStable": {"difference": "0.1"}}
LENGTH = BASE | {"indicator": {"type": "ResponseLength"}, "versusStable": {"difference": "20"}}


def moments(n: int, average: float, deviation: float = 1.0) -> Moments:
    return Moments(n * average, n * average**2 + (n - 1) * deviation**2 if n else 0.0)


def values(n: int, average: float, deviation: float = 1.0, **changes: Any) -> Reading:
    """So many values with this mean and deviation, measured just now."""
    found = Reading(
        samples=n, value=average if n else None, moments=moments(n, average, deviation), at=NOW
    )
    return replace(found, **changes)


def policy(*slos: dict[str, Any], **more: Any) -> PinnedPolicy:
    body = {"name": "p", "metricSource": "default", "interval": "1s", "slos": list(slos)}
    return PinnedPolicy.model_validate(body | more)


def goal_of(slo: dict[str, Any]) -> Objective:
    ((_, goal),) = objectives((policy(slo),))
    return goal


def weigh(
    slo: dict[str, Any],
    reading: Reading,
    stable: Reading | None = None,
    *,
    past: Past = NO_PAST,
    previous: Judgement | None = None,
) -> Judgement:
    return analysis.weigh(
        goal_of(slo), reading, stable, previous, now=NOW, since=SINCE,
        stale=timedelta(seconds=35), past=past,
    )  # fmt: skip


MANY = values(5000, 0.0)
SAFETY = {"class": "Safety"}


@pytest.mark.parametrize(
    ("slo", "reading", "stable", "verdict", "said"),
    [
        pytest.param(REWARD, values(99, 0), MANY, UNSURE, "100 of each are needed",
                     id="99 values say nothing"),
        pytest.param(REWARD, values(99, -9), MANY, UNSURE, "99 values, and 5000 of stable",
                     id="nor do 99 terrible ones: the test is asymptotic"),
        pytest.param(REWARD, values(150, -9), MANY, BAD, "< 0.1 below stable's 0 (of 5000)",
                     id="a terrible reward is proven at once"),
        pytest.param(REWARD, values(150, 0), MANY, UNSURE, "20 to 1 is needed",
                     id="an equal one is not yet proven by 150"),
        pytest.param(REWARD, values(5000, 0), MANY, GOOD, "versusStable difference 0.1",
                     id="an equal one passes with 5000"),
        pytest.param(REWARD, values(5000, 0.5), MANY, GOOD, "within", id="a better reward passes"),
        pytest.param(REWARD, values(5000, -0.1), MANY, UNSURE, "versusStable",
                     id="a margin used up is neither"),
        pytest.param(REWARD, values(5000, -0.07), MANY, UNSURE, "versusStable",
                     id="within the margin is no harm, where it is not Safety"),
        pytest.param(REWARD | SAFETY, values(5000, -0.2), MANY, BAD, "< stable's 0",
                     id="Safety fails as soon as it is worse at all"),
        pytest.param(REWARD | SAFETY, values(20_000, -0.07), values(20_000, 0), BAD, "stable's",
                     id="Safety fails even within the margin"),
        pytest.param(KL, values(5000, 0.5), MANY, BAD, "> 0.1 above stable's 0",
                     id="more divergence fails"),
        pytest.param(KL, values(5000, -0.5), MANY, GOOD, "within", id="less divergence passes"),
        pytest.param(LENGTH, values(400, 300, 150), values(8000, 200, 150), BAD, "> 20 above",
                     id="a wordy version fails"),
        pytest.param(LENGTH, values(4000, 200, 150), values(40_000, 200, 150), GOOD, "within",
                     id="a version as long as stable passes"),
        pytest.param(LENGTH, values(4000, 200, 0), values(4000, 200, 0), UNSURE, "needed",
                     id="values that never varied prove nothing"),
        pytest.param(REWARD | {"minSamples": 9000}, values(5000, 0), MANY, UNSURE,
                     "5000 of 9000 samples", id="success waits for minSamples"),
        pytest.param(REWARD | {"minSamples": 9000}, values(150, -9), MANY, BAD, "is proof",
                     id="harm does not"),
        pytest.param(REWARD, values(0, 0), values(0, 0), UNSURE, "", id="no traffic"),
        pytest.param(REWARD, MANY, Reading(problem=Problem.STALE, message="old"), UNSURE,
                     "stable: old", id="stable is silent"),
        pytest.param(REWARD, Reading(problem=Problem.SOURCE_DOWN, message="gone"), MANY, WRONG,
                     "gone", id="no answer is an error"),
        pytest.param(REWARD, MANY, None, UNSURE, "no other version", id="nobody beside it"),
        pytest.param(LENGTH | {"max": "250"}, values(4000, 200, 150), None, GOOD, "within max 250",
                     id="after promotion its plain bound alone counts"),
        pytest.param(LENGTH | {"max": "150"}, values(4000, 200, 150), values(40_000, 200, 150), BAD,
                     "m 200 (of 4000) > 150", id="a plain bound beside it fails at once"),
        pytest.param(LENGTH | {"max": "150", "minSamples": 5000}, values(4000, 200, 150),
                     values(40_000, 200, 150), UNSURE, "4000 of 5000",
                     id="with enough samples, that is"),
        pytest.param(REWARD, values(5000, 0, scorer="a"), values(5000, 0, scorer="b"), UNSURE,
                     "stable: scored by b, and not by a", id="scores by two are not compared"),
        pytest.param(REWARD, values(5000, -9, scorer="a"), values(5000, 0, scorer="b"), UNSURE,
                     "stable: scored by b", id="nor is a low one proven low by them"),
        pytest.param(
            BASE | {"indicator": {"type": "RewardScore"},
                    "versusStable": {"difference": "0.1", "method": "Threshold"}},
            values(5000, -9, scorer="a"), values(5000, 0, scorer="b"), UNSURE,
            "stable: scored by b", id="as plain numbers neither"),
        pytest.param(REWARD, values(5000, 0, scorer="a"), values(5000, 0, scorer="a"), GOOD,
                     "within", id="one is"),
    ],
)  # fmt: skip
def test_verdicts(
    slo: dict[str, Any], reading: Reading, stable: Reading | None, verdict: Verdict, said: str
) -> None:
    found = weigh(slo, reading, stable)
    assert (found.verdict, said in found.message) == (verdict, True), found.message


def test_a_crossing_is_final() -> None:
    failed = weigh(REWARD, values(150, -9), MANY)
    for later in (values(50_000, 1), Reading(problem=Problem.SOURCE_DOWN, message="gone")):
        found = weigh(REWARD, later, values(50_000, 0), previous=failed)
        assert (found.verdict, found.failures, found.message) == (BAD, 1, failed.message)


def test_evidence_of_earlier_weights_counts_on() -> None:
    earlier = Stretch(
        events=0, samples=4500, moments=moments(4500, 0),
        stable_samples=4500, stable_moments=moments(4500, 0),
    )  # fmt: skip
    now, stable = values(500, 0), values(500, 0)
    alone = weigh(REWARD, now, stable)
    together = weigh(REWARD, now, stable, past=Past(before=(earlier,)))
    assert (alone.verdict, together.verdict) == (UNSURE, GOOD)


def test_a_ramp_is_judged_by_strata_not_by_their_sum() -> None:
    """At night everybody writes longer, and the canary had the night: equal, but pooled worse."""
    day = Stretch(
        events=0, samples=500, moments=moments(500, 200, 50),
        stable_samples=9500, stable_moments=moments(9500, 200, 50),
    )  # fmt: skip
    night = weigh(LENGTH, values(5500, 383, 60), values(14_500, 263, 110), past=Past(before=()))
    apart = weigh(LENGTH, values(5000, 400, 50), values(5000, 400, 50), past=Past(before=(day,)))
    assert (apart.verdict, night.verdict) == (GOOD, BAD)


def test_all_tests_of_a_run_share_its_false_rollbacks() -> None:
    """Two means, a bound of Safety, and stable's own beside the canary; what only informs: none."""
    shown = REWARD | {"name": "shown", "class": "Informational"}
    unsafe = {"name": "u", "class": "Safety", "indicator": {"type": "ErrorRate"}, "max": "0.1"}
    found = objectives((policy(unsafe, LENGTH | {"max": "9"}, KL | {"name": "kl"}, shown),))
    levels = [goal.tests.levels.harm for _, goal in found if goal.tests is not None]
    assert levels == pytest.approx([log(2.5 / 0.01)] * 4)


@pytest.mark.parametrize(
    ("slo", "sequential_"),
    [
        pytest.param(LENGTH, True, id="the difference from stable is"),
        pytest.param(LENGTH | {"versusStable": {"difference": "9", "method": "Threshold"}}, False,
                     id="two numbers are compared where that is asked for"),
        pytest.param(LENGTH | {"versusStable": {"ratio": "1.2", "method": "Threshold"}}, False,
                     id="a ratio of means is a ratio of two numbers"),
        pytest.param(BASE | {"indicator": {"type": "ResponseLength"}, "max": "9"}, False,
                     id="a maximum is a plain number"),
    ],
)  # fmt: skip
def test_what_is_judged_by_evidence(slo: dict[str, Any], sequential_: bool) -> None:
    goal = goal_of(slo)
    assert (goal.mean is not None, goal.rate) == (sequential_, None)
    assert any("squares" in each.name for each in goal.measure.counters) is sequential_


def test_the_record_shows_what_a_person_would_check() -> None:
    found = weigh(REWARD, values(300, -0.02), values(5700, 0.01))
    shown = result(goal_of(REWARD), "v2", found)
    assert (shown.value, shown.stable_value, shown.samples) == ("-0.02", "0.01", 300)
    assert shown.events is None and shown.sums is not None and shown.stable_sums is not None
    assert (shown.sums.total, shown.stable_sums.total) == ("-6", "57")
    numbers = [shown.difference_low, shown.difference, shown.difference_high]
    low, middle, high = (float(each or "nan") for each in numbers)
    assert middle == pytest.approx(-0.03) and low < -0.1 < middle < 0.1 < high
    assert shown.good_proven is not None and float(shown.good_proven) == pytest.approx(log(20))
    assert shown.needs is not None and shown.needs > 5000
    assert "about" in shown.message and "answers" in shown.message


def test_what_is_still_needed_is_about_right() -> None:
    """Answers with these means really do refute harm at about the number that was told."""
    goal = goal_of(REWARD)
    found = weigh(REWARD, values(150, 0), values(1350, 0))
    need = result(goal, "v2", found).needs
    assert need is not None
    n, m = 150 + round(0.1 * need), 1350 + round(0.9 * need)
    assert weigh(REWARD, values(round(0.8 * n), 0), values(round(0.8 * m), 0)).verdict is UNSURE
    assert weigh(REWARD, values(round(1.2 * n), 0), values(round(1.2 * m), 0)).verdict is GOOD


numbers = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))


@given(st.lists(st.tuples(st.integers(2, 400), numbers, numbers), max_size=12), st.integers(1, 12))
def test_condensing_loses_no_sum(rows: list[tuple[int, float, float]], most: int) -> None:
    parts = [
        Stretch(
            events=0, samples=n, moments=Moments(a, a * a),
            stable_samples=n, stable_moments=Moments(b, b * b),
        )
        for n, a, b in rows
    ]  # fmt: skip
    records = [StratumRecord.model_validate(record_of("p/m", each).dump()) for each in parts]
    kept = total(stretches(condensed(records, most), "p/m"))
    whole = total(parts)
    assert kept.samples == whole.samples
    for mine, true in ((kept.moments, whole.moments), (kept.stable_moments, whole.stable_moments)):
        assert (mine.total, mine.squares) == pytest.approx((true.total, true.squares), rel=1e-9)


ranges = st.floats(-3, 3)


@given(ranges, ranges, st.integers(100, 5000), st.integers(100, 5000), st.booleans())
def test_no_run_passes_and_fails_at_once(
    canary: float, stable: float, n: int, m: int, is_kl: bool
) -> None:
    goal = goal_of(KL if is_kl else REWARD)
    assert goal.mean is not None
    stretch = Stretch(
        events=0, samples=n, moments=moments(n, canary),
        stable_samples=m, stable_moments=moments(m, stable),
    )  # fmt: skip
    (proof,) = mean.proofs(goal.mean, (stretch,), compares=True)
    levels = goal.mean.levels
    assert not (proof.harm >= levels.harm and proof.good >= levels.good)


def draw(rng: np.random.Generator, kind: str, n: int, shift: float) -> Moments:
    """So many values of deviation 1, with mean 0 but for the shift."""
    found = {
        "normal": lambda: rng.standard_normal(n),
        "exponential": lambda: rng.exponential(1.0, n) - 1,
        "lognormal": lambda: (rng.lognormal(0, 1, n) - np.exp(0.5)) / 2.1612,
    }[kind]() + shift
    return Moments(float(found.sum()), float((found**2).sum()))


def ramp(rng: np.random.Generator, kind: str, shift: float) -> list[list[Stretch]]:
    """Return what is seen at each look of a ramp 5, 25, 50 %; four strata of six looks a weight."""
    closed: list[Stretch] = []
    views = []
    for weight in (0.05, 0.25, 0.5):
        for _ in range(4):
            now = Stretch(events=0, samples=0)
            base = rng.normal(0, 2)  # the hour of the day, the same for both
            for _ in range(6):
                n, m = int(rng.poisson(200 * weight)), int(rng.poisson(200 * (1 - weight)))
                now = now + Stretch(
                    events=0, samples=n, moments=draw(rng, kind, n, base + shift),
                    stable_samples=m, stable_moments=draw(rng, kind, m, base),
                )  # fmt: skip
                views.append([*closed, now])
            closed.append(now)
    return views


@pytest.mark.parametrize(
    ("kind", "slo"),
    [
        pytest.param("normal", REWARD, id="normal rewards"),
        pytest.param("exponential", REWARD, id="skewed rewards"),
        pytest.param("lognormal", KL, id="heavy tails, as lengths have them"),
    ],
)
@pytest.mark.parametrize(
    ("class_", "worse_by", "test", "low", "high"),
    [
        pytest.param("Safety", 0.0, "harm", 0, 0.01, id="an equal one is rarely rolled back"),
        pytest.param("Quality", 0.1, "harm", 0, 0.01, id="nor one that uses its margin up"),
        pytest.param("Quality", 0.1, "good", 0, 0.05, id="which rarely passes either"),
        pytest.param("Safety", 0.3, "harm", 0.95, 1, id="a worse one is found"),
        pytest.param("Quality", 0.0, "good", 0.7, 1, id="an equal one mostly passes"),
    ],
)
def test_a_ramp_looked_at_always(
    kind: str, slo: dict[str, Any], class_: str, worse_by: float, test: str, low: float, high: float
) -> None:
    goal = goal_of(slo | {"class": class_})
    assert goal.mean is not None
    shift = worse_by if goal.mean.lower_is_better else -worse_by
    rng, runs, crossed = np.random.default_rng(11), 200, 0
    level = getattr(goal.mean.levels, test)
    for _ in range(runs):
        crossed += any(
            getattr(mean.proofs(goal.mean, view, compares=True)[0], test) >= level
            for view in ramp(rng, kind, shift)
        )
    assert low <= crossed / runs <= high


@given(st.lists(numbers, min_size=1, max_size=50))
def test_sums_of_real_values_never_contradict_each_other(found: list[float]) -> None:
    sums = Moments(sum(found), sum(each * each for each in found))
    assert not contradicts(sums, len(found))


def test_squares_that_are_not_counted_contradict_the_sum() -> None:
    assert contradicts(Moments(100, 0), 10)
    assert contradicts(Moments(-100, 999), 10)
    assert not contradicts(Moments(-100, 1000), 10)
