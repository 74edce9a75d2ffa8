"""Of what is scored both versions have equal numbers, as far as they have them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_operator.api.strategies import StrategyName
from rlhf_operator.core import foresight
from rlhf_operator.core.prospect import MeanPace


@pytest.mark.parametrize(
    ("sampled", "weight", "strategy", "part"),
    [
        pytest.param(0.1, 5, "Canary", 0.5, id="as many of both, where both have as many"),
        pytest.param(0.5, 5, "Canary", 0.1, id="all of the canary's, and stable gives the rest"),
        pytest.param(0.5, 95, "Canary", 0.9, id="all of stable's, and the canary gives the rest"),
        pytest.param(1.0, 25, "Canary", 0.25, id="everything"),
        pytest.param(0.5, 10, "Shadow", 0.2, id="all of the copies"),
        pytest.param(0.5, 100, "Shadow", 0.5, id="copies of everything"),
    ],
)
def test_of_what_is_scored_the_canary_has(
    sampled: float, weight: int, strategy: StrategyName, part: float
) -> None:
    known = MeanPace(deviation=1.0, per_second=1.0, sampled=sampled)
    assert foresight.canary_part(known, strategy, weight) == pytest.approx(part)


weights = st.integers(1, 99)


@given(st.floats(0.001, 1), weights, weights, st.sampled_from(["Canary", "Shadow"]))
def test_what_one_weight_shows_of_the_scoring_holds_at_a_larger_one(
    sampled: float, one: int, other: int, strategy: StrategyName
) -> None:
    """However little of the scoring the first weight needs, later ones are foreseen rightly."""
    here, there = sorted((one, other))
    known = MeanPace(deviation=1.0, per_second=1.0, sampled=sampled)
    part = foresight.canary_part(known, strategy, here)
    shown = foresight.scored_share(part, strategy, here)
    assert shown >= sampled * (1 - 1e-9)
    seen_so = MeanPace(deviation=1.0, per_second=1.0, sampled=shown)
    assert foresight.canary_part(seen_so, strategy, here) == pytest.approx(part)
    if there <= 50:
        expected = foresight.canary_part(known, strategy, there)
        assert foresight.canary_part(seen_so, strategy, there) == pytest.approx(expected)
