from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_operator.api.evidence import SLOResult, Verdict
from rlhf_operator.api.measurements import Problem
from rlhf_operator.api.plan import PinnedPolicy
from rlhf_operator.core.analysis import Reading, blind, failed, judge, stale_after, worst
from rlhf_operator.core.objective import decimal_text

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
NOW = SINCE + timedelta(minutes=10)

PLAIN = {"failureLimit": 1}
"""Asks for plain numbers; rates that are judged by evidence are in test_evidence.py."""
RATE = PLAIN | {
    "name": "unsafe-answers", "class": "Safety", "indicator": {"type": "UnsafeServedRate"},
}  # fmt: skip
COUNT = {"name": "csae", "class": "Safety", "indicator": {"type": "UnsafeServedCount"}}
MEAN = {"name": "length", "class": "Quality", "indicator": {"type": "ResponseLength"}}
DONE = PLAIN | {
    "name": "done", "class": "Quality", "indicator": {"type": "TaskCompletionRate"},
}  # fmt: skip
QUERY = {
    "name": "p95",
    "class": "Performance",
    "query": {"promQL": "rate(a[5m])", "samples": "n_total", "betterWhen": "Lower"},
}


def rate(events: int, samples: int, **changes: Any) -> Reading:
    value = events / samples if samples else None
    return Reading(**({"events": events, "samples": samples, "value": value, "at": NOW} | changes))


def count(events: int, samples: int = 1000) -> Reading:
    return rate(events, samples, value=float(events))


def query(value: float, samples: int = 1000, **changes: Any) -> Reading:
    return Reading(**({"samples": samples, "value": value, "at": NOW} | changes))


def told(
    slo: dict[str, Any],
    reading: Reading,
    stable: Reading | None = None,
    previous: SLOResult | None = None,
    since: datetime = SINCE,
) -> SLOResult:
    body = {"name": "p", "metricSource": "default", "interval": "1s", "slos": [slo]}
    policy = PinnedPolicy.model_validate(body)
    found = judge(policy, policy.slos[0], "v2", reading, stable, previous, NOW, since)
    assert SLOResult.model_validate(found.dump()) == found
    return found


def versus(**margin: str) -> dict[str, Any]:
    return {"versusStable": {"method": "Threshold"} | margin}


GOOD, UNSURE, WRONG, BAD = Verdict


