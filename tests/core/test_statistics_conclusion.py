"""From evidence to one conclusion, and how much evidence is still missing."""

from __future__ import annotations

from datetime import timedelta
from itertools import product
from math import inf, log, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_operator.core.statistics import (
    EVENLY,
    MOSTLY_TWO,
    Bets,
    Conclusion,
    Count,
    Evidence,
    Need,
    Stratum,
    advance_threshold,
    ceiling_need,
    conclude,
    log_e_ceiling,
    log_e_ratio,
    ratio_need,
    rollback_threshold,
)


def evidence(harm: float = -1, non_inferior: float = -1, *, required: bool = True) -> Evidence:
    return Evidence(harm=harm, non_inferior=non_inferior, required=required)


GOOD, BAD, NOTHING = evidence(-6, 3.1), evidence(7, -5), evidence(0, 0)
SHOWN_BAD = evidence(9, -9, required=False)


@pytest.mark.parametrize(
    ("found", "conclusion"),
    [
        pytest.param([], Conclusion.UNDECIDED, id="no evidence is no success"),
        pytest.param([GOOD], Conclusion.NON_INFERIOR, id="one good guardrail"),
        pytest.param([GOOD, GOOD], Conclusion.NON_INFERIOR, id="good takes no correction"),
        pytest.param([GOOD, NOTHING], Conclusion.UNDECIDED, id="one that knows nothing holds all"),
        pytest.param([GOOD, BAD], Conclusion.HARMFUL, id="harm outweighs the good"),
        pytest.param([NOTHING, BAD], Conclusion.HARMFUL, id="harm outweighs silence"),
        pytest.param([evidence(4.7)], Conclusion.HARMFUL, id="4.7 is over ln 100"),
        pytest.param([evidence(4.7), GOOD], Conclusion.UNDECIDED, id="two tests share the error"),
        pytest.param([evidence(5.3), GOOD], Conclusion.HARMFUL, id="5.3 is over ln 200"),
        pytest.param([evidence(7, 4)], Conclusion.HARMFUL, id="both true is harm"),
        pytest.param([GOOD, SHOWN_BAD], Conclusion.NON_INFERIOR, id="what is only shown is silent"),
        pytest.param([SHOWN_BAD], Conclusion.UNDECIDED, id="nor does it decide alone"),
        pytest.param([evidence(-inf, inf)], Conclusion.NON_INFERIOR, id="beyond all doubt"),
    ],
)
def test_what_all_evidence_says(found: list[Evidence], conclusion: Conclusion) -> None:
    assert conclude(found, false_rollback=0.01, false_promotion=0.05) is conclusion


def test_thresholds() -> None:
    assert rollback_threshold(0.01, 1) == pytest.approx(log(100))
    assert rollback_threshold(0.01, 5) == pytest.approx(log(500))
    assert rollback_threshold(0.01, 1.25) == pytest.approx(log(125)), "one test and a quarter"
    assert advance_threshold(0.05) == pytest.approx(log(20))
    with pytest.raises(ValueError, match="number of tests"):
        rollback_threshold(0.01, 0)


def test_harm_is_final_and_its_absence_is_not() -> None:
    seen = evidence(-1, 4).update(7, 4).update(-2, -3)
    assert seen == evidence(7, -3)


@pytest.mark.parametrize(("harm", "non_inferior"), [(nan, 0), (0, nan)])
def test_what_is_not_a_number_is_no_evidence(harm: float, non_inferior: float) -> None:
    with pytest.raises(ValueError, match="not a number"):
        evidence(harm, non_inferior)
    with pytest.raises(ValueError, match="not a number"):
        evidence().update(harm, non_inferior)


tests_of_two = st.lists(
    st.builds(evidence, st.floats(-10, 10), st.floats(-10, 10), required=st.booleans()), max_size=5
)


@given(found=tests_of_two, one=st.builds(evidence, st.floats(-10, 10), st.floats(-10, 10)))
def test_one_more_guardrail_never_makes_success_of_doubt(
    found: list[Evidence], one: Evidence
) -> None:
    before = conclude(found, false_rollback=0.01, false_promotion=0.05)
    after = conclude([*found, one], false_rollback=0.01, false_promotion=0.05)
    if before is Conclusion.UNDECIDED and any(each.required for each in found):
        assert after is not Conclusion.NON_INFERIOR


def after(need: Need, share: float, canary: float, stable: float) -> Stratum:
    n = need.responses
    return Stratum(share=share, canary=n * share * canary, stable=n * (1 - share) * stable)


