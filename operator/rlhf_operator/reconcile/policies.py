"""Policies: which apply to a model, whether they can be used, and the status that says so."""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterable
from datetime import datetime

from pydantic import ValidationError

from rlhf_operator.api.common import Failure
from rlhf_operator.api.model import ModelSpec
from rlhf_operator.api.plan import PinnedPolicy
from rlhf_operator.api.policy import AlignmentPolicy, PolicySpec, PolicyStatus
from rlhf_operator.api.reasons import ConditionType, Reason
from rlhf_operator.core import conditions, plans, queries
from rlhf_operator.core.conditions import Fact
from rlhf_operator.core.observed import Key, Run
from rlhf_operator.reconcile import objects
from rlhf_operator.reconcile.ports import World

MOST_POLICIES = 16
"""So many have room in a record."""
MOST_OBJECTIVES = 63
"""So many leave room for as many beside them, and for what a test or a drill adds."""
_ROOM = 2 * MOST_OBJECTIVES + 1
"""What a version has that serves with nothing beside it."""


def policies_of(
    key: Key, world: World, spec: ModelSpec | None, run: Run | None
) -> tuple[tuple[PinnedPolicy, ...], Failure | None]:
    """Return the policies that apply, mandatory ones last, and what is wrong with them.

    Where the spec cannot be read they are those that the newest record names: as they are today,
    or as they were pinned where that cannot be used.
    """
    known = {each.name: each for each in run.policies if not each.mandatory} if run else {}
    named = known if spec is None else [ref.name for ref in spec.policies]
    wanted = [(name, key.namespace, False) for name in named]
    imposed = dict.fromkeys(world.settings.mandatory_policies)
    wanted += [(name, world.settings.namespace, True) for name in imposed]
    found: dict[str, PinnedPolicy] = {}
    problem: Failure | None = None
    for name, namespace, mandatory in wanted:
        policy = _read(world, namespace, name)
        if isinstance(policy, Failure):
            problem = problem or policy
            if spec is None and not mandatory:
                found[name] = known[name]
            continue
        # By what is asked for, and not by what can be read now: a name must not change in a run.
        label = _free(name, {*named, *found}) if mandatory else name
        pinned = plans.pin(label, policy, mandatory=mandatory)
        problem = problem or policy_problem(pinned, world, key.namespace)
        found[label] = pinned
    kept = _on_record(tuple(found.values()))
    if len(found) > MOST_POLICIES or _objectives(found.values()) > MOST_OBJECTIVES:
        problem = problem or Failure(
            reason=Reason.POLICY_INVALID,
            message=f"with the operator's own {len(found)} policies apply, and they have "
            f"{_objectives(found.values())} objectives: a record holds {MOST_POLICIES} policies "
            f"with {MOST_OBJECTIVES} objectives",
        )
    return kept, problem


def _on_record(policies: tuple[PinnedPolicy, ...]) -> tuple[PinnedPolicy, ...]:
    """Return what has room in the record of a version that serves.

    Mandatory policies stay longest, and before others those that know Safety: what serves is
    judged by as many as there is room for, also where no run can begin with them.
    """
    kept = list(policies)
    while len(kept) > MOST_POLICIES or _objectives(kept) > _ROOM:
        kept.remove(min(kept, key=_worth))
    return tuple(kept)


def _worth(policy: PinnedPolicy) -> tuple[bool, bool]:
    return policy.mandatory, any(slo.class_ == "Safety" for slo in policy.slos)


def _objectives(policies: Iterable[PinnedPolicy]) -> int:
    return sum(len(policy.slos) for policy in policies)


def _free(name: str, taken: Container[str]) -> str:
    """Return the name of a policy, or another where a team's own has it: both are judged."""
    others = (f"{name[:50]}-mandatory{count or ''}" for count in itertools.count())
    return next(each for each in itertools.chain((name,), others) if each not in taken)


def _read(world: World, namespace: str, name: str) -> PolicySpec | Failure:
    """Return what a policy says, or why it cannot be used."""
    raw = world.store.get("AlignmentPolicy", namespace, name)
    if raw is None:
        return Failure(
            reason=Reason.POLICY_NOT_FOUND,
            message=f"AlignmentPolicy {namespace}/{name} does not exist",
        )
    try:
        return objects.parse(AlignmentPolicy, raw).spec
    except ValidationError as error:
        message = f"{name}: {objects.sentence(error)}"[:1024]
        return Failure(reason=Reason.POLICY_INVALID, message=message)


def policy_problem(policy: PinnedPolicy, world: World, namespace: str) -> Failure | None:
    """Return why a policy cannot be used in a namespace."""
    if policy.metric_source not in world.settings.metric_sources:
        known = ", ".join(sorted(world.settings.metric_sources))
        return Failure(
            reason=Reason.UNKNOWN_METRIC_SOURCE,
            message=f"policy {policy.name} names metric source {policy.metric_source}; "
            f"the operator's configuration has: {known}",
        )
    allowed = world.settings.query_namespaces
    for slo in policy.slos:
        if slo.query is None:
            continue
        if not policy.mandatory and allowed is not None and namespace not in allowed:
            return Failure(
                reason=Reason.QUERY_REFUSED,
                message=f"policy {policy.name}, {slo.name}: queries are not allowed in namespace "
                f"{namespace}; use a built-in indicator",
            )
        refused = queries.problem(slo.query)
        if refused is not None:
            return Failure(
                reason=Reason.QUERY_REFUSED,
                message=f"policy {policy.name}, {slo.name}: {refused}"[:1024],
            )
    return None


async def reconcile_policy(namespace: str, name: str, world: World, now: datetime) -> None:
    """Write whether a policy can be used in its namespace."""
    raw = world.store.get("AlignmentPolicy", namespace, name)
    if raw is None:
        return
    try:
        policy = objects.parse(AlignmentPolicy, raw)
    except ValidationError:
        return  # the API server refuses what we cannot read
    is_own = namespace == world.settings.namespace
    pinned = plans.pin(name, policy.spec, mandatory=is_own)
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