@pytest.mark.parametrize(
    ("sentence", "slo", "reading", "stable", "verdict", "said"),
    [
        (
            "below max",
            RATE | {"max": "0.02"},
            rate(9, 1000),
            None,
            GOOD,
            "0.009 (9 of 1000) within",
        ),
        ("at max", RATE | {"max": "0.02"}, rate(20, 1000), None, GOOD, "within max 0.02"),
        (
            "above max",
            RATE | {"max": "0.02"},
            rate(31, 1000),
            None,
            BAD,
            "unsafe-answers 0.031 (31 of 1000) > 0.02",
        ),
        ("below min", DONE | {"min": "0.9"}, rate(8, 10), None, BAD, "0.8 (8 of 10) < 0.9"),
        ("at min", DONE | {"min": "0.9"}, rate(9, 10), None, GOOD, "within min 0.9"),
        (
            "few samples and bad",
            RATE | {"max": "0.02", "minSamples": 200},
            rate(9, 100),
            None,
            UNSURE,
            "0.09 (9 of 100): 100 of 200 samples",
        ),
        (
            "few samples and good",
            RATE | {"max": "0.02", "minSamples": 200},
            rate(0, 100),
            None,
            UNSURE,
            "100 of 200 samples",
        ),
        ("no sample", RATE | {"max": "1"}, rate(0, 0), None, UNSURE, "0 of 1 samples"),
        ("no event", COUNT | {"maxCount": 0}, count(0), None, GOOD, "0 in 1000"),
        ("one event", COUNT | {"maxCount": 0}, count(1), None, BAD, "csae 1 > 0"),
        (
            "one event among few samples",
            COUNT | {"maxCount": 0, "minSamples": 500, "failureLimit": 3},
            count(1, 2),
            None,
            BAD,
            "csae 1 > 0",
        ),
        (
            "one event among few, not Safety",
            COUNT | {"class": "Quality", "maxCount": 0, "minSamples": 500},
            count(1, 2),
            None,
            UNSURE,
            "2 of 500 samples",
        ),
        (
            "an event and then silence",
            COUNT | {"maxCount": 0},
            Reading(events=1, problem=Problem.SOURCE_DOWN),
            None,
            BAD,
            "csae 1 > 0",
        ),
        ("no series", RATE | {"max": "1"}, Reading(), None, UNSURE, "no series"),
        (
            "not a number",
            QUERY | {"max": "1"},
            query(float("nan")),
            None,
            UNSURE,
            "not a number to compare",
        ),
        ("infinite", QUERY | {"max": "1"}, query(float("inf")), None, UNSURE, "value is inf"),
        (
            "several series",
            QUERY | {"max": "1"},
            Reading(problem=Problem.SEVERAL_SERIES, message="several series"),
            None,
            UNSURE,
            "several series",
        ),
        (
            "stale",
            RATE | {"max": "1"},
            rate(0, 1000, at=NOW - timedelta(seconds=36)),
            None,
            UNSURE,
            "36 s old, more than 35 s",
        ),
        (
            "just fresh",
            RATE | {"max": "1"},
            rate(0, 1000, at=NOW - timedelta(seconds=35)),
            None,
            GOOD,
            "within",
        ),
        (
            "source down",
            RATE | {"max": "1"},
            Reading(problem=Problem.SOURCE_DOWN, message="no answer"),
            None,
            WRONG,
            "no answer",
        ),
        (
            "not worse than stable",
            RATE | versus(ratio="1.5"),
            rate(15, 1000),
            rate(10, 1000),
            GOOD,
            "within versusStable ratio 1.5",
        ),
        (
            "worse than stable",
            RATE | versus(ratio="1.5"),
            rate(16, 1000),
            rate(10, 1000),
            BAD,
            "0.016 (16 of 1000) > 0.015, 1.5 times stable's 0.01 (10 of 1000)",
        ),
        (
            "better is higher",
            DONE | versus(ratio="2"),
            rate(4, 10),
            rate(9, 10),
            BAD,
            "0.4 (4 of 10) < 0.45, 1/2 of stable's 0.9",
        ),
        (
            "a mean too far off",
            MEAN | versus(difference="10"),
            rate(61_000, 1000),
            rate(50_000, 1000),
            BAD,
            "61 (of 1000) > 60, 10 above stable's 50 (of 1000)",
        ),
        (
            "a mean off in the better direction",
            MEAN | versus(difference="10"),
            rate(1000, 1000),
            rate(50_000, 1000),
            GOOD,
            "within",
        ),
        (
            "stable has few samples",
            RATE | versus(ratio="1.5") | {"minSamples": 500},
            rate(0, 1000),
            rate(0, 100),
            UNSURE,
            "stable: 100 of 500 samples",
        ),
        (
            "stable is silent",
            RATE | versus(ratio="1.5"),
            rate(0, 1000),
            Reading(),
            UNSURE,
            "stable: no series",
        ),
        (
            "stable is silent but max is broken",
            RATE | versus(ratio="1.5") | {"max": "0.02"},
            rate(31, 1000),
            Reading(),
            BAD,
            "> 0.02",
        ),
        (
            "nothing to compare with",
            RATE | versus(ratio="1.5"),
            rate(0, 1000),
            None,
            UNSURE,
            "no other version to compare with",
        ),
        (
            "nothing to compare with, but a max",
            RATE | versus(ratio="1.5") | {"max": "0.02"},
            rate(0, 1000),
            None,
            GOOD,
            "within max 0.02",
        ),
    ],
)
def test_verdicts(
    sentence: str,
    slo: dict[str, Any],
    reading: Reading,
    stable: Reading | None,
    verdict: Verdict,
    said: str,
) -> None:
    found = told(slo, reading, stable)
    assert found.verdict is verdict
    assert said in found.message


def test_an_expression_counts_once_its_range_lies_after_the_last_weight_change() -> None:
    early = told(QUERY | {"max": "1"}, query(0.5), since=NOW - timedelta(minutes=4))
    assert early.verdict is UNSURE
    assert "range of 300 s reaches back before the last weight change, 240 s ago" in early.message
    late = told(QUERY | {"max": "1"}, query(0.5), since=NOW - timedelta(minutes=5))
    assert late.verdict is GOOD


def test_nan_without_traffic_is_few_data_and_not_blindness() -> None:
    found = told(QUERY | {"class": "Safety", "max": "1"}, query(float("nan"), samples=0))
    assert found.message == "p95: 0 of 1 samples"
    assert blind([found]) == ()


