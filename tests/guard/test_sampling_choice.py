"""Which answers are sampled: evenly of the arms, alike in every pod, and by consent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from rlhf_operator.api.arms import Arms, most_of_each
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


a_test = st.builds(
    lambda percents: Arms(
        canary="v1", percent=percents[0], step=0, run="support-7",
        others=tuple((f"v{place}", each) for place, each in enumerate(percents[1:], 2)),
    ),
    st.lists(st.integers(1, 19), min_size=1, max_size=5),
)  # fmt: skip
runs = a_test | st.builds(a_run, percents, is_copied=st.booleans())


def given_by(share: float, arms: Arms) -> dict[str, float]:
    """Return what each arm gives to be scored, as shares of all requests."""
    versions = ("stable", *arms.tested)
    return {each: choice.probability(share, arms, each) * arms.share_of(each) for each in versions}


@examples
@given(shares, runs)
def test_all_arms_together_give_the_share(share: float, arms: Arms) -> None:
    assert sum(given_by(share, arms).values()) == pytest.approx(share)


@examples
@given(shares, runs)
def test_each_arm_gives_as_much_as_the_others_or_all_it_has(share: float, arms: Arms) -> None:
    found = given_by(share, arms)
    most = max(found.values())
    for version, gives in found.items():
        assert 0 < choice.probability(share, arms, version) <= 1
        assert gives == pytest.approx(min(most, arms.share_of(version)))


@examples
@given(shares, shares, runs)
def test_who_wants_more_scored_takes_less_of_no_arm(one: float, other: float, arms: Arms) -> None:
    less, more = (given_by(each, arms) for each in sorted((one, other)))
    assert all(less[version] <= more[version] + 1e-12 for version in less)


@pytest.mark.parametrize(
    ("share", "arms", "most"),
    [
        pytest.param(0.3, (0.4, 0.3, 0.3), 0.1, id="a third each of what is wanted"),
        pytest.param(0.3, (0.9, 0.05, 0.05), 0.2, id="two small ones give all they have"),
        pytest.param(0.3, (0.06, 0.84, 0.1), 0.14, id="in any order"),
        pytest.param(1.0, (0.9, 0.1), 0.9, id="all of all"),
        pytest.param(1.5, (0.9, 0.1), 0.9, id="no more than there is"),
        pytest.param(0.2, (1.0,), 0.2, id="one arm alone"),
    ],
)
def test_the_most_that_an_arm_gives(share: float, arms: tuple[float, ...], most: float) -> None:
    assert most_of_each(share, arms) == pytest.approx(most)


@pytest.mark.parametrize(
    ("share", "percent", "canary", "stable"),
    [
        (0.1, 50, 0.1, 0.1),
        (0.1, 5, 1.0, 0.05 / 0.95),
        (0.02, 5, 0.2, 0.01 / 0.95),
        (0.5, 5, 1.0, 0.45 / 0.95),
        (0.5, 90, 0.4 / 0.9, 1.0),
        (1.0, 1, 1.0, 1.0),
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
