"""Means of a promoted version: a baseline that is frozen, and a shift that is found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from rlhf_operator.api.evidence import BaselineRecord, SLOResult, Verdict
from rlhf_operator.core import rollout
from rlhf_operator.core.drift import BASELINE, Drift, DriftTest
from rlhf_operator.core.objective import Judgement, Objective, Reading
from rlhf_operator.core.statistics import average_run_length
from rlhf_operator.core.steady import drifted, frozen, watched
from tests import builders as make
from tests.core.test_record import after
from tests.core.test_steady import policy

LENGTH = {"name": "long", "class": "Quality", "indicator": {"type": "ResponseLength"},
          "versusStable": {"difference": "100", "method": "Threshold"}}  # fmt: skip
RUN_LENGTH = 864_000.0
GOOD, UNSURE, WRONG, BAD = Verdict


def asked(**changes: Any) -> DriftTest:
    given = {"difference": 100.0, "higher_is_worse": True, "run_length": RUN_LENGTH} | changes
    return DriftTest(**given)


def fed(test: DriftTest, *means: float) -> Drift:
    drift = Drift(test=test)
    for mean in means:
        drift = drift.update(mean)
    return drift


HOUR = (790.0, 810.0) * 6
KNOWN = BaselineRecord(slo="p/long", measure="x", mean="800", deviation="10.444659358")


def alarmed(drift: Drift) -> bool:
    detector = drift.detector()
    return detector is not None and detector.alarmed


def test_the_first_hour_becomes_the_baseline_and_never_changes() -> None:
    assert fed(asked(), *HOUR[:-1]).baseline is None
    assert fed(asked(), *HOUR).baseline == pytest.approx((800, np.std(HOUR, ddof=1)))
    assert fed(asked(), *HOUR, 5000).baseline == fed(asked(), *HOUR).baseline
    assert fed(asked(known=KNOWN)).baseline == pytest.approx((800, 10.444659358))


@pytest.mark.parametrize(
    ("later", "alarm"),
    [
        pytest.param([800] * 500, False, id="as in the first hour"),
        pytest.param([700] * 500, False, id="better for ever"),
        pytest.param([840] * 500, False, id="less than half of what is tolerated, for ever"),
        pytest.param([900], False, id="one window may be chance"),
        pytest.param([900] * 8, True, id="as far off as is tolerated, for less than an hour"),
        pytest.param([1500], True, id="one window that is beyond all chance"),
        pytest.param([900, 700] * 100, False, id="to and fro"),
    ],
)
@pytest.mark.parametrize("higher", [True, False])
def test_which_windows_are_a_drift(later: list[float], alarm: bool, higher: bool) -> None:
    sign = 1 if higher else -1
    test = asked(higher_is_worse=higher)
    assert alarmed(fed(test, *(sign * value for value in (*HOUR, *later)))) is alarm


def test_values_that_never_varied_allow_half_the_difference_still() -> None:
    assert not alarmed(fed(asked(), *[800.0] * 12, *[850.0] * 500))
    assert alarmed(fed(asked(), *[800.0] * 12, *[900.0] * 4))
    assert not alarmed(fed(asked(difference=0.0), *[0.0] * 500))


def test_what_twelve_windows_leave_open_is_scipys() -> None:
    detector = fed(asked(difference=0.0), *HOUR).detector()
    assert detector is not None
    deviation = float(np.std(HOUR, ddof=1))
    off = stats.t.ppf(0.975, BASELINE - 1) * deviation / BASELINE**0.5
    wide = deviation * ((BASELINE - 1) / stats.chi2.ppf(0.025, BASELINE - 1)) ** 0.5
    assert detector.mean == pytest.approx(800 + off, rel=1e-4)
    assert detector.deviation == pytest.approx(wide, rel=1e-3)
    assert average_run_length(detector.slack, detector.threshold, 0) >= RUN_LENGTH
    assert average_run_length(detector.slack, detector.threshold - 0.01, 0) < RUN_LENGTH


def test_a_month_without_drift_alarms_rarely() -> None:
    """60 times 8640 windows about a baseline of twelve that is estimated anew each time."""
    rng = np.random.default_rng(11)
    wrong = 0
    for _ in range(60):
        values = rng.normal(800, 40, 12 + 8640)
        detector = fed(asked(difference=0.0), *values[:12]).detector()
        assert detector is not None
        steps = (values[12:] - detector.mean) / detector.deviation - detector.slack
        sums = np.concatenate(([0.0], np.cumsum(steps)))
        level = sums - np.minimum.accumulate(sums)
        wrong += bool((level > detector.threshold).any())
    assert wrong <= 1


def objective(slo: dict[str, Any] = LENGTH, *known: BaselineRecord) -> Objective:
    ((_, goal),) = watched((policy(slo),), known)
    return goal


def judgement(value: float, verdict: Verdict = UNSURE) -> Judgement:
    reading = Reading(events=int(value * 10), samples=10, value=value)
    return Judgement(verdict=verdict, failures=0, message="as it was", reading=reading)


@pytest.mark.parametrize(
    ("means", "before", "verdict", "said"),
    [
        pytest.param(HOUR[:3], UNSURE, UNSURE, "3 of 12 windows of its baseline", id="too soon"),
        pytest.param(HOUR, UNSURE, UNSURE, "as its first hour's 800, so far", id="no drift"),
        pytest.param((*HOUR, *[900] * 9), UNSURE, BAD, "has moved from its first hour's 800",
                     id="a drift fails"),
        pytest.param((*HOUR, *[900] * 9), GOOD, BAD, "has moved", id="also within plain bounds"),
        pytest.param(HOUR, BAD, BAD, "as it was", id="what fails its plain bound still does"),
        pytest.param(HOUR, GOOD, GOOD, "as it was", id="and what keeps it passes"),
    ],
)  # fmt: skip
def test_verdicts_on_a_mean(
    means: tuple[float, ...], before: Verdict, verdict: Verdict, said: str
) -> None:
    goal = objective()
    assert goal.drift is not None
    found = drifted(goal, judgement(means[-1], before), fed(goal.drift, *means))
    assert (found.verdict, said in found.message) == (verdict, True), found.message


def test_a_baseline_goes_on_record_once() -> None:
    goal = objective()
    assert goal.drift is not None
    assert frozen(goal, fed(goal.drift, *HOUR[:-1])) is None
    record = frozen(goal, fed(goal.drift, *HOUR))
    assert record is not None and (record.mean, record.deviation) == ("800", "10.444659357")
    again = objective(LENGTH, record)
    assert again.drift is not None and again.drift.known == record
    assert frozen(again, fed(again.drift, *HOUR)) is None
    for changes in ({"measure": "something else"}, {"mean": None, "deviation": None}):
        other = objective(LENGTH, record.model_copy(update=changes))
        assert other.drift is not None and other.drift.known is None
        assert frozen(other, fed(other.drift, *HOUR)) == record


def test_the_record_keeps_what_was_frozen_first() -> None:
    rate = BaselineRecord(slo="p/unsafe", measure="u", events=1, samples=2)
    run = make.ended(baseline=(rate,), in_force_at=make.ago(70))
    assert after(run=run, baselines=(KNOWN,)).baseline == (rate, KNOWN)
    run = make.ended(baseline=(rate, KNOWN), in_force_at=make.ago(70))
    later = KNOWN.model_copy(update={"mean": "900"})
    assert after(run=run, baselines=(later,)).baseline == (rate, KNOWN)
    edited = later.model_copy(update={"measure": "y"})
    assert after(run=run, baselines=(edited,)).baseline == (rate, edited)


def test_a_drift_of_quality_leads_back_to_the_version_before() -> None:
    failed = SLOResult.model_validate({
        "policy": "p", "name": "long", "class": "Quality", "version": "v2", "verdict": BAD,
    })  # fmt: skip
    seen = make.make_observed(
        run=make.ended(to=make.V2, stable=make.V2, from_=make.V1, standby=make.standby(make.V1)),
        target=make.V2, workloads=make.pods(v2=make.SERVING),
        stable=replace(make.GOOD, results=(failed,)),
    )  # fmt: skip
    decision = rollout.decide(seen)
    assert decision.rule == "stable_failed" and decision.start is not None
    assert decision.start.to == make.V1
