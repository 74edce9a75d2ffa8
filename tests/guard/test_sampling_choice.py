"""Which answers are sampled: as many of each arm, alike in every pod, and by consent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from rlhf_operator.api.arms import Arms
from rlhf_operator.guard.sampling import choice
from rlhf_operator.guard.sampling.origin import consents, origin
from tests.guard.world import examples

KEY = b"a key for tests, long enough"
shares = st.floats(0.0001, 1)
percents = st.integers(1, 99)


def a_run(percent: int, *, is_copied: bool = False) -> Arms:
    return Arms(canary="v8", percent=percent, step=1, run="support-7", is_copied=is_copied)


def test_an_answer_outside_a_run_is_sampled_with_the_share() -> None:
    assert choice.probability(0.03, None, "v7") == 0.03


@pytest.mark.parametrize(("percent", "version"), [(100, "v8"), (0, "v7")])
def test_who_answers_everything_is_sampled_with_the_share(percent: int, version: str) -> None:
    assert choice.probability(0.03, a_run(percent), version) == 0.03


@examples
@given(shares, percents, st.booleans())
def test_equal_numbers_of_both_arms_are_expected(share: float, percent: int, copies: bool) -> None:
    arms = a_run(percent, is_copied=copies)
    canary, stable = (choice.probability(share, arms, version) for version in ("v8", "v7"))
    assert 0 < canary <= 1 and 0 < stable <= 1
    expected = canary * arms.share_of("v8"), stable * arms.share_of("v7")
    assert expected[0] == pytest.approx(expected[1])


@examples
@given(shares, percents)
def test_both_arms_together_give_the_share_unless_one_is_too_small(
    share: float, percent: int
) -> None:
    arms = a_run(percent)
    both = sum(
        choice.probability(share, arms, version) * arms.share_of(version)
        for version in ("v8", "v7")
    )
    smaller = min(percent, 100 - percent) / 100
    assert both == pytest.approx(min(share, 2 * smaller))


@pytest.mark.parametrize(
    ("share", "percent", "canary", "stable"),
    [
        (0.1, 50, 0.1, 0.1),
        (0.1, 5, 1.0, 0.05 / 0.95),
        (0.02, 5, 0.2, 0.01 / 0.95),
        (1.0, 1, 1.0, 0.01 / 0.99),
    ],
)
def test_probabilities_of_some_runs(
    share: float, percent: int, canary: float, stable: float
) -> None:
    arms = a_run(percent)
    assert choice.probability(share, arms, "v8") == pytest.approx(canary)
    assert choice.probability(share, arms, "v7") == pytest.approx(stable)


def chosen(response_id: str, probability: float, key: bytes = KEY) -> bool:
    return choice.is_chosen(key, model="support", response_id=response_id, probability=probability)


@examples
@given(st.text(max_size=40), shares, shares)
def test_every_pod_says_the_same_and_a_larger_share_loses_nothing(
    response_id: str, one: float, other: float
) -> None:
    assert chosen(response_id, one) == chosen(response_id, one)
    assert chosen(response_id, 1.0)
    assert chosen(response_id, min(one, other)) <= chosen(response_id, max(one, other))


def test_about_as_many_are_chosen_as_the_probability_says() -> None:
    count = sum(chosen(f"rlhf-{n}", 0.2) for n in range(5000))
    assert 900 < count < 1100  # 3.5 standard deviations, of ids that are always the same
    assert count != sum(chosen(f"rlhf-{n}", 0.2, b"another key") for n in range(5000))


@pytest.mark.parametrize(
    ("needed", "headers", "may"),
    [
        pytest.param(None, [], True, id="silence is consent where none is asked for"),
        pytest.param(None, [("x-rlhf-consent", "no")], False, id="a no is a no"),
        pytest.param(None, [("X-RLHF-Consent", " False ")], False, id="in other words too"),
        pytest.param(None, [("x-rlhf-consent", "yes")], True, id="a yes where none is asked for"),
        pytest.param("x-ok", [], False, id="silence is none where it is asked for"),
        pytest.param("x-ok", [("x-ok", "yes")], True, id="yes"),
        pytest.param("x-ok", [("X-Ok", "True")], True, id="true"),
        pytest.param("x-ok", [("x-ok", "1")], False, id="another word"),
        pytest.param("x-ok", [("x-ok", "yes"), ("x-ok", "no")], False, id="two answers"),
        pytest.param("x-ok", [("x-ok", "yes"), ("x-rlhf-consent", "no")], False, id="a no beside"),
    ],
)
def test_consent(needed: str | None, headers: list[tuple[str, str]], may: bool) -> None:
    assert consents(CIMultiDict(headers), needed) is may


def test_the_router_alone_speaks_of_the_arms() -> None:
    arms = a_run(5)
    assert origin(CIMultiDict([("X-RLHF-Arms", arms.header)])).arms == arms
    twice = [("x-rlhf-arms", arms.header), ("x-rlhf-arms", a_run(50).header)]
    assert origin(CIMultiDict(twice)).arms is None
    assert origin(CIMultiDict([("x-rlhf-arms", "v8=all")])).arms is None
