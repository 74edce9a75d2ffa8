"""Simulated rollouts: how often the tests are wrong when they are asked at every scrape.

Seeds are fixed. The bounds asserted are the promised ones; the simulated figures lie well below.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf, log, pi, sin

import numpy as np
import pytest

from rlhf_operator.core.statistics import (
    EVENLY,
    MOSTLY_TWO,
    Bets,
    Cusum,
    EDetector,
    MeanStratum,
    Split,
    Stratum,
    Sums,
    average_run_length,
    bounded_mean,
    log_e_ceiling,
    log_e_mean_difference,
    log_e_ratio,
    log_e_split,
    mean_difference,
    rate_interval,
    ratio_need,
)

RAMP = (0.05, 0.25, 0.5)


def looks(
    rng: np.random.Generator, ratio: float, weights: tuple[float, ...] = RAMP, per_look: int = 400
) -> Iterator[list[Stratum]]:
    """Yield the strata at each look of a rollout, the open one included, with counted shares.

    The base rate swings between a tenth and nearly twice 2 %; four strata of six looks a weight.
    """
    closed: list[Stratum] = []
    time = 0
    for weight in weights:
        for _ in range(4):
            canary = stable = x = y = 0
            for _ in range(6):
                time += 1
                rate = 0.02 * (1 + 0.9 * sin(2 * pi * time / 40))
                responses = int(rng.poisson(per_look))
                chosen = int(rng.binomial(responses, weight))
                canary, stable = canary + chosen, stable + responses - chosen
                x += int(rng.binomial(chosen, rate * ratio))
                y += int(rng.binomial(responses - chosen, rate))
                now = Stratum(share=canary / (canary + stable), canary=x, stable=y)
                yield [*closed, now]
            closed.append(now)


def pooled(strata: list[Stratum], weights: tuple[float, ...]) -> list[Stratum]:
    """Return one stratum, as somebody would who knows no strata."""
    share = sum(weights[: 1 + (len(strata) - 1) // 4]) / (1 + (len(strata) - 1) // 4)
    x, y = sum(each.canary for each in strata), sum(each.stable for each in strata)
    return [Stratum(share=share, canary=x, stable=y)]


@pytest.mark.parametrize(
    ("bets", "true_ratio", "bound", "harm", "alpha", "per_look", "low", "high"),
    [
        pytest.param(
            EVENLY, 1.0, 1.0, True, 0.05, 400, 0, 0.05, id="harm is rarely seen in an equal"
        ),
        pytest.param(EVENLY, 1.0, 1.0, True, 0.05, 25, 0, 0.05, id="nor with little traffic"),
        pytest.param(EVENLY, 0.8, 1.0, True, 0.05, 400, 0, 0.01, id="hardly ever in a better one"),
        pytest.param(
            EVENLY, 1.5, 1.5, False, 0.05, 400, 0, 0.05, id="a margin used up rarely passes"
        ),
        pytest.param(EVENLY, 2.0, 1.5, False, 0.05, 400, 0, 0.01, id="one overdrawn hardly ever"),
        pytest.param(EVENLY, 2.0, 1.0, True, 0.01, 400, 0.95, 1, id="twice the rate is found"),
        pytest.param(EVENLY, 1.0, 1.5, False, 0.05, 400, 0.7, 1, id="an equal one mostly passes"),
        pytest.param(EVENLY, 0.8, 1.5, False, 0.05, 400, 0.95, 1, id="a better one passes"),
        pytest.param(MOSTLY_TWO, 1.0, 1.0, True, 0.05, 400, 0, 0.05, id="two: an equal one"),
        pytest.param(MOSTLY_TWO, 1.5, 1.5, False, 0.05, 400, 0, 0.05, id="two: a margin used up"),
        pytest.param(MOSTLY_TWO, 2.0, 1.0, True, 0.01, 400, 0.95, 1, id="two: twice the rate"),
    ],
)
def test_a_ramp_looked_at_always(
    bets: Bets,
    true_ratio: float,
    bound: float,
    harm: bool,
    alpha: float,
    per_look: int,
    low: float,
    high: float,
) -> None:
    rng, runs = np.random.default_rng(7), 300
    crossed = sum(
        any(
            log_e_ratio(strata, bound, harm=harm, bets=bets) >= -log(alpha)
            for strata in looks(rng, true_ratio, per_look=per_look)
        )
        for _ in range(runs)
    )
    assert low <= crossed / runs <= high


def test_without_strata_the_same_ramp_misleads() -> None:
    """The traffic per weight is what makes it fair: pooled, most healthy versions look harmful."""
    rng, runs, swings = np.random.default_rng(7), 100, (0.02, 0.5)
    misled = {"pooled": 0, "by strata": 0}
    for _ in range(runs):
        views = list(looks(rng, 1.0, weights=swings))
        misled["by strata"] += any(log_e_ratio(view, 1, harm=True) >= log(20) for view in views)
        misled["pooled"] += any(
            abs(log_e_ratio(pooled(view, swings), 1, harm=harm)) >= log(20)
            for view in views
            for harm in (True, False)
        )
    assert misled["by strata"] <= 0.05 * runs
    assert misled["pooled"] >= 0.5 * runs


def events_needed(
    rng: np.random.Generator, share: float, true_ratio: float, bound: float, *, harm: bool
) -> float:
    """Return after how many events of both arms the test crosses, looking at each one."""
    theta = share * true_ratio / (share * true_ratio + 1 - share)
    labels = rng.random(6000) < theta
    canary = np.cumsum(labels)
    threshold = log(100) if harm else log(20)
    # Only an event of the one arm can raise the evidence.
    for place in np.flatnonzero(labels if harm else ~labels):
        x = int(canary[place])
        seen = [Stratum(share=share, canary=x, stable=int(place) + 1 - x)]
        if log_e_ratio(seen, bound, harm=harm) >= threshold:
            return int(place) + 1
    return inf


@pytest.mark.parametrize(
    ("share", "true_ratio", "bound", "harm", "median"),
    [
        (0.05, 2, 1, True, 310),
        (0.1, 2, 1, True, 200),
        (0.1, 3, 1, True, 53),
        (0.5, 1.5, 1, True, 300),
        (0.5, 2, 1, True, 80),
        (0.5, 3, 1, True, 30),
        (0.1, 1, 1.5, False, 390),
        (0.1, 1, 2.0, False, 130),
        (0.5, 1, 2.0, False, 70),
    ],
)
def test_how_many_events_a_decision_takes(
    share: float, true_ratio: float, bound: float, harm: bool, median: float
) -> None:
    """The reference's simulated medians to a third; the forecast is a little cautious."""
    rng = np.random.default_rng(11)
    taken = [events_needed(rng, share, true_ratio, bound, harm=harm) for _ in range(150)]
    assert float(np.median(taken)) == pytest.approx(median, rel=0.35)
    need = ratio_need(
        (),
        ratio=bound,
        harm=harm,
        threshold=log(100) if harm else log(20),
        share=share,
        canary_rate=0.01 * true_ratio,
        stable_rate=0.01,
    )
    assert need is not None
    in_time = sum(each <= need.events for each in taken) / len(taken)
    assert 0.4 <= in_time <= 0.9


