"""What the pods of one version are made from: the specs and the operator's own configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from rlhf_operator.api.model import ModelSpec
from rlhf_operator.api.operation import GuardLimits, GuardTracing
from rlhf_operator.api.version import VersionSpec
from rlhf_operator.core.guards import Offer


@dataclass(frozen=True, kw_only=True, slots=True)
class ServingDefaults:
    """What the operator's configuration says about serving pods."""

    triton_image: str
    guard_image: str
    artifacts_image: str
    signing_secret: str
    """A Secret in the model's namespace whose key `signing-key` all its guards sign with."""
    allow_code: bool = False
    """Whether backends are accepted whose artefacts carry code."""
    allowed_volumes: tuple[str, ...] = (
        "configMap",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "secret",
    )
    """Types of volumes that a team may add to its pods."""
    drain: timedelta = timedelta(seconds=5)
    """How long a pod goes on serving while routes and endpoints forget it."""
    longest_generation: timedelta = timedelta(seconds=120)
    """The longest time that one answer may take."""
    shared_memory: str = "1Gi"
    """The largest size of /dev/shm, by which Triton and its Python processes speak."""
    fetch_ports: tuple[int, ...] = (443,)
    """TCP ports by which hf:// and s3:// artefacts are fetched."""
    guard_limits: GuardLimits = field(default_factory=GuardLimits)
    """What a guard takes on at most; its time limit is `longest_generation`."""
    guard_providers: tuple[Offer, ...] = ()
    """Services outside a model's namespace that guards may ask."""
    guard_tracing: GuardTracing | None = None
    """Where guards send traces."""

    @property
    def guard_bounds(self) -> GuardLimits:
        """Return the bounds of what a team may set."""
        longest = self.longest_generation.total_seconds()
        return self.guard_limits.model_copy(update={"timeout_seconds": longest})


@dataclass(frozen=True, kw_only=True, slots=True)
class PodPlan:
    """What the pod of one version is made from."""

    model: str
    version: str
    model_spec: ModelSpec
    version_spec: VersionSpec
    defaults: ServingDefaults
    config_map: str
    files: Mapping[str, str]
    """The keys of the ConfigMap and the path in the Triton repository that each stands for."""
