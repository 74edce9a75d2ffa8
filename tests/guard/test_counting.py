"""From answers to the rate that is judged: each answer counts once, whatever it is in."""

from __future__ import annotations

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_operator.api.guard import GuardSpec
from rlhf_operator.api.measurements import Series
from rlhf_operator.api.policy import SLO
from rlhf_operator.core.indicators import measure
from rlhf_operator.core.ledger import Ledger, Tally
from rlhf_operator.guard import metrics as guard_metrics
from rlhf_operator.guard.judge import Judged
from rlhf_operator.guard.metrics import Instruments
from rlhf_operator.guard.rules import compile_guard
from rlhf_operator.guard.tokens import ResponseId
from rlhf_operator.guard.verdict import Failure, Hit, Unjudged, Verdict

CATEGORIES = ("bias", "csae", "self-harm", "violence")
MODEL = ("team", "support")
SPEC = GuardSpec.model_validate(
    {"stages": [{"name": "words", "type": "Rules", "appliesTo": ["Output"], "action": "Flag",
                 "rules": [{"category": each, "keywords": [each]} for each in CATEGORIES]}]}
)  # fmt: skip
Answers = list[frozenset[str]]


def flagging(*categories: str) -> Verdict:
    return Verdict(
        hits=tuple(Hit(stage="words", category=each, action="Flag") for each in sorted(categories))
    )


def counted(answers: Answers, indicator: str, *categories: str) -> Tally:
    """Count answers, each with the categories that matched it, as the operator would."""
    instruments = Instruments(SPEC, compile_guard(SPEC), version="v1")
    ledger = Ledger(600.0)
    ledger.start(MODEL, (0.5,))
    slo = SLO.model_validate(
        {"name": "x", "class": "Safety", "max": "1",
         "indicator": {"type": indicator, "categories": list(categories)}}
    )  # fmt: skip
    found = measure(slo)
    for counter in found.counters:
        ledger.open(MODEL, counter.name, 0.0)
    for time in (0.4, 1.0):
        for counter in found.counters:
            ledger.feed(counter.name, scraped(instruments, counter.name, time))
        if time < 0.5:
            for answer in answers:
                made = flagging(*answer)
                judged = Judged(text="", asked=Verdict(), made=made, length=1)
                instruments.count_generated(judged)
                instruments.count_served(judged)
    tally = ledger.tally(MODEL, "v1", found, 0.5)
    assert tally is not None
    return tally


def test_the_operator_reads_what_each_user_did_first() -> None:
    """From the guard's counters to the pair of counts by which users are compared."""
    found = measure(SLO.model_validate(
        {"name": "x", "class": "Safety", "max": "1", "indicator": {"type": "UnsafeServedRate"}}
    )).by_user  # fmt: skip
    assert found is not None
    instruments, ledger = Instruments(SPEC, compile_guard(SPEC), version="v1"), Ledger(600.0)
    ledger.start(MODEL, (0.5,))
    for counter in found.counters:
        ledger.open(MODEL, counter.name, 0.0)
        ledger.feed(counter.name, scraped(instruments, counter.name, 0.4))
    for user, flagged in ((b"a", False), (b"a", True), (b"a", True), (b"b", False), (None, True)):
        made = flagging("bias") if flagged else Verdict()
        instruments.count_served(Judged(text="", asked=Verdict(), made=made, length=1), user)
    for counter in found.counters:
        ledger.feed(counter.name, scraped(instruments, counter.name, 1.0))
    tally = ledger.tally(MODEL, "v1", found, 0.5)
    assert tally is not None
    assert (tally.events, tally.samples) == (2, 4)


@pytest.mark.parametrize(
    ("voters", "events", "samples"),
    [
        pytest.param(["aa:down"] * 9, 1, 1, id="nine thumbs down of one user are one"),
        pytest.param(["aa:up", "aa:down", "bb:down"], 1, 2, id="a user's first vote counts"),
        pytest.param([":down", ":down", ":up"], 2, 3, id="who is not known counts always"),
        pytest.param(["?:down", "aa:up"], 0, 1, id="what an older id's owner says counts not"),
    ],
)
def test_the_operator_reads_how_each_user_voted_first(
    voters: list[str], events: int, samples: int
) -> None:
    found = measure(SLO.model_validate(
        {"name": "x", "class": "Quality", "max": "1", "indicator": {"type": "ThumbsDownRate"}}
    ))  # fmt: skip
    assert found.by_user is not None
    instruments, ledger = Instruments(SPEC, compile_guard(SPEC), version="v1"), Ledger(600.0)
    ledger.start(MODEL, (0.5,))
    names = {counter.name for each in (found, found.by_user) for counter in each.counters}
    for name in names:
        ledger.open(MODEL, name, 0.0)
        ledger.feed(name, scraped(instruments, name, 0.4))
    for voter, _, value in (each.partition(":") for each in voters):
        about = ResponseId(version="v1", identity="0" * 12, nonce="n", issued=1,
                           voter=None if voter == "?" else voter)  # fmt: skip
        instruments.count_vote(about, kind="thumbs", value=value)
    for name in names:
        ledger.feed(name, scraped(instruments, name, 1.0))
    every, users = (ledger.tally(MODEL, "v1", each, 0.5) for each in (found, found.by_user))
    assert every is not None and every.samples == len(voters)
    assert users is not None and (users.events, users.samples) == (events, samples)


