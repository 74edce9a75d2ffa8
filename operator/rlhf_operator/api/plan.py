"""The plan of a run and the policies that judge it, pinned as they were when it began."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rlhf_operator.api.policy import SLO, RewardHacking
from rlhf_operator.api.schema import ApiType, DecimalText, Digest, Duration, Keyed, Name, Time
from rlhf_operator.api.strategies import ABTest, Step, StrategyName


class Plan(ApiType):
    """The plan as it was when the run began; later edits apply to the next run."""

    strategy: StrategyName = "Canary"
    """In which way the new version comes to serve."""
    steps: Annotated[tuple[Step, ...], Field(max_length=32)] = ()
    """The weights and how long each must hold; a shadow's weight is the percent copied."""
    ab_test: ABTest | None = None
    """The test, where the strategy is one."""
    surge: Literal["None", "One", "Full"] = "One"
    """GPUs that the run may take beyond `replicas`."""
    ready_timeout: Duration
    """How long the canary may take to become ready."""
    max_hold: Duration
    """How long a step may stay inconclusive after its hold."""
    max_blind: Duration
    """How long a Safety SLO may lack data before the weight goes to 0."""
    on_inconclusive: Literal["RollBack", "Hold"]
    """What happens after `maxHold`."""
    stickiness: Literal["Arm"] | None = None
    """Arm where users stay with their version: rates count each user's first event alone."""

    def told(self, weight: int, sign: str = "%") -> str:
        """Return a weight as people read it: a shadow's requests are copied, not served."""
        return f"{weight}{sign} copied" if self.strategy == "Shadow" else f"{weight}{sign}"


class PinnedPolicy(ApiType):
    """A policy as it was when the run began."""

    name: Name
    """The policy's name."""
    mandatory: bool = False
    """Whether the operator's configuration adds it to every model."""
    metric_source: Annotated[str, Field(max_length=63)]
    """The metric source by name."""
    interval: Duration
    """How often the objectives are judged."""
    false_rollback: DecimalText = "0.01"
    """How often a version that is no worse may be rolled back by evidence."""
    false_promotion: DecimalText = "0.05"
    """How often a version that is worse than allowed may pass an objective."""
    reward_hacking: RewardHacking | None = None
    """What follows when the version is suspected of reward hacking."""
    slos: Annotated[tuple[SLO, ...], Keyed("name", 32)]
    """The objectives."""


class Repin(ApiType):
    """The plan and the policies that a person had pinned anew during the run."""

    generation: Annotated[int, Field(ge=0, le=2**53)]
    """The model's generation of which they are."""
    plan: Plan
    """The plan by which the run goes on."""
    plan_digest: Digest
    """sha256 of this plan and these policies."""
    policies: Annotated[tuple[PinnedPolicy, ...], Keyed("name", 16)] = ()
    """The objectives by which it goes on."""
    at: Time
    """When."""
