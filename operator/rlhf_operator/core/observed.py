"""`Observed`: one frozen picture of everything that a decision may look at.

Absence, silence and a bad spec are values here, not errors. What is not in this picture
cannot influence a decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from rlhf_operator.api.common import Failure, VersionRef
from rlhf_operator.api.decision import DecisionAction
from rlhf_operator.api.evidence import BaselineRecord, DriftRecord, GoldenResult, SLOResult
from rlhf_operator.api.model import ModelSpec
from rlhf_operator.api.plan import PinnedPolicy, Plan
from rlhf_operator.api.quarantine import QuarantineRecord
from rlhf_operator.api.rollout import RolloutSpec, RolloutStatus
from rlhf_operator.api.traffic import Traffic
from rlhf_operator.core.gpus import Room
from rlhf_operator.core.mirrors import Mirror
from rlhf_operator.core.pools import CPU
from rlhf_operator.core.rules_in_force import UNKNOWN, InForce


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Key:
    """The model that a pass is about."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """The newest rollout record of the model: what is live, and why."""

    name: str
    resource_version: str
    uid: str
    model_uid: str = ""
    """The uid of the model that it is a record of."""
    spec: RolloutSpec
    status: RolloutStatus

    @property
    def plan(self) -> Plan:
        """The plan by which the run goes on now."""
        return self.status.repin.plan if self.status.repin is not None else self.spec.plan

    @property
    def policies(self) -> tuple[PinnedPolicy, ...]:
        """The pinned policies by which the run is judged now."""
        return self.status.repin.policies if self.status.repin is not None else self.spec.policies

    @property
    def plan_digest(self) -> str:
        """The digest of that plan and of those policies."""
        repin = self.status.repin
        return repin.plan_digest if repin is not None else self.spec.plan_digest

    @property
    def is_shadow(self) -> bool:
        """Whether its weight is the percent of requests copied, and users never get it."""
        return self.plan.strategy == "Shadow"

    @property
    def weight(self) -> int:
        """Return the percent of the users' requests that the canary answers."""
        return 0 if self.is_shadow else self.status.weight

    @property
    def since(self) -> datetime | None:
        """From when this step's time counts: a version that is dropped begins it not anew."""
        return self.status.step_since or self.status.in_force_at

    @property
    def is_open(self) -> bool:
        """Whether the first status was written."""
        return self.status.started_at is not None

    @property
    def is_active(self) -> bool:
        """Whether its outcome is still open."""
        return self.status.outcome is None

    @property
    def is_settled(self) -> bool:
        """Whether it ended and what the traffic left was drained."""
        return self.status.settled_at is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """One version's Deployment and pods."""

    wanted: int = 0
    ready: int = 0
    is_current: bool = True
    """Whether all pods run the template that the record pins, and that was observed."""
    failure: Failure | None = None
    """What keeps its pods from being ready, if they say."""
    verified_at: datetime | None = None
    """When a pod last verified the artefact's digest."""
    reach: tuple[str, ...] = ()
    """What its guards were made to reach (`core/guards`); nothing for those of an old operator."""


NO_WORKLOAD = Workload()


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """What the router's own object says."""

    weights: Mapping[str, int] | None = None
    """Percent by version name; None when there is no route."""
    mirror: Mirror | None = None
    """The copies that are made of requests."""
    accepted: bool = False
    failure: Failure | None = None
    """Why the router does not accept it."""
    note: str = ""
    """What else the router says, where it does not do the weights yet."""

    def does(self, weights: Mapping[str, int], mirror: Mirror | None = None) -> bool:
        """Return whether the router accepted exactly these weights and copies."""
        same = _positive(self.weights or {}) == _positive(weights)
        return self.accepted and same and self.mirror == mirror


def _positive(weights: Mapping[str, int]) -> dict[str, int]:
    return {version: weight for version, weight in weights.items() if weight > 0}


@dataclass(frozen=True, kw_only=True, slots=True)
class Act:
    """One human decision that was not carried out yet."""

    name: str
    action: DecisionAction
    author: str
    reason: str
    via: str | None = None
    """Who sent it for the author, if someone did."""
    version: VersionRef | None = None
    identity: str | None = None
    step: int | None = None
    """The step that is approved, from 1; None for all."""
    slo: str | None = None
    """The objective that is overridden."""
    expires_at: datetime | None = None

    @property
    def by(self) -> str:
        """Return who decided, and who sent it where that is somebody else."""
        return f"{self.author} via {self.via}" if self.via else self.author


