from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_operator.api.measurements import Series
from rlhf_operator.core.counters import Point, Track, delta
from rlhf_operator.core.indicators import Better, Counter, Form, Measure
from rlhf_operator.core.ledger import Ledger

Points = list[Point]


@pytest.mark.parametrize(
    ("sentence", "points", "since", "known_from", "count"),
    [
        ("growth after the mark counts", [(1, 10), (2, 13), (3, 14)], 1, 0, 4),
        ("the last point at or before the mark is the base", [(1, 10), (4, 13)], 3, 0, 3),
        ("a point at the mark is the base", [(1, 10), (3, 12), (4, 13)], 3, 0, 1),
        ("a series born later counts from 0", [(5, 7), (6, 9)], 3, 0, 9),
        ("one that may be older counts its growth", [(5, 7), (6, 9)], 3, 5, 2),
        ("after a reset the new value counts", [(1, 10), (2, 12), (3, 4)], 1, 0, 6),
        ("a reset to 0 counts nothing", [(1, 10), (2, 0), (3, 1)], 1, 0, 1),
        ("a reset before the mark does not count", [(1, 10), (2, 3), (4, 5)], 2, 0, 2),
        ("a late point is ignored", [(1, 10), (3, 14), (2, 12)], 1, 0, 4),
        ("a duplicate is ignored", [(1, 10), (2, 12), (2, 12), (2, 99)], 1, 0, 2),
        ("NaN is ignored", [(1, 10), (2, float("nan")), (3, 11)], 1, 0, 1),
        ("no point after the mark counts nothing", [(1, 10), (2, 12)], 9, 0, 0),
        ("no point at all counts nothing", [], 1, 0, 0),
    ],
)
def test_delta(
    sentence: str, points: Points, since: float, known_from: float, count: float
) -> None:
    assert delta(points, since, known_from) == count


steps = st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=40)


def walk(script: list[tuple[int, bool]]) -> Points:
    """Return a counter with a scrape each second; True marks a restart before it."""
    values = accumulate(script, lambda total, step: step[0] + (0 if step[1] else total), initial=0)
    return [(float(t), float(value)) for t, value in enumerate(values)]


@given(script=steps, mark=st.floats(-1, 41))
def test_delta_is_what_was_counted_after_the_mark_as_far_as_scrapes_show(
    script: list[tuple[int, bool]], mark: float
) -> None:
    points, true = walk(script), 0.0
    for (_, before), (time, value) in pairwise(points):
        if time > mark:
            true += value - before if value >= before else value
    assert delta(points, mark) == true


@given(script=steps, mark=st.floats(0, 41), cuts=st.lists(st.integers(0, 41), max_size=9))
def test_overlapping_answers_count_once(
    script: list[tuple[int, bool]], mark: float, cuts: list[int]
) -> None:
    points = walk(script)
    track = Track({}, points[0], known_from=0, marks=(mark,))
    for cut in [*sorted(cuts), len(points)]:
        track.feed(points[max(0, cut - 5) : cut] if cut - 5 <= track.last + 1 else points[:cut])
    assert track.growth(mark) == delta(points, mark)


@given(script=steps, mark=st.floats(0, 20), cut=st.integers(1, 40))
def test_counts_up_to_an_instant_and_from_it_add_up(
    script: list[tuple[int, bool]], mark: float, cut: int
) -> None:
    points = walk(script)
    track = Track({}, points[0], known_from=0, marks=(mark,))
    track.feed(points[1:])
    assert track.start((mark, max(mark, float(cut))))
    until = max(mark, float(cut))
    assert track.growth(mark, until) + track.growth(until) == track.growth(mark)


def test_a_mark_before_what_is_remembered_is_said_to_be_unknown() -> None:
    track = Track({}, (0, 0), known_from=0, marks=(0,))
    track.feed([(float(t), float(t)) for t in range(1, 100)], horizon=10)
    assert track.start((95,))
    assert not track.start((50,))
    assert track.growth(0) == 0


# -- the ledger ---------------------------------------------------------------------------------

WHO = ("shop", "support")
RATE = Measure(Form.RATE, Better.LOWER, Counter("all"), Counter("bad"))
BY_CATEGORY = Measure(
    Form.RATE, Better.LOWER, Counter("all"), Counter("bad", (("category", ("a", "b")),))
)
VOTES = Measure(
    Form.RATE,
    Better.LOWER,
    Counter("votes", (), "about_version"),
    Counter("votes", (("value", ("down",)),), "about_version"),
    absent_is_zero=True,
)


def series(name: str, points: Points, **labels: str) -> Series:
    known = {"namespace": "shop", "rlhf_model": "support", "rlhf_version": "v1", "pod": "x"}
    return Series({"__name__": name} | known | labels, points)


def ledger(*names: str, since: float = 0) -> Ledger:
    made = Ledger(horizon=60)
    made.start(WHO, (since,))
    for name in names:
        assert made.unread(WHO, name)
        made.open(WHO, name, since)
    return made


