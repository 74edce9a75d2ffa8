"""Approvals: whether what a person says counts, and the rule that waits for people."""

from __future__ import annotations

from collections.abc import Collection

from rlhf_operator.api.approval import Awaiting
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.schema import parse_duration
from rlhf_operator.core import approvals, contenders
from rlhf_operator.core.approvals import Gate
from rlhf_operator.core.decision import Action, Decision, hold, roll_back
from rlhf_operator.core.observed import Act, Observed, Run
from rlhf_operator.core.rules.acts import accept, canary_run, refuse, said


def awaiting_approval(seen: Observed) -> Decision | None:
    """Wait for the people whose approval the step asks for; judging goes on meanwhile."""
    run = canary_run(seen)
    return None if run is None else waiting(seen, run)


def waiting(seen: Observed, run: Run) -> Decision | None:
    """Return what to do at a gate that is closed; None where the run may go on."""
    gate = approvals.closed(run)
    if gate is None:
        return None
    before, name = run.status.awaiting, gate.approval.gate
    known = before is not None and (before.step, before.gate) == (gate.step, name)
    since = before.since if before is not None and known else seen.now
    timeout = gate.approval.timeout
    end = since + parse_duration(timeout) if timeout is not None else None
    if end is not None and seen.now >= end:
        return roll_back(Reason.APPROVAL_TIMEOUT, f"{_wanted(run, gate)} for {timeout}")
    return Decision(
        action=Action.HOLD,
        reason=Reason.AWAITING_APPROVAL,
        message=f"{_wanted(run, gate)}; {_how(seen, run, gate)}",
        awaiting=Awaiting(step=gate.step, gate=name, since=since),
        wake=end,
    )


def approve(seen: Observed, act: Act) -> Decision | None:
    """Count an approval for the run of its identity; None while there is no such run yet."""
    run = canary_run(seen)
    tested = {ref.identity for ref in map(contenders.named, contenders.views(seen))}
    if run is not None and run.status.canary and act.identity in tested:
        if _leads_on(run, tested, act):
            return None  # whose promotion it would be is not known yet
        return _counted(run, act)
    stable = seen.run.status.stable if seen.run else None
    if run is None and stable is not None and stable.identity == act.identity:
        return refuse(act, f"{stable.name} serves already")
    return None


def _leads_on(run: Run, tested: Collection[str], act: Act) -> bool:
    """Return whether an approval is for the promotion of one of several versions.

    Before the first weight the test is approved, by the identity that the spec asks for.
    """
    enters = any(gate.approval.gate == "Enter" for gate in approvals.ahead(run))
    assert run.status.canary is not None, "only a canary run waits for approval"
    return len(tested) > 1 and not (enters and act.identity == run.status.canary.identity)


def _counted(run: Run, act: Act) -> Decision:
    found = [gate for gate in approvals.ahead(run) if act.step in (None, gate.step + 1)]
    if not found:
        which = "no step ahead" if act.step is None else f"step {act.step}, if ahead,"
        return refuse(act, f"{which} asks for an approval")
    able = [gate for gate in found if approvals.counts(run, gate, act.author)]
    if not able and run.spec.changed_by is None:
        return refuse(act, f"it is not known who made the change; {ANNOTATE}")
    if not able:
        return refuse(act, f"{act.author} made the change; somebody else must approve it")
    if all(act.author in approvals.approvers(run, gate) for gate in able):
        return refuse(act, f"{act.author} has approved already")
    return accept(hold(Reason.APPROVED, f"approved by {said(act)}"), act)


ANNOTATE = "the model's annotation rlhf.dev/changed-by says so"


def _wanted(run: Run, gate: Gate) -> str:
    steps = run.plan.steps
    what = "before" if gate.approval.gate == "Enter" else "at"
    have = approvals.approvers(run, gate)
    by = f" ({', '.join(have)})" if have else ""
    return (
        f"{len(have)} of {gate.approval.count} approvals{by} {what} step {gate.step + 1}/"
        f"{len(steps)} ({run.plan.told(steps[gate.step].weight)})"
    )


def _how(seen: Observed, run: Run, gate: Gate) -> str:
    """Tell how to approve, by the plugin and by a plain object."""
    canary = run.status.canary
    assert canary is not None, "only a canary waits for approval"
    barred = f" ({run.spec.changed_by} made the change)" if gate.approval.not_author else ""
    if gate.approval.not_author and run.spec.changed_by is None:
        return f"nobody's counts, as it is not known who made the change: {ANNOTATE}"
    return (
        f"approve{barred} with `kubectl rlhf approve {seen.key.name} {canary.name}` or an "
        f"RLHFDecision with action Approve, model {seen.key.name}, identity {canary.identity}"
    )
