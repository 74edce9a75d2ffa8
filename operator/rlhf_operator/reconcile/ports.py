"""What a pass needs of the outside world, as small protocols."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from rlhf_operator.api.evidence import (
    BaselineRecord,
    Checkpoint,
    DriftRecord,
    GoldenResult,
    SLOResult,
)
from rlhf_operator.api.plan import PinnedPolicy
from rlhf_operator.core.decision import Decision
from rlhf_operator.core.observed import Key, Observed, Run
from rlhf_operator.core.rendering import ServingDefaults
from rlhf_operator.core.rules_in_force import UNKNOWN, InForce
from rlhf_operator.core.subject import Subject

Raw = Mapping[str, Any]


class Fenced(Exception):  # noqa: N818
    """Another leader has written since; this process must not act any more."""


class Store(Protocol):
    """The objects that the watches have brought, by kind and name."""

    def get(self, kind: str, namespace: str, name: str) -> Raw | None:
        """Return one object, or None."""
        ...

    def of_model(self, kind: str, key: Key) -> Sequence[Raw]:
        """Return the objects of a kind that belong to a model."""
        ...

    def in_namespace(self, kind: str, namespace: str | None) -> Sequence[Raw]:
        """Return the objects of a kind in a namespace; of all namespaces for None."""
        ...

    def quarantining(self, namespace: str, identities: Collection[str]) -> Sequence[Raw]:
        """Return the records of a namespace that quarantine one of these identities, or did."""
        ...

    def sharing_hosts(self, hostnames: Sequence[str]) -> Sequence[Raw]:
        """Return the models that claim one of these host names."""
        ...

    def active(self, kind: str, pool: str | None = None) -> int:
        """Return how many runs of a type are going: all, or those that a pool must count."""
        ...


class Cluster(Protocol):
    """Writes to the API server; each is idempotent or fenced by a resourceVersion."""

    async def create(self, manifest: Raw) -> bool:
        """Create an object; False when it exists already."""
        ...

    async def write_status(self, stored: Raw, status: Raw) -> None:
        """Replace the status of an object at the stored resourceVersion.

        Raises Transient on a conflict: the next pass sees what changed.
        """
        ...

    async def apply(self, manifest: Raw) -> None:
        """Server-side apply of our fields; nothing is sent when nothing changed."""
        ...

    def refusal(self, namespace: str, model: str) -> str | None:
        """Return what the API server refuses of a model's objects since it was last tried."""
        ...

    async def ensure(
        self, owner: tuple[str, str], token: str, make: Callable[[], Awaitable[Sequence[Raw]]]
    ) -> None:
        """Apply what `make` returns; it is not even made while what the token names stands."""
        ...

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object of ours; one that is gone is fine."""
        ...

    async def read(self, kind: str, namespace: str, name: str) -> Raw | None:
        """Return an object that no watch brings, fresh."""
        ...

    async def pods(self, key: Key, version: str) -> Sequence[Raw]:
        """Return the pods of a version, fresh."""
        ...

    async def pods_on_nodes(self) -> Sequence[Raw] | None:
        """Return all pods on nodes that ask for devices, as of some seconds ago.

        None where they may not be read; those that have ended are left out.
        """
        ...

    async def ensure_signing_key(self, namespace: str, name: str) -> None:
        """Make the Secret that the guards of a namespace sign with, unless it is there."""
        ...

    async def tell(self, about: Raw, kind: str, reason: str, message: str) -> None:
        """Post an Event; a lost one does no harm."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """What the engine says of a subject."""

    version: str
    since: datetime
    results: tuple[SLOResult, ...]
    stable_results: tuple[SLOResult, ...] = ()
    baselines: tuple[BaselineRecord, ...] = ()
    """Of a promoted version: baselines that are not on record yet."""
    drifts: tuple[DriftRecord, ...] | None = None
    """Of a promoted version: how far the watch over its means is."""
    rules: InForce = UNKNOWN
    """Which rules the guards have that are judged."""


class SLOs(Protocol):
    """The shared SLO engine."""

    def follow(self, first: Subject, *others: Subject) -> None:
        """Judge these from now on, all of one model, and nothing else of it."""
        ...

    def forget(self, key: Key) -> None:
        """Stop judging a model."""
        ...

    def results(self, key: Key, version: str | None = None) -> Judged | None:
        """Return the newest complete judgement of a version; of the first, where none is named."""
        ...

    def checkpoint(self, key: Key, at: datetime, version: str | None = None) -> Checkpoint | None:
        """Return counts of a version to go on from; of the first, where none is named."""
        ...

    async def try_queries(
        self, policies: tuple[PinnedPolicy, ...], namespace: str, model: str, version: str
    ) -> tuple[str, ...]:
        """Ask each query once for a version; return what is wrong."""
        ...


class Prober(Protocol):
    """Has golden prompts asked behind a version's host name, in the background."""

    def golden(self, key: Key, run: str, host: str) -> GoldenResult | None:
        """Return the result of a host in this run, or None while it is being asked."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The part of the operator's configuration that a pass looks at."""

    serving: ServingDefaults
    drain: timedelta = timedelta(seconds=30)
    max_concurrent_rollouts: int = 100
    """In each pool of nodes."""
    max_concurrent_drills: int = 100
    mandatory_policies: tuple[str, ...] = ()
    namespace: str = "rlhf-system"
    """The operator's own namespace, where the mandatory policies are."""
    metric_sources: frozenset[str] = frozenset({"default"})
    query_namespaces: frozenset[str] | None = None
    """Namespaces whose policies may hold PromQL; None allows all."""
    arm_secret: bytes = b""
    """What arm tokens are derived from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """Everything outside."""

    store: Store
    cluster: Cluster
    slos: SLOs
    prober: Prober
    settings: Settings
    epoch: Callable[[], int] = field(default=lambda: 0)
    """The count of leaderships, by which a later leader fences an earlier one."""
    reported: Callable[[Observed, Decision, Run | None], None] = field(default=lambda *_: None)
    """Told of each pass what it saw, what it decided and the record as it stands then."""