def test_pods_of_a_version_add_up_and_other_versions_stay_apart() -> None:
    made = ledger("all", "bad")
    for pod in "xy":
        made.feed("all", [series("all", [(0, 5), (1, 15)], pod=pod)], whole=False)
        made.feed("bad", [series("bad", [(0, 1), (1, 2)], pod=pod)], whole=False)
    made.feed("all", [series("all", [(0, 0), (1, 99)], rlhf_version="v2")], whole=False)
    tally = made.tally(WHO, "v1", RATE, 0)
    assert tally is not None
    assert (tally.events, tally.samples, tally.at) == (2, 20, 1)
    assert made.tally(WHO, "v2", RATE, 0) is None


def test_a_scrape_that_only_one_counter_shows_does_not_count_yet() -> None:
    made = ledger("all", "bad")
    made.feed("bad", [series("bad", [(0, 0), (1, 1), (2, 9)])])
    made.feed("all", [series("all", [(0, 0), (1, 10)])])
    tally = made.tally(WHO, "v1", RATE, 0)
    assert tally is not None
    assert (tally.events, tally.samples, tally.at) == (1, 10, 1)


def test_only_the_chosen_categories_count() -> None:
    made = ledger("all", "bad")
    made.feed("all", [series("all", [(0, 0), (1, 10)])])
    made.feed("bad", [series("bad", [(0, 0), (1, n)], category=c) for n, c in enumerate("abc")])
    tally = made.tally(WHO, "v1", BY_CATEGORY, 0)
    assert tally is not None
    assert tally.events == 1
    other = Measure(
        Form.RATE, Better.LOWER, Counter("all"), Counter("bad", (("category", ("z",)),))
    )
    assert made.tally(WHO, "v1", other, 0) is None


def test_votes_count_for_the_version_they_are_about_whoever_reports_them() -> None:
    made = ledger("votes")
    made.feed("votes", [series("votes", [(1, 4)], about_version="v0", value="up")])
    tally = made.tally(WHO, "v0", VOTES, 0)
    assert tally is not None
    assert (tally.events, tally.samples) == (0, 4)
    assert made.tally(WHO, "v1", VOTES, 0) is None


SCORES = Measure(
    Form.MEAN,
    Better.HIGHER,
    Counter("n", (), "about_version"),
    Counter("sum", (("sign", ("positive",)),), "about_version"),
    less=Counter("sum", (("sign", ("negative",)),), "about_version"),
    squares=Counter("squares", (), "about_version"),
    scorer="reward_model",
)


def scores(
    made: Ledger, end: float, *, of: str = "rm", pod: str = "x", squares: bool = True
) -> None:
    """Feed two scores by one reward model: 1.5 and -2."""
    about = {"about_version": "v0", "reward_model": of, "pod": pod}
    points = {"n": 2.0, "squares": 6.25}
    for name, grown in points.items():
        if name != "squares" or squares:
            made.feed(name, [series(name, [(0, 0), (end, grown)], **about)], whole=False)
    for sign, grown in (("positive", 1.5), ("negative", 2.0)):
        each = series("sum", [(0, 0), (end, grown)], **about, sign=sign)
        made.feed("sum", [each], whole=False)


def test_a_sum_with_a_sign_is_the_difference_of_two_counters() -> None:
    made = ledger("n", "sum", "squares")
    scores(made, 1)
    tally = made.tally(WHO, "v0", SCORES, 0)
    assert tally is not None
    assert (tally.events, tally.samples, tally.scorers) == (0, 2, {"rm"})
    assert (tally.moments.total, tally.moments.squares) == (-0.5, 6.25)


def test_what_a_pod_does_not_export_in_full_does_not_count() -> None:
    made = ledger("n", "sum", "squares")
    scores(made, 1, pod="old", squares=False)
    assert made.tally(WHO, "v0", SCORES, 0) is None
    scores(made, 1, pod="new")
    tally = made.tally(WHO, "v0", SCORES, 0)
    assert tally is not None and tally.samples == 2


def test_a_scorer_counts_from_its_first_score_after_the_mark() -> None:
    for since, scorers in ((0, {"before", "after"}), (2, {"after"})):
        made = ledger("n", "sum", "squares", since=since)
        scores(made, 1, of="before")
        scores(made, 3, of="after")
        tally = made.tally(WHO, "v0", SCORES, since)
        assert tally is not None and tally.scorers == scorers


def test_models_that_are_not_followed_take_no_room() -> None:
    made = ledger("all")
    made.feed("all", [series("all", [(1, 4)], rlhf_model="other"), series("all", [(1, 1)])])
    assert made.tally(("shop", "other"), "v1", RATE, 0) is None
    made.forget(WHO)
    assert made.tally(WHO, "v1", RATE, 0) is None


def test_the_order_of_series_may_change_from_answer_to_answer() -> None:
    made = ledger("all", "bad")
    pods = "abcd"
    for second in range(5):
        for name in ("all", "bad"):
            answer = [series(name, [(second, second * 2)], pod=pod) for pod in pods]
            made.feed(name, answer[second:] + answer[:second])
    tally = made.tally(WHO, "v1", RATE, 0)
    assert tally is not None
    assert (tally.events, tally.samples) == (32, 32)


def test_a_start_further_back_than_is_known_must_be_read_again() -> None:
    made = ledger("all", since=10)
    assert not made.unread(WHO, "all")
    made.start(WHO, (12,))
    assert not made.unread(WHO, "all")
    made.start(WHO, (5,))
    assert made.unread(WHO, "all")
