"""A policy's own status: whether it can be used, told before any model needs it."""

from __future__ import annotations

from datetime import datetime

from pydantic import ValidationError

from rlhf_operator.api.common import Failure
from rlhf_operator.api.policy import AlignmentPolicy, PolicyStatus
from rlhf_operator.api.reasons import ConditionType, Reason
from rlhf_operator.api.rollout import PinnedPolicy
from rlhf_operator.core import conditions
from rlhf_operator.core.conditions import Fact
from rlhf_operator.reconcile import objects
from rlhf_operator.reconcile.observe import policy_problem
from rlhf_operator.reconcile.ports import World


async def reconcile_policy(namespace: str, name: str, world: World, now: datetime) -> None:
    """Write whether a policy can be used in its namespace."""
    raw = world.store.get("AlignmentPolicy", namespace, name)
    if raw is None:
        return
    try:
        policy = objects.parse(AlignmentPolicy, raw)
    except ValidationError:
        return  # the API server refuses what we cannot read
    pinned = PinnedPolicy(
        name=name,
        mandatory=namespace == world.settings.namespace,
        metric_source=policy.spec.metric_source,
        interval=policy.spec.interval,
        slos=policy.spec.slos,
    )
    problem = policy_problem(pinned, world, namespace)
    before = policy.status.conditions if policy.status else ()
    generation = policy.metadata.generation
    status = PolicyStatus(
        observed_generation=generation,
        conditions=conditions.merge(before, _facts(problem), now, generation),
    ).dump()
    if status != (policy.status.dump() if policy.status else None):
        await world.cluster.write_status(raw, status)


def _facts(problem: Failure | None) -> tuple[Fact, ...]:
    if problem is None:
        message = "every query parses and the metric source is known"
        return (Fact(type=ConditionType.READY, status="True", reason="Usable", message=message),)
    reason = str(Reason(problem.reason))
    return tuple(
        Fact(type=kind, status=status, reason=reason, message=problem.message)
        for kind, status in ((ConditionType.READY, "False"), (ConditionType.STALLED, "True"))
    )
