"""Detectors of change after promotion, and how fast the budget for bad answers burns."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from math import exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rlhf_operator.core.statistics import (
    BURN_RULES,
    Burn,
    Count,
    Cusum,
    EDetector,
    Urgency,
    average_run_length,
    burn_rate,
    burns,
    head_start,
    two_sided_run_length,
)


@pytest.mark.parametrize(
    ("slack", "threshold", "shift", "windows"),
    [
        (0.5, 4, 0, 338),
        (0.5, 4, 1, 8.3),
        (0.5, 4, 0.5, 26.7),
        (0.5, 5, 0, 938),
        (0.5, 5, 1, 10.3),
        (0.5, 5, 0.5, 38),
        (0.25, 8, 0, 738),
        (0.25, 8, 1, 11.3),
        (0.25, 8, 0.5, 28.8),
    ],
)
def test_how_long_a_cusum_runs(
    slack: float, threshold: float, shift: float, windows: float
) -> None:
    assert average_run_length(slack, threshold, shift) == pytest.approx(windows, rel=0.006)


@pytest.mark.parametrize(("slack", "threshold"), [(0.5, 4), (0.5, 5), (0.25, 8)])
@pytest.mark.parametrize("shift", [0, 0.5, 1])
def test_siegmunds_formula_is_close_to_the_exact_run_length(
    slack: float, threshold: float, shift: float
) -> None:
    """The level as a Markov chain of 400 states, after Brook and Evans."""
    states = 400
    width = 2 * threshold / (2 * states - 1)
    centres = np.arange(states) * width
    steps = centres[None, :] - centres[:, None] + slack - shift
    chain = stats.norm.cdf(steps + width / 2) - stats.norm.cdf(steps - width / 2)
    chain[:, 0] = stats.norm.cdf(steps[:, 0] + width / 2)
    exact = np.linalg.solve(np.eye(states) - chain, np.ones(states))[0]
    assert average_run_length(slack, threshold, shift) == pytest.approx(exact, rel=0.03)


def test_two_detectors_alarm_twice_as_often_as_one() -> None:
    assert two_sided_run_length(938, 938) == pytest.approx(469)


def cusum(**changes: float) -> Cusum:
    given_values: dict[str, float] = {"mean": 1.0, "deviation": 2.0, **changes}
    return Cusum(higher_is_worse=False, **given_values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("windows", "level", "alarmed"),
    [
        pytest.param([], 0, False, id="nothing came yet"),
        pytest.param([(1.0, 16)], 0, False, id="the baseline again"),
        pytest.param([(5.0, 16)], 0, False, id="a better mean is no alarm"),
        pytest.param([(0.0, 16)], 1.5, False, id="two deviations less the slack"),
        pytest.param([(0.0, 16)] * 3, 4.5, False, id="three such windows"),
        pytest.param([(0.0, 16)] * 4, 6.0, True, id="four such windows"),
        pytest.param([(0.0, 16)] * 3 + [(2.0, 16)], 2.0, False, id="a good window takes back"),
        pytest.param([(0.0, 64)] * 2, 7.0, True, id="larger windows weigh more"),
        pytest.param([(0.0, 16), (0.0, 0)], 1.5, False, id="an empty window changes nothing"),
    ],
)
def test_a_fall_of_the_mean_adds_up(
    windows: list[tuple[float, float]], level: float, alarmed: bool
) -> None:
    for falls in (True, False):
        detector = Cusum(mean=1 if falls else -1, deviation=2, higher_is_worse=not falls)
        for mean, n in windows:
            detector = detector.update(mean if falls else -mean, n)
        assert detector.level == pytest.approx(level)
        assert detector.alarmed is alarmed


def test_a_detector_with_a_head_start_needs_half_the_evidence() -> None:
    detector = head_start(cusum())
    assert detector.level == 2.5
    assert not detector.alarmed
    assert detector.update(0, 16).update(0, 16).alarmed


@given(means=st.lists(st.floats(-10, 10), max_size=30), worse=st.floats(0.01, 3))
def test_worse_windows_never_lower_the_level(means: list[float], worse: float) -> None:
    one = other = cusum()
    for mean in means:
        one, other = one.update(mean, 9), other.update(mean - worse, 9)
    assert other.level >= one.level >= 0


@pytest.mark.parametrize(("mean", "n"), [(float("nan"), 5), (float("inf"), 5), (1, float("nan"))])
def test_a_window_that_is_no_number_is_refused(mean: float, n: float) -> None:
    with pytest.raises(ValueError, match="not a number"):
        cusum().update(mean, n)


@pytest.mark.parametrize("changes", [{"deviation": 0}, {"slack": -1}, {"mean": float("nan")}])
def test_a_baseline_that_cannot_be_is_refused(changes: Mapping[str, float]) -> None:
    with pytest.raises(ValueError, match="not a number"):
        cusum(**changes)


def run(detector: EDetector, values: list[float]) -> EDetector:
    for value in values:
        detector = detector.update(value)
    return detector


@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=60), floor=st.floats(0.05, 0.95))
def test_the_e_detector_adds_up_a_fresh_start_at_each_value(
    values: list[float], floor: float
) -> None:
    detector = run(EDetector(floor=floor, run_length=500), values)
    sums = []
    for bet in detector.bets:
        starts = [
            np.prod([1 + bet * (floor - value) for value in values[start:]])
            for start in range(len(values))
        ]
        sums.append(sum(starts))
    assert [exp(level) for level in detector.log_levels] == pytest.approx(sums)
    assert detector.alarmed == (sum(sums) / len(sums) >= 500)


@pytest.mark.parametrize(
    ("values", "alarmed"),
    [
        pytest.param([], False, id="nothing came yet"),
        pytest.param([0.7] * 300, False, id="the mean as it was"),
        pytest.param([0.9] * 5000, False, id="a better mean for long"),
        pytest.param([0.7] * 300 + [0.3] * 20, True, id="a deep fall"),
        pytest.param([0.2], False, id="one bad value"),
        pytest.param([0.0] * 5000, True, id="levels beyond the floats"),
    ],
)
def test_a_fall_below_the_floor(values: list[float], alarmed: bool) -> None:
    assert run(EDetector(floor=0.6, run_length=500), values).alarmed is alarmed


def test_bets_that_one_value_could_ruin_are_left_out() -> None:
    assert EDetector(floor=0.6, run_length=500).bets == (0.25, 0.5, 1.0, 1.5)
    assert EDetector(floor=0.3, run_length=500).bets == (0.25, 0.5, 1.0)
    assert EDetector(floor=1e-20, run_length=500).bets == (0.25, 0.5)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_value_outside_0_and_1_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not a number"):
        EDetector(floor=0.5, run_length=100).update(value)


@pytest.mark.parametrize("floor", [0, 1, float("nan")])
def test_a_floor_that_cannot_be_crossed_is_refused(floor: float) -> None:
    with pytest.raises(ValueError, match="floor"):
        EDetector(floor=floor, run_length=100)


def test_the_factors_of_the_burn_rules() -> None:
    assert [rule.factor for rule in BURN_RULES] == pytest.approx([14.4, 6, 3, 1])


HOUR = timedelta(hours=1)
CALM = Count(events=10, samples=10_000)
QUICK = {HOUR: Count(events=200, samples=10_000), HOUR / 12: Count(events=20, samples=1000)}


@pytest.mark.parametrize(
    ("windows", "alerts", "known"),
    [
        pytest.param({}, [], 0, id="no data is no alert, and no peace either"),
        pytest.param(QUICK, [0], 1, id="an hour at twenty times the budget"),
        pytest.param({**QUICK, HOUR / 12: CALM}, [], 1, id="it is over"),
        pytest.param({**QUICK, HOUR: CALM}, [], 1, id="it has only begun"),
        pytest.param({HOUR: QUICK[HOUR]}, [], 0, id="one window alone"),
        pytest.param(
            {**QUICK, HOUR / 12: Count(events=0, samples=0)}, [], 0, id="nobody asks any more"
        ),
        pytest.param(
            {
                window: Count(events=70, samples=10_000)
                for rule in BURN_RULES
                for window in (rule.long, rule.short)
            },
            [1, 2, 3],
            4,
            id="seven times the budget everywhere",
        ),
    ],
)
def test_which_rules_alert(
    windows: Mapping[timedelta, Count], alerts: list[int], known: int
) -> None:
    found = burns(windows, 0.001)
    assert [place for place, burn in enumerate(found) if burn.alerts] == alerts
    assert sum(burn.known for burn in found) == known
    assert [burn.rule for burn in found] == list(BURN_RULES)


def test_a_page_is_for_the_quick_and_a_ticket_for_the_slow() -> None:
    urgencies = [rule.urgency for rule in BURN_RULES]
    assert urgencies == [Urgency.PAGE, Urgency.PAGE, Urgency.TICKET, Urgency.TICKET]
    assert burns(QUICK, 0.001)[0] == Burn(
        rule=BURN_RULES[0], long=pytest.approx(20), short=pytest.approx(20)
    )


def test_how_fast_the_budget_burns() -> None:
    assert burn_rate(Count(events=3, samples=1000), 0.001) == pytest.approx(3)
    assert burn_rate(Count(events=0, samples=0), 0.001) is None
    with pytest.raises(ValueError, match="budget"):
        burn_rate(CALM, 0)


def test_the_drift_at_the_slack_is_the_limit_of_its_neighbours() -> None:
    exact = average_run_length(0.5, 5, 0.5)
    assert average_run_length(0.5, 5, 0.5 + 1e-5) == pytest.approx(exact, rel=1e-3)
    assert exact == pytest.approx((5 + 1.166) ** 2)
    assert log(average_run_length(0.5, 20, 0)) > 15
