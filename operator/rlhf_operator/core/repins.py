"""Repins: today's plan for a run in progress, without raising its weight or losing an approval."""

from __future__ import annotations

from typing import TypeVar

from rlhf_operator.api.evidence import ArmCount, StratumRecord
from rlhf_operator.api.plan import PinnedPolicy, Plan, Repin
from rlhf_operator.api.policy import SLO
from rlhf_operator.api.strategies import Step
from rlhf_operator.core import approvals, plans
from rlhf_operator.core.approvals import Gate
from rlhf_operator.core.observed import Observed, Run

Counted = TypeVar("Counted", StratumRecord, ArmCount)
_PROMOTION = 101
"""Promotion comes after every weight, also after all traffic at once."""


def repin(seen: Observed, run: Run) -> Repin:
    """Return what would be pinned anew now. The surge stays: pods are laid out by it already."""
    assert seen.spec is not None, "a plan needs a spec that could be read"
    plan = plans.plan(seen.spec).model_copy(update={"surge": run.plan.surge})
    return Repin(
        generation=seen.generation,
        plan=plan,
        plan_digest=plans.digest(plan, seen.policies),
        policies=seen.policies,
        at=seen.now,
    )


def place(plan: Plan, weight: int) -> int | None:
    """Return the highest step that does not raise the weight; -1 before the first weight.

    None where even the first step would raise it.
    """
    if weight == 0:
        return -1
    below = [index for index, step in enumerate(plan.steps) if step.weight <= weight]
    return below[-1] if below else None


def lost_approval(run: Run, plan: Plan, step: int) -> Gate | None:
    """Return a gate ahead of the run that today's plan would spare it.

    Each gate must find one of its own that stands no later and asks for no less.
    """
    mine = list(approvals.gates(plan.steps))
    unused = [gate for gate in mine if gate.leads_from >= step]
    for gate in sorted(approvals.ahead(run), key=lambda gate: _weight(run.plan.steps, gate)):
        found = next(
            (
                other
                for other in unused
                if _weight(plan.steps, other) <= _weight(run.plan.steps, gate)
                and other.approval.count >= gate.approval.count
                and other.approval.not_author >= gate.approval.not_author
            ),
            None,
        )
        if found is None:
            return gate
        unused.remove(found)
    return None


def still_asked(run: Run, repin: Repin | None, strata: tuple[Counted, ...]) -> tuple[Counted, ...]:
    """Return the evidence of a run that is about objectives as another plan has them too.

    What was counted for one that was edited is no answer to what is asked now.
    """
    if repin is None:
        return strata
    before = _objectives(plans.asked(run.plan, run.policies))
    after = _objectives(plans.asked(repin.plan, repin.policies))
    return tuple(
        each for each in strata if each.slo in after and after[each.slo] == before.get(each.slo)
    )


def _objectives(policies: tuple[PinnedPolicy, ...]) -> dict[str, SLO]:
    return {f"{policy.name}/{slo.name}": slo for policy in policies for slo in policy.slos}


def _weight(steps: tuple[Step, ...], gate: Gate) -> int:
    """Return the weight that the gate keeps the run from."""
    after = gate.leads_from + 1
    return steps[after].weight if after < len(steps) else _PROMOTION
