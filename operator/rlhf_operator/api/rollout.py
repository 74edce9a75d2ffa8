"""`RLHFRollout`: one change of what is live; the commit record and, once ended, the history."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from rlhf_operator.api.approval import Awaiting
from rlhf_operator.api.common import Condition, Object, VersionRef
from rlhf_operator.api.decision import DecisionRecord
from rlhf_operator.api.evidence import (
    ArmCount,
    BaselineRecord,
    Checkpoint,
    DriftRecord,
    GoldenResult,
    Message,
    ReasonWord,
    SLOResult,
    StepRecord,
    StratumRecord,
)
from rlhf_operator.api.plan import PinnedPolicy, Plan, Repin
from rlhf_operator.api.quarantine import QuarantineRecord
from rlhf_operator.api.schema import ApiType, Digest, Duration, Keyed, Name, Percent, Recorded, Time
from rlhf_operator.api.standby import StandbyRecord


class RunType(StrEnum):
    """What kind of change a rollout is."""

    INITIAL = "Initial"
    ROLLOUT = "Rollout"
    ROLLBACK = "Rollback"
    FALLBACK = "Fallback"
    RESTART = "Restart"
    DRILL = "Drill"


class Outcome(StrEnum):
    """How a rollout ended."""

    PROMOTED = "Promoted"
    ROLLED_BACK = "RolledBack"
    ABORTED = "Aborted"
    SUPERSEDED = "Superseded"
    PROVEN = "Proven"
    UNPROVEN = "Unproven"


class Cause(ApiType):
    """Why this run began."""

    reason: ReasonWord
    """One word."""
    message: Message
    """A sentence with numbers."""
    author: Annotated[str, Field(max_length=253)] | None = None
    """The person, if it was a person."""
    decision: Annotated[str, Field(max_length=253)] | None = None
    """The `RLHFDecision`, if there was one."""
    evidence: Annotated[tuple[SLOResult, ...], Field(max_length=16)] = ()
    """What failed, where traffic flees by itself."""


class RolloutSpec(Recorded):
    """What was to be changed, and by which plan. Written once by the operator."""

    model: Name
    """The model."""
    revision: Annotated[int, Field(ge=1, le=2**31 - 1)]
    """The count of changes of this model; the highest is in force."""
    generation: Annotated[int, Field(ge=0)]
    """The model's generation when the run began; a newer one allows another try."""
    type: RunType
    """What kind of change this is."""
    from_: Annotated[VersionRef | None, Field(alias="from")] = None
    """What was stable before."""
    to: VersionRef
    """What should be stable after."""
    others: Annotated[tuple[VersionRef, ...], Keyed("name", 6)] = ()
    """Further versions that a test compares with stable in the same run."""
    plan: Plan
    """The pinned plan."""
    plan_digest: Digest
    """sha256 of the pinned plan and policies."""
    policies: Annotated[tuple[PinnedPolicy, ...], Keyed("name", 16)] = ()
    """The pinned objectives."""
    changed_by: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """Who made the change, as the model's annotation rlhf.dev/changed-by said then."""
    pool: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """The devices and nodes that its pods ask for, where that limits how many may run at once."""
    cause: Cause
    """Why this run began."""


class FallbackProof(ApiType):
    """What the last drill showed of the fallback."""

    version: VersionRef
    """The fallback."""
    proven: bool
    """Whether it served; silence is no proof."""
    at: Time
    """When that drill ended."""
    proven_at: Time | None = None
    """When a drill last proved that it serves."""
    message: Message
    """What was seen."""


class Pin(ApiType):
    """The rendered pods of a version, which no upgrade of the operator changes."""

    version: Name
    """The version."""
    revision: Annotated[str, Field(max_length=253)]
    """The `ControllerRevision` that holds the rendering; its name carries the content's hash."""
    restrained: bool = False
    """Whether its guard blocks or refuses because nothing safe is left; gone when others serve."""


class ArmRecord(ApiType):
    """One more version of a test: its traffic, what it showed, and how its part ended."""

    version: Name
    """The version."""
    identity: Digest
    """Its identity."""
    weight: Percent = 0
    """Percent of the traffic that it gets, as declared."""
    state: Literal["Testing", "Dropped"] = "Testing"
    """Whether it is tested still; what was dropped gets no traffic again in this run."""
    reason: ReasonWord | None = None
    """Why it was dropped, in one word."""
    message: Message | None = None
    """The same with numbers."""
    at: Time | None = None
    """When it was dropped."""
    blind_since: Time | None = None
    """Since when a Safety SLO has had no usable data of it."""
    reward_hacking_since: Time | None = None
    """Since when it has been suspected of reward hacking."""
    golden: GoldenResult | None = None
    """What the golden prompts showed of it."""
    slos: Annotated[tuple[SLOResult, ...], Field(max_length=128)] = ()
    """The newest recorded evidence of it."""
    checkpoint: Checkpoint | None = None
    """Counts from which a restarted operator counts on."""
    strata: Annotated[tuple[StratumRecord, ...], Field(max_length=4096)] = ()
    """What it and stable showed before the present weights."""

    @property
    def ref(self) -> VersionRef:
        """Return it as what it is a record of."""
        return VersionRef(name=self.version, identity=self.identity)


