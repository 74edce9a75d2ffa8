"""Rates: against a ceiling, their intervals and differences, and whether traffic splits right."""

from __future__ import annotations

from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, special, stats

from rlhf_operator.core.statistics import (
    MISMATCH,
    Count,
    Interval,
    Split,
    Stratum,
    log_e_ceiling,
    log_e_ratio,
    log_e_split,
    rate_difference,
    rate_interval,
)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (0, 100, 0, 0.057029),
        (5, 1000, 0.000539, 0.018004),
        (50, 1000, 0.028720, 0.079240),
        (500, 1000, 0.442418, 0.557582),
    ],
)
def test_what_a_rate_may_be(successes: int, trials: int, low: float, high: float) -> None:
    interval = rate_interval(successes, trials, 0.05)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-6)
    assert interval.estimate == successes / trials


@given(trials=st.integers(2, 3000), part=st.floats(0.01, 0.99), alpha=st.floats(0.001, 0.3))
def test_the_ends_solve_the_equation_by_another_library(
    trials: int, part: float, alpha: float
) -> None:
    k = min(trials - 1, max(1, round(part * trials)))

    def likelihood(p: float) -> float:
        prior = special.betaln(0.5 + k, 0.5 + trials - k) - special.betaln(0.5, 0.5)
        return float(special.xlogy(k, p) + special.xlog1py(trials - k, -p) - prior - log(alpha))

    interval = rate_interval(k, trials, alpha)
    mode = k / trials
    low = optimize.brentq(likelihood, 1e-15, mode, xtol=1e-15)
    high = optimize.brentq(likelihood, mode, 1 - 1e-15, xtol=1e-15)
    assert (interval.low, interval.high) == pytest.approx((low, high), rel=1e-6, abs=1e-12)


@given(trials=st.integers(1, 500), part=st.floats(0, 1), alpha=st.floats(0.001, 0.3))
def test_the_interval_holds_the_estimate_and_shrinks(
    trials: int, part: float, alpha: float
) -> None:
    k = round(part * trials)
    some, more = rate_interval(k, trials, alpha), rate_interval(100 * k, 100 * trials, alpha)
    assert 0 <= some.low <= k / trials <= some.high <= 1
    assert more.high - more.low < some.high - some.low
    mirrored = rate_interval(trials - k, trials, alpha)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((some.low, some.high), abs=1e-9)


def test_without_answers_a_rate_may_be_anything() -> None:
    assert rate_interval(0, 0, 0.05) == Interval(estimate=None, low=0, high=1)
    unknown = rate_difference(Count(events=0, samples=0), Count(events=3, samples=9), 0.05)
    assert unknown.estimate is None
    assert unknown.low < 0 < unknown.high


def test_a_difference_of_rates_takes_half_the_error_for_each_arm() -> None:
    canary, stable = Count(events=120, samples=1000), Count(events=450, samples=9000)
    one, other = rate_interval(120, 1000, 0.025), rate_interval(450, 9000, 0.025)
    found = rate_difference(canary, stable, 0.05)
    assert found.estimate == pytest.approx(0.07)
    assert (found.low, found.high) == pytest.approx((one.low - other.high, one.high - other.low))
    assert found.low > 0


@pytest.mark.parametrize(
    ("events", "samples"), [(2, 1), (-1, 5), (0, float("nan")), (float("inf"), float("inf"))]
)
def test_impossible_counts_are_refused(events: float, samples: float) -> None:
    with pytest.raises(ValueError, match="not a number"):
        Count(events=events, samples=samples)
    with pytest.raises(ValueError, match="not a number"):
        log_e_ceiling(events, samples, 0.1, exceeds=True)
    with pytest.raises(ValueError, match="not a number"):
        rate_interval(events, samples, 0.05)


@pytest.mark.parametrize("alpha", [0, 1, -0.1, float("nan")])
def test_an_error_probability_lies_between_0_and_1(alpha: float) -> None:
    with pytest.raises(ValueError, match="error probability"):
        rate_interval(1, 2, alpha)


@pytest.mark.parametrize(
    ("successes", "trials", "ceiling", "above", "below"),
    [
        pytest.param(0, 0, 0.02, "undecided", "undecided", id="no answers decide nothing"),
        pytest.param(2, 100, 0.02, "undecided", "undecided", id="a few answers at the ceiling"),
        pytest.param(9, 100, 0.02, "rejected", "undecided", id="nine of a hundred are too many"),
        pytest.param(
            0, 200, 0.02, "undecided", "undecided", id="two hundred good ones are too few"
        ),
        pytest.param(0, 300, 0.02, "undecided", "rejected", id="three hundred good ones suffice"),
        pytest.param(50, 2500, 0.02, "undecided", "undecided", id="at the ceiling for ever"),
        pytest.param(160, 200, 0.5, "rejected", "undecided", id="a high ceiling"),
    ],
)
def test_a_rate_against_a_ceiling(
    successes: int, trials: int, ceiling: float, above: str, below: str
) -> None:
    for exceeds, expected in ((True, above), (False, below)):
        log_e = log_e_ceiling(successes, trials, ceiling, exceeds=exceeds)
        assert ("rejected" if log_e >= log(20) else "undecided") == expected, log_e


