"""The ratio e-process: the reference's numbers, its algebra, its validity counted out exactly."""

from __future__ import annotations

from math import exp, inf, log

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from rlhf_operator.core.statistics import (
    EVENLY,
    GRID,
    MOSTLY_TWO,
    Bets,
    Stratum,
    log_e_ceiling,
    log_e_ratio,
    ratio_interval,
    ratio_need,
)
from rlhf_operator.core.statistics.numerics import boundary, log_mean_exp, log_normal_cdf

Row = tuple[float, float, float]


def strata(*rows: Row) -> tuple[Stratum, ...]:
    return tuple(Stratum(share=share, canary=x, stable=y) for share, x, y in rows)


def test_the_grid_reaches_from_a_tenth_more_to_ten_times_as_much() -> None:
    assert (len(GRID), GRID[0], GRID[-1]) == (24, pytest.approx(1.1), pytest.approx(10))


@pytest.mark.parametrize(
    ("rows", "ratio", "harm", "non_inferior"),
    [
        ([(0.1, 20, 90)], 1.0, 2.061713, -3.637975),
        ([(0.1, 40, 90)], 1.0, 19.770831, -5.737087),
        ([(0.1, 40, 90)], 1.25, 14.055129, -5.456174),
        ([(0.5, 30, 30)], 1.0, -2.115813, -2.115813),
        ([(0.5, 100, 120)], 1.25, -5.484885, 2.591141),
        ([(0.05, 8, 60), (0.25, 30, 55)], 1.0, 2.638470, -4.302597),
    ],
)
def test_evidence_on_a_ratio(
    rows: list[Row], ratio: float, harm: float, non_inferior: float
) -> None:
    assert log_e_ratio(strata(*rows), ratio, harm=True) == pytest.approx(harm, abs=1e-6)
    assert log_e_ratio(strata(*rows), ratio, harm=False) == pytest.approx(non_inferior, abs=1e-6)


def test_a_ramp_does_not_promote_the_worse_version() -> None:
    """Kohavi's example of Simpson's paradox: worse on both days, better when they are pooled."""
    days = strata((0.01, 230, 20000), (0.5, 6000, 5000))
    pooled = strata((0.255, 6230, 25000))
    assert log_e_ratio(days, 1, harm=True) == pytest.approx(43.6, abs=0.05)
    assert log_e_ratio(days, 1, harm=False) < -5
    assert log_e_ratio(pooled, 1, harm=True) == pytest.approx(-195.8, abs=0.05)
    assert log_e_ratio(pooled, 1, harm=False) == pytest.approx(261.7, abs=0.05)
    interval = ratio_interval(days, 0.05)
    assert 1 < interval.low < 1.2 < interval.high < 1.3


@pytest.mark.parametrize(
    ("row", "ratio", "truncated_beta"),
    [
        ((0.1, 20, 90), 1.0, 2.590383),
        ((0.1, 40, 90), 1.0, 18.561089),
        ((0.1, 40, 90), 1.25, 13.414189),
        ((0.5, 120, 100), 0.8, 3.580283),
    ],
)
def test_a_smooth_prior_finds_about_as_much(row: Row, ratio: float, truncated_beta: float) -> None:
    """Another mixture, by scipy: all alternatives at once, in place of the grid's 24."""
    share, x, y = row
    theta = share * ratio / (share * ratio + 1 - share)
    a, b = 20 * theta, 20 * (1 - theta)
    other = (
        special.betaln(a + x, b + y)
        + stats.beta.logsf(theta, a + x, b + y)
        - special.betaln(a, b)
        - stats.beta.logsf(theta, a, b)
        - x * log(theta)
        - y * log(1 - theta)
    )
    assert other == pytest.approx(truncated_beta, abs=1e-6)
    assert log_e_ratio(strata(row), ratio, harm=True) == pytest.approx(other, abs=1.3)


@pytest.mark.parametrize(
    ("times", "saved"),
    [
        pytest.param(1.2, (-0.25, -0.15), id="a fifth worse is shown a fifth later"),
        pytest.param(1.5, (0.07, 0.1), id="half as bad again with a twelfth fewer events"),
        pytest.param(2, (0.09, 0.12), id="twice as bad with a tenth fewer"),
        pytest.param(3, (0.01, 0.04), id="three times as bad with hardly fewer"),
        pytest.param(5, (-0.1, -0.05), id="five times as bad takes four events more"),
        pytest.param(10, (-0.15, -0.1), id="ten times as bad two more"),
    ],
)
def test_what_bets_around_two_save(times: float, saved: tuple[float, float]) -> None:
    def events(bets: Bets) -> float:
        need = ratio_need((), ratio=1, harm=True, threshold=log(250), share=0.05, bets=bets,
                          canary_rate=0.01 * times, stable_rate=0.01)  # fmt: skip
        assert need is not None
        return need.events

    low, high = saved
    assert low <= 1 - events(MOSTLY_TWO) / events(EVENLY) <= high