class RolloutStatus(Recorded):
    """The live state of the run; the one commit record. Written before any deed."""

    observed_generation: int = -1
    """The generation that this status speaks of."""
    epoch: Annotated[int, Field(ge=0, le=2**53)] = 0
    """The leadership under which it was last written; never goes down."""
    phase: Literal["Preparing", "Progressing", "Parked", "Settling", "Completed"] = "Preparing"
    """A one-word summary for people."""
    outcome: Outcome | None = None
    """How it ended."""
    reason: ReasonWord | None = None
    """The rule that decided last."""
    message: Message | None = None
    """The rule's numbers."""
    stable: VersionRef | None = None
    """What serves by default."""
    canary: VersionRef | None = None
    """What is under test; of several, the first that is left."""
    arms: Annotated[tuple[ArmRecord, ...], Keyed("version", 6)] = ()
    """The other versions of a test: those that are tested still, and those that were dropped."""
    fallback: VersionRef | None = None
    """The floor, as the model's spec said when it could last be read."""
    weight: Percent = 0
    """Percent of the traffic that the canary gets, as declared; for a shadow, the percent of
    requests that are copied to it while users get nothing of it."""
    step: Annotated[int, Field(ge=-1, le=64)] = -1
    """The step of the plan, from 0; -1 before the first."""
    force_block: bool = False
    """Whether every guard rule blocks, because nothing safe is left."""
    refuse: bool = False
    """Whether every request is answered with 503, because nothing safe is left."""
    started_at: Time | None = None
    """When the run began."""
    ready_since: Time | None = None
    """When the canary's pods were last needed to get ready (start of `readyTimeout`)."""
    declared_at: Time | None = None
    """When the present weights were recorded as wanted."""
    in_force_at: Time | None = None
    """When the router was first seen doing them."""
    step_since: Time | None = None
    """From when this step's time counts, where a dropped version has changed the weights since."""
    held_for: Duration = "0s"
    """Time of this step that does not count against `maxHold`: suspended or paused."""
    not_holding_since: Time | None = None
    """Since when the step's clock stands still."""
    blind_since: Time | None = None
    """Since when a Safety SLO has had no usable data."""
    reward_hacking_since: Time | None = None
    """Since when the canary has been suspected of reward hacking."""
    paused: bool = False
    """Whether a person paused the run."""
    awaiting: Awaiting | None = None
    """The gate at which this step began to wait for people."""
    finished_at: Time | None = None
    """When the outcome fell."""
    settled_at: Time | None = None
    """When the traffic had moved and what it left was drained, or a newer run took that over."""
    golden: GoldenResult | None = None
    """What the golden prompts showed."""
    steps: Annotated[tuple[StepRecord, ...], Field(max_length=64)] = ()
    """The weights, in order."""
    slos: Annotated[tuple[SLOResult, ...], Field(max_length=128)] = ()
    """The newest recorded evidence."""
    rules_digest: Annotated[str, Field(max_length=128)] | None = None
    """The digest of the guards' rules under which this weight is counted; another one begins its
    evidence anew."""
    rules_since: Time | None = None
    """Since when the guards of stable count by other rules than in its own run."""
    checkpoint: Checkpoint | None = None
    """Counts from which a restarted operator counts on."""
    strata: Annotated[tuple[StratumRecord, ...], Field(max_length=4096)] = ()
    """What both versions showed at the weights before this one, on which evidence rests."""
    baseline: Annotated[tuple[BaselineRecord, ...], Field(max_length=128)] = ()
    """What stable showed at first: after promotion it is compared with that."""
    drifts: Annotated[tuple[DriftRecord, ...], Field(max_length=128)] = ()
    """How far the watch over stable's means is."""
    drifts_at: Time | None = None
    """When that was last written."""
    before_switch: Annotated[tuple[ArmCount, ...], Field(max_length=128)] = ()
    """What stable showed before all its traffic went to the canary at once."""
    standby: StandbyRecord | None = None
    """The previous stable version, kept warm."""
    pins: Annotated[tuple[Pin, ...], Keyed("version", 64)] = ()
    """The rendered pods of each version that runs."""
    proof: FallbackProof | None = None
    """What the last drill showed of the fallback; each record takes it over from the one before."""
    unproven_since: Time | None = None
    """Since when another version than the fallback serves: the first drill counts from here."""
    quarantine: QuarantineRecord | None = None
    """The identity that failed here."""
    vetoes: Annotated[tuple[QuarantineRecord, ...], Field(max_length=80)] = ()
    """Identities that people forbade while this was the newest record, and not by ending it; and
    those of tested versions that failed and were dropped while the test went on."""
    not_the_model: Message | None = None
    """Why no further move is made by itself: what was fled to fails alike."""
    alike: Annotated[tuple[Annotated[str, Field(max_length=127)], ...], Field(max_length=16)] = ()
    """The objectives of which that is said, as policy/name; another one that fails is another
    matter."""
    repin: Repin | None = None
    """What a person had pinned anew, in place of the plan and the policies of the spec."""
    decisions: Annotated[tuple[DecisionRecord, ...], Field(max_length=64)] = ()
    """The human acts that changed this run."""
    conditions: Annotated[tuple[Condition, ...], Keyed("type", 16)] = ()
    """Observations in the standard form."""

    @property
    def testing(self) -> tuple[ArmRecord, ...]:
        """Return the versions that are tested beside the canary."""
        return tuple(arm for arm in self.arms if arm.state == "Testing")

    @property
    def quarantines(self) -> tuple[QuarantineRecord, ...]:
        """Return every quarantine of which this is the record, in force or lifted."""
        return (self.quarantine, *self.vetoes) if self.quarantine else self.vetoes


RLHFRollout = Object[RolloutSpec, RolloutStatus]
