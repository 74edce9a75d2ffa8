"""What a person changes of the course of a run: try again, promote, override, repin."""

from __future__ import annotations

from rlhf_operator.api.reasons import Reason
from rlhf_operator.core import (
    analysis,
    approvals,
    contenders,
    decision,
    mandatory,
    overrides,
    repins,
    reward_hacking,
    verdicts,
)
from rlhf_operator.core.decision import Action, Decision, hold
from rlhf_operator.core.observed import Act, Observed, Run
from rlhf_operator.core.rules import resting
from rlhf_operator.core.rules.acts import accept, canary_run, refuse, said


def retry(seen: Observed, act: Act) -> Decision | None:
    """Refuse where nothing can be tried again; else the run starts as soon as one may start."""
    run = seen.run
    if run is None or run.is_active:
        return refuse(act, "no run has ended that could be tried again")
    if seen.target is None or seen.invalid is not None:
        return refuse(act, "the model's spec cannot be used")
    if seen.is_quarantined(seen.target):
        return refuse(act, f"{seen.target.name} is quarantined; lift the quarantine first")
    stable = run.status.stable
    if stable is not None and stable.identity == seen.target.identity:
        return refuse(act, f"{stable.name} serves already")
    if resting.failed_try(seen) is None:
        return refuse(act, f"{seen.target.name} has not failed; it starts by itself")
    return None


def promote(seen: Observed, act: Act) -> Decision | None:
    """End the steps now; Safety, approvals and whoever said stop are not passed over."""
    run = canary_run(seen)
    if run is None:
        return refuse(act, "no run is going that could be promoted")
    if contenders.still_there(seen, run) or _is_seen_anew(seen, run):
        return None  # what was dropped is drained first
    why = _stop(seen, run) or _unfit(seen, run) or _unapproved(run)
    if why is not None:
        return refuse(act, why)
    assert run.status.canary is not None, "a canary run has a canary"
    if run.status.testing:
        return _alone(run, act)
    left = len(run.plan.steps) - 1 - run.status.step
    at = f"{run.status.canary.name} at {run.plan.told(run.status.weight)}"
    message = f"{at}, {left} steps before the end, by {said(act)}"
    return accept(decision.promote(Reason.PROMOTED_BY_PERSON, message), act)


def _is_seen_anew(seen: Observed, run: Run) -> bool:
    """Return whether nothing was measured yet since others were dropped for this version."""
    chosen = any(arm.reason == Reason.OTHER_WON for arm in run.status.arms)
    return chosen and (run.status.in_force_at is None or seen.canary is None)


def _alone(run: Run, act: Act) -> Decision:
    """Drop what is tested beside the version that a person promotes; the rest takes a pass more."""
    assert run.status.canary is not None, "a canary run has a canary"
    return Decision(
        action=Action.DROP,
        reason=Reason.OTHER_WON,
        message=f"{run.status.canary.name} is promoted by {said(act)}",
        arms=tuple(arm.version for arm in run.status.testing),
    )


def override(seen: Observed, act: Act) -> Decision:
    """Take one objective out of this run's judgement; something must be left that can say yes."""
    run = canary_run(seen)
    if run is None:
        return refuse(act, "no run is going whose objectives could be overridden")
    bound = [slo for each in mandatory.binding(run.policies, seen.policies) for slo in each.slos]
    classes = {slo.class_ for slo in bound if slo.name == act.slo}
    if not classes:
        return refuse(act, f"this run has no objective {act.slo}")
    if "Safety" in classes:
        return refuse(act, f"{act.slo} is of class Safety, which nobody overrides")
    if classes == {"Informational"} and not reward_hacking.suspicion(seen, run):
        return refuse(act, f"{act.slo} is Informational and keeps nothing from going on")
    out = {act.slo, *(entry.slo for entry in overrides.in_force(run, seen.now))}
    left = (slo for slo in bound if slo.class_ == "Safety" or slo.name not in out)
    if all(slo.class_ == "Informational" for slo in left):
        return refuse(act, "no objective would be left that can say success")
    until = overrides.clock(act.expires_at)
    message = f"{act.slo} does not count until {until}, by {said(act)}"
    return accept(hold(Reason.OVERRIDDEN, message), act)