def scraped(instruments: Instruments, name: str, time: float) -> list[Series]:
    target = {"namespace": MODEL[0], "rlhf_model": MODEL[1], "rlhf_version": "v1", "pod": "a"}
    return [
        Series(labels={**target, **sample.labels}, points=((time, sample.value),))
        for family in instruments.registry.collect()
        for sample in family.samples
        if sample.name == name
    ]


@pytest.mark.parametrize(
    ("indicator", "passes"), [("GuardBypassRate", True), ("GuardWithheldRate", False)]
)
def test_what_nobody_judged_is_a_rate_of_its_own(indicator: str, passes: bool) -> None:
    found = measure(SLO.model_validate(
        {"name": "x", "class": "Quality", "max": "1", "indicator": {"type": indicator}}
    ))  # fmt: skip
    instruments, ledger = Instruments(SPEC, compile_guard(SPEC), version="v1"), Ledger(600.0)
    ledger.start(MODEL, (0.5,))
    failed = [
        Verdict(failures=(Failure(stage=stage, reason=Unjudged.TIMEOUT, passes=passes),))
        for stage in ("a", "b")
    ]
    for time in (0.4, 1.0):
        for counter in found.counters:
            ledger.open(MODEL, counter.name, 0.0)
            ledger.feed(counter.name, scraped(instruments, counter.name, time))
        for asked, made in ((Verdict(), Verdict()), (failed[0], failed[1]), (Verdict(), failed[1])):
            if time < 0.5:
                instruments.count_served(Judged(text="", asked=asked, made=made, length=1))
    tally = ledger.tally(MODEL, "v1", found, 0.5)
    assert tally is not None
    assert (tally.events, tally.samples) == (2, 3)


sets = st.frozensets(st.sampled_from(CATEGORIES))


@pytest.mark.parametrize("indicator", ["UnsafeServedRate", "UnsafeGeneratedRate"])
@given(answers=st.lists(sets, max_size=30), chosen=sets)
def test_a_rate_counts_answers(indicator: str, answers: Answers, chosen: frozenset[str]) -> None:
    tally = counted(answers, indicator, *chosen)
    wanted = chosen or frozenset(CATEGORIES)
    assert tally.events == sum(1 for answer in answers if answer & wanted)
    assert tally.samples == len(answers)


@given(answers=st.lists(sets, max_size=30), chosen=sets)
def test_with_more_sets_than_can_be_told_no_answer_is_missed(
    answers: Answers, chosen: frozenset[str]
) -> None:
    before, guard_metrics.SETS = guard_metrics.SETS, 1
    try:
        tally = counted(answers, "UnsafeServedRate", *chosen)
    finally:
        guard_metrics.SETS = before
    wanted = chosen or frozenset(CATEGORIES)
    assert tally.events >= sum(1 for answer in answers if answer & wanted)
    assert tally.events <= sum(len(answer) for answer in answers)


def test_a_slow_answer_is_one_beyond_the_bound() -> None:
    """As the client library spells its buckets, and as the operator asks for them."""
    instruments = Instruments(SPEC, compile_guard(SPEC), version="v1")
    ledger = Ledger(600.0)
    ledger.start(MODEL, (0.5,))
    found = [
        measure(SLO.model_validate({
            "name": "x", "class": "Performance", "max": "0.5",
            "indicator": {"type": "SlowRatio", "slowerThan": bound},
        }))
        for bound in ("2", "2.5", "300")
    ]  # fmt: skip
    names = {counter.name for each in found for counter in each.counters}
    for name in names:
        ledger.open(MODEL, name, 0.0)
    for time in (0.4, 1.0):
        for name in names:
            ledger.feed(name, scraped(instruments, name, time))
        if time < 0.5:
            for seconds in (0.1, 2.0, 2.1, 2.6, 900):
                instruments.duration.observe(seconds)
    tallies = [ledger.tally(MODEL, "v1", each, 0.5) for each in found]
    assert [(each.events, each.samples) for each in tallies if each] == [(3, 5), (2, 5), (1, 5)]


def test_lengths_are_squared_before_they_are_summed() -> None:
    instruments = Instruments(SPEC, compile_guard(SPEC), version="v1")
    for length in (3, 0, 5):
        instruments.count_served(Judged(text="", asked=Verdict(), length=length))
    found = {
        name: scraped(instruments, name, 1.0)[0].points[0][1]
        for name in (
            "rlhf_guard_response_length_tokens_count",
            "rlhf_guard_response_length_tokens_sum",
            "rlhf_guard_response_length_squares_total",
        )
    }
    assert list(found.values()) == [3, 8, 34]


def test_the_series_of_sets_are_bounded() -> None:
    words = tuple(f"c{number:03}" for number in range(40))
    counter = prometheus_client.Counter("n", "n", ("category",), registry=None)
    sets = guard_metrics._Sets(counter)
    sets.know(words)
    for first in words:
        for second in words:
            if first < second:
                sets.count((first, second))
    (family,) = counter.collect()
    series = [sample for sample in family.samples if sample.name == "n_total"]
    assert len(series) == len(words) + guard_metrics.SETS
    pairs = len(words) * (len(words) - 1) // 2
    assert sum(sample.value for sample in series) == guard_metrics.SETS + 2 * (
        pairs - guard_metrics.SETS
    )
