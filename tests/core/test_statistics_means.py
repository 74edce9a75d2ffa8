"""Means from sums and sums of squares: the reference's numbers, and what must hold of any."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from math import inf, log, sqrt

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import integrate, optimize, stats

from rlhf_operator.core.statistics import (
    Interval,
    MeanStratum,
    Sums,
    bounded_mean,
    difference,
    log_e_mean_change,
    log_e_mean_difference,
    mean_difference,
    mixture,
)


def sums(n: int, mean: float = 0, variance: float = 1) -> Sums:
    return Sums(n=n, total=n * mean, squares=(n - 1) * variance + n * mean**2)


def of(values: Sequence[float]) -> Sums:
    return Sums(n=len(values), total=sum(values), squares=sum(each * each for each in values))


def stratum(canary: Sums, stable: Sums) -> MeanStratum:
    return MeanStratum(canary=canary, stable=stable)


# Fixtures that the library confseq tests itself with: a sum of 10 at variance 100, alpha 0.05.
@pytest.mark.parametrize(
    ("one_sided", "log_e", "bound"),
    [(False, -0.6510052, 30.35209), (True, -0.06502391, 27.66071)],
)
def test_the_normal_mixture(one_sided: bool, log_e: float, bound: float) -> None:
    prior = mixture.tightest_prior(100, 0.05, one_sided=one_sided)
    assert mixture.log_mixture(10, 100, prior, one_sided=one_sided) == pytest.approx(
        log_e, rel=1e-6
    )
    at_bound = mixture.log_mixture(bound, 100, prior, one_sided=one_sided)
    assert at_bound == pytest.approx(log(20), abs=1e-5)
    closed = mixture.boundary_of_sum(100, prior, 0.05, one_sided=one_sided)
    assert closed == pytest.approx(bound, rel=1e-6) or (one_sided and bound < closed < 1.01 * bound)


def test_the_prior_that_is_tightest_at_a_variance_of_100() -> None:
    assert mixture.tightest_prior(100, 0.05, one_sided=False) == pytest.approx(12.60056, rel=1e-6)


@pytest.mark.parametrize("one_sided", [False, True])
@pytest.mark.parametrize(("total", "variance"), [(3, 10), (-8, 40), (30, 100)])
def test_the_mixture_is_an_average_over_drifts(
    total: float, variance: float, one_sided: bool
) -> None:
    prior = 12.6

    def weighted(drift: float) -> float:
        weight = stats.norm.pdf(drift, scale=1 / sqrt(prior)) * (2 if one_sided else 1)
        return float(weight * stats.norm.pdf(total, drift * variance, sqrt(variance)))

    whole = integrate.quad(weighted, 0 if one_sided else -6, 6, epsabs=1e-14)[0]
    under_null = stats.norm.pdf(total, 0, sqrt(variance))
    found = mixture.log_mixture(total, variance, prior, one_sided=one_sided)
    assert found == pytest.approx(log(whole / under_null), abs=1e-6)


def test_how_far_apart_two_means_may_be() -> None:
    strata = [stratum(sums(1000), sums(9000))]
    both, one = mean_difference(strata, 0.05), mean_difference(strata, 0.05, one_sided=True)
    assert both.high == -both.low == pytest.approx(0.1020492, abs=1e-7)
    assert one.high == -one.low == pytest.approx(0.0933777, abs=1e-7)
    fixed = stats.norm.ppf(0.975) * sqrt(1 / 1000 + 1 / 9000)
    assert fixed == pytest.approx(0.0653321, abs=1e-7)
    assert fixed < one.high


def test_the_tuning_for_five_thousand_values() -> None:
    for one_sided, rho in ((False, 0.0398401), (True, 0.0355777)):
        prior = mixture.tightest_prior(5000, 0.05, one_sided=one_sided)
        assert 1 / sqrt(prior) == pytest.approx(rho, abs=1e-7)


@pytest.mark.parametrize(
    "strata",
    [
        pytest.param([], id="nothing"),
        pytest.param([stratum(sums(99, 5), sums(9000))], id="too few of the canary"),
        pytest.param([stratum(sums(5000, 5), sums(99))], id="too few of stable"),
        pytest.param([stratum(sums(150, 5, 0), sums(900, 0, 0))], id="values that never varied"),
        pytest.param(
            [stratum(Sums(n=1, total=5, squares=25), sums(40))] * 300, id="single values only"
        ),
    ],
)
def test_too_little_claims_nothing(strata: list[MeanStratum]) -> None:
    assert mean_difference(strata, 0.05) == Interval(estimate=None, low=-inf, high=inf)
    assert log_e_mean_difference(strata, 0, harm=True) == 0
    assert log_e_mean_difference(strata, 0, harm=False) == 0
    assert log_e_mean_change(strata) == 0


def test_a_drift_of_the_day_is_no_difference_of_the_arms() -> None:
    """Few canary values at a low hour, half of all at a high one: pooling finds a difference."""
    night, day = stratum(sums(500, 1), sums(9500, 1)), stratum(sums(5000, 3), sums(5000, 3))
    pooled = [stratum(sums(5500, 1 * 500 / 5500 + 3 * 5000 / 5500), sums(14500, 24500 / 14500))]
    assert mean_difference([night, day], 0.05).estimate == pytest.approx(0)
    assert mean_difference(pooled, 0.05).low > 1


def test_strata_count_by_their_share_of_values() -> None:
    strata = [stratum(sums(100, 1, 4), sums(200, 0, 9)), stratum(sums(400, 2, 1), sums(500, 0, 16))]
    estimate = 300 / 1200 * 1 + 900 / 1200 * 2
    squared = (1 / 4) ** 2 * (4 / 100 + 9 / 200) + (3 / 4) ** 2 * (1 / 400 + 16 / 500)
    rho2 = 1 / mixture.tightest_prior(5000, 0.05, one_sided=False)
    half = sqrt(
        1200
        * squared
        * 2
        * (1200 * rho2 + 1)
        / (1200**2 * rho2)
        * log(sqrt(1200 * rho2 + 1) / 0.05)
    )
    found = mean_difference(strata, 0.05)
    assert found.estimate == pytest.approx(estimate)
    assert (found.low, found.high) == pytest.approx((estimate - half, estimate + half))


two_arms = st.tuples(
    st.integers(100, 5000),
    st.integers(100, 5000),
    st.floats(-2, 2),
    st.floats(0.01, 50),
    st.floats(0.01, 50),
).map(lambda row: stratum(sums(row[0], row[2], row[3]), sums(row[1], 0, row[4])))
alphas = st.floats(0.0001, 0.4)


@given(strata=st.lists(two_arms, min_size=1, max_size=5), alpha=alphas)
def test_interval_and_evidence_agree(strata: list[MeanStratum], alpha: float) -> None:
    both = mean_difference(strata, alpha)
    assert both.estimate is not None
    assert both.low < both.estimate < both.high
    change = log_e_mean_change(strata, alpha=alpha)
    assume(abs(change + log(alpha)) > 1e-6)
    assert (change > -log(alpha)) == (both.low > 0 or both.high < 0)
    # One-sided, the closed form of the interval is a little wider than the evidence would need.
    one = mean_difference(strata, alpha, one_sided=True)
    if one.low > 0:
        assert log_e_mean_difference(strata, 0, harm=True, alpha=alpha) >= -log(alpha)
    if one.high < 0:
        assert log_e_mean_difference(strata, 0, harm=False, alpha=alpha) >= -log(alpha)


@given(strata=st.lists(two_arms, min_size=1, max_size=5), margin=st.floats(-2, 2))
def test_arms_of_means_exchanged_and_the_mirror_agree(
    strata: list[MeanStratum], margin: float
) -> None:
    swapped = [stratum(each.stable, each.canary) for each in strata]
    one = log_e_mean_difference(strata, margin, harm=True)
    assert one == pytest.approx(log_e_mean_difference(swapped, -margin, harm=False), abs=1e-9)


@given(one=two_arms, alpha=alphas)
def test_ten_times_the_values_narrow_it(one: MeanStratum, alpha: float) -> None:
    wide, narrow = mean_difference([one], alpha), mean_difference([one] * 10, alpha)
    assert narrow.estimate == pytest.approx(wide.estimate)
    assert narrow.high - narrow.low < wide.high - wide.low


@pytest.mark.parametrize(
    ("n", "total", "squares"),
    [(-1, 0, 0), (1, float("nan"), 1), (1, 1, -1), (inf, 0, 0), (1, inf, 1)],
)
def test_sums_that_cannot_be_are_refused(n: float, total: float, squares: float) -> None:
    with pytest.raises(ValueError, match="not a number"):
        Sums(n=n, total=total, squares=squares)


@given(values=st.lists(st.floats(-100, 100), min_size=2, max_size=50))
def test_a_variance_from_sums(values: list[float]) -> None:
    found = of(values).variance
    assert found >= 0
    assert found == pytest.approx(statistics.variance(values), rel=1e-6, abs=1e-6)


BATCHES = (
    Sums(n=25, total=14.0, squares=8.5),
    Sums(n=25, total=15.5, squares=10.1),
    Sums(n=50, total=29.0, squares=18.0),
)


@pytest.mark.parametrize(
    ("batches", "low", "high"),
    [(1, 0.253301, 0.866699), (2, 0.432115, 0.747885), (3, 0.501486, 0.668514)],
)
def test_a_bounded_mean_batch_by_batch(batches: int, low: float, high: float) -> None:
    found = bounded_mean(BATCHES[:batches], 0.05)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-6)


def test_a_bounded_mean_without_values_may_be_anything() -> None:
    assert bounded_mean([], 0.05) == Interval(estimate=None, low=0, high=1)
    assert bounded_mean([Sums(n=0, total=0, squares=0)], 0.05).estimate is None


batch_lists = st.lists(
    st.lists(st.floats(0, 1), min_size=1, max_size=30), min_size=1, max_size=12
).map(lambda lists: [of(values) for values in lists])


@given(batches=batch_lists, alpha=st.floats(0.001, 0.3))
def test_later_intervals_lie_within_earlier_ones(batches: list[Sums], alpha: float) -> None:
    before = bounded_mean([], alpha)
    for end in range(1, len(batches) + 1):
        now = bounded_mean(batches[:end], alpha)
        assert before.low <= now.low
        assert now.high <= before.high
        before = now


@given(batches=batch_lists, alpha=st.floats(0.001, 0.3))
def test_values_turned_around_turn_the_interval_around(batches: list[Sums], alpha: float) -> None:
    turned = [
        Sums(n=b.n, total=b.n - b.total, squares=max(0.0, b.n - 2 * b.total + b.squares))
        for b in batches
    ]
    one, other = bounded_mean(batches, alpha), bounded_mean(turned, alpha)
    assert (1 - other.high, 1 - other.low) == pytest.approx((one.low, one.high), abs=1e-9)


def test_a_mean_that_changed_leaves_nothing_over() -> None:
    found = bounded_mean([of([0.1] * 2000), of([0.9] * 2000)], 0.05)
    assert found.low > found.high


def test_two_bounded_means_differ_by_the_union_bound() -> None:
    better, worse = [of([0.6, 0.8] * 1000)], [of([0.3, 0.5] * 1000)]
    found = difference(bounded_mean(worse, 0.025), bounded_mean(better, 0.025))
    assert found.estimate == pytest.approx(-0.3)
    assert found.low < -0.3 < found.high < 0


@pytest.mark.parametrize(
    "batch",
    [
        pytest.param(Sums(n=2, total=3, squares=4.5), id="values above 1"),
        pytest.param(Sums(n=2, total=-1, squares=1), id="values below 0"),
        pytest.param(Sums(n=2, total=1, squares=1.5), id="squares above the values"),
    ],
)
def test_values_outside_0_and_1_are_refused(batch: Sums) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        bounded_mean([batch], 0.05)


@pytest.mark.parametrize("alpha", [0.1, 0.05, 0.001])
@pytest.mark.parametrize("variance", [10, 500, 50_000])
def test_the_one_sided_closed_form_is_never_narrower_than_the_evidence(
    variance: float, alpha: float
) -> None:
    prior = mixture.tightest_prior(500, alpha, one_sided=True)

    def missing(total: float) -> float:
        return mixture.log_mixture(total, variance, prior, one_sided=True) + log(alpha)

    exact = optimize.brentq(missing, -10, 1e5)
    closed = mixture.boundary_of_sum(variance, prior, alpha, one_sided=True)
    assert exact <= closed < 1.25 * exact
