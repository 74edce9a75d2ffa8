"""What is pinned when a run begins."""

from __future__ import annotations

from rlhf_operator.core import plans
from tests import builders as make


def test_a_digest_is_of_the_plan_and_its_policies() -> None:
    spec, other = make.model_spec(), make.model_spec(rollout={"maxHold": "1h"})
    pinned = (make.POLICY,)
    plain = plans.digest(plans.plan(spec), pinned)
    assert plain == plans.digest(plans.plan(make.model_spec()), pinned)
    assert plain != plans.digest(plans.plan(other), pinned)
    assert plain != plans.digest(plans.plan(spec), ())
