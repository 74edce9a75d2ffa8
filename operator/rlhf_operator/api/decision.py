"""`RLHFDecision`: one human act, immutable; and what the record of a run holds of it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from rlhf_operator.api.common import Condition, Object
from rlhf_operator.api.schema import ApiType, CelRule, Digest, Keyed, Name, Text, Time, rule

DecisionAction = Literal[
    "Approve",
    "Veto",
    "Abort",
    "Pause",
    "Resume",
    "Retry",
    "Promote",
    "Override",
    "Repin",
    "RollBackTo",
    "LiftQuarantine",
    "Restart",
]


class DecisionSpec(ApiType):
    """One human act on a model."""

    action: DecisionAction
    """Approve agrees to the run of an identity, also ahead of it; Veto takes an identity out and
    keeps it out; Abort ends the run; Pause and Resume hold it; Retry starts what failed without
    blame again; Promote ends the steps now; Override takes an objective out of this run's
    judgement for a time; Repin pins today's plan and policies for this run; RollBackTo goes back
    to a version; LiftQuarantine lets an identity run again; Restart renews the pods from the
    current spec."""
    model: Name
    """The model that it is about."""
    version: Name | None = None
    """For RollBackTo: the version to go back to."""
    identity: Digest | None = None
    """For Approve, Veto and LiftQuarantine: the identity, as shown in the version's status."""
    step: Annotated[int, Field(ge=1, le=32)] | None = None
    """For Approve: only this step of the plan, counted from 1; every step when unset."""
    slo: Name | None = None
    """For Override: the objective, by name; never one of class Safety."""
    author: Annotated[str, Field(min_length=1, max_length=253)]
    """Who decides; the authenticated user, unless `via` sends it for them."""
    via: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """Who really sent it, where that is not the author: the authenticated user, who needs the
    verb `onbehalf` on rlhfdecisions."""
    reason: Annotated[str, Field(min_length=1, max_length=1024)]
    """Why, for the record."""
    expires_at: Time | None = None
    """After this the decision is not carried out any more. An Override ends then and needs it."""

    transitions: ClassVar[tuple[CelRule, ...]] = (
        CelRule(cel="self == oldSelf", message="a decision is immutable; write a new one"),
    )

    @rule(
        "(self.action == 'RollBackTo') == has(self.version)",
        "version goes with RollBackTo, and only with it",
    )
    def version_fits(self) -> bool:
        """Return whether a version is named exactly when one is needed."""
        return (self.action == "RollBackTo") == (self.version is not None)

    @rule(
        "(self.action in ['Approve', 'Veto', 'LiftQuarantine']) == has(self.identity)",
        "identity goes with Approve, Veto and LiftQuarantine, and only with them",
    )
    def identity_fits(self) -> bool:
        """Return whether an identity is named exactly when one is needed."""
        needed = self.action in ("Approve", "Veto", "LiftQuarantine")
        return needed == (self.identity is not None)

    @rule("self.action == 'Approve' || !has(self.step)", "step goes with Approve only")
    def step_fits(self) -> bool:
        """Return whether a step is named only where one can be approved."""
        return self.action == "Approve" or self.step is None

    @rule(
        "(self.action == 'Override') == has(self.slo)", "slo goes with Override, and only with it"
    )
    def slo_fits(self) -> bool:
        """Return whether an objective is named exactly when one is needed."""
        return (self.action == "Override") == (self.slo is not None)

    @rule("self.action != 'Override' || has(self.expiresAt)", "an Override needs expiresAt")
    def override_ends(self) -> bool:
        """Return whether what takes an objective out of judgement has an end."""
        return self.action != "Override" or self.expires_at is not None


class DecisionStatus(ApiType):
    """What became of the decision."""

    observed_generation: int = -1
    """The generation that this status speaks of."""
    phase: Literal["Applied", "NotApplicable", "Expired"] | None = None
    """A one-word summary for people."""
    rollout: Text | None = None
    """The `RLHFRollout` that it changed."""
    conditions: Annotated[tuple[Condition, ...], Keyed("type", 16)] = ()
    """Observations in the standard form."""


class DecisionRecord(ApiType):
    """A human act that changed this run."""

    name: Annotated[str, Field(max_length=253)]
    """The `RLHFDecision`."""
    action: DecisionAction
    """What was asked."""
    step: Annotated[int, Field(ge=1, le=32)] | None = None
    """The step that was approved, from 1, if not all."""
    slo: Name | None = None
    """The objective that was overridden."""
    until: Time | None = None
    """Until when it is."""
    author: Annotated[str, Field(max_length=253)]
    """Who asked."""
    via: Annotated[str, Field(max_length=253)] | None = None
    """Who sent it for them, if someone did."""
    reason: Text
    """Why."""
    at: Time
    """When it took effect."""


RLHFDecision = Object[DecisionSpec, DecisionStatus]
