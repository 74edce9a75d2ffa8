"""`RLHFModel`: what is served, and how a change of it is rolled out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from rlhf_operator.api.common import Condition, Object, VersionRef
from rlhf_operator.api.freeze import FreezeWindow
from rlhf_operator.api.guard import GuardSpec
from rlhf_operator.api.schema import (
    ApiType,
    Duration,
    Keyed,
    Name,
    Percent,
    Replicas,
    Text,
    Time,
    parse_duration,
    rule,
)
from rlhf_operator.api.strategies import ABTest, BlueGreen, Canary, Shadow, StrategyName
from rlhf_operator.api.traffic import Traffic

ImageRef = Annotated[str, Field(min_length=1, max_length=512)]


class Fallback(ApiType):
    """The floor: the version that serves when nothing better is safe."""

    version: Name
    """A version of this model, usually its SFT version."""
    replicas: Replicas = 1
    """Pods kept ready; 0 keeps none, so that going back takes a model load."""


class PolicyRef(ApiType):
    """A policy of the same namespace."""

    name: Name
    """The name of the `AlignmentPolicy`."""


class Images(ApiType):
    """The container images of the serving pods."""

    triton: ImageRef | None = None
    """The Triton Inference Server with the backend; the operator's configuration if unset."""
    guard: ImageRef | None = None
    """The guard; the operator's configuration if unset."""


class Credentials(ApiType):
    """Where the credentials for fetching artefacts are."""

    secret_name: Name
    """A Secret of the same namespace; its keys become environment of the fetching container."""


class ModelServing(ApiType):
    """How pods are run. May change without a new version."""

    replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    """Pods that serve all traffic."""
    images: Images = Images()
    """The container images of the serving pods."""
    pod_template: Annotated[
        dict[str, Any],
        Field(max_length=64, json_schema_extra={"x-kubernetes-preserve-unknown-fields": True}),
    ] = {}
    """A partial pod template that is merged over ours: nodeSelector, tolerations, resources, …"""
    service_account_name: Name | None = None
    """The service account of the serving pods."""
    credentials: Credentials | None = None
    """Where the credentials for fetching artefacts are."""


class Rollout(ApiType):
    """How a change of what is live is carried out."""

    strategy: StrategyName
    """Which of the strategies below is used."""
    canary: Canary | None = None
    """The plan of the Canary strategy: a stepwise rise of the weight."""
    ab_test: ABTest | None = None
    """The plan of the ABTest strategy: versions side by side until one is shown to be better."""
    shadow: Shadow | None = None
    """The plan of the Shadow strategy: the new version gets copies, users do not get it."""
    blue_green: BlueGreen | None = None
    """The plan of the BlueGreen strategy: all traffic at once, with all pods kept behind."""
    surge: Literal["None", "One", "Full"] = "One"
    """GPUs that a run may take beyond `replicas`: none, one pod, or a full second set; for each
    version of a test."""
    ready_timeout: Duration = "30m"
    """How long a canary may take to become ready."""
    max_hold: Duration = "24h"
    """How long a step may stay inconclusive after its hold."""
    max_blind: Duration = "30m"
    """How long a Safety SLO may lack data before the weight goes to 0."""
    on_inconclusive: Literal["RollBack", "Hold"] = "RollBack"
    """What happens after `maxHold`."""
    when_nothing_is_safe: Literal["ServeFallback", "Refuse", "KeepServing"] = "ServeFallback"
    """When stable and fallback both fail Safety: serve the fallback with every guard rule set to
    Block; answer every request for an answer with 503 (judging texts goes on, as it asks no
    model); or go on as before. What was generated and blocked
    (UnsafeGeneratedRate) never leads to 503: then the fallback serves."""
    cool_down: Duration = "5m"
    """How long after a rollback no new run starts."""
    freeze_windows: Annotated[tuple[FreezeWindow, ...], Field(max_length=32)] = ()
    """Weekly times in which nothing is advanced. Rollbacks go on."""

    @rule(
        "has(self.canary) == (self.strategy == 'Canary') && "
        "has(self.abTest) == (self.strategy == 'ABTest') && "
        "has(self.shadow) == (self.strategy == 'Shadow') && "
        "has(self.blueGreen) == (self.strategy == 'BlueGreen')",
        "exactly one of canary, abTest, shadow and blueGreen must be set: the strategy's own",
    )
    def strategy_has_its_plan(self) -> bool:
        """Return whether the chosen strategy's plan is there, and no other."""
        plans: dict[StrategyName, ApiType | None] = {
            "Canary": self.canary,
            "ABTest": self.ab_test,
            "Shadow": self.shadow,
            "BlueGreen": self.blue_green,
        }
        return [name for name, plan in plans.items() if plan is not None] == [self.strategy]

    @rule(
        "self.strategy != 'BlueGreen' || (has(self.surge) && self.surge == 'Full')",
        "strategy BlueGreen needs surge: Full",
    )
    def both_fit(self) -> bool:
        """Return whether both versions may have all their pods at once."""
        return self.strategy != "BlueGreen" or self.surge == "Full"

    @rule(
        "self.strategy != 'Shadow' || !has(self.surge) || self.surge != 'None'",
        "strategy Shadow takes no pod from the stable version: set surge to One or Full",
    )
    def shadow_has_pods(self) -> bool:
        """Return whether a shadow gets pods beside those that serve everything."""
        return self.strategy != "Shadow" or self.surge != "None"

    @rule("duration(self.readyTimeout) > duration('0s')", "readyTimeout must be above 0")
    def ready_timeout_is_positive(self) -> bool:
        """Return whether a canary has any time to get ready."""
        return parse_duration(self.ready_timeout).total_seconds() > 0