def test_three_bets_of_four_are_around_two_and_one_is_even() -> None:
    factors = [1 + gain for gain, _ in MOSTLY_TWO.higher]
    assert len(factors) == len(EVENLY.higher) == 24
    assert sorted(factors)[0] == pytest.approx(1.1) and max(factors) == pytest.approx(10)
    assert sum(1.6 < each < 2.65 for each in factors[:18]) == 10
    assert [won for _, won in MOSTLY_TWO.lower] == [-won for _, won in MOSTLY_TWO.higher]


@pytest.mark.parametrize("factor", [0.5, 0, -2, inf, float("nan")])
def test_a_bet_is_on_a_factor_above_1(factor: float) -> None:
    with pytest.raises(ValueError, match="a factor"):
        Bets.on([2, factor])


@given(st.integers(0, 60), st.integers(0, 2000), st.booleans(), st.sampled_from([1.2, 2.0, 5.0]))
def test_one_bet_is_one_likelihood_ratio(
    events: int, others: int, exceeds: bool, factor: float
) -> None:
    answers, odds = events + others, 0.02 / 0.98 * (factor if exceeds else 1 / factor)
    other = odds / (1 + odds)
    found = log_e_ceiling(events, answers, 0.02, exceeds=exceeds, bets=Bets.on([factor]))
    by_hand = events * log(other / 0.02) + others * log((1 - other) / 0.98)
    assert found == pytest.approx(by_hand, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("beyond", [1.0, 1.3], ids=["at the bound", "well within it"])
@pytest.mark.parametrize("rate", [0.01, 0.2, 0.5], ids=["rare", "common", "every second answer"])
@pytest.mark.parametrize("harm", [True, False], ids=["harm", "non-inferiority"])
@pytest.mark.parametrize("bets", [EVENLY, MOSTLY_TWO], ids=["evenly", "mostly two"])
def test_the_expected_evidence_is_at_most_1_where_the_hypothesis_holds(
    bets: Bets, harm: bool, rate: float, beyond: float, ratio: float
) -> None:
    """Counted out over everything that can happen, for counted shares, with nothing simulated."""
    canary, stable = 8, 24
    true_ratio = ratio / beyond if harm else ratio * beyond
    canary_rate = min(1.0, rate * true_ratio)
    expected = 0.0
    for x in range(canary + 1):
        for y in range(stable + 1):
            chance = stats.binom.pmf(x, canary, canary_rate) * stats.binom.pmf(y, stable, rate)
            row = (canary / (canary + stable), x, y)
            expected += chance * exp(log_e_ratio(strata(row), ratio, harm=harm, bets=bets))
    assert 0 < expected <= 1 + 1e-9


rows_of_strata = st.lists(
    st.tuples(st.floats(0.001, 0.999), st.integers(0, 300), st.integers(0, 300)),
    min_size=1,
    max_size=6,
)
ratios = st.floats(0.2, 5)


@given(rows=rows_of_strata, ratio=ratios, harm=st.booleans())
def test_arms_exchanged_and_the_mirror_agree(rows: list[Row], ratio: float, harm: bool) -> None:
    swapped = strata(*((1 - share, y, x) for share, x, y in rows))
    one, other = (
        log_e_ratio(strata(*rows), ratio, harm=harm),
        log_e_ratio(swapped, 1 / ratio, harm=not harm),
    )
    assert one == pytest.approx(other, rel=1e-9, abs=1e-6)


@given(rows=rows_of_strata, ratio=ratios, share=st.floats(0.01, 0.99))
def test_an_event_more_of_the_canary_is_evidence_of_harm_alone(
    rows: list[Row], ratio: float, share: float
) -> None:
    before, harmed = strata(*rows, (share, 3, 3)), strata(*rows, (share, 4, 3))
    stable = strata(*rows, (share, 3, 4))
    for harm, more, less in ((True, harmed, stable), (False, stable, harmed)):
        now = log_e_ratio(before, ratio, harm=harm)
        assert log_e_ratio(less, ratio, harm=harm) < now < log_e_ratio(more, ratio, harm=harm)


@given(rows=rows_of_strata, ratio=ratios, data=st.data())
def test_the_order_of_strata_does_not_matter(
    rows: list[Row], ratio: float, data: st.DataObject
) -> None:
    other = data.draw(st.permutations(rows))
    for harm in (True, False):
        one = log_e_ratio(strata(*rows), ratio, harm=harm)
        assert log_e_ratio(strata(*other), ratio, harm=harm) == pytest.approx(one, abs=1e-9)


@given(rows=rows_of_strata)
def test_the_interval_is_what_neither_test_rejects(rows: list[Row]) -> None:
    interval = ratio_interval(strata(*rows), 0.05)
    limit = log(2 / 0.05)
    assert interval.low <= interval.high
    if interval.estimate is not None:
        assert interval.low <= interval.estimate <= interval.high
    if interval.low > 0:
        assert log_e_ratio(strata(*rows), interval.low, harm=True) == pytest.approx(limit, 1e-6)
    if interval.high < inf:
        assert log_e_ratio(strata(*rows), interval.high, harm=False) == pytest.approx(limit, 1e-6)


@given(
    share=st.floats(0.05, 0.95),
    x=st.integers(5, 50),
    y=st.integers(5, 50),
    alpha=st.floats(0.01, 0.2),
)
def test_the_interval_shrinks_with_data_and_widens_with_caution(
    share: float, x: int, y: int, alpha: float
) -> None:
    some, more = strata((share, x, y)), strata((share, 10 * x, 10 * y))
    wide, narrow = ratio_interval(some, alpha), ratio_interval(more, alpha)
    careful = ratio_interval(some, alpha / 2)
    assert wide.low < narrow.low < narrow.high < wide.high
    assert careful.low < wide.low < wide.high < careful.high or careful.low == 0
    assert narrow.estimate == pytest.approx(x / share / (y / (1 - share)))


@pytest.mark.parametrize(
    ("rows", "estimate"),
    [
        pytest.param([], None, id="nothing counted"),
        pytest.param([(0.1, 0, 0)], None, id="answers without events"),
        pytest.param([(0.0, 0, 40), (1.0, 7, 0)], None, id="one arm at a time"),
        pytest.param([(0.1, 0, 3)], 0, id="stable alone had events"),
        pytest.param([(0.1, 2, 0)], inf, id="the canary alone had events"),
    ],
)
def test_little_evidence_decides_nothing(rows: list[Row], estimate: float | None) -> None:
    interval = ratio_interval(strata(*rows), 0.05)
    assert interval.estimate == estimate
    assert interval.low < 1 < interval.high
    assert max(log_e_ratio(strata(*rows), 1, harm=harm) for harm in (True, False)) < log(20)


def test_no_events_say_exactly_nothing() -> None:
    assert log_e_ratio((), 1.5, harm=True) == 0
    assert log_e_ratio(strata((0.3, 0, 0)), 1.5, harm=False) == 0


@pytest.mark.parametrize(
    ("share", "canary", "stable"),
    [
        pytest.param(0.0, 1, 5, id="events of a canary that answered nothing"),
        pytest.param(1.0, 5, 1, id="events of a stable that answered nothing"),
        pytest.param(1.1, 1, 1, id="a share above 1"),
        pytest.param(0.5, -1, 1, id="a negative count"),
        pytest.param(0.5, float("nan"), 1, id="not a number"),
        pytest.param(0.5, 1, inf, id="infinitely many"),
    ],
)
def test_counts_that_cannot_be_are_refused(share: float, canary: float, stable: float) -> None:
    with pytest.raises(ValueError, match=r"not a number|answered nothing"):
        Stratum(share=share, canary=canary, stable=stable)


def test_large_counts_do_not_overflow() -> None:
    huge = strata((0.5, 10**9, 10**8))
    assert log_e_ratio(huge, 1, harm=True) > 1e8
    assert log_e_ratio(huge, 1, harm=False) < -1e6


@pytest.mark.parametrize("z", [-200.0, -40.0, -36.0, -34.0, -5.0, 0.0, 3.0, 9.0])
def test_the_normal_distribution_far_out(z: float) -> None:
    assert log_normal_cdf(z) == pytest.approx(stats.norm.logcdf(z), rel=1e-5, abs=1e-15)


def test_means_of_exponentials_stay_in_logarithms() -> None:
    assert log_mean_exp([1000, 1000]) == 1000
    assert log_mean_exp([-inf, -inf]) == -inf
    assert log_mean_exp([-3.0, 2.0]) == pytest.approx(special.logsumexp([-3, 2]) - log(2))


def test_a_boundary_is_reported_on_the_outer_side() -> None:
    assert boundary(lambda place: place < 1 / 3, 0, 1) == pytest.approx(1 / 3)
    assert boundary(lambda place: place < 1 / 3, 0, 1) >= 1 / 3
    assert boundary(lambda place: True, 0, 1) == 1
