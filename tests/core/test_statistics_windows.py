"""A rate that rises at a time nobody knows: how soon it is found, and how often wrongly."""

from __future__ import annotations

from datetime import timedelta
from itertools import product
from math import comb, exp, log
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_operator.core.statistics import (
    GRID,
    Count,
    RateChange,
    change_threshold,
    log_e_ceiling,
)

Window = tuple[int, int]
counts = st.integers(0, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
NOTHING = Count(events=0, samples=0)


def fed(ceiling: float, windows: list[Window]) -> RateChange:
    detector = RateChange(ceiling=ceiling)
    for events, samples in windows:
        detector = detector.update(Count(events=events, samples=samples))
    return detector


def by_brute_force(ceiling: float, windows: list[Window]) -> float:
    """The mean over the grid of the sum over all starts of the products of likelihood ratios."""
    found = []
    for odds in GRID:
        other = ceiling * odds / (1 + ceiling * (odds - 1))
        terms = []
        for start in range(len(windows)):
            events = sum(window[0] for window in windows[start:])
            samples = sum(window[1] for window in windows[start:])
            terms.append(
                (other / ceiling) ** events * ((1 - other) / (1 - ceiling)) ** (samples - events)
            )
        found.append(sum(terms))
    return float(np.mean(found))


@given(
    ceiling=st.floats(0.01, 0.5),
    windows=st.lists(
        st.integers(0, 60).flatmap(lambda n: st.tuples(st.integers(0, n // 4), st.just(n))),
        min_size=1, max_size=8,
    ),
)  # fmt: skip
def test_every_window_begins_a_start_and_all_are_added_up(
    ceiling: float, windows: list[Window]
) -> None:
    *ended, (events, samples) = windows
    level = fed(ceiling, ended).level(Count(events=events, samples=samples))
    assert exp(level) == pytest.approx(by_brute_force(ceiling, windows), rel=1e-9)


@given(ceiling=st.floats(0.01, 0.5), window=counts)
def test_the_first_window_is_the_ceiling_test(ceiling: float, window: Window) -> None:
    level = RateChange(ceiling=ceiling).level(Count(events=window[0], samples=window[1]))
    assert level == pytest.approx(log_e_ceiling(*window, ceiling, exceeds=True), abs=1e-9)


@given(ceiling=st.floats(0.01, 0.5), windows=st.lists(counts, max_size=20), last=counts)
def test_what_has_just_begun_is_never_worse_evidence_than_alone(
    ceiling: float, windows: list[Window], last: Window
) -> None:
    """Long innocence takes nothing from the evidence of harm that begins now."""
    count = Count(events=last[0], samples=last[1])
    alone = RateChange(ceiling=ceiling).level(count)
    assert fed(ceiling, windows).level(count) >= alone - 1e-9


@pytest.mark.parametrize("ceiling", [0.02, 0.3])
@pytest.mark.parametrize("samples", [1, 3, 6])
def test_under_the_bound_a_window_raises_the_mean_by_one_at_most(
    ceiling: float, samples: int
) -> None:
    """Counted out over every outcome of two windows, at rates up to the ceiling."""
    for rate in (0.0, ceiling / 2, ceiling):
        expected = 0.0
        for pair in product(range(samples + 1), repeat=2):
            chance = np.prod(
                [comb(samples, k) * rate**k * (1 - rate) ** (samples - k) for k in pair]
            )
            detector = fed(ceiling, [(pair[0], samples)])
            expected += chance * exp(detector.level(Count(events=pair[1], samples=samples)))
        assert expected <= 2 + 1e-9
        if rate == ceiling:
            assert expected == pytest.approx(2)


def alarm(rng: np.random.Generator, rate: float, windows: int, threshold: float) -> bool:
    """Whether there is an alarm, looked at within every window and at its end."""
    detector = RateChange(ceiling=0.02)
    for _ in range(windows):
        first, second = rng.binomial([60, 60], rate)
        looks = (Count(events=first, samples=60), Count(events=first + second, samples=120))
        if any(detector.level(look) >= threshold for look in looks):
            return True
        detector = detector.update(looks[-1])
    return False


def test_false_alarms_stay_below_what_was_promised() -> None:
    """At the ceiling itself, the worst case: 200 times four hours, looked at 96 times each."""
    rng = np.random.default_rng(7)
    threshold = change_threshold(0.2, 1, timedelta(minutes=5), period=timedelta(hours=4))
    wrong = sum(alarm(rng, 0.02, 48, threshold) for _ in range(200))
    assert 2 <= wrong <= 40, "no more than 20 %, and the test can fail"


def test_harm_after_a_month_of_innocence_is_found_soon() -> None:
    harmful = Count(events=12, samples=120)
    detector = fed(0.02, [(1, 120)] * 8640)
    threshold = change_threshold(0.01, 5, timedelta(minutes=5))
    assert detector.level(harmful) < threshold
    assert detector.update(harmful).level(harmful) >= threshold
    diluted = log_e_ceiling(8640 + 24, 120 * 8642, 0.02, exceeds=True)
    assert diluted < 0, "all of it together still says nothing"


def test_the_threshold_is_shared_by_tests_and_windows() -> None:
    five = timedelta(minutes=5)
    assert exp(change_threshold(0.01, 1, five)) == pytest.approx(864_000)
    assert change_threshold(0.01, 4, five) == pytest.approx(log(4 * 864_000))
    with pytest.raises(ValueError, match="error probability"):
        change_threshold(0, 1, five)
    with pytest.raises(ValueError, match="not a number"):
        change_threshold(0.01, 0, five)


@pytest.mark.parametrize("ceiling", [0, 1, -1, float("nan")])
def test_a_ceiling_that_cannot_be_crossed_is_refused(ceiling: float) -> None:
    with pytest.raises(ValueError, match="ceiling"):
        RateChange(ceiling=ceiling)


def test_levels_beyond_the_floats_are_still_alarms() -> None:
    detector = fed(0.02, [(900, 1000)] * 50)
    assert detector.level(NOTHING) > 1000
    random = Random(1)
    assert detector.update(Count(events=random.randint(0, 9), samples=9)).level(NOTHING) > 1000
