"""What the rules about people share: how an act is told, accepted and refused."""

from __future__ import annotations

from dataclasses import replace

from rlhf_operator.api.reasons import Reason
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
