"""Windows of five minutes: kept in order, summed up, and read back from a subquery's points."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_operator.api.measurements import Series
from rlhf_operator.core.indicators import Counter
from rlhf_operator.core.windows import (
    KEPT,
    PER_HOUR,
    WINDOW,
    Windows,
    first_whole,
    grown,
    slot,
    start_of,
    subquery,
)

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
FIRST = slot(EPOCH)
counts = st.tuples(st.integers(0, 9), st.integers(0, 99))


def filled(first: int, *pairs: tuple[int, int]) -> Windows:
    windows = Windows()
    for place, pair in enumerate(pairs):
        windows.add(first + place, *pair)
    return windows


@given(pairs=st.lists(counts, max_size=2 * KEPT), span=st.integers(1, KEPT))
def test_the_newest_windows_are_remembered_and_summed(
    pairs: list[tuple[int, int]], span: int
) -> None:
    windows = filled(9, *pairs)
    kept = pairs[-KEPT:]
    assert list(windows.each()) == kept and len(windows) == len(kept)
    assert windows.last(span) == tuple(map(sum, zip(*kept[-span:], strict=True))) or not kept


@given(
    pairs=st.lists(counts, min_size=1, max_size=1200),
    first=st.integers(0, 30),
    cut=st.integers(0, KEPT),
    hours=st.sampled_from([24, 72]),
)
def test_of_days_what_is_summed_are_whole_hours(
    pairs: list[tuple[int, int]], first: int, cut: int, hours: int
) -> None:
    cut = min(cut, len(pairs))
    windows = filled(first + cut, *pairs[cut:])
    windows.precede(first, [pair[0] for pair in pairs[:cut]], [pair[1] for pair in pairs[:cut]])
    oldest = (first + len(pairs) - 1) // PER_HOUR - hours + 1
    whole = [pair for place, pair in enumerate(pairs, first) if place // PER_HOUR >= oldest]
    assert windows.last(hours * PER_HOUR) == tuple(map(sum, zip(*whole, strict=True)))


def test_windows_that_were_not_told_apart_are_empty() -> None:
    windows = filled(10, (1, 10))
    windows.add(14, 5, 50)
    assert list(windows.each()) == [(1, 10), (0, 0), (0, 0), (0, 0), (5, 50)]
    windows.add(10**6, 7, 70)
    assert len(windows) == KEPT and windows.last(KEPT) == (7, 70)


@given(pairs=st.lists(counts, min_size=1, max_size=2 * KEPT), cut=st.integers(0, 2 * KEPT))
def test_what_is_read_back_stands_before_what_was_seen(
    pairs: list[tuple[int, int]], cut: int
) -> None:
    cut = min(cut, len(pairs))
    windows = filled(100 + cut, *pairs[cut:])
    windows.precede(100, [pair[0] for pair in pairs[:cut]], [pair[1] for pair in pairs[:cut]])
    assert list(windows.each()) == pairs[-KEPT:]


def test_windows_that_are_known_are_not_read_back_twice() -> None:
    windows = filled(101, (2, 20))
    windows.precede(100, [1, 9], [10, 90])
    assert list(windows.each()) == [(1, 10), (2, 20)]
    windows.precede(97, [5], [50])
    assert list(windows.each()) == [(5, 50), (0, 0), (0, 0), (1, 10), (2, 20)]


@pytest.mark.parametrize(
    ("since", "now", "first"),
    [
        pytest.param(0, 3600, 0, id="a weight that began with a window"),
        pytest.param(1, 3600, 1, id="one that began within: its first window is left out"),
        pytest.param(0, 86_400, 288 - KEPT, id="no more than is remembered"),
    ],
)
def test_how_far_back_is_looked(since: int, now: int, first: int) -> None:
    newest = slot(EPOCH + timedelta(seconds=now)) - 1
    assert first_whole(EPOCH + timedelta(seconds=since), newest) == FIRST + first


def series(*values: float | None, **labels: str) -> Series:
    """A counter's value at each end of a window; None where it is not there."""
    target = {"namespace": "shop", "rlhf_model": "support", "rlhf_version": "v1"}
    begin = start_of(FIRST)
    points = [(begin + 300 * place, v) for place, v in enumerate(values) if v is not None]
    return Series(target | labels, points)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        pytest.param([(10, 15, 15, 40)], [5, 0, 25], id="what it grew from one end to the next"),
        pytest.param([(10, 15, 3, 4)], [5, 3, 1], id="a counter that began anew counts from 0"),
        pytest.param([(None, 7, 9, 9)], [7, 2, 0], id="a series born later counts as a whole"),
        pytest.param([(10, 15, None, None)], [5, 0, 0], id="a pod that went grows no more"),
        pytest.param([(10, 15, None, 20)], [5, 0, 5], id="a gap is told where it ends"),
        pytest.param([(0, 1, 2, 3), (5, 5, 6, 9)], [1, 2, 4], id="pods are added up"),
    ],
)
def test_what_a_subquery_tells(values: list[tuple[float | None, ...]], found: list[int]) -> None:
    answer = [series(*each, pod=str(place)) for place, each in enumerate(values)]
    (counted,) = grown(answer, Counter("n"), FIRST, 3).values()
    assert list(counted) == found


def test_series_are_told_apart_by_labels_and_by_whom_they_are_about() -> None:
    counter = Counter("votes", (("kind", ("thumbs",)),), "about_version")
    answer = [
        series(0, 4, kind="thumbs", about_version="v2"),
        series(0, 9, kind="task", about_version="v2"),
        series(0, 2, kind="thumbs", rlhf_model="other"),
    ]
    found = grown(answer, counter, FIRST, 1)
    assert {who: list(counts) for who, counts in found.items()} == {
        ("shop", "support", "v2"): [4],
        ("shop", "other", "v1"): [2],
    }


def test_the_subquery_yields_one_point_more_than_windows() -> None:
    assert subquery("n_total", 72, '{rlhf_model=~"a"}') == 'n_total{rlhf_model=~"a"}[21899s:300s]'
    assert timedelta(minutes=5) == WINDOW
