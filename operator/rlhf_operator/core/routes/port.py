"""The port that every router fulfils: render the wanted split, read back what is in force."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from rlhf_operator.api.arms import Arms
from rlhf_operator.api.guard import ARMS_HEADER, RUN_HEADER
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.schema import GROUP
from rlhf_operator.api.traffic import Traffic
from rlhf_operator.core.mirrors import Mirror
from rlhf_operator.core.names import MANAGED_BY_LABEL, MANAGER, MODEL_LABEL

TRAFFIC_LABEL = f"{GROUP}/traffic"
ARM_HEADER = "x-rlhf-arm"
ARM_COOKIE = "rlhf-arm"

Manifest = dict[str, Any]
Stored = Mapping[str, Mapping[str, Any] | None]
"""The stored objects that carry the model's name, by kind; None where there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resource:
    """One kind of object that a router needs."""

    api_version: str
    kind: str
    plural: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Pod:
    """One pod of an arm, as the Service router needs it."""

    name: str
    uid: str
    ready: bool
    traffic: str | None = None
    """The value of its traffic label now."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One version that may get traffic."""

    version: str
    service: str
    """The name of the version's own Service."""
    weight: int
    tokens: tuple[str, ...] = ()
    """What brings a client back to this arm, where clients are kept on theirs: any of these."""
    pods: tuple[Pod, ...] = ()
    """Its pods; only the Service router looks at them."""

    @property
    def ready(self) -> tuple[Pod, ...]:
        """Return the pods that can answer."""
        return tuple(pod for pod in self.pods if pod.ready)


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """How the traffic of one model is to be split. The first arm is the stable version."""

    namespace: str
    model: str
    owner: Mapping[str, Any]
    """The ownerReference to the model."""
    traffic: Traffic
    arms: tuple[Arm, ...]
    mirror: Mirror | None = None
    """The copies that one arm gets of every request; it is an arm without weight."""
    port: int = 80
    """The port of every version's Service."""
    run: str | None = None
    """The run whose name every request carries to the guards: by it they count users, and give
    out tokens."""
    trial: Arms | None = None
    """What every request tells the guards of the canary and its weight, in the same object as the
    weights themselves."""
    target_port: int = 8080
    """The port of the guard in every pod."""

    def __post_init__(self) -> None:
        # Gateways differ on what a sum of 0 means, from refusing the route to sending everything
        # to the last backend, so such a split cannot even be written down.
        if any(arm.weight < 0 for arm in self.arms) or sum(a.weight for a in self.arms) != 100:
            raise ValueError(f"the weights of {self.model} do not add up to 100")
        if len({arm.version for arm in self.arms}) < len(self.arms):
            raise ValueError(f"a version of {self.model} has two arms")
        if self.mirror is not None and self.mirrored.weight > 0:
            raise ValueError(f"{self.mirror.version} cannot both answer users and get copies")

    @property
    def live(self) -> tuple[Arm, ...]:
        """Return the arms that get traffic."""
        return tuple(arm for arm in self.arms if arm.weight > 0)

    @property
    def sticky(self) -> tuple[Arm, ...]:
        """Return the arms that need a rule of their own to keep their clients."""
        # One arm alone keeps its clients anyway. An arm without weight has no rule, so that a
        # rollback takes the clients that were kept on it in the same write.
        if self.traffic.stickiness.mode == "None" or len(self.live) == 1:
            return ()
        return tuple(arm for arm in self.live if arm.tokens)

    @property
    def mirrored(self) -> Arm:
        """Return the arm that gets copies. Raises ValueError where none does."""
        wanted = self.mirror.version if self.mirror is not None else None
        for arm in self.arms:
            if arm.version == wanted:
                return arm
        raise ValueError(f"no arm of {self.model} gets copies")

    @property
    def told(self) -> dict[str, str]:
        """Return the headers that every request carries to the guards, by their names."""
        arms = self.trial.header if self.trial is not None else None
        return {
            name: value
            for name, value in ((RUN_HEADER, self.run), (ARMS_HEADER, arms))
            if value is not None
        }

    @property
    def untold(self) -> tuple[str, ...]:
        """Return the headers that only the router may set, and does not: clients' are removed."""
        return tuple(name for name in (RUN_HEADER, ARMS_HEADER) if name not in self.told)

    @property
    def weights(self) -> dict[str, int]:
        """Return the wanted percent of each version that gets traffic."""
        return {arm.version: arm.weight for arm in self.live}

    def metadata(self) -> Manifest:
        """Return the metadata of an object that carries the model's name."""
        return {
            "name": self.model,
            "namespace": self.namespace,
            "labels": {
                MANAGED_BY_LABEL: MANAGER,
                MODEL_LABEL: self.model,
            },
            "ownerReferences": [dict(self.owner)],
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class RouteState:
    """What a router's own object says."""

    weights: Mapping[str, int] | None = None
    """Percent by version; None when there is no object. A backend that is no arm of the split
    stands under the name of its Service."""
    mirror: Mirror | None = None
    """The copies that are made of requests, on every rule alike."""
    accepted: bool = False
    """Whether the router took the object as it is stored, all of it."""
    reason: Reason | None = None
    """Why it did not, or not yet."""
    message: str = ""

    def matches(self, split: Split) -> bool:
        """Return whether the wanted split is in force, as far as the router tells."""
        positive = {name: weight for name, weight in (self.weights or {}).items() if weight > 0}
        return self.accepted and positive == split.weights and self.mirror == split.mirror


def absent(kind: str, split: Split) -> RouteState:
    """Return the state of a router whose object is not there."""
    return RouteState(
        reason=Reason.WEIGHT_NOT_IN_FORCE,
        message=f"{kind} {split.model} does not exist yet",
    )


def mixed(weights: Mapping[str, int], found: Iterable[Mirror | None]) -> RouteState:
    """Return the state of a router whose rules do not all make the same copies."""
    told = sorted(f"{each.percent}% to {each.version}" if each else "none" for each in found)
    return RouteState(
        weights=weights,
        reason=Reason.WEIGHT_NOT_IN_FORCE,
        message=f"its rules copy requests differently: {', '.join(told)}",
    )


def kept_elsewhere(weights: Mapping[str, int], stray: Iterable[str]) -> RouteState:
    """Return the state of a router that still keeps clients on arms without weight."""
    return RouteState(
        weights=weights,
        reason=Reason.WEIGHT_NOT_IN_FORCE,
        message=f"clients are still kept on {', '.join(sorted(stray))}",
    )


def percentages(weights: Mapping[str, int]) -> dict[str, int]:
    """Return proportions as percent that add up to 100, by largest remainder."""
    total = sum(weights.values())
    if total <= 0:
        return {}
    found = {name: weight * 100 // total for name, weight in weights.items()}
    by_remainder = sorted(weights, key=lambda name: (-(weights[name] * 100 % total), name))
    for name in by_remainder[: 100 - sum(found.values())]:
        found[name] += 1
    return found


class Router(Protocol):
    """What splits the traffic of a model."""

    kinds: tuple[Resource, ...]
    """The kinds of the objects that carry the model's name."""

    def render(self, split: Split) -> tuple[Manifest, ...]:
        """Return the objects to apply, in this order."""
        ...

    def read(self, split: Split, objects: Stored) -> RouteState:
        """Return what the stored objects say."""
        ...
