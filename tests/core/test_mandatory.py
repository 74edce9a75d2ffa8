"""How today's mandatory policies tighten a run that pinned others."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from rlhf_operator.api.plan import PinnedPolicy
from rlhf_operator.api.policy import SLO
from rlhf_operator.core import mandatory

UNSAFE = {"name": "unsafe", "class": "Safety", "indicator": {"type": "UnsafeServedRate"},
          "max": "0.02"}  # fmt: skip
LATENCY = {"name": "latency", "class": "Performance", "query": {
    "promQL": "max by (namespace, rlhf_model, rlhf_version) (queue_seconds)",
    "samples": "answers_total", "betterWhen": "Lower"}, "max": "2"}  # fmt: skip
LENGTH = {"name": "length", "class": "Quality", "indicator": {"type": "ResponseLength"},
          "max": "900", "versusStable": {"difference": "50"}}  # fmt: skip
EVENTS = {"name": "csae", "class": "Safety", "maxCount": 2,
          "indicator": {"type": "UnsafeServedCount", "categories": ["csae"]}}  # fmt: skip


def objective(base: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """An objective; a bound of None is taken away."""
    return {key: value for key, value in (base | changes).items() if value is not None}


def policy(*slos: dict[str, Any], name: str = "house", **changes: Any) -> PinnedPolicy:
    return PinnedPolicy.model_validate(
        {"name": name, "mandatory": True, "metricSource": "default", "interval": "1s",
         "slos": list(slos)} | changes
    )  # fmt: skip


def bound(pinned: PinnedPolicy, *current: PinnedPolicy) -> tuple[PinnedPolicy, ...]:
    return mandatory.binding((pinned,), current)


STRICTER = [
    ("a lower max", UNSAFE, {"max": "0.01"}),
    ("a higher min", objective(UNSAFE, max=None, indicator={"type": "TaskCompletionRate"},
                               min="0.5"), {"min": "0.6"}),
    ("a lower maxCount", EVENTS, {"maxCount": 0}),
    ("a ratio closer to one", objective(UNSAFE, versusStable={"ratio": "2"}),
     {"versusStable": {"ratio": "1.5"}}),
    ("a comparison that is new", UNSAFE, {"versusStable": {"ratio": "1.5"}}),
    ("a smaller difference", LENGTH, {"versusStable": {"difference": "20"}}),
    ("more samples of what is judged by evidence", UNSAFE, {"minSamples": 500}),
    ("fewer failures in a row", objective(LATENCY, failureLimit=3), {"failureLimit": 2}),
    ("the first failure", objective(LATENCY, failureLimit=3), {"failureLimit": 1}),
    ("Quality that is Safety now", objective(UNSAFE, **{"class": "Quality"}),
     {"class": "Safety"}),
    ("what was only shown and counts now", objective(UNSAFE, **{"class": "Informational"}),
     {"class": "Performance"}),
    ("all of it at once", objective(UNSAFE, **{"class": "Quality"}),
     {"class": "Safety", "max": "0.01", "minSamples": 50, "versusStable": {"ratio": "1"}}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("base", "changes"), [row[1:] for row in STRICTER], ids=[row[0] for row in STRICTER]
)
def test_what_is_stricter_takes_its_place_at_once(
    base: dict[str, Any], changes: dict[str, Any]
) -> None:
    loose, strict = policy(base), policy(objective(base, **changes))
    (found,) = bound(loose, strict)
    assert found.name == "house"
    assert [slo.dump() for slo in found.slos] == [slo.dump() for slo in strict.slos]
    assert bound(strict, loose) == (strict,), "and it is not taken back"


BESIDE = [
    ("another indicator", UNSAFE, {"indicator": {"type": "ErrorRate"}}),
    ("other categories", UNSAFE, {"indicator": {"type": "UnsafeServedRate",
                                                "categories": ["violence"]}}),
    ("plain numbers in place of evidence", UNSAFE, {"failureLimit": 3}),
    ("a bound that evidence cannot judge", UNSAFE, {"max": "0"}),
    # It would come later to a failure too.
    ("more samples where numbers are compared", LATENCY, {"minSamples": 500}),
    ("a comparison of numbers that is new", LATENCY,
     {"versusStable": {"ratio": "2", "method": "Threshold"}}),
    ("Safety at a looser bound", objective(UNSAFE, **{"class": "Quality"}),
     {"class": "Safety", "max": "0.05"}),
    ("a stricter bound for a lower class", UNSAFE, {"class": "Quality", "max": "0.01"}),
    ("one failure in a row at a looser bound", objective(LATENCY, failureLimit=3),
     {"failureLimit": 1, "max": "5"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("base", "changes"), [row[1:] for row in BESIDE], ids=[row[0] for row in BESIDE]
)
def test_what_no_single_objective_asks_stands_beside_it(
    base: dict[str, Any], changes: dict[str, Any]
) -> None:
    before, now = policy(base), policy(objective(base, **changes))
    kept, beside = bound(before, now)
    assert kept == before
    assert beside.slos == now.slos and beside.mandatory
    assert beside.name.startswith("house-")


def test_both_bind_whatever_changes() -> None:
    """What is bound fails where either fails, and passes nothing that either does not pass."""
    forms = [
        objective(UNSAFE, **{"class": class_, "max": most, "minSamples": least} | more)
        for class_, most, least, more in product(
            ("Quality", "Safety"), ("0.01", "0.02"), (1, 500),
            ({}, {"versusStable": {"ratio": "2"}}, {"failureLimit": 3}),
        )
    ]  # fmt: skip
    for before, now in product(forms, forms):
        found = [slo for each in bound(policy(before), policy(now)) for slo in each.slos]
        for asked in (policy(before).slos[0], policy(now).slos[0]):
            assert any(_asks_as_much(slo, asked) for slo in found), (before, now)


def _asks_as_much(slo: SLO, asked: SLO) -> bool:
    """Whether an objective is judged in the same way, with no number that is looser."""
    margin, other = slo.versus_stable, asked.versus_stable
    by_numbers = asked.failure_limit is not None
    return (
        (slo.failure_limit is not None) == by_numbers
        and float(slo.max or 1) <= float(asked.max or 1)
        and (slo.min_samples == asked.min_samples or (not by_numbers and slo.min_samples == 500))
        and (other is None or (margin is not None and margin.ratio == other.ratio))
        and (slo.class_ == asked.class_ or slo.class_ == "Safety")
    )


@pytest.mark.parametrize(
    "current",
    [
        pytest.param((), id="one that was taken away still binds the run"),
        pytest.param((policy(objective(UNSAFE, max="0.10")),), id="numbers count, not texts"),
        pytest.param((policy(objective(UNSAFE, max="0.01"), mandatory=False),),
                     id="a team's edit does not touch the run"),
    ],
)  # fmt: skip
def test_what_changes_nothing(current: tuple[PinnedPolicy, ...]) -> None:
    assert bound(policy(UNSAFE), *current) == (policy(UNSAFE),)


def test_a_team_s_policy_of_the_same_name_is_another() -> None:
    mine, house = policy(UNSAFE, mandatory=False), policy(objective(UNSAFE, max="0.01"))
    kept, beside = bound(mine, house)
    assert kept == mine
    assert beside.slos == house.slos


def test_a_new_policy_and_a_new_objective_bind_at_once() -> None:
    kept, new = bound(policy(UNSAFE), policy(UNSAFE), policy(LATENCY, name="speed"))
    assert kept == policy(UNSAFE)
    assert new.slos == policy(LATENCY).slos and new.name.startswith("speed-")
    kept, new = bound(policy(UNSAFE), policy(UNSAFE, LATENCY))
    assert kept == policy(UNSAFE)
    assert new.slos == policy(LATENCY).slos and new.name.startswith("house-")


def test_no_counts_on_record_pass_for_those_of_another_measure() -> None:
    """Counts are kept by the names of policy and objective; a measure has names of its own."""
    pinned = policy(UNSAFE)
    errors, refused = (
        policy(objective(UNSAFE, indicator={"type": each})) for each in ("ErrorRate", "RefusalRate")
    )
    elsewhere = policy(UNSAFE, metricSource="other")
    names = [bound(pinned, now)[1].name for now in (errors, refused, elsewhere)]
    names += [mandatory.binding((), (now,))[0].name for now in (errors, refused)]
    assert len({"house", *names}) == 4, "the same measure has the same name, pinned or not"
    assert bound(pinned, errors) == bound(pinned, errors)
    stricter = policy(objective(UNSAFE, indicator={"type": "ErrorRate"}, max="0.01"))
    assert bound(pinned, stricter)[1].name == names[0], "what was counted for it goes on counting"


def test_two_objectives_of_one_measure_stand_in_one_policy() -> None:
    first, second = (objective(UNSAFE, name=name) for name in ("one", "two"))
    (found,) = mandatory.binding((), (policy(first, second),))
    assert [slo.name for slo in found.slos] == ["one", "two"]


def test_long_names_stay_apart_and_within_bounds() -> None:
    names = [mandatory.binding((), (policy(UNSAFE, name="a" * 62 + end),))[0].name for end in "bc"]
    assert len(set(names)) == 2 and all(len(name) <= 63 for name in names)


@pytest.mark.parametrize(
    ("field", "strict", "loose"),
    [
        pytest.param("falsePromotion", "0.01", "0.05", id="less is believed before it advances"),
        pytest.param("falseRollback", "0.05", "0.01", id="less proof takes traffic away"),
        pytest.param("interval", "1s", "10s", id="it is looked at more often"),
    ],
)
def test_which_way_a_policy_is_stricter(field: str, strict: str, loose: str) -> None:
    for pinned, now in ((strict, loose), (loose, strict)):
        (found,) = bound(policy(UNSAFE, **{field: pinned}), policy(UNSAFE, **{field: now}))
        assert found.dump()[field] == strict
