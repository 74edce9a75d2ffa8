"""Means of a promoted version: a baseline that is frozen, and a shift that is found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from rlhf_operator.api.evidence import BaselineRecord, SLOResult, Sums, Verdict
from rlhf_operator.core import rollout
from rlhf_operator.core.baselines import merged
from rlhf_operator.core.drift import BASELINE, Drift, DriftTest, record_of, resumed
from rlhf_operator.core.indicators import Measure, measure
from rlhf_operator.core.moments import NO_VALUES, Moments
from rlhf_operator.core.objective import Judgement, Objective, Reading
from rlhf_operator.core.statistics import average_run_length
from rlhf_operator.core.steady import drifted, frozen, watched
from tests import builders as make
from tests.core.test_record import after
from tests.core.test_steady import policy

LENGTH = {"name": "long", "class": "Quality", "indicator": {"type": "ResponseLength"},
          "versusStable": {"difference": "100", "method": "Threshold"}}  # fmt: skip
VARIED = LENGTH | {"versusStable": {"difference": "100"}}
RUN_LENGTH = 864_000.0
GOOD, UNSURE, WRONG, BAD = Verdict


def measure_of(slo: dict[str, Any]) -> Measure:
    return measure(policy(slo).slos[0])


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


OWN_RUN = BaselineRecord(slo="p/long", measure="x", samples=4000,
                         sums=Sums(total="3200000", squares="2720000000"))  # fmt: skip
"""4000 answers of 800 tokens on average, with a deviation of 200."""


def hour(test: DriftTest, *means: float, answers: int = 600) -> Drift:
    """So many windows of so many answers, with the same deviation as in the version's own run."""
    drift = Drift(test=test)
    for mean in means:
        moments = Moments(answers * mean, answers * (mean**2 + 200**2))
        drift = drift.counted(answers, moments).update(mean)
    return drift


def is_fall(drift: Drift) -> bool:
    return drift.fall() >= drift.test.proven


@pytest.mark.parametrize(
    ("means", "falls"),
    [
        pytest.param([900], True, id="as far off as is tolerated, in the first window"),
        pytest.param([840] * 11, False, id="less than half of that, for the whole hour"),
        pytest.param([1500], True, id="one window that is beyond all chance"),
        pytest.param([700] * 11, False, id="better than in its own run"),
        pytest.param([820, 790] * 5, False, id="as in its own run"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("higher", [True, False])
def test_the_first_hour_is_compared_with_the_versions_own_run(
    means: list[float], falls: bool, higher: bool
) -> None:
    sign = 1 if higher else -1
    own = Sums(total=str(sign * 3_200_000), squares="2720000000")
    test = asked(known=OWN_RUN.model_copy(update={"sums": own}), higher_is_worse=higher)
    assert is_fall(hour(test, *(sign * mean for mean in means))) is falls


def test_a_fall_does_not_become_what_later_windows_are_compared_with() -> None:
    fallen = hour(asked(known=OWN_RUN), *[900.0] * 40)
    assert is_fall(fallen) and fallen.baseline is None
    alone = hour(asked(), *[900.0] * 12)
    assert alone.fall() == 0 and alone.baseline is not None, "without its own run nobody knows"
    well = hour(asked(known=OWN_RUN), *HOUR)
    assert well.baseline is not None and well.fall() == 0, "and then the first hour is it"


def test_a_window_that_goes_on_is_compared_too() -> None:
    drift = hour(asked(known=OWN_RUN), *HOUR[:2])
    assert not is_fall(drift)
    assert drift.fall(3000, Moments(3000 * 1000, 3000 * (1000**2 + 200**2))) >= drift.test.proven
    assert drift.fall(0, NO_VALUES) == drift.fall()


def test_few_values_prove_no_fall() -> None:
    assert hour(asked(known=OWN_RUN), 2000.0, answers=90).fall() == 0
    few = OWN_RUN.model_copy(update={"samples": 40})
    assert hour(asked(known=few), 2000.0).fall() == 0


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_an_hour_that_is_no_worse_than_is_tolerated_is_hardly_ever_a_fall(shift: float) -> None:
    """500 promotions, each looked at with every window, at one false alarm in a hundred."""
    rng = np.random.default_rng(7)
    proven, wrong = np.log(100.0), 0
    for _ in range(500):
        run = rng.normal(0, 1, 400)
        own = Sums(total=f"{run.sum():.9f}", squares=f"{(run**2).sum():.9f}")
        known = BaselineRecord(slo="p/long", measure="x", samples=400, sums=own)
        drift = Drift(test=asked(known=known, difference=1.0, run_length=100.0))
        for _ in range(12):
            values = rng.normal(shift, 1, 120)
            drift = drift.counted(120, Moments(values.sum(), (values**2).sum()))
            if drift.fall() >= proven:
                wrong += 1
                break
    assert wrong <= 5


def test_a_fall_is_told_with_both_means() -> None:
    goal = objective(VARIED, OWN_RUN.model_copy(update={"measure": str(measure_of(VARIED))}))
    assert goal.drift is not None and goal.drift.known is not None
    now = Moments(3000 * 900, 3000 * (900**2 + 200**2))
    reading = Reading(samples=3000, value=900.0, moments=now)
    judged = Judgement(verdict=UNSURE, failures=0, message="as it was", reading=reading)
    found = drifted(goal, judged, Drift(test=goal.drift))
    assert found.verdict is BAD and found.failures == 1
    assert "has moved from the 800 (of 4000) of its own run" in found.message
    while_rules_change = drifted(goal, judged, Drift(test=goal.drift), doubtful=True)
    assert while_rules_change.verdict is UNSURE


def test_what_its_own_run_showed_stays_on_record_beside_the_first_hour() -> None:
    known = OWN_RUN.model_copy(update={"measure": str(measure_of(VARIED))})
    goal = objective(VARIED, known)
    assert goal.drift is not None
    record = frozen(goal, hour(goal.drift, *HOUR))
    assert record is not None and record.sums == known.sums and record.mean == "800"
    assert merged((known,), (record,)) == (record,)
    later = record.model_copy(update={"mean": "900"})
    assert merged((record,), (later,)) == (record,)


def test_where_no_squares_are_read_the_own_run_is_not_compared() -> None:
    goal = objective(LENGTH, OWN_RUN.model_copy(update={"measure": str(measure_of(LENGTH))}))
    assert goal.drift is not None and goal.drift.known is None


@pytest.mark.parametrize(
    "drift",
    [
        pytest.param(hour(asked(known=OWN_RUN), *HOUR[:7]), id="a baseline that grows"),
        pytest.param(hour(asked(), *HOUR[:7]), id="one that nothing is compared with"),
        pytest.param(hour(asked(known=KNOWN), *[900.0] * 3), id="a detector that has seen some"),
    ],
)
def test_the_windows_outlive_the_process(drift: Drift) -> None:
    record = record_of("p/long", "x", drift)
    assert record is not None
    again = resumed(drift.test, "x", record)
    assert record_of("p/long", "x", again) == record
    assert again.fall() == pytest.approx(drift.fall())
    for mean in HOUR[7:]:
        again, drift = again.update(mean), drift.update(mean)
    assert again.baseline == pytest.approx(drift.baseline)
    assert again.level == pytest.approx(drift.level)
    assert resumed(drift.test, "something else", record) == Drift(test=drift.test)


def test_windows_that_say_nothing_are_not_on_record() -> None:
    assert record_of("p/long", "x", Drift(test=asked())) is None
    assert record_of("p/long", "x", hour(asked(known=KNOWN), 800.0)) is None
