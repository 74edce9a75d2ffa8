"""Plans: what is pinned when a run begins."""

from __future__ import annotations

import hashlib
import json

from rlhf_operator.api.common import VersionRef
from rlhf_operator.api.evidence import SLOResult
from rlhf_operator.api.model import ModelSpec, Rollout
from rlhf_operator.api.plan import PinnedPolicy, Plan
from rlhf_operator.api.policy import SLO, PolicySpec, VersusStable
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import Cause, RolloutSpec, RunType
from rlhf_operator.api.schema import decimal
from rlhf_operator.api.strategies import TEST_POLICY, ABTest, Step
from rlhf_operator.core.observed import Observed

_MOST_EVIDENCE = 16


def plan(spec: ModelSpec) -> Plan:
    """Return the plan that this spec asks for."""
    rollout = spec.rollout
    return Plan(
        strategy=rollout.strategy,
        steps=steps(rollout),
        ab_test=rollout.ab_test,
        surge=rollout.surge,
        ready_timeout=rollout.ready_timeout,
        max_hold=rollout.max_hold,
        max_blind=rollout.max_blind,
        on_inconclusive=rollout.on_inconclusive,
        # Never "None": a plan without it has the digest that it had before there was stickiness.
        stickiness="Arm" if _divides_users(spec) else None,
    )


def _divides_users(spec: ModelSpec) -> bool:
    """Return whether each user stays with one of two versions, as chance assigned them.

    A shadow gets copies of what everybody asks, and a switch moves all at once.
    """
    divides = spec.rollout.strategy in ("Canary", "ABTest")
    return divides and spec.traffic.stickiness.mode == "Arm"


def steps(rollout: Rollout) -> tuple[Step, ...]:
    """Return a strategy as steps: all but a canary have one."""
    if rollout.shadow is not None:
        one = rollout.shadow
        return (Step(weight=one.percent, hold=one.hold, approval=one.approval),)
    if rollout.blue_green is not None:
        switch = rollout.blue_green
        return (Step(weight=100, hold=switch.hold, approval=switch.approval),)
    if rollout.ab_test is not None:
        test = rollout.ab_test
        return (Step(weight=test.weight, hold=test.minimum, approval=test.approval),)
    return rollout.canary.steps if rollout.canary else ()


def asked(pinned: Plan, policies: tuple[PinnedPolicy, ...]) -> tuple[PinnedPolicy, ...]:
    """Return all that a run is asked: its objectives, and what decides its test.

    The primary is judged beside them as an objective that informs: it decides nothing but its
    test. Its `falseRollback` is for "the tested version is worse", its `falsePromotion` for "it
    is better"; each has half of the test's error. Where several versions are tested, each has an
    equal part of that, and of what the policies allow for false rollbacks.
    """
    if pinned.ab_test is None or not policies:
        return policies
    test, first, count = pinned.ab_test, policies[0], tested(pinned)
    half = f"{decimal(test.error) / (2 * count):.9f}"
    if count > 1:
        policies = tuple(_shared(policy, count) for policy in policies)
    made = PinnedPolicy(
        name=TEST_POLICY,
        metric_source=first.metric_source,
        interval=first.interval,
        false_rollback=half,
        false_promotion=half,
        slos=(primary(test),),
    )
    return (*policies, made)


def tested(pinned: Plan) -> int:
    """Return how many versions a plan compares with stable."""
    return 1 + (len(pinned.ab_test.others) if pinned.ab_test is not None else 0)


def primary(test: ABTest) -> SLO:
    """Return what decides a test as an objective."""
    return SLO(
        name=test.primary.name,
        class_="Informational",
        indicator=test.primary.indicator,
        versus_stable=VersusStable(ratio="1"),
    )


def _shared(policy: PinnedPolicy, count: int) -> PinnedPolicy:
    """Return a policy for one of several versions.

    Together they are rolled back falsely as often as one alone would be.
    """
    part = f"{decimal(policy.false_rollback) / count:.9f}"
    return policy.model_copy(update={"false_rollback": part})


def pin(name: str, policy: PolicySpec, *, mandatory: bool) -> PinnedPolicy:
    """Return a policy as a run would pin it now."""
    return PinnedPolicy(
        name=name,
        mandatory=mandatory,
        metric_source=policy.metric_source,
        interval=policy.interval,
        false_rollback=policy.false_rollback,
        false_promotion=policy.false_promotion,
        reward_hacking=policy.reward_hacking,
        slos=policy.slos,
    )


def digest(pinned: Plan, policies: tuple[PinnedPolicy, ...]) -> str:
    """Return sha256 of a plan and its policies."""
    plan = pinned.dump()
    if pinned.strategy == "Canary":  # as it was when there was no other
        del plan["strategy"]
    if pinned.ab_test is not None and not pinned.ab_test.others:  # as it was when it had two arms
        del plan["abTest"]["others"]
    data = {"plan": plan, "policies": [policy.dump() for policy in policies]}
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


def begin(
    seen: Observed,
    run_type: RunType,
    to: VersionRef,
    reason: Reason,
    message: str,
    *,
    pinned: Plan | None = None,
    policies: tuple[PinnedPolicy, ...] | None = None,
    author: str | None = None,
    decision: str | None = None,
    evidence: tuple[SLOResult, ...] = (),
) -> RolloutSpec:
    """Return the spec of a new record that changes what is live to `to`.

    `pinned` and `policies` take the place of what the spec asks for; `evidence` is what failed,
    where traffic flees by itself. Where the spec cannot be read it goes by the last record's plan.
    """
    if pinned is None and seen.spec is not None:
        pinned = plan(seen.spec)
    if pinned is None:
        assert seen.run is not None, "without a spec only what a record knows is left"
        pinned = seen.run.plan
    policies = seen.policies if policies is None else policies
    status = seen.run.status if seen.run else None
    return RolloutSpec(
        model=seen.key.name,
        revision=seen.last_revision + 1,
        generation=seen.generation,
        type=run_type,
        from_=status.stable if status else None,
        to=to,
        others=seen.others if run_type is RunType.ROLLOUT and pinned.ab_test else (),
        plan=pinned,
        plan_digest=digest(pinned, policies),
        policies=policies,
        changed_by=seen.changed_by,
        pool=seen.pool if run_type is RunType.ROLLOUT else None,
        cause=Cause(
            reason=reason,
            message=message,
            author=author,
            decision=decision,
            evidence=evidence[:_MOST_EVIDENCE],
        ),
    )


def run_name(model: str, revision: int) -> str:
    """Return the name of a record; fixed by its revision, so that two writers collide."""
    return f"{model}-{revision}"
