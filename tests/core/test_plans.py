"""What is pinned, and how a mandatory policy tightens a run."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf_operator.api.plan import PinnedPolicy
from rlhf_operator.core import plans
from tests import builders as make


def policy(name: str = "floor", *, mandatory: bool = True, **slo: Any) -> PinnedPolicy:
    base = {"name": "unsafe", "class": "Safety", "indicator": {"type": "UnsafeServedRate"}}
    bound = {} if {"max", "min"} & set(slo) else {"max": "0.02"}
    return PinnedPolicy.model_validate(
        {"name": name, "mandatory": mandatory, "metricSource": "default", "interval": "1s",
         "slos": [base | bound | slo]}
    )  # fmt: skip


PINNED = policy()


@pytest.mark.parametrize(
    ("current", "bound"),
    [
        pytest.param((policy(max="0.01"),), "0.01", id="a stricter bound binds at once"),
        pytest.param((policy(max="0.05"),), "0.02", id="a looser one does not"),
        pytest.param((policy(max="0.10"),), "0.02", id="by number, not by text"),
        pytest.param((), "0.02", id="one that was taken away still binds the run"),
        pytest.param((policy(mandatory=False, max="0.01"),), "0.02",
                     id="a team's edit does not touch the run"),
        pytest.param((policy(indicator={"type": "ErrorRate"}, max="0.01"),), "0.02",
                     id="another measure under the same name changes nothing"),
    ],
)  # fmt: skip
def test_how_a_run_is_bound(current: tuple[PinnedPolicy, ...], bound: str) -> None:
    (found,) = plans.binding((PINNED,), current)
    assert found.slos[0].max == bound


def test_a_lower_bound_rises_only() -> None:
    pinned, lower, higher = policy(min="0.5"), policy(min="0.4"), policy(min="0.6")
    assert plans.binding((pinned,), (lower,))[0].slos[0].min == "0.5"
    assert plans.binding((pinned,), (higher,))[0].slos[0].min == "0.6"


def test_a_new_mandatory_policy_and_objective_bind_at_once() -> None:
    assert plans.binding((PINNED,), (PINNED, policy("new"))) == (PINNED, policy("new"))
    (found,) = plans.binding((PINNED,), (policy(name="floor", max="0.01"),))
    assert len(found.slos) == 1
    more = PINNED.model_copy(update={"slos": (*PINNED.slos, policy().slos[0].model_copy(
        update={"name": "other"}))})  # fmt: skip
    assert [slo.name for slo in plans.binding((PINNED,), (more,))[0].slos] == ["unsafe", "other"]


def test_a_digest_is_of_the_plan_and_its_policies() -> None:
    spec, other = make.model_spec(), make.model_spec(rollout={"maxHold": "1h"})
    plain = plans.digest(plans.plan(spec), (PINNED,))
    assert plain == plans.digest(plans.plan(make.model_spec()), (PINNED,))
    assert plain != plans.digest(plans.plan(other), (PINNED,))
    assert plain != plans.digest(plans.plan(spec), ())
