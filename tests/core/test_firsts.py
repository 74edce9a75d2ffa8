"""Where users stay with their version, each counts once, in comparisons and in bounds."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_operator.api.evidence import Verdict
from rlhf_operator.api.measurements import Problem
from rlhf_operator.core import analysis, onset, plans, sequential
from rlhf_operator.core.objective import Reading, objectives
from rlhf_operator.core.results import result
from rlhf_operator.core.statistics import Count
from rlhf_operator.core.stretches import (
    NO_PAST,
    Past,
    Stretch,
    condensed,
    record_of,
    remembered,
    stretch_of,
    stretches,
    total,
)
from rlhf_operator.core.subject import subject
from tests import builders as make
from tests.core.test_evidence import MAX, NOW, SINCE, UNSAFE, policy

VERSUS = UNSAFE | {"versusStable": {"ratio": "1.5"}}
GOOD, UNSURE, _, BAD = Verdict


def seen(events: int, samples: int, first: tuple[int, int] | None, **more: Any) -> Reading:
    firsts = {} if first is None else {"first_events": first[0], "first_samples": first[1]}
    part, whole = first or (events, samples)
    return Reading(events=events, samples=samples, value=part / whole, at=NOW, **firsts, **more)


def weigh(slo: dict[str, Any], mine: Reading, other: Reading, past: Past = NO_PAST):
    ((_, goal),) = objectives((policy(slo),))
    found = analysis.weigh(
        goal, mine, other, None, now=NOW, since=SINCE, stale=analysis.STALE_AFTER, past=past
    )
    return found, result(goal, "v1", found)


QUIET = seen(400, 20_000, (400, 20_000))
NOTHING_READ = Reading(problem=Problem.NO_SERIES, message="no series")
# No built-in rate of which more is better is counted by user; a minimum obeys the same rule.
LEAST = UNSAFE | {"indicator": {"type": "TaskCompletionRate"}, "min": "0.95"}


@pytest.mark.parametrize(
    ("slo", "mine", "other", "verdict", "said"),
    [
        pytest.param(
            VERSUS, seen(700, 2000, (21, 1000)), QUIET, UNSURE, "is needed",
            id="one attacker on the canary rolls nothing back",
        ),
        pytest.param(
            VERSUS, seen(700, 2000, None), QUIET, BAD, "stable's 0.02 (400 of 20000)",
            id="counting answers, they would",
        ),
        pytest.param(
            VERSUS, seen(80, 1000, (80, 1000)), seen(9000, 30_000, (401, 20_010)), BAD,
            "stable's 0.02004 (401 of 20010, each user once)",
            id="one attacker on stable hides no harm",
        ),
        pytest.param(
            VERSUS, seen(80, 1000, (80, 1000)), seen(9000, 30_000, None), GOOD,
            "within versusStable", id="counting answers, they would hide it",
        ),
        pytest.param(
            VERSUS, seen(400, 20_000, (400, 20_000)), QUIET, GOOD, "within versusStable",
            id="equal users pass",
        ),
        pytest.param(
            MAX, seen(700, 2000, (21, 1000)), QUIET, GOOD,
            "unsafe 0.021 (21 of 1000, each user once) within max 0.05",
            id="nor does one attacker break a maximum",
        ),
        pytest.param(
            MAX, seen(700, 2000, None), QUIET, BAD, "unsafe 0.35 (700 of 2000) > 0.05",
            id="counting answers, they would break it",
        ),
        pytest.param(
            MAX, seen(700, 2000, (21, 1000)), NOTHING_READ, GOOD, "each user once",
            id="nor while stable cannot be read",
        ),
        pytest.param(
            MAX, seen(120, 1010, (120, 1000)), QUIET, BAD,
            "unsafe 0.12 (120 of 1000, each user once) > 0.05",
            id="many users break it",
        ),
        pytest.param(
            LEAST, seen(300, 2000, (979, 1000)), QUIET, GOOD, "each user once",
            id="nor a minimum",
        ),
        pytest.param(
            VERSUS, seen(400, 20_000, None, users_unknown=True), QUIET, GOOD,
            "answers are counted, for users are not told apart here",
            id="an older guard on the canary is told",
        ),
        pytest.param(
            VERSUS, QUIET, seen(400, 20_000, None, users_unknown=True), GOOD,
            "answers are counted", id="an older guard on stable is told",
        ),
    ],
)  # fmt: skip
def test_whose_event_it_is(
    slo: dict[str, Any], mine: Reading, other: Reading, verdict: Verdict, said: str
) -> None:
    found, _ = weigh(slo, mine, other)
    assert (found.verdict, said in found.message) == (verdict, True), found.message


def test_one_stretch_without_users_makes_answers_count() -> None:
    """Two units in one comparison would compare nothing."""
    before = Stretch(events=20, samples=1000, stable_events=20, stable_samples=1000)
    attacked = seen(700, 2000, (21, 1000))
    mixed, _ = weigh(VERSUS, attacked, QUIET, Past(before=(before,)))
    assert (mixed.verdict, "answers are counted" in mixed.message) == (BAD, True)
    told = replace(before, firsts=before)
    whole, _ = weigh(VERSUS, attacked, QUIET, Past(before=(told,)))
    assert (whole.verdict, "answers are counted" in whole.message) == (UNSURE, False)


def test_before_both_have_answered_nothing_is_said_of_users() -> None:
    first, _ = weigh(VERSUS, Reading(events=0, samples=0, at=NOW, first_events=0, first_samples=0),
                     QUIET)  # fmt: skip
    assert "answers are counted" not in first.message


def test_the_record_has_both_counts_and_the_ratio_of_what_was_compared() -> None:
    _, shown = weigh(VERSUS, seen(700, 2000, (21, 1000)), QUIET)
    assert (shown.events, shown.stable_samples) == (700, 20_000)
    assert (shown.value, shown.stable_value) == ("0.021", "0.02")
    assert float(shown.low) < 0.021 < float(shown.high) < 0.05
    assert float(shown.ratio) == pytest.approx(1.05, abs=0.001)
    firsts = remembered(shown.firsts)
    assert firsts == Stretch(events=21, samples=1000, stable_events=400, stable_samples=20_000)


def test_what_is_recorded_while_stable_is_unseen_goes_on_counting_each_user_once() -> None:
    alone, shown = weigh(MAX, seen(700, 2000, (21, 1000)), NOTHING_READ)
    assert alone.evidence is not None
    kept = Past(before=(stretch_of(shown),))
    after, _ = weigh(MAX, seen(70, 200, (2, 100)), QUIET, kept)
    assert (after.verdict, "answers are counted" in after.message) == (GOOD, False)


def test_a_change_is_looked_for_with_each_user_once() -> None:
    """So stable is judged in a run: an attacker on it must not make both versions bad."""
    ((_, goal),) = objectives((policy(MAX),))
    shown = Stretch(
        events=0, samples=0, stable_events=700, stable_samples=2000,
        firsts=Stretch(events=0, samples=0, stable_events=21, stable_samples=1000),
    )  # fmt: skip
    mine = onset.of_stable(shown)
    by_user, by_answer = (
        onset.change(goal.rate, [each]).level(Count(events=0, samples=0))
        for each in (mine, replace(mine, firsts=None))
    )
    assert by_user < 1 < 100 < by_answer


def test_a_maximum_that_just_holds_is_seldom_broken_by_heavy_users() -> None:
    """2 % of all answers, half of them made by a hundredth of the users, at random moments.

    The flagged are the likelier ones to have left, so what is still counted keeps the bound.
    """
    chance, runs, broken = Random(1), 200, 0
    ((_, goal),) = objectives((policy(UNSAFE | {"max": "0.02"}, falseRollback="0.05"),))
    rates = [0.5 if user < 20 else 0.01 for user in range(980)]
    for _ in range(runs):
        flagged: set[int] = set()
        events, samples = 0, 0
        for answer in range(1, 2001):
            user = chance.randrange(len(rates))
            if user in flagged:
                continue
            samples += 1
            if chance.random() < rates[user]:
                events += 1
                flagged.add(user)
            if answer % 50 == 0:
                told = Stretch(events=0, samples=0, firsts=Stretch(events=events, samples=samples))
                (proof,) = sequential.proofs(goal.rate, (told,), compares=False)
                if proof.harm >= goal.rate.levels.harm:
                    broken += 1
                    break
    assert broken <= 0.05 * runs


def test_a_record_without_users_says_nothing_of_them() -> None:
    _, shown = weigh(VERSUS, seen(20, 1000, None), QUIET)
    assert shown.firsts is None
    assert "firsts" not in record_of("p/x", Stretch(events=1, samples=2)).dump()


counts = st.builds(
    Stretch,
    events=st.integers(0, 50),
    samples=st.integers(0, 5000),
    stable_events=st.integers(0, 50),
    stable_samples=st.integers(0, 5000),
)
both = st.builds(replace, counts, firsts=st.none() | counts)


@given(st.lists(both, max_size=6))
def test_what_is_recorded_can_be_read_again(parts: list[Stretch]) -> None:
    records = [record_of(slo, part) for part in parts for slo in ("p/x", "p/other")]
    assert stretches(records, "p/x") == tuple(parts)


@given(st.lists(both, max_size=9), st.integers(2, 6))
def test_condensing_loses_no_count_of_either_unit(parts: list[Stretch], most: int) -> None:
    records = [record_of("p/x", part) for part in parts]
    kept = condensed(records, most)
    assert len(kept) <= most
    again = total(stretches(kept, "p/x"))
    assert again == total(parts)


@given(both, both)
def test_what_came_after_is_what_was_added(first: Stretch, second: Stretch) -> None:
    after = (first + second) - first
    assert (after.events, after.stable_samples) == (second.events, second.stable_samples)
    if second.firsts is not None:
        assert after.firsts == second.firsts


# -- what a run pins ----------------------------------------------------------------------------

GATEWAY = {"router": "GatewayAPI", "parentRefs": [{"name": "gw"}]}
STICKY = GATEWAY | {"stickiness": {"mode": "Arm"}}


def test_a_plan_says_whether_users_stay_and_else_keeps_its_digest() -> None:
    sticky = plans.plan(make.model_spec(traffic=STICKY))
    assert sticky.stickiness == "Arm"
    free = plans.plan(make.model_spec(traffic=GATEWAY))
    assert "stickiness" not in free.dump()
    assert plans.digest(free, ()) != plans.digest(sticky, ())


@pytest.mark.parametrize("pinned", [None, "Arm"])
def test_an_edit_in_the_middle_changes_no_run(pinned: str | None) -> None:
    run = make.make_run(plan={"stickiness": pinned})
    edited = make.model_spec(traffic=GATEWAY if pinned else STICKY)
    found = subject(make.make_observed(run=run, spec=edited), run)
    assert found is not None
    assert found.sticky is (pinned == "Arm")
