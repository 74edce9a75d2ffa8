"""The operator's configuration: one YAML file, read once at the start."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field

from rlhf_operator.api.operation import (
    Address,
    GuardLimits,
    GuardTracing,
    RequestLimits,
)
from rlhf_operator.api.schema import ApiType, Duration, Keyed, Name, parse_duration
from rlhf_operator.core.guards import Offer
from rlhf_operator.core.rendering import ServingDefaults
from rlhf_operator.reconcile.ports import Settings

LONGEST_ANSWER = "2m"
SIGNING_SECRET = "rlhf-guard-signing"  # noqa: S105 - a name, not a secret


class MetricSourceConfig(ApiType):
    """One Prometheus that policies may name."""

    name: str
    """The name that policies use."""
    url: str
    """Its address."""
    bearer_token_file: str | None = None
    """A file with a bearer token."""
    ca_file: str | None = None
    """A file with the certificate authority."""
    timeout: Duration = "5s"
    """The longest time that an answer may take."""


class ImagesConfig(ApiType):
    """The images of serving pods, where a model names none."""

    triton: str
    """Triton Inference Server with the backends."""
    guard: str
    """The guard."""
    artifacts: str
    """The program that fetches and verifies artefacts."""


class RoutersConfig(ApiType):
    """Which routers the operator may use."""

    gateway_api: Annotated[bool, Field(alias="gatewayAPI")] = True
    """HTTPRoute."""
    istio: bool = False
    """VirtualService."""
    service: bool = True
    """Replica ratio behind one Service."""


class GuardProviderConfig(ApiType):
    """One service outside a model's namespace that guards may ask."""

    name: Name
    """The name that models use."""
    url: Address
    """Its address."""
    namespaces: tuple[Name, ...] = ()
    """The namespaces whose models may use it; all when empty."""


class LeaderElectionConfig(ApiType):
    """Who leads when several replicas run."""

    enabled: bool = True
    """Whether to elect a leader at all."""
    lease_name: str = "rlhf-operator"
    """The name of the Lease."""
    lease_duration: Duration = "15s"
    """How long a silent leader is waited for."""
    renew_deadline: Duration = "10s"
    """How long a leader goes on without a renewal; shorter than leaseDuration."""
    retry_period: Duration = "2s"
    """How often the Lease is tried."""


class LoggingConfig(ApiType):
    """What is logged and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The lowest level that is logged."""
    format: Literal["json", "text"] = "json"
    """The form of a line."""


class OperatorConfig(ApiType):
    """The operator's configuration."""

    namespace: str = "rlhf-system"
    """The operator's own namespace."""
    watch_namespaces: tuple[str, ...] = ()
    """The namespaces that are served; all when empty."""
    metric_sources: tuple[MetricSourceConfig, ...] = ()
    """The Prometheus servers that policies may name."""
    mandatory_policies: Annotated[tuple[Name, ...], Field(max_length=16)] = ()
    """Policies of the operator's namespace that bind every model."""
    user_query_namespaces: tuple[str, ...] = ()
    """The namespaces whose policies may hold PromQL."""
    images: ImagesConfig
    """The images of serving pods."""
    routers: RoutersConfig = RoutersConfig()
    """Which routers the operator may use."""
    read_nodes: bool = True
    """Whether nodes may be read, for the GPU pre-flight; it also lists all pods where it may."""
    guard_providers: Annotated[tuple[GuardProviderConfig, ...], Keyed("name", 256)] = ()
    """Moderation services and sinks that models may name; a team writes no address."""
    guard_limits: RequestLimits = RequestLimits()
    """What a guard takes on at most; a model may set less, and never more."""
    guard_tracing: GuardTracing | None = None
    """Where guards send traces, which hold no prompt and no answer; nowhere when unset."""
    allow_code: bool = False
    """Whether artefacts that carry code are accepted."""
    max_concurrent_rollouts: Annotated[int, Field(ge=1)] = 10
    """How many rollouts may go on at once in each pool of nodes, by the device and the node
    selector that their pods ask for; rollbacks are exempt."""
    max_concurrent_drills: Annotated[int, Field(ge=1)] = 10
    """How many drills of the way back may go on at once."""
    drain: Duration = "2m"
    """How long pods go on after their traffic was moved away."""
    scrape_interval: Duration = "15s"
    """How often Prometheus scrapes the model pods."""
    leader_election: LeaderElectionConfig = LeaderElectionConfig()
    """Who leads when several replicas run."""
    logging: LoggingConfig = LoggingConfig()
    """What is logged and how."""
    health_port: int = 8081
    """The port of /healthz and /readyz."""
    metrics_port: int = 9091
    """The port of /metrics."""

    def settings(self) -> Settings:
        """Return what a pass looks at."""
        return Settings(
            serving=ServingDefaults(
                triton_image=self.images.triton,
                guard_image=self.images.guard,
                artifacts_image=self.images.artifacts,
                signing_secret=SIGNING_SECRET,
                allow_code=self.allow_code,
                guard_limits=GuardLimits(
                    **self.guard_limits.model_dump(exclude_none=True, exclude={"timeout"})
                ),
                guard_providers=tuple(
                    Offer(name=each.name, url=each.url, namespaces=frozenset(each.namespaces))
                    for each in self.guard_providers
                ),
                guard_tracing=self.guard_tracing,
                longest_generation=parse_duration(self.guard_limits.timeout or LONGEST_ANSWER),
            ),
            drain=parse_duration(self.drain),
            max_concurrent_rollouts=self.max_concurrent_rollouts,
            max_concurrent_drills=self.max_concurrent_drills,
            mandatory_policies=self.mandatory_policies,
            namespace=self.namespace,
            metric_sources=frozenset(source.name for source in self.metric_sources),
            query_namespaces=frozenset(self.user_query_namespaces),
        )


def load(path: Path) -> OperatorConfig:
    """Return the configuration in a YAML file; raises ValidationError with each field named."""
    return OperatorConfig.model_validate(yaml.safe_load(path.read_text()) or {})


def seconds(length: str) -> float:
    """Return a duration in seconds."""
    return parse_duration(length) / timedelta(seconds=1)