LOOKS = range(50, 2001, 50)


def test_a_ceiling_looked_at_always() -> None:
    rng, runs = np.random.default_rng(3), 400
    wrong = {True: 0, False: 0}
    for _ in range(runs):
        events = np.cumsum(rng.random(2000) < 0.02)
        for exceeds in wrong:
            wrong[exceeds] += any(
                log_e_ceiling(int(events[n - 1]), n, 0.02, exceeds=exceeds) >= log(20)
                for n in LOOKS
            )
    assert 0 < max(wrong.values()) <= 0.05 * runs


def test_all_intervals_of_a_rate_hold_it() -> None:
    rng, runs = np.random.default_rng(4), 200
    missed = 0
    for _ in range(runs):
        events = np.cumsum(rng.random(2000) < 0.03)
        found = (rate_interval(int(events[n - 1]), n, 0.05) for n in LOOKS)
        missed += any(not each.low <= 0.03 <= each.high for each in found)
    assert missed <= 0.05 * runs


def test_all_intervals_of_a_bounded_mean_hold_it() -> None:
    rng, runs = np.random.default_rng(5), 300
    missed, widths = 0, []
    for _ in range(runs):
        values = rng.beta(3.0, 2.0, (60, 25))
        batches = [
            Sums(n=25, total=float(each.sum()), squares=float((each**2).sum())) for each in values
        ]
        # The ends only ever close in, so the last interval misses when any one does.
        last = bounded_mean(batches, 0.05)
        missed += not last.low <= 0.6 <= last.high
        widths.append(last.high - last.low)
    assert missed <= 0.05 * runs
    assert np.mean(widths) == pytest.approx(0.037, abs=0.01)


