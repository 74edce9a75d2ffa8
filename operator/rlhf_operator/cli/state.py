"""The picture that every view is made from: parsed objects of one namespace at one time.

Pure: stored objects in, typed ones out. What cannot be read is named, never passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from pydantic import ValidationError

from rlhf_operator.api.common import Object
from rlhf_operator.api.decision import RLHFDecision
from rlhf_operator.api.evidence import SLOResult
from rlhf_operator.api.model import RLHFModel
from rlhf_operator.api.plan import PinnedPolicy, Plan
from rlhf_operator.api.policy import AlignmentPolicy
from rlhf_operator.api.rollout import RLHFRollout, RolloutStatus
from rlhf_operator.api.version import RLHFModelVersion
from rlhf_operator.cli import sentences
from rlhf_operator.cli.pods import ServingPod, serving_pod
from rlhf_operator.core import capacity, contenders, names, routes
from rlhf_operator.core.routes.port import TRAFFIC_LABEL, Arm, Pod, Split

Raw = Mapping[str, Any]
Typed = TypeVar("Typed", bound=Object[Any, Any])
ROUTE_KINDS = ("HTTPRoute", "VirtualService", "Service")


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployed:
    """One version's Deployment."""

    name: str
    model: str
    version: str
    owner_uid: str
    wanted: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RouteSeen:
    """What the router's own object says about one model."""

    model: str
    kind: str
    weights: tuple[tuple[str, int], ...]
    """Percent by version."""
    accepted: bool
    message: str = ""
    copies: tuple[str, int] | None = None
    """Which version gets copies of how many percent of the requests."""


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """What was read of one namespace, or of several."""

    at: datetime
    models: tuple[RLHFModel, ...] = ()
    versions: tuple[RLHFModelVersion, ...] = ()
    policies: tuple[AlignmentPolicy, ...] = ()
    rollouts: tuple[RLHFRollout, ...] = ()
    """By revision, oldest first."""
    decisions: tuple[RLHFDecision, ...] = ()
    pods: tuple[ServingPod, ...] = ()
    deployments: tuple[Deployed, ...] = ()
    routes: tuple[RouteSeen, ...] = ()
    unreadable: tuple[str, ...] = ()
    """Objects that could not be understood, each with its reason."""

    def model(self, name: str) -> RLHFModel | None:
        """Return a model by name."""
        return next((each for each in self.models if each.metadata.name == name), None)

    def version(self, name: str) -> RLHFModelVersion | None:
        """Return a version by name."""
        return next((each for each in self.versions if each.metadata.name == name), None)

    def records(self, model: str) -> tuple[RLHFRollout, ...]:
        """Return a model's rollout records, oldest first."""
        return tuple(each for each in self.rollouts if each.spec.model == model)

    def newest(self, model: str) -> RLHFRollout | None:
        """Return a model's newest rollout record."""
        found = self.records(model)
        return found[-1] if found else None

    def route(self, model: str) -> RouteSeen | None:
        """Return what the router says about a model."""
        return next((each for each in self.routes if each.model == model), None)


def status_of(record: RLHFRollout) -> RolloutStatus:
    """Return a record's status; one that was never written is an empty one."""
    return record.status or RolloutStatus()


def plan_of(record: RLHFRollout) -> Plan:
    """Return the plan by which a run goes on: pinned at its start, or anew by a person."""
    repin = status_of(record).repin
    return repin.plan if repin is not None else record.spec.plan


def users_share(record: RLHFRollout) -> int:
    """Return the percent of the users' requests that the canary is to answer."""
    canary = status_of(record).canary
    return users_shares(record)[canary.name] if canary is not None else 0


def users_shares(record: RLHFRollout) -> dict[str, int]:
    """Return the percent of the users' requests that each tested version is to answer."""
    found = contenders.shares(status_of(record))
    return dict.fromkeys(found, 0) if plan_of(record).strategy == "Shadow" else found


def tried(record: RLHFRollout) -> str:
    """Return the names of all that a run was made to test."""
    return ", ".join(ref.name for ref in (record.spec.to, *record.spec.others))


def newest_results(status: RolloutStatus) -> tuple[SLOResult, ...]:
    """Return the newest evidence on record, of every version that is tested still."""
    return (*status.slos, *(each for arm in status.testing for each in arm.slos))


def policies_of(record: RLHFRollout) -> tuple[PinnedPolicy, ...]:
    """Return the policies by which a run is judged, pinned with its plan."""
    repin = status_of(record).repin
    return repin.policies if repin is not None else record.spec.policies