@dataclass(frozen=True, kw_only=True, slots=True)
class Assessment:
    """What the objectives say of one version since the last weight change."""

    results: tuple[SLOResult, ...] = ()
    blind: tuple[str, ...] = ()
    """Safety objectives that have no usable data at all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmSeen:
    """What was seen of one more tested version."""

    judged: Assessment | None = None
    """None while nothing was measured since the last weight change."""
    golden: GoldenResult | None = None
    """A result that is not on record yet."""


NOTHING_SEEN = ArmSeen()


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """Everything that a decision may look at."""

    now: datetime
    key: Key
    generation: int = 1
    deleted: bool = False
    spec: ModelSpec | None = None
    """None when it cannot be understood at all."""
    partly_understood: bool = False
    """Whether the spec has fields that this operator does not know."""
    known_traffic: Traffic | None = None
    """How traffic is routed, where the spec itself cannot be understood."""
    invalid: Failure | None = None
    """Why the spec, or something it names, cannot be used."""
    target: VersionRef | None = None
    """What should be stable, by the spec."""
    others: tuple[VersionRef, ...] = ()
    """What should be tested beside it, by the spec."""
    fallback: VersionRef | None = None
    changed_by: str | None = None
    """Who made the newest change of the spec, as far as the model says."""
    policies: tuple[PinnedPolicy, ...] = ()
    """What would be pinned if a run began now."""
    run: Run | None = None
    previous: Run | None = None
    """The record before the newest."""
    tried: Run | None = None
    """The newest record of a change of what is stable: no restart and no drill."""
    unsettled: tuple[Run, ...] = ()
    """Earlier records that had not settled when the newest began."""
    last_revision: int = 0
    """The highest revision, also of an earlier model of this name."""
    workloads: Mapping[str, Workload] = field(default_factory=lambda: MappingProxyType({}))
    route: Route = Route()
    canary: Assessment | None = None
    """None while nothing was measured since the last weight change."""
    arms: Mapping[str, ArmSeen] = field(default_factory=lambda: MappingProxyType({}))
    """What was seen of the versions that are tested beside the canary, by name."""
    stable: Assessment | None = None
    control: Assessment | None = None
    """What Safety says of the control arm, while there is one."""
    baselines: tuple[BaselineRecord, ...] = ()
    """Baselines of stable's first hour that are not on record yet."""
    drifts: tuple[DriftRecord, ...] | None = None
    """How far the watch over stable's means is; None where that is not known."""
    golden: GoldenResult | None = None
    """A result that is not on record yet."""
    query_problems: tuple[str, ...] = ()
    """Queries that could not be answered for stable before the first weight."""
    quarantines: Mapping[str, QuarantineRecord] = field(
        default_factory=lambda: MappingProxyType({})
    )
    """Quarantines in force, by identity."""
    quarantine_records: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """The rollout that is the record of each quarantine, by identity."""
    quarantining: tuple[Run, ...] = ()
    """The records of the namespace that quarantine an identity, or did; also other models'."""
    refused: str | None = None
    """What the API server refuses of what was applied for this model."""
    rules: InForce = UNKNOWN
    """Which rules the guards have whose versions are judged."""
    guard_reach: tuple[str, ...] = ()
    """What guards must reach to carry the spec out; nothing where they are not told it."""
    unscraped: bool = False
    """Whether Prometheus answers but knows none of this model's pods."""
    deleted_versions: tuple[str, ...] = ()
    """Versions that serve although their object was deleted."""
    acts: tuple[Act, ...] = ()
    """Human decisions, oldest first."""
    pool: str = CPU
    """The pool of nodes for which the target's pods ask."""
    place_free: bool = True
    """Whether the limit of concurrent rollouts leaves room in that pool."""
    drill_place_free: bool = True
    """Whether the limit of concurrent drills leaves room."""
    gpus: Room | None = None
    """What one more pod can get; None when unknown, or when no run is about to start."""
    others_counted: bool = True
    """Whether that leaves out what pods have that are not ours; else they could not be read."""
    gpus_per_pod: int = 0
    """GPUs that one pod of the target asks for; of several versions, the one that asks for most."""
    frozen: str | None = None
    """The name of the open freeze window."""

    @property
    def traffic(self) -> Traffic | None:
        """Return how traffic is routed; None when that cannot be understood."""
        return self.spec.traffic if self.spec is not None else self.known_traffic

    def workload(self, version: VersionRef | None) -> Workload:
        """Return the pods of a version; nothing at all is a value too."""
        return self.workloads.get(version.name, NO_WORKLOAD) if version else NO_WORKLOAD

    def is_quarantined(self, version: VersionRef | None) -> bool:
        """Return whether this version's identity may not serve."""
        return version is not None and version.identity in self.quarantines
