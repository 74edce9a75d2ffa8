"""Which strategies a spec may ask for, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from rlhf_operator.api.model import ModelSpec, Rollout

CANARY = {"steps": [{"weight": 10, "hold": "1m"}]}
PRIMARY = {"name": "thumbs", "indicator": {"type": "ThumbsDownRate"}}
TEST = {"primary": PRIMARY}
SHADOW = {"percent": 10, "hold": "30m"}
BLUE_GREEN = {"hold": "10m"}


@pytest.mark.parametrize(
    "rollout",
    [
        pytest.param({"strategy": "Canary", "canary": CANARY}, id="a canary"),
        pytest.param({"strategy": "ABTest", "abTest": TEST}, id="a test with its defaults"),
        pytest.param({"strategy": "ABTest", "abTest": TEST | {
            "weight": 33, "others": [{"version": name, "weight": 33} for name in "ab"]}},
                     id="a test of several that leaves the control 1 percent"),
        pytest.param({"strategy": "Shadow", "shadow": SHADOW}, id="a shadow"),
        pytest.param({"strategy": "Shadow", "shadow": SHADOW | {"percent": 100}},
                     id="a shadow of every request"),
        pytest.param({"strategy": "BlueGreen", "blueGreen": BLUE_GREEN, "surge": "Full"},
                     id="all at once"),
    ],
)  # fmt: skip
def test_what_may_be_asked_for(rollout: dict[str, Any]) -> None:
    assert Rollout.model_validate(rollout).strategy == rollout["strategy"]


@pytest.mark.parametrize(
    ("rollout", "why"),
    [
        pytest.param({"strategy": "Canary"}, "the strategy's own", id="a strategy without a plan"),
        pytest.param({"strategy": "Shadow", "canary": CANARY}, "the strategy's own",
                     id="another strategy's plan"),
        pytest.param({"strategy": "Shadow", "shadow": SHADOW, "canary": CANARY},
                     "the strategy's own", id="a second plan beside"),
        pytest.param({"strategy": "Canary", "canary": {"steps": [{"weight": 100, "hold": "1m"}]}},
                     "below 100", id="a canary step with all traffic"),
        pytest.param({"strategy": "BlueGreen", "blueGreen": BLUE_GREEN}, "surge: Full",
                     id="all at once without pods for both"),
        pytest.param({"strategy": "Shadow", "shadow": SHADOW, "surge": "None"}, "One or Full",
                     id="a shadow that takes its pods from stable"),
        pytest.param({"strategy": "Shadow", "shadow": SHADOW | {"percent": 0}},
                     "greater than or equal to 1", id="a shadow of nothing"),
        pytest.param({"strategy": "ABTest", "abTest": {}}, "primary",
                     id="a test without what decides it"),
        pytest.param({"strategy": "ABTest", "abTest": {"primary": PRIMARY | {
            "indicator": {"type": "ResponseLength"}}}}, "Rate indicator",
                     id="a test that a mean would decide"),
        pytest.param({"strategy": "ABTest", "abTest": TEST | {"minimum": "25h"}},
                     "not be above duration", id="a test that ends before it may be won"),
        pytest.param({"strategy": "ABTest", "abTest": TEST | {"error": "0"}},
                     "between 0.0001 and 0.5", id="a test that may never err"),
        pytest.param({"strategy": "ABTest", "abTest": TEST | {"weight": 100}},
                     "less than or equal to 99", id="a test without a control"),
        pytest.param({"strategy": "ABTest", "abTest": TEST | {
            "others": [{"version": "a", "weight": 50}]}}, "leave the stable version 1",
                     id="a test of several without a control"),
        pytest.param({"strategy": "ABTest", "abTest": TEST | {
            "others": [{"version": "a", "weight": 1}, {"version": "a", "weight": 2}]}}, "unique",
                     id="a version twice in a test"),
        pytest.param({"strategy": "ABTest", "abTest": TEST | {
            "others": [{"version": f"v{number}", "weight": 1} for number in range(7)]}},
                     "more than 6", id="more versions than a record has room for"),
    ],
)  # fmt: skip
def test_what_is_refused(rollout: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Rollout.model_validate(rollout)


def test_a_version_is_not_tested_beside_itself() -> None:
    test = TEST | {"weight": 10, "others": [{"version": "v2", "weight": 10}]}
    rollout = {"strategy": "ABTest", "abTest": test}
    spec = {"version": "v1", "fallback": {"version": "sft"}, "rollout": rollout}
    assert ModelSpec.model_validate(spec).version == "v1"
    with pytest.raises(ValidationError, match="tested beside"):
        ModelSpec.model_validate(spec | {"version": "v2"})
