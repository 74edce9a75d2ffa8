"""Rates judged by evidence: what fails, what passes, and what is neither yet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import log
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_operator.api.evidence import StratumRecord, Verdict
from rlhf_operator.api.measurements import Problem
from rlhf_operator.api.plan import PinnedPolicy
from rlhf_operator.core import analysis, sequential, statistics
from rlhf_operator.core.indicators import measure
from rlhf_operator.core.objective import Judgement, Reading, objectives
from rlhf_operator.core.results import result
from rlhf_operator.core.stretches import NO_PAST, Past, Stretch, condensed, stretches, total

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
NOW = SINCE + timedelta(minutes=4)
UNSAFE = {"name": "unsafe", "class": "Safety", "indicator": {"type": "UnsafeServedRate"}}
ERRORS = {"name": "errors", "class": "Performance", "indicator": {"type": "ErrorRate"}}
DONE = {"name": "done", "class": "Quality", "indicator": {"type": "TaskCompletionRate"}}
GOOD, UNSURE, WRONG, BAD = Verdict


def rate(events: int, samples: int, **changes: Any) -> Reading:
    value = events / samples if samples else None
    return Reading(**({"events": events, "samples": samples, "value": value, "at": NOW} | changes))


def policy(*slos: dict[str, Any], **more: Any) -> PinnedPolicy:
    body = {"name": "p", "metricSource": "default", "interval": "1s", "slos": list(slos)}
    return PinnedPolicy.model_validate(body | more)


def weigh(
    slo: dict[str, Any],
    reading: Reading,
    stable: Reading | None = None,
    *,
    past: Past = NO_PAST,
    previous: Judgement | None = None,
    beside: tuple[dict[str, Any], ...] = (),
) -> Judgement:
    ((_, goal), *_) = objectives((policy(slo, *beside),))
    return analysis.weigh(
        goal, reading, stable, previous, now=NOW, since=SINCE,
        stale=timedelta(seconds=35), past=past,
    )  # fmt: skip


MAX = UNSAFE | {"max": "0.05"}
VERSUS = UNSAFE | {"versusStable": {"ratio": "2"}}


@pytest.mark.parametrize(
    ("slo", "reading", "stable", "verdict", "said"),
    [
        pytest.param(MAX, rate(0, 20), None, UNSURE, "is needed", id="few answers are no proof"),
        pytest.param(MAX, rate(0, 200), None, GOOD, "within max 0.05", id="many good ones pass"),
        pytest.param(MAX, rate(10, 200), None, UNSURE, "is needed", id="at the bound nothing is"),
        pytest.param(MAX, rate(8, 20), None, BAD, "> 0.05", id="harm fails long before minSamples"),
        pytest.param(
            MAX | {"minSamples": 300}, rate(0, 200), None, UNSURE, "200 of 300 samples",
            id="success waits for minSamples",
        ),
        pytest.param(MAX, rate(0, 0), None, UNSURE, "", id="no traffic proves nothing"),
        pytest.param(
            MAX, Reading(problem=Problem.SOURCE_DOWN, message="gone"), None, WRONG, "gone",
            id="no answer is an error",
        ),
        pytest.param(
            VERSUS, rate(0, 400), rate(40, 2000), GOOD, "versusStable", id="better than stable"
        ),
        pytest.param(
            VERSUS, rate(16, 800), rate(40, 2000), UNSURE, "versusStable",
            id="equal to stable takes longer at a margin of 2",
        ),
        pytest.param(
            VERSUS, rate(80, 800), rate(40, 2000), BAD, "stable's 0.02", id="far worse than stable"
        ),
        pytest.param(
            VERSUS, rate(0, 400), Reading(problem=Problem.STALE, message="old"), UNSURE, "stable",
            id="stable is silent",
        ),
        pytest.param(VERSUS, rate(0, 400), None, UNSURE, "no other version", id="nobody beside it"),
        pytest.param(
            MAX | {"versusStable": {"ratio": "2"}}, rate(0, 400), None, GOOD, "within",
            id="after promotion its absolute bound alone counts",
        ),
        pytest.param(
            DONE | {"min": "0.8"}, rate(395, 400), None, GOOD, "within min 0.8",
            id="a rate where more is better passes",
        ),
        pytest.param(
            DONE | {"min": "0.8"}, rate(30, 100), None, BAD, "< 0.8",
            id="a rate where more is better fails",
        ),
        pytest.param(
            DONE | {"versusStable": {"ratio": "1.25"}}, rate(900, 1000), rate(900, 1000), GOOD,
            "versusStable", id="where more is better, equal is within the margin",
        ),
        pytest.param(
            DONE | {"versusStable": {"ratio": "1.25"}}, rate(300, 1000), rate(900, 1000), BAD,
            "stable's 0.9", id="where more is better, a third is worse",
        ),
    ],
)  # fmt: skip
def test_verdicts(
    slo: dict[str, Any], reading: Reading, stable: Reading | None, verdict: Verdict, said: str
) -> None:
    found = weigh(slo, reading, stable)
    assert (found.verdict, said in found.message) == (verdict, True), found.message


def test_safety_fails_against_stable_and_others_against_their_margin() -> None:
    """At one and a half times stable's rate, with a margin of 2."""
    worse, stable = rate(600, 10_000), rate(400, 10_000)
    assert weigh(VERSUS, worse, stable).verdict is BAD
    assert weigh(ERRORS | {"versusStable": {"ratio": "2"}}, worse, stable).verdict is GOOD


