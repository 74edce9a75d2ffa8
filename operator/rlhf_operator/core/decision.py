"""`Decision`: what a rule answers, with its reason and its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from rlhf_operator.api.approval import Awaiting
from rlhf_operator.api.plan import Repin
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import Outcome, RolloutSpec
from rlhf_operator.core.observed import Act


class Action(StrEnum):
    """What happens to the record; the deed follows from the record."""

    KEEP = "Keep"
    """No run is going and none should start."""
    HOLD = "Hold"
    """The run waits where it is."""
    START = "Start"
    """A new record is created."""
    OPEN = "Open"
    """A new record gets its first status; a fleeing run moves what is stable with it."""
    ADVANCE = "Advance"
    """The next weight is declared."""
    PROMOTE = "Promote"
    """The canary becomes stable."""
    PARK = "Park"
    """The weight goes to 0 without blame; the run resumes at its first step."""
    RELEASE = "Release"
    """The control arm gives its traffic to the stable version."""
    DROP = "Drop"
    """Some of several tested versions lose their weight for good; the test goes on."""
    ROLL_BACK = "RollBack"
    """The weight goes to 0 and the run ends."""
    CONCLUDE = "Conclude"
    """A drill ends: the weight goes back to 0, and what is stable stays."""
    REPIN = "Repin"
    """The run goes on by another plan, at no higher weight."""
    RECOUNT = "Recount"
    """The evidence of the weight begins anew, because guards judge by other rules now."""
    FORBID = "Forbid"
    """An identity is quarantined by a person's word."""
    LIFT = "Lift"
    """A quarantine ends."""
    BLOCK = "Block"
    """Nothing safe is left: every guard rule of what serves blocks."""
    REFUSE = "Refuse"
    """Nothing safe is left: what serves answers every request with 503."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """The answer of the first rule that has one."""

    action: Action
    reason: Reason
    message: str
    rule: str = ""
    step: int | None = None
    weight: int | None = None
    outcome: Outcome | None = None
    arms: tuple[str, ...] = ()
    """The versions that are dropped."""
    quarantine: bool = False
    """Whether the identity that fails here may not serve again."""
    stalled: bool = False
    """Whether a person must act."""
    start: RolloutSpec | None = None
    repin: Repin | None = None
    """What is pinned anew."""
    act: Act | None = None
    """The human decision that this carries out."""
    refused: Reason | None = None
    """Why the human decision could not be carried out."""
    alike: tuple[str, ...] = ()
    """The objectives that fail as they failed where traffic fled from, as policy/name."""
    awaiting: Awaiting | None = None
    """The gate at which the run waits for people."""
    wake: datetime | None = None
    """When to look again even if nothing happens."""


def keep(reason: Reason, message: str, *, stalled: bool = False) -> Decision:
    """Return a decision to leave things as they are."""
    return Decision(action=Action.KEEP, reason=reason, message=message, stalled=stalled)


def hold(reason: Reason, message: str, *, wake: datetime | None = None) -> Decision:
    """Return a decision to wait."""
    return Decision(action=Action.HOLD, reason=reason, message=message, wake=wake)


def promote(reason: Reason, message: str) -> Decision:
    """Return a decision that what is under way serves by default from now on."""
    return Decision(
        action=Action.PROMOTE, reason=reason, message=message, outcome=Outcome.PROMOTED, weight=0
    )


def roll_back(
    reason: Reason,
    message: str,
    outcome: Outcome = Outcome.ROLLED_BACK,
    *,
    quarantine: bool = False,
) -> Decision:
    """Return a decision to end the run with weight 0."""
    return Decision(
        action=Action.ROLL_BACK,
        reason=reason,
        message=message,
        outcome=outcome,
        quarantine=quarantine,
        weight=0,
    )