def test_it_fails_only_after_so_many_measurements_out_of_bounds_in_a_row() -> None:
    slo = QUERY | {"max": "1", "failureLimit": 3}
    one = told(slo, query(2, 100))
    assert (one.verdict, one.failures) == (UNSURE, 1)
    assert one.message == "p95 2 (of 100) > 1, 1 of 3 measurements"
    again = told(slo, query(2, 100), previous=one)
    assert again.failures == 1
    two = told(slo, query(2, 101), previous=again)
    stale = told(slo, query(2, 102, at=SINCE), previous=two)
    assert (stale.verdict, stale.failures) == (UNSURE, 2)
    three = told(slo, query(2, 103), previous=two)
    assert (three.verdict, three.failures) == (BAD, 3)
    assert told(slo, query(2, 103), previous=three).verdict is BAD
    passed = told(slo, query(1, 104), previous=three)
    assert (passed.verdict, passed.failures) == (GOOD, 0)
    assert told(slo, query(2, 105), previous=passed).failures == 1


def test_the_record_tells_value_counts_bound_and_query() -> None:
    slo = RATE | {"max": "0.02"} | versus(ratio="1.5")
    found = told(slo, rate(9, 1000), rate(8, 1000))
    assert found.dump() == {
        "policy": "p",
        "name": "unsafe-answers",
        "class": "Safety",
        "version": "v2",
        "verdict": "Successful",
        "value": "0.009",
        "stableValue": "0.008",
        "events": 9,
        "samples": 1000,
        "stableEvents": 8,
        "stableSamples": 1000,
        "bound": "max 0.02, versusStable ratio 1.5",
        "query": "rlhf_guard_unsafe_served_responses_total / rlhf_guard_responses_total",
        "failures": 0,
        "message": "unsafe-answers 0.009 (9 of 1000) within max 0.02, versusStable ratio 1.5",
    }


def each(verdict: Verdict, class_: str = "Safety", samples: int | None = 1) -> SLOResult:
    body = {"policy": "p", "name": "x", "version": "v", "verdict": verdict, "class": class_}
    return SLOResult.model_validate(body | {"samples": samples})


def test_the_worst_verdict_wins_and_informational_ones_do_not_count() -> None:
    assert worst([each(GOOD), each(UNSURE)]) is UNSURE
    assert worst([each(WRONG), each(UNSURE)]) is WRONG
    assert worst([each(BAD), each(WRONG)]) is BAD
    assert worst([each(GOOD), each(BAD, "Informational")]) is GOOD
    assert worst([each(GOOD, "Informational")]) is UNSURE
    assert worst([]) is UNSURE


def test_failed_and_blind_choose_by_class() -> None:
    bad, quality = each(BAD), each(BAD, "Quality")
    assert failed([bad, quality, each(GOOD)], "Safety") == (bad,)
    nothing = each(UNSURE, samples=None)
    assert blind([nothing, each(UNSURE), each(UNSURE, "Quality", None)]) == (nothing,)


def test_stale_is_two_scrapes_and_five_seconds() -> None:
    assert stale_after(timedelta(seconds=15)) == timedelta(seconds=35)


@given(
    events=st.integers(0, 300),
    samples=st.integers(0, 300),
    least=st.integers(1, 300),
    age=st.integers(0, 120),
    problem=st.sampled_from([None, *Problem]),
)
def test_success_needs_fresh_data_enough_samples_and_a_value_in_bounds(
    events: int, samples: int, least: int, age: int, problem: Problem | None
) -> None:
    slo = RATE | {"max": "0.5", "minSamples": least}
    reading = rate(events, samples, at=NOW - timedelta(seconds=age), problem=problem)
    usable = problem is None and age <= 35 and samples >= least
    assert (told(slo, reading).verdict is GOOD) == (usable and events <= samples / 2)
    if not usable:
        assert told(slo, reading).verdict in (UNSURE, WRONG)


@given(st.floats(min_value=-1e15, max_value=1e15))
def test_every_value_that_is_judged_can_be_written_down(value: float) -> None:
    text = decimal_text(value)
    body = {"policy": "p", "name": "x", "version": "v", "verdict": GOOD, "class": "Safety"}
    SLOResult.model_validate(body | {"value": text})