@pytest.mark.parametrize(
    ("share", "canary", "harm", "ratio"),
    list(product([0.05, 0.5], [0.02, 0.03], [True], [1.0]))
    + list(product([0.05, 0.5], [0.01, 0.005], [False], [1.5, 2.0])),
)
@pytest.mark.parametrize("bets", [EVENLY, MOSTLY_TWO], ids=["evenly", "mostly two"])
def test_the_need_is_where_the_expected_path_crosses(
    bets: Bets, share: float, canary: float, harm: bool, ratio: float
) -> None:
    seen = (Stratum(share=0.05, canary=1, stable=9),)
    need = ratio_need(
        seen,
        ratio=ratio,
        harm=harm,
        threshold=log(100),
        share=share,
        canary_rate=canary,
        stable_rate=0.01,
        bets=bets,
    )
    assert need is not None
    assert need.responses > 0
    assert need.events == pytest.approx(need.responses * (share * canary + (1 - share) * 0.01))
    enough = log_e_ratio((*seen, after(need, share, canary, 0.01)), ratio, harm=harm, bets=bets)
    less = Need(responses=need.responses - 1, events=0)
    short = log_e_ratio((*seen, after(less, share, canary, 0.01)), ratio, harm=harm, bets=bets)
    assert short < log(100) <= enough


@pytest.mark.parametrize(
    ("canary", "stable", "share"),
    [
        pytest.param(0.01, 0.01, 0.5, id="no harm to find"),
        pytest.param(0.0, 0.0, 0.5, id="no events at all"),
        pytest.param(0.05, 0.01, 0.0, id="no traffic for the canary"),
        pytest.param(0.05, 0.01, 1.0, id="no traffic for stable"),
    ],
)
def test_some_evidence_never_comes(canary: float, stable: float, share: float) -> None:
    need = ratio_need(
        (),
        ratio=1,
        harm=True,
        threshold=log(100),
        share=share,
        canary_rate=canary,
        stable_rate=stable,
    )
    assert need is None


def test_what_is_decided_needs_nothing() -> None:
    seen = (Stratum(share=0.1, canary=40, stable=90),)
    need = ratio_need(
        seen, ratio=1, harm=True, threshold=5, share=0.1, canary_rate=0, stable_rate=0
    )
    assert need == Need(responses=0, events=0)
    assert need.lasts(0) == timedelta(0)


def test_evidence_so_far_shortens_or_lengthens_the_wait() -> None:
    def need(canary: float) -> int:
        seen = (Stratum(share=0.5, canary=canary, stable=10),)
        found = ratio_need(
            seen,
            ratio=1,
            harm=True,
            threshold=log(100),
            share=0.5,
            canary_rate=0.02,
            stable_rate=0.01,
        )
        assert found is not None
        return found.responses

    assert need(20) < need(10) < need(2)


@pytest.mark.parametrize(
    ("ceiling", "rate", "exceeds"), [(0.02, 0.005, False), (0.02, 0.05, True), (0.5, 0.9, True)]
)
@pytest.mark.parametrize("bets", [EVENLY, MOSTLY_TWO], ids=["evenly", "mostly two"])
def test_the_need_under_a_ceiling(bets: Bets, ceiling: float, rate: float, exceeds: bool) -> None:
    seen = Count(events=1, samples=30)
    need = ceiling_need(seen, ceiling=ceiling, exceeds=exceeds, threshold=3, rate=rate, bets=bets)
    assert need is not None
    for responses, reached in ((need.responses, True), (need.responses - 1, False)):
        events, samples = seen.events + responses * rate, seen.samples + responses
        log_e = log_e_ceiling(events, samples, ceiling, exceeds=exceeds, bets=bets)
        assert (log_e >= 3) is reached


def test_a_rate_on_the_wrong_side_of_a_ceiling_never_decides() -> None:
    seen = Count(events=1, samples=30)
    for exceeds, rate in ((True, 0.01), (True, 0.02), (False, 0.02), (False, 0.05)):
        need = ceiling_need(seen, ceiling=0.02, exceeds=exceeds, threshold=3, rate=rate)
        assert need is None


@pytest.mark.parametrize(
    ("per_second", "lasts"),
    [
        pytest.param(10, timedelta(minutes=10), id="ten a second"),
        pytest.param(0.1, timedelta(seconds=60_000), id="one in ten seconds"),
        pytest.param(0, None, id="no traffic"),
        pytest.param(1e-9, None, id="longer than anybody waits"),
    ],
)
def test_how_long_it_lasts(per_second: float, lasts: timedelta | None) -> None:
    assert Need(responses=6000, events=60).lasts(per_second) == lasts