@given(
    successes=st.integers(0, 200), failures=st.integers(0, 2000), ceiling=st.floats(0.001, 0.999)
)
def test_a_ceiling_is_a_ratio_with_the_ceiling_as_the_share_of_events(
    successes: int, failures: int, ceiling: float
) -> None:
    row = (Stratum(share=ceiling, canary=successes, stable=failures),)
    for up in (True, False):
        found = log_e_ceiling(successes, successes + failures, ceiling, exceeds=up)
        assert found == pytest.approx(log_e_ratio(row, 1, harm=up), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("ceiling", [0.005, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("exceeds", [True, False])
def test_evidence_against_a_true_ceiling_is_at_most_1_on_average(
    ceiling: float, exceeds: bool
) -> None:
    for rate in (ceiling, ceiling * 0.7 if exceeds else ceiling + 0.5 * (1 - ceiling)):
        chances = stats.binom.pmf(range(61), 60, rate)
        values = [exp(log_e_ceiling(k, 60, ceiling, exceeds=exceeds)) for k in range(61)]
        expected = float(sum(chances * values))
        assert 0 < expected <= 1 + 1e-9
        if rate == ceiling:
            assert expected == pytest.approx(1)


@pytest.mark.parametrize("ceiling", [0, 1, float("nan")])
def test_a_ceiling_that_nothing_can_cross_is_refused(ceiling: float) -> None:
    with pytest.raises(ValueError, match="ceiling"):
        log_e_ceiling(1, 10, ceiling, exceeds=True)


def split(share: float, canary: int, stable: int) -> Split:
    return Split(share=share, canary=canary, stable=stable)


@given(share=st.floats(0.01, 0.99), canary=st.integers(0, 3000), stable=st.integers(0, 3000))
def test_evidence_on_a_split_is_a_ratio_of_two_distributions(
    share: float, canary: int, stable: int
) -> None:
    n, a, b = canary + stable, 100 * share, 100 * (1 - share)
    other = stats.betabinom.logpmf(canary, n, a, b) - stats.binom.logpmf(canary, n, share)
    assert log_e_split([split(share, canary, stable)]) == pytest.approx(other, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("splits", "mismatch"),
    [
        pytest.param([], False, id="nothing counted"),
        pytest.param([(0.05, 51, 949)], False, id="as set"),
        pytest.param([(0.05, 100, 900)], True, id="twice the share"),
        pytest.param([(0.5, 480, 520)], False, id="an ordinary stray"),
        pytest.param([(0.5, 400, 600)], True, id="two to three in place of one to one"),
        pytest.param([(0.05, 0, 500)], True, id="the canary gets nothing"),
        pytest.param([(0.05, 60, 940), (0.25, 250, 750)], False, id="a ramp that was followed"),
        pytest.param([(0.05, 50, 950), (0.25, 60, 940)], True, id="a ramp that was not"),
    ],
)
def test_traffic_that_splits_wrongly(splits: list[tuple[float, int, int]], mismatch: bool) -> None:
    found = log_e_split(split(*each) for each in splits)
    assert (found >= MISMATCH) is mismatch, found


def test_splits_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="share"):
        split(0, 1, 1)
    with pytest.raises(ValueError, match="not a number"):
        split(0.5, -1, 1)


# Fixtures that the library confseq tests itself with: its interval for a Bernoulli mean, and its
# two-sided Beta-binomial mixture, which is the evidence on a split with another concentration.
@pytest.mark.parametrize(
    ("successes", "trials", "t_opt", "low", "high"),
    [
        (700, 1000, 100, 0.651629, 0.745949),
        (15, 50, 50, 0.129556, 0.511896),
        (5, 50, 50, 0.013021, 0.269264),
    ],
)
def test_the_other_library_inverts_the_same_evidence(
    successes: int, trials: int, t_opt: float, low: float, high: float
) -> None:
    concentration = t_opt / (2 * log(20) + log(1 + 2 * log(20))) - 1
    for end, inner in ((low, high), (high, low)):
        nearer, further = end + 0.001 * (inner - end), end - 0.001 * (inner - end)
        for share, rejected in ((nearer, False), (further, True)):
            found = log_e_split([split(share, successes, trials - successes)], concentration)
            assert (found >= log(20)) is rejected


def test_the_other_librarys_mixture() -> None:
    """The sum 10 at variance 100 for steps of -0.2 or 0.8: 135 successes of 625."""
    concentration = (100 / (2 * log(20) + log(1 + 2 * log(20))) - 0.16) / 0.16
    assert log_e_split([split(0.2, 135, 490)], concentration) == pytest.approx(-0.6941012, abs=1e-6)
    at_bound = [Split(share=0.2, canary=125 + 31.4308, stable=500 - 31.4308)]
    assert log_e_split(at_bound, concentration) == pytest.approx(log(20), abs=1e-4)
