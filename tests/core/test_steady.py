"""The verdicts on a promoted version's rates, from the counts of its windows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rlhf_operator.api.evidence import BaselineRecord, Verdict
from rlhf_operator.api.measurements import Problem
from rlhf_operator.api.plan import PinnedPolicy
from rlhf_operator.core import analysis
from rlhf_operator.core.indicators import measure
from rlhf_operator.core.objective import Judgement, Objective, Reading
from rlhf_operator.core.results import result
from rlhf_operator.core.steady import watched
from rlhf_operator.core.watch import SPANS, find

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
GOOD, UNSURE, WRONG, BAD = Verdict
UNSAFE = {"name": "unsafe", "class": "Safety", "indicator": {"type": "UnsafeServedRate"}}
DONE = {"name": "done", "class": "Quality", "indicator": {"type": "TaskCompletionRate"}}
MAX = UNSAFE | {"max": "0.02"}
MIN = DONE | {"min": "0.9"}
VERSUS = UNSAFE | {"versusStable": {"ratio": "2"}}
PLAIN = MAX | {"failureLimit": 3, "minSamples": 50}
Window = tuple[int, int]


def policy(*slos: dict[str, Any], **more: Any) -> PinnedPolicy:
    body = {"name": "p", "metricSource": "default", "interval": "1s", "slos": list(slos)}
    return PinnedPolicy.model_validate(body | more)


def baseline(slo: dict[str, Any], events: int, samples: int, **more: Any) -> BaselineRecord:
    (parsed,) = policy(slo).slos
    body = {"slo": f"p/{slo['name']}", "measure": str(measure(parsed))} | more
    return BaselineRecord.model_validate(body | {"events": events, "samples": samples})


def objective(slo: dict[str, Any], *baselines: BaselineRecord, beside: int = 0) -> Objective:
    others = [MAX | {"name": f"other{number}"} for number in range(beside)]
    ((_, goal), *_) = watched((policy(slo, *others),), baselines)
    return goal


def judge(goal: Objective, ended: list[Window], now: Window = (0, 0), **reading: Any) -> Judgement:
    """The verdict after windows of events and samples, the last one still going on."""
    assert goal.watch is not None
    spans = {
        span: (sum(e for e, _ in ended[-span:]), sum(n for _, n in ended[-span:])) for span in SPANS
    }
    found = find(goal.watch, goal.watch.changes(ended), spans, *now)
    value = now[0] / now[1] if now[1] else None
    given = {"events": now[0], "samples": now[1], "value": value, "at": NOW} | reading
    return analysis.weigh(
        goal, Reading(**given), None, None, now=NOW, since=NOW - timedelta(days=3),
        stale=timedelta(seconds=35), found=found,
    )  # fmt: skip


CALM = (1, 120)


@pytest.mark.parametrize(
    ("slo", "known", "ended", "now", "verdict", "said"),
    [
        pytest.param(MAX, (), [CALM] * 12, (0, 10), GOOD,
                     "unsafe 0.008276 (12 of 1450) within max 0.02", id="an hour well below"),
        pytest.param(MAX, (), [CALM], (0, 10), UNSURE, "20 to 1 is needed",
                     id="the first minutes prove nothing"),
        pytest.param(MAX, (), [(2, 120), (3, 120)] * 36, (2, 100), UNSURE, "is needed",
                     id="at the bound nothing is proven"),
        pytest.param(MAX, (), [], (0, 0), UNSURE, "(0 of 0)", id="no traffic proves nothing"),
        pytest.param(MAX, (), [(5, 120)] * 13, (5, 120), BAD,
                     "> 0.02: evidence", id="twice the bound for an hour: no window alone proves"),
        pytest.param(MAX, (), [CALM] * 72 + [(12, 120)], (12, 120), BAD, "> 0.02: evidence",
                     id="five times the bound after long innocence"),
        pytest.param(MAX, (), [CALM] * 72, (40, 60), BAD, "> 0.02",
                     id="sudden harm does not wait for the window's end"),
        pytest.param(MAX | {"minSamples": 5000}, (), [CALM] * 12, (0, 10), UNSURE,
                     "1450 of 5000 samples", id="success waits for minSamples"),
        pytest.param(MIN, (), [(96, 100)] * 12, (96, 100), GOOD, "within min 0.9",
                     id="a rate that should be high and is"),
        pytest.param(MIN, (), [(80, 100)] * 8, (8, 10), BAD, "done 0.8", id="and that is not"),
        pytest.param(VERSUS, (), [CALM] * 12, (0, 10), UNSURE, "no baseline",
                     id="without a baseline nothing is compared, and that is said"),
        pytest.param(MAX | {"versusStable": {"ratio": "2"}}, (), [CALM] * 12, (0, 10), GOOD,
                     "no baseline", id="the absolute bound is judged all the same"),
        pytest.param(VERSUS, (baseline(VERSUS, 10, 1000),), [(2, 240)] * 12, (0, 10), GOOD,
                     "within versusStable", id="as in its own run"),
        pytest.param(VERSUS, (baseline(VERSUS, 10, 1000),), [(30, 240)] * 12, (0, 10), BAD,
                     "what its own run and versusStable allow", id="five times what it was"),
        pytest.param(VERSUS, (baseline(VERSUS, 10, 1000, measure="other"),), [(17, 240)] * 12,
                     (0, 10), UNSURE, "no baseline", id="a baseline of something else is none"),
        pytest.param(VERSUS, (baseline(VERSUS, 0, 1),), [CALM] * 12, (0, 10), UNSURE,
                     "bounds nothing", id="a baseline of one answer bounds nothing"),
        pytest.param(DONE | {"versusStable": {"ratio": "1.1"}},
                     (baseline(MIN, 950, 1000),), [(70, 100)] * 6, (0, 0), BAD,
                     "< ", id="a rate that was high in its own run and fell"),
    ],
)  # fmt: skip
def test_verdicts_of_a_promoted_version(
    slo: dict[str, Any],
    known: tuple[BaselineRecord, ...],
    ended: list[Window],
    now: Window,
    verdict: Verdict,
    said: str,
) -> None:
    found = judge(objective(slo, *known), ended, now)
    assert (found.verdict, said in found.message) == (verdict, True), found.message


FASTER = "spends its budget faster than allowed over 72 h and over 6 h"
THRICE = "spends its budget more than 3 times as fast as allowed over 24 h and over 2 h"


@pytest.mark.parametrize(
    ("slo", "ended", "now", "verdict", "said"),
    [
        pytest.param(MAX, [(3, 120)] * 144, (3, 120), UNSURE, FASTER,
                     id="a quarter above the bound for half a day"),
        pytest.param(MAX, [(2, 120)] * 864, (2, 120), UNSURE, None, id="below it for three days"),
        pytest.param(MAX, [(3, 120)] * 3, (3, 120), UNSURE, None,
                     id="for minutes it proves little"),
        pytest.param(MAX, [(3, 120)] * 144 + [CALM] * 72, (1, 120), GOOD, None,
                     id="what has been over for six hours"),
        pytest.param(MAX, [CALM] * 720 + [(3, 120)] * 72, (3, 120), UNSURE, None,
                     id="what three days as a whole bear"),
        pytest.param(PLAIN, [(8, 120)] * 24, (0, 120), GOOD, THRICE,
                     id="also where plain numbers are compared"),
        pytest.param(MIN, [(89, 100)] * 144, (89, 100), UNSURE, FASTER,
                     id="also of a rate that should be high"),
    ],
)  # fmt: skip
def test_a_slow_burn_is_told_and_fails_nothing(
    slo: dict[str, Any], ended: list[Window], now: Window, verdict: Verdict, said: str | None
) -> None:
    goal = objective(slo)
    found = judge(goal, ended, now)
    assert (found.verdict, found.slow_burn) == (verdict, said), found.message
    assert analysis.result(goal, "v1", found).slow_burn == said


@pytest.mark.parametrize(
    ("problem", "verdict"), [(Problem.STALE, UNSURE), (Problem.SOURCE_DOWN, WRONG)]
)
def test_silence_is_neither_but_takes_no_proof_back(problem: Problem, verdict: Verdict) -> None:
    silent = {"problem": problem, "message": "nothing came"}
    assert judge(objective(MAX), [CALM] * 12, **silent).verdict is verdict
    assert judge(objective(MAX), [(12, 120)] * 6, **silent).verdict is BAD


def test_more_tests_share_the_false_alarms_of_thirty_days() -> None:
    window = [(9, 120), (5, 120)]
    alone, shared = objective(MAX), objective(MAX, beside=30)
    assert judge(alone, window * 3, (2, 40)).verdict is BAD
    assert judge(shared, window * 3, (2, 40)).verdict is UNSURE
    assert alone.watch is not None and shared.watch is not None
    assert shared.watch.proven - alone.watch.proven == pytest.approx(3.43, abs=0.01)


def test_what_only_informs_shares_nothing() -> None:
    informs = {"class": "Informational"}
    alone = objective(MAX).watch
    ((_, goal), *_) = watched((policy(MAX, MAX | informs | {"name": "b"}),), ())
    assert goal.watch == alone


@pytest.mark.parametrize(
    ("slo", "ended", "now", "fires"),
    [
        pytest.param(PLAIN, [CALM] * 60 + [(37, 120)] * 12, (20, 60), "over 1 h and over 5 min",
                     id="an hour at sixteen times the budget"),
        pytest.param(PLAIN, [(20, 120)] * 72, (10, 60), "over 6 h and over 30 min",
                     id="six hours at eight times the budget"),
        pytest.param(PLAIN, [(120, 120)] + [CALM] * 11, (1, 40), None, id="it is over"),
        pytest.param(PLAIN, [], (3, 4), None, id="a few bad answers prove nothing"),
        pytest.param(PLAIN, [(5, 120)] * 72, (2, 60), None, id="twice the budget is no page"),
        pytest.param(PLAIN | {"min": "0.001"}, [(120, 120)], (40, 40), "over 1 h",
                     id="where plain numbers are compared too"),
    ],
)  # fmt: skip
def test_page_rules_of_burn_rates(
    slo: dict[str, Any], ended: list[Window], now: Window, fires: str | None
) -> None:
    goal = objective(slo)
    assert goal.rate is None
    found = judge(goal, ended, now)
    assert ("spends its budget" in found.message) is (fires is not None), found.message
    if fires is not None:
        assert found.verdict is BAD and fires in found.message and found.failures >= 1


def test_a_page_is_told_beside_the_evidence() -> None:
    found = judge(objective(MAX), [(60, 120)] * 12, (30, 60))
    assert "is proof; spends its budget 25 times as fast as allowed over 1 h" in found.message


def test_the_result_shows_the_last_hour_and_what_proof_takes() -> None:
    goal = objective(MAX)
    shown = result(goal, "v1", judge(goal, [(50, 100)] * 3 + [CALM] * 12, (1, 60)))
    assert (shown.events, shown.samples) == (13, 1500)
    assert float(shown.harm_proven or 0) == pytest.approx(13.67, abs=0.01)
    assert shown.low is not None and shown.ratio is None and shown.needs is None


@pytest.mark.parametrize(
    "slo",
    [
        {"name": "csae", "class": "Safety", "maxCount": 0,
         "indicator": {"type": "UnsafeServedCount"}},
        {"name": "long", "class": "Quality", "max": "900", "indicator": {"type": "ResponseLength"}},
        PLAIN | {"max": "1.5"},
    ],
)  # fmt: skip
def test_what_is_no_rate_with_a_bound_is_judged_by_plain_numbers(slo: dict[str, Any]) -> None:
    goal = objective(slo)
    assert goal.watch is None
    assert replace(goal, watch=None) == goal