def repin(seen: Observed, act: Act) -> Decision:
    """Pin today's plan and policies for the run; the step that fits its weight begins anew."""
    run = canary_run(seen)
    if run is None or run.status.canary is None:
        return refuse(act, "no run is going whose plan could be pinned anew")
    if seen.spec is None or seen.partly_understood or seen.invalid is not None:
        return refuse(act, "today's spec cannot be used")
    if seen.target is None or seen.target.identity != run.spec.to.identity:
        return refuse(act, "another version is asked for now")
    if run.spec.others or seen.others:
        return refuse(act, "a test of several versions keeps its plan; abort it and begin anew")
    if seen.workload(run.status.stable).ready == 0:
        return refuse(act, "stable has no ready pod to which weight could go back")
    made = repins.repin(seen, run)
    step = repins.place(made.plan, run.status.weight)
    if made.plan_digest == run.plan_digest:
        return refuse(act, "neither the plan nor a policy was edited since the run began")
    if made.plan.strategy != run.plan.strategy:
        return refuse(act, f"the run goes by {run.plan.strategy}, not by {made.plan.strategy}")
    if step is None:
        first = made.plan.told(made.plan.steps[0].weight)
        return refuse(act, f"its first step of {first} would raise {run.status.weight}%")
    lost = repins.lost_approval(run, made.plan, step)
    if lost is not None:
        return refuse(act, f"it would spare the run the approval of step {lost.step + 1}")
    if run.spec.changed_by is None and approvals.excludes_author(made.plan.steps):
        return refuse(act, "its approvals bar who made the change, and that is not known")
    weight = made.plan.steps[step].weight if step >= 0 else 0
    pinned = Decision(
        action=Action.REPIN,
        reason=Reason.REPINNED,
        message=f"the plan of generation {seen.generation} from {made.plan.told(weight)} on, "
        f"by {said(act)}",
        step=step,
        weight=weight,
        repin=made,
    )
    return accept(pinned, act)


def _stop(seen: Observed, run: Run) -> str | None:
    """Return who or what said that nothing moves now."""
    if seen.spec is None or seen.target is None:
        return "the model's spec cannot be understood"
    if seen.target.identity != run.spec.to.identity:
        return f"{seen.target.name} is asked for now"
    if seen.spec.suspend:
        return "spec.suspend is set"
    if run.status.paused:
        return "a person paused this run"
    return f"freeze window {seen.frozen} is open" if seen.frozen is not None else None


def _unfit(seen: Observed, run: Run) -> str | None:
    """Return why the canary may not take all traffic."""
    canary, judged = run.status.canary, seen.canary
    assert canary is not None, "a canary run has a canary"
    if seen.is_quarantined(canary):
        return f"{canary.name} is quarantined"
    if run.status.weight == 0 or run.status.in_force_at is None:
        return f"{canary.name} has no traffic yet"
    if seen.workload(canary).ready == 0:
        return f"{canary.name} has no ready pod"
    if judged is None or judged.blind:
        names = ", ".join(judged.blind) if judged is not None else "nothing was measured yet"
        return f"its safety cannot be seen: {names}"
    unsafe = analysis.failed(judged.results, "Safety")
    return verdicts.tell(unsafe) if unsafe else None


def _unapproved(run: Run) -> str | None:
    """Return which approval is missing on the way to promotion."""
    for gate in approvals.ahead(run):
        missing = approvals.missing(run, gate)
        if missing > 0:
            return f"{missing} of {gate.approval.count} approvals of step {gate.step + 1} missing"
    return None