def skewed(rng: np.random.Generator, shift: float) -> Iterator[list[MeanStratum]]:
    """Yield the strata at each look of a ramp with exponential values whose mean drifts."""
    closed: list[MeanStratum] = []
    for step, weight in enumerate(RAMP):
        kept: list[list[float]] = [[], []]
        level = 3 * sin(step)
        for _ in range(10):
            chosen = int(rng.binomial(200, weight))
            kept[0].extend(rng.exponential(1, chosen) + level + shift)
            kept[1].extend(rng.exponential(1, 200 - chosen) + level)
            arms = [
                Sums(n=len(arm), total=float(np.sum(arm)), squares=float(np.sum(np.square(arm))))
                for arm in kept
            ]
            now = MeanStratum(canary=arms[0], stable=arms[1])
            yield [*closed, now]
        closed.append(now)


def test_intervals_of_a_difference_of_skewed_means_hold_it() -> None:
    rng, runs = np.random.default_rng(6), 300
    missed = 0
    for _ in range(runs):
        found = (mean_difference(strata, 0.05) for strata in skewed(rng, 0.0))
        missed += any(not each.low <= 0 <= each.high for each in found)
    assert missed <= 0.05 * runs


def test_a_mean_that_is_worse_is_found() -> None:
    rng, runs = np.random.default_rng(8), 50
    found = sum(
        any(log_e_mean_difference(s, 0.0, harm=True) >= log(100) for s in skewed(rng, 0.25))
        for _ in range(runs)
    )
    assert found >= 0.9 * runs


def test_a_right_split_is_rarely_called_wrong() -> None:
    rng, runs = np.random.default_rng(9), 400
    called = 0
    for _ in range(runs):
        canary = np.cumsum(rng.random(2000) < 0.05)
        called += any(
            log_e_split(
                [Split(share=0.05, canary=int(canary[n - 1]), stable=n - int(canary[n - 1]))]
            )
            >= log(20)
            for n in LOOKS
        )
    assert called <= 0.05 * runs


def test_the_e_detector_runs_as_long_as_it_promises() -> None:
    rng, runs, lengths = np.random.default_rng(10), 100, []
    for _ in range(runs):
        detector, length = EDetector(floor=0.6, run_length=100), 0
        # A run that is cut off counts less than it lasted, which only makes this harder to pass.
        for value in rng.beta(3.0, 2.0, 600):
            detector, length = detector.update(float(value)), length + 1
            if detector.alarmed:
                break
        lengths.append(length)
    assert float(np.mean(lengths)) >= 100


def test_the_e_detector_finds_a_fall() -> None:
    rng, delays = np.random.default_rng(12), []
    for _ in range(50):
        detector = EDetector(floor=0.6, run_length=500)
        delay = 0
        while not detector.alarmed:
            detector, delay = detector.update(float(rng.beta(2.4, 2.4))), delay + 1
        delays.append(delay)
    assert float(np.median(delays)) <= 80


@pytest.mark.parametrize(("shift", "runs"), [(0.0, 60), (1.0, 300)])
def test_a_cusum_runs_as_long_as_the_formula_says(shift: float, runs: int) -> None:
    rng, lengths = np.random.default_rng(13), []
    for _ in range(runs):
        detector = Cusum(mean=0, deviation=3, higher_is_worse=True, threshold=4)
        length = 0
        while not detector.alarmed:
            length += 1
            detector = detector.update(float(rng.normal(shift, 1)), 9)
        lengths.append(length)
    # n = 9 and a deviation of 3: windows' means have the standard deviation 1.
    assert float(np.mean(lengths)) == pytest.approx(average_run_length(0.5, 4, shift), rel=0.25)
