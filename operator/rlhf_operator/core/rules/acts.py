"""What rules share: the run they are about, its next weight, and how a person's act is told."""

from __future__ import annotations

from dataclasses import replace

from rlhf_operator.api.reasons import Reason
from rlhf_operator.core import contenders
from rlhf_operator.core.decision import Action, Decision
from rlhf_operator.core.observed import Act, Observed, Run


def said(act: Act) -> str:
    """Return who decided and why."""
    return f"{act.by}: {act.reason}"


def accept(decision: Decision, act: Act | None) -> Decision:
    """Return a decision that carries the act out; None where it takes another pass to do so."""
    return replace(decision, act=act)


def refuse(act: Act, why: str, reason: Reason = Reason.NOT_APPLICABLE) -> Decision:
    """Return that the act cannot be carried out."""
    return Decision(action=Action.KEEP, reason=reason, message=why, act=act, refused=reason)


def canary_run(seen: Observed) -> Run | None:
    """Return the run in progress, if it tries a canary."""
    run = seen.run
    return run if run is not None and run.is_active and run.status.canary is not None else None


def advance(run: Run, step: int, message: str) -> Decision:
    """Return that a step of the plan begins, with its weight."""
    assert run.status.canary is not None, "only a canary gets weight"
    return Decision(
        action=Action.ADVANCE,
        reason=Reason.ADVANCED,
        message=message,
        step=step,
        # What the spec asks for may have been dropped from a test of several.
        weight=contenders.planned(run).get(run.status.canary.name, run.plan.steps[step].weight),
    )
