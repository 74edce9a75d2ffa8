"""How long a step is held, and how long a run waits for a success of it."""

from __future__ import annotations

from datetime import datetime, timedelta

from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.schema import parse_duration
from rlhf_operator.core import contenders
from rlhf_operator.core.decision import Decision, hold
from rlhf_operator.core.observed import Observed, Run


def hold_end(run: Run) -> datetime:
    """Return until when the weight in force is held."""
    assert run.since is not None, "weight_not_in_force comes first"
    return run.since + parse_duration(run.plan.steps[run.status.step].hold)


def end(seen: Observed, run: Run) -> datetime:
    """Return when `maxHold` is over: how long the step may last without a success.

    A test may use all its `duration`, and what is left of several is seen anew.
    """
    begins, test = hold_end(run), run.plan.ab_test
    if test is not None and run.since is not None:
        in_force = run.status.in_force_at or run.since
        begins = max(begins, run.since + parse_duration(test.duration), in_force)
    return begins + parse_duration(run.plan.max_hold) + _stood_still(run, seen.now)


def held(run: Run, since: datetime) -> Decision:
    """Return that the weight is held for its time, from `since` on."""
    step = run.plan.steps[run.status.step]
    wake = since + parse_duration(step.hold)
    share = run.plan.told(sum(contenders.shares(run.status).values()))
    return hold(Reason.HOLDING, f"{share} is held for {step.hold}", wake=wake)


def _stood_still(run: Run, now: datetime) -> timedelta:
    """Return for how long this step waited for a person or a window, up to now."""
    began = run.status.not_holding_since
    return parse_duration(run.status.held_for) + (now - began if began else timedelta())