def read(raws: Iterable[Raw], at: datetime) -> State:
    """Return the picture that these stored objects give together."""
    by_kind: dict[str, list[Raw]] = {}
    for raw in raws:
        by_kind.setdefault(raw["kind"], []).append(raw)
    unreadable: list[str] = []

    def typed(kind: str, type_: type[Typed]) -> tuple[Typed, ...]:
        return tuple(
            found
            for raw in by_kind.get(kind, ())
            if (found := _parse(type_, raw, unreadable)) is not None
        )

    models = typed("RLHFModel", RLHFModel)
    rollouts = typed("RLHFRollout", RLHFRollout)
    rollouts = tuple(sorted(rollouts, key=lambda each: (each.spec.model, each.spec.revision)))
    pods = by_kind.get("Pod", [])
    route_objects = [raw for kind in ROUTE_KINDS for raw in by_kind.get(kind, ())]
    return State(
        at=at,
        models=models,
        versions=typed("RLHFModelVersion", RLHFModelVersion),
        policies=typed("AlignmentPolicy", AlignmentPolicy),
        rollouts=rollouts,
        decisions=typed("RLHFDecision", RLHFDecision),
        pods=tuple(serving_pod(raw) for raw in pods if _is_ours(raw)),
        deployments=tuple(_deployed(raw) for raw in by_kind.get("Deployment", ()) if _is_ours(raw)),
        routes=tuple(
            found
            for model in models
            if (found := _route(model, rollouts, route_objects, pods)) is not None
        ),
        unreadable=tuple(unreadable),
    )


def _parse(type_: type[Typed], raw: Raw, unreadable: list[str]) -> Typed | None:
    try:
        return type_.model_validate(raw)
    except ValidationError as error:
        name = raw.get("metadata", {}).get("name", "?")
        unreadable.append(f"{raw['kind']} {name}: {'; '.join(sentences.faults(error))}")
        return None


def _is_ours(raw: Raw) -> bool:
    return names.VERSION_LABEL in (raw["metadata"].get("labels") or {})


def _deployed(raw: Raw) -> Deployed:
    metadata = raw["metadata"]
    owners = metadata.get("ownerReferences") or [{}]
    return Deployed(
        name=metadata["name"],
        model=metadata["labels"].get(names.MODEL_LABEL, ""),
        version=metadata["labels"][names.VERSION_LABEL],
        owner_uid=owners[0].get("uid", ""),
        wanted=raw.get("spec", {}).get("replicas", 1),
    )


def _route(
    model: RLHFModel, rollouts: Iterable[RLHFRollout], objects: Iterable[Raw], pods: list[Raw]
) -> RouteSeen | None:
    name, namespace = model.metadata.name, model.metadata.namespace
    mine = [each for each in rollouts if each.spec.model == name]
    stable = status_of(mine[-1]).stable if mine else None
    if stable is None:
        return None
    router = routes.router_for(model.spec.traffic)
    named = {
        raw["kind"]: raw
        for raw in objects
        if raw["metadata"]["name"] == name and raw["metadata"].get("namespace") == namespace
    }
    stored = {kind.kind: named.get(kind.kind) for kind in router.kinds}
    split = Split(
        namespace=namespace,
        model=name,
        owner={},
        traffic=model.spec.traffic,
        arms=_arms(mine[-1], pods),
    )
    found = router.read(split, stored)
    return RouteSeen(
        model=name,
        kind=router.kinds[0].kind,
        weights=tuple((found.weights or {}).items()),
        accepted=found.accepted,
        message=found.message,
        copies=(found.mirror.version, found.mirror.percent) if found.mirror else None,
    )


def _arms(record: RLHFRollout, pods: Iterable[Raw]) -> tuple[Arm, ...]:
    """Return the arms that the record wants, the ones that it left at weight 0 among them."""
    status = status_of(record)
    stable, canary = status.stable, status.canary
    assert stable is not None, "the caller asks only where something is stable"
    standby = status.standby.version if status.standby else None
    refs = (stable, canary, standby, record.spec.from_, record.spec.to, *record.spec.others)
    weights = {ref.name: 0 for ref in refs if ref is not None}
    shares = users_shares(record)
    weights |= capacity.at_rest(status)
    if canary is not None:
        weights |= {stable.name: 100 - sum(shares.values())} | shares
    return tuple(
        Arm(
            version=version,
            service=names.child(version, "serving"),
            weight=weight,
            pods=tuple(_arm_pod(raw) for raw in pods if _version(raw) == version),
        )
        for version, weight in weights.items()
    )


def _version(raw: Raw) -> str | None:
    found = (raw["metadata"].get("labels") or {}).get(names.VERSION_LABEL)
    return None if found is None else str(found)


def _arm_pod(raw: Raw) -> Pod:
    conditions = raw.get("status", {}).get("conditions") or []
    return Pod(
        name=raw["metadata"]["name"],
        uid=raw["metadata"].get("uid", ""),
        ready=any(each["type"] == "Ready" and each["status"] == "True" for each in conditions),
        traffic=raw["metadata"]["labels"].get(TRAFFIC_LABEL),
    )