def test_a_crossing_is_final() -> None:
    failed = weigh(MAX, rate(8, 20))
    for later in (rate(8, 4000), Reading(problem=Problem.SOURCE_DOWN, message="gone")):
        found = weigh(MAX, later, previous=failed)
        assert (found.verdict, found.failures, found.message) == (BAD, 1, failed.message)


def test_evidence_of_earlier_weights_counts_on() -> None:
    earlier = Stretch(events=0, samples=70, stable_events=2, stable_samples=630)
    alone, together = weigh(MAX, rate(0, 40)), weigh(MAX, rate(0, 40), past=Past(before=(earlier,)))
    assert (alone.verdict, together.verdict) == (UNSURE, GOOD)


def test_what_is_counted_at_this_weight_includes_its_finished_stretches() -> None:
    first = Stretch(events=1, samples=60)
    whole = weigh(MAX, rate(1, 100))
    split = weigh(MAX, rate(1, 100), past=Past(closed=(first,)))
    assert whole.evidence is not None and split.evidence is not None
    assert [p.harm for p in split.evidence.proofs] == pytest.approx(
        [p.harm for p in whole.evidence.proofs]
    )
    assert split.evidence.stretches == (first, Stretch(events=0, samples=40))


@pytest.mark.parametrize("slo", [MAX, VERSUS, MAX | {"versusStable": {"ratio": "2"}}])
def test_what_the_look_before_has_seen_changes_no_proof(slo: dict[str, Any]) -> None:
    unseen = Reading(problem=Problem.STALE, message="old")
    looks = [
        (rate(1, 90), rate(9, 900)), (rate(1, 90), rate(9, 900)), (rate(1, 90), unseen),
        (rate(1, 90), None), (rate(1, 90), unseen), (rate(2, 90), unseen), (rate(2, 91), None),
    ]  # fmt: skip
    before = None
    for mine, other in looks:
        before = weigh(slo, mine, other, previous=before)
        assert before == weigh(slo, mine, other)


def test_a_ramp_is_judged_by_strata_not_by_their_sum() -> None:
    """Kohavi's ramp: pooled it looks better than stable, in each stratum it is worse."""
    first = Stretch(events=230, samples=10_000, stable_events=20_000, stable_samples=990_000)
    found = weigh(VERSUS, rate(6000, 500_000), rate(5000, 500_000), past=Past(before=(first,)))
    assert found.verdict is BAD
    pooled = weigh(VERSUS, rate(6230, 510_000), rate(25_000, 1_490_000))
    assert pooled.verdict is GOOD, "which is why strata are kept"


