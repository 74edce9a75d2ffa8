"""The people of a simulation: they approve where the plan asks for it, and do nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from rlhf_operator.api.plan import Plan
from rlhf_operator.cli import sentences
from rlhf_operator.core import approvals
from rlhf_operator.core.observed import Act, Run

CHANGER = "the one who made the change"
"""Who that is supposed to be where the model does not say it; nobody of those who approve."""


def said(run: Run, after: timedelta | None, now: datetime) -> tuple[Act, ...]:
    """Return the next approval that this run waits for, once people have had their time.

    `after` is how long they take from being asked; None where they never answer.
    """
    gate, canary = approvals.closed(run), run.status.canary
    since = _asked(run)
    if gate is None or canary is None or since is None or after is None or now < since + after:
        return ()
    number = len(approvals.approvers(run, gate)) + 1
    act = Act(
        name=f"approval-{gate.step + 1}-{number}",
        action="Approve",
        author=f"person {number}",
        reason="it is supposed here",
        identity=canary.identity,
        step=gate.step + 1,
    )
    return (act,)


def due(run: Run, after: timedelta | None) -> datetime | None:
    """Return when people answer; None where nobody is asked, or nobody answers."""
    since = _asked(run)
    return None if since is None or after is None else since + after


def _asked(run: Run) -> datetime | None:
    """Return since when the closed gate has been waited at; None until that is on record."""
    gate, awaiting = approvals.closed(run), run.status.awaiting
    if gate is None or awaiting is None:
        return None
    is_this_one = (awaiting.step, awaiting.gate) == (gate.step, gate.approval.gate)
    return awaiting.since if is_this_one else None


def told(plan: Plan, after: timedelta | None) -> Iterator[str]:
    """Yield what is supposed of the people whom a plan asks, a sentence for each gate."""
    when = "given at once"
    if after is None:
        when = "which nobody gives"
    elif after:
        when = f"given {sentences.length(after)} after being asked for"
    for gate in approvals.gates(plan.steps):
        does = "entered" if gate.approval.gate == "Enter" else "left"
        wanted = sentences.count(gate.approval.count, "approval")
        share = plan.told(plan.steps[gate.step].weight, " %")
        yield f"step {gate.step + 1} ({share}) is {does} with {wanted}, {when}"