class Standby(ApiType):
    """The previous stable version stays warm after a promotion."""

    replicas: Replicas = 1
    """Pods kept ready."""
    keep: Duration = "24h"
    """How long."""
    holdback: Annotated[int, Field(ge=0, le=20)] = 0
    """Percent of the traffic that it keeps as a control arm meanwhile: the promoted version is
    judged against it. 0 keeps none, and ends one that is in force."""


class RollbackDrill(ApiType):
    """On schedule the fallback gets a little traffic, to prove that going back to it works."""

    every: Duration = "168h"
    """How often; the model's turn in each such interval is given by a hash of its uid."""
    percent: Annotated[int, Field(ge=1, le=20)] = 1
    """Percent of the traffic that the fallback gets meanwhile."""
    hold: Duration = "5m"
    """How long. Where it has answered nobody by then, a drill goes on for `rollout.maxBlind`."""

    @rule("!has(self.every) || duration(self.every) >= duration('1m')", "every must be 1m or more")
    def every_leaves_rest(self) -> bool:
        """Return whether there is any time between two drills."""
        return parse_duration(self.every).total_seconds() >= 60


class History(ApiType):
    """How many rollout records are kept."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 50
    """Finished records kept; those in force are never pruned, nor those with the label
    rlhf.dev/pin."""
    max_age: Duration = "8760h"
    """Finished records older than this are pruned, with the same exceptions."""


class ModelSpec(ApiType):
    """What is served, and how a change of it is rolled out."""

    version: Name
    """The version that should serve: the line that a commit changes."""
    fallback: Fallback
    """The floor: the version that serves when nothing better is safe."""
    policies: Annotated[tuple[PolicyRef, ...], Keyed("name", 16)] = ()
    """The objectives; all apply and the worst verdict wins."""
    serving: ModelServing = ModelServing()
    """How pods are run."""
    rollout: Rollout
    """How a change of what is live is carried out."""
    rollback_drill: RollbackDrill | None = None
    """A drill of the way back, on schedule; never when unset."""
    standby: Standby = Standby()
    """The previous stable version stays warm after a promotion."""
    traffic: Traffic = Traffic()
    """How requests reach the model."""
    guard: GuardSpec = GuardSpec()
    """The filters beside each model server."""
    history: History = History()
    """How many rollout records are kept."""
    suspend: bool = False
    """True stops weight increases and new runs; rollbacks go on."""

    @rule(
        "!has(self.standby) || !has(self.standby.holdback) || self.standby.holdback == 0 || "
        "self.rollout.strategy != 'BlueGreen'",
        "standby.holdback: a BlueGreen switch leaves the previous version no share to keep",
    )
    def holdback_has_a_share(self) -> bool:
        """Return whether the last step leaves the control arm anything."""
        return self.standby.holdback == 0 or self.rollout.strategy != "BlueGreen"

    @rule(
        "!has(self.rollout.abTest) || !has(self.rollout.abTest.others) || "
        "self.rollout.abTest.others.all(o, o.version != self.version)",
        "abTest.others are tested beside spec.version and cannot be it",
    )
    def others_are_others(self) -> bool:
        """Return whether no version is tested twice at once."""
        test = self.rollout.ab_test
        return test is None or all(each.version != self.version for each in test.others)


class ModelVersionSummary(ApiType):
    """One version that runs now."""

    name: Name
    """The version's name."""
    role: Literal["Stable", "Canary", "Standby", "Fallback", "Draining"]
    """What it is there for."""
    weight: Percent = 0
    """Percent of the traffic, as declared."""
    ready: Annotated[str, Field(max_length=16)] = "0/0"
    """Ready and wanted pods."""


class ModelStatus(ApiType):
    """What is live: a summary of the newest rollout record."""

    observed_generation: int = -1
    """The generation that this status speaks of."""
    phase: Literal["Progressing", "Healthy", "Degraded", "Paused", "Suspended"] | None = None
    """A one-word summary for people; programs read the conditions."""
    message: Annotated[str, Field(max_length=4096)] | None = None
    """What is going on, with numbers."""
    stable: VersionRef | None = None
    """The version that serves by default."""
    canary: VersionRef | None = None
    """The version under test."""
    weight: Percent | None = None
    """Percent of the traffic that the canary gets, as declared; 0 where it is a shadow."""
    tested: Text | None = None
    """Every version under test with its percent, where a test has several."""
    copied: Percent | None = None
    """Percent of the requests that are copied to the canary, where it is a shadow."""
    step: Annotated[str, Field(max_length=16)] | None = None
    """The step of the plan, for instance 2/3."""
    rollout: Text | None = None
    """The newest `RLHFRollout`."""
    fallback_proven_at: Time | None = None
    """When a drill last proved that the fallback serves."""
    replicas: Replicas = 0
    """Pods of the stable version, for autoscalers."""
    selector: Text | None = None
    """The label selector of the stable version's pods, for autoscalers."""
    versions: Annotated[tuple[ModelVersionSummary, ...], Keyed("name", 16)] = ()
    """The versions that run now."""
    last_handled_reconcile_at: Text | None = None
    """The last value seen of the annotation rlhf.dev/reconcile-requested-at."""
    conditions: Annotated[tuple[Condition, ...], Keyed("type", 16)] = ()
    """Observations in the standard form."""


RLHFModel = Object[ModelSpec, ModelStatus]