@pytest.mark.parametrize(
    ("slo", "count"),
    [
        pytest.param(MAX, 1, id="Safety's absolute bound"),
        pytest.param(MAX | {"failureLimit": 3}, 0, id="not where plain numbers are compared"),
        pytest.param(UNSAFE | {"versusStable": {"ratio": "2"}}, 0,
                     id="not the comparison, in which stable cannot lose"),
        pytest.param(ERRORS | {"max": "0.1"}, 0, id="not quality or speed: a run goes on then"),
    ],
)  # fmt: skip
def test_which_of_stables_own_tests_take_a_share(slo: dict[str, Any], count: int) -> None:
    (policed,) = policy(slo).slos
    assert sequential.stable_tests(policed, measure(policed)) == count


@pytest.mark.parametrize(
    ("slo", "sequential_"),
    [
        pytest.param(MAX, True, id="a rate with a maximum"),
        pytest.param(MAX | {"failureLimit": 3}, False, id="failureLimit asks for plain numbers"),
        pytest.param(UNSAFE | {"max": "0"}, False, id="a bound of 0 allows no event at all"),
        pytest.param(UNSAFE | {"max": "1"}, False, id="a bound of 1 forbids nothing"),
        pytest.param(
            UNSAFE | {"versusStable": {"ratio": "2", "method": "Threshold"}}, False,
            id="a comparison of two numbers",
        ),
        pytest.param(
            {"name": "n", "class": "Safety", "indicator": {"type": "UnsafeServedCount"},
             "maxCount": 0}, False, id="a count",
        ),
        pytest.param(
            {"name": "l", "class": "Quality", "indicator": {"type": "ResponseLength"},
             "max": "9"}, False, id="a mean",
        ),
    ],
)  # fmt: skip
def test_what_is_judged_by_evidence(slo: dict[str, Any], sequential_: bool) -> None:
    ((_, goal),) = objectives((policy(slo),))
    assert (goal.rate is not None) is sequential_


def test_the_record_shows_what_a_person_would_check() -> None:
    ((_, goal),) = objectives((policy(MAX | {"versusStable": {"ratio": "2"}}),))
    found = weigh(MAX | {"versusStable": {"ratio": "2"}}, rate(4, 200), rate(40, 2000))
    shown = result(goal, "v2", found)
    assert (shown.stable_events, shown.stable_samples) == (40, 2000)
    assert shown.ratio is not None and float(shown.ratio) == pytest.approx(1, abs=0.05)
    assert shown.low is not None and shown.high is not None
    assert float(shown.low) < 0.02 < float(shown.high)
    assert shown.good_proven is not None and float(shown.good_proven) == pytest.approx(log(20))
    assert shown.needs is not None and shown.needs > 500
    assert "about" in shown.message and "answers" in shown.message


counts = st.integers(0, 400)


@given(st.lists(st.tuples(counts, counts, counts, counts), max_size=12), st.integers(1, 12))
def test_condensing_loses_no_count_and_keeps_to_the_limit(
    rows: list[tuple[int, int, int, int]], most: int
) -> None:
    records = tuple(
        StratumRecord(slo=f"p/{place % 2}", events=e, samples=n, stable_events=f, stable_samples=m)
        for place, (e, n, f, m) in enumerate(rows)
    )
    kept = condensed(records, most)
    assert len(kept) <= max(most, 2)
    for name in ("p/0", "p/1"):
        before, after = (stretches(each, name) for each in (records, kept))
        assert total(before) == total(after)


@given(st.integers(0, 50), st.integers(0, 2000))
def test_no_run_passes_and_fails_at_once(events: int, samples: int) -> None:
    ((_, goal),) = objectives((policy(MAX),))
    assert goal.rate is not None
    stretch = Stretch(events=min(events, samples), samples=samples)
    (proof,) = sequential.proofs(goal.rate, (stretch,), compares=False)
    assert not (proof.harm >= goal.rate.levels.harm and proof.good >= goal.rate.levels.good)
    assert proof.harm == statistics.log_e_ceiling(
        stretch.events, samples, 0.05, exceeds=True, bets=statistics.MOSTLY_TWO
    )
