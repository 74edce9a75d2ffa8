"""All tests of harm share a run's false rollbacks: a comparison has four times a bound's part."""

from __future__ import annotations

from math import exp, inf, log
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_operator.core import sequential
from rlhf_operator.core.objective import objectives
from rlhf_operator.core.stretches import Stretch
from tests.core.test_evidence import ERRORS, MAX, VERSUS, policy

BOTH = MAX | {"versusStable": {"ratio": "2"}}
SHOWN = ERRORS | {"name": "shown", "class": "Informational", "max": "0.1"}


@pytest.mark.parametrize(
    ("slos", "parts", "part"),
    [
        pytest.param([VERSUS], 1, 0.25, id="a comparison alone has all of it"),
        pytest.param([ERRORS | {"max": "0.1"}], 1, 1, id="and so has a bound alone"),
        pytest.param([MAX], 2, 1, id="a bound of Safety shares it with stable's own"),
        pytest.param([BOTH], 1.5, 0.25, id="beside a comparison each has a quarter of one"),
        pytest.param([BOTH, SHOWN], 1.5, 0.25, id="what only informs has no part"),
        pytest.param([BOTH, ERRORS | {"max": "0.1"}], 1.75, 0.25, id="another bound, a quarter"),
        pytest.param([BOTH, ERRORS | {"versusStable": {"ratio": "2"}}], 2.5, 0.25,
                     id="another comparison, one"),
        pytest.param([MAX | {"failureLimit": 3}], 1, 1, id="plain numbers have none"),
    ],
)  # fmt: skip
def test_all_tests_of_a_run_share_its_false_rollbacks(
    slos: list[dict[str, Any]], parts: float, part: float
) -> None:
    found = objectives((policy(*slos, falseRollback="0.001", falsePromotion="0.01"),))
    for _, goal in found:
        if goal.rate is not None:
            assert goal.rate.levels.harm == pytest.approx(log(parts / 0.001))
            assert goal.rate.levels.price == pytest.approx(-log(part))
            assert goal.rate.levels.good == pytest.approx(log(100))


some = st.integers(0, 40)


@given(some, some, st.sampled_from(["0.5", "0.25", "0.01", "0.000001"]))
def test_the_parts_of_all_tests_are_no_more_than_the_whole(
    comparisons: int, bounds: int, error: str
) -> None:
    among = sequential.Shared(comparisons=comparisons, bounds=bounds)
    asked = sequential.levels(policy(MAX, falseRollback=error), among)
    one, other = exp(-asked.harm), exp(-asked.harm - asked.price)
    assert comparisons * one + bounds * other <= float(error) * (1 + 1e-12)
    assert asked.harm > 0, "who shows how much of the proof there is divides by it"


def test_a_version_at_its_bound_keeps_to_the_part_of_the_bound() -> None:
    """12 to 1 is its part; at the 3 to 1 that prove a comparison it would break more often."""
    ((_, goal),) = objectives((policy(VERSUS | {"max": "0.2"}, falseRollback="0.5"),))
    assert goal.rate is not None
    levels, chance, runs = goal.rate.levels, Random(5), 300
    broken = unpaid = 0
    for _ in range(runs):
        events, highest = 0, -inf
        for answers in range(1, 400):
            events += chance.random() < 0.2
            counted = Stretch(events=events, samples=answers)
            proof, *_ = sequential.proofs(goal.rate, (counted,), compares=False)
            highest = max(highest, proof.harm)
        broken += highest >= levels.harm
        unpaid += highest + levels.price >= levels.harm
    share = exp(-levels.harm - levels.price)
    assert share == pytest.approx(0.5 / 1.5 / 4)
    assert broken <= share * runs < unpaid
