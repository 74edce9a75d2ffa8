"""What a version's objects are made of: rendered once, pinned, and then only read back.

`render` is called when a version first gets its Deployment. Later passes read the pin from
its ControllerRevision, so that a newer operator changes no running pod.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any

from rlhf_operator.api.common import Failure
from rlhf_operator.api.guard import GuardConfig, GuardStickiness
from rlhf_operator.api.model import ModelSpec
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.schema import parse_duration
from rlhf_operator.api.version import VersionSpec
from rlhf_operator.core import (
    containers,
    guards,
    names,
    patches,
    pods,
    repository,
    sources,
    triton,
)
from rlhf_operator.core.observed import Key
from rlhf_operator.core.pod_plan import PodPlan, ServingDefaults

__all__ = ["Rendering", "ServingDefaults", "refusal", "render"]


_TUPLES = ("egress_ports", "service_ports", "reach")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendering:
    """All that a version's objects are made of; pinned, and then never made anew."""

    namespace: str
    model: str
    version: str
    template: Mapping[str, Any]
    """The complete pod template."""
    data: Mapping[str, str]
    """The files of the ConfigMap: the guard's configuration and the Triton repository."""
    config_map: str
    """The name of that ConfigMap; it carries a hash of the content."""
    egress_ports: tuple[int, ...] = ()
    """TCP ports, beside DNS, that the pods may reach."""
    service_ports: tuple[int, ...] = ()
    """TCP ports that they may reach on pods of their own namespace."""
    reach: tuple[str, ...] = ()
    """What the guards can carry out of a spec that changes later (`core/guards`)."""
    can_surge: bool = True
    """Whether a new pod may run beside the old one that it replaces."""
    deadline_seconds: int = 1800
    """How long a pod may take to become ready."""
    gpus: int = 0
    """GPUs that one pod asks for."""

    @property
    def digest(self) -> str:
        """Return the sha256 of everything in it."""
        return f"sha256:{_hash(self.to_json())}"

    @property
    def name(self) -> str:
        """Return the name of the version's Deployment, Service and NetworkPolicy."""
        return names.child(self.version, "serving")

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON data."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**found, **{name: list(found[name]) for name in _TUPLES}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Rendering:
        """Return what `to_json` wrote; fields of a newer operator are refused."""
        return cls(**{**data, **{name: tuple(data.get(name, ())) for name in _TUPLES}})

    @property
    def revision_name(self) -> str:
        """Return the name of the ControllerRevision that pins it."""
        return names.child(self.version, f"pin-{self.digest.removeprefix('sha256:')[:10]}")


def refusal_of_version(spec: VersionSpec, defaults: ServingDefaults) -> Failure | None:
    """Return why this version can be served in no model, or nothing."""
    backend = spec.serving.backend
    if backend in ("tensorrtllm", "repository") and not defaults.allow_code:
        message = f"backend {backend} runs code from the artefact; allowCode is not set"
        return Failure(reason=Reason.CODE_NOT_ALLOWED, message=message)
    found = sources.problem(spec.artifact) or repository.problem(spec.serving)
    return Failure(reason=Reason.SPEC_INVALID, message=found[:1024]) if found else None


def refusal(
    model_spec: ModelSpec, version_spec: VersionSpec, defaults: ServingDefaults
) -> Failure | None:
    """Return why no pod is made of this version as it is written, or nothing."""
    refused = refusal_of_version(version_spec, defaults)
    if refused is not None:
        return refused
    found = _pod_template_problem(model_spec, version_spec, defaults)
    return Failure(reason=Reason.SPEC_INVALID, message=found[:1024]) if found else None


def _pod_template_problem(
    model_spec: ModelSpec, version_spec: VersionSpec, defaults: ServingDefaults
) -> str | None:
    if not model_spec.serving.pod_template:
        return None
    plan = PodPlan(
        model=version_spec.model,
        version="version",
        model_spec=model_spec,
        version_spec=version_spec,
        defaults=defaults,
        config_map="config",
        files={},
    )
    found = patches.problems(
        model_spec.serving.pod_template,
        ours=lambda: pods.template(plan),
        volumes=defaults.allowed_volumes,
    )
    return f"serving.podTemplate: {'; '.join(found)}" if found else None


def render(
    key: Key,
    model_spec: ModelSpec,
    version: str,
    version_spec: VersionSpec,
    defaults: ServingDefaults,
    *,
    arm_token: str | None = None,
    force_block: bool = False,
    refuse: bool = False,
    renewed_in: str | None = None,
    service_ports: Collection[int] = (),
) -> Rendering:
    """Return what a version's objects are made of, from the specs as they are now.

    `renewed_in` names a restart: it makes pods anew also where the specs say what they said.
    `service_ports` are those of the pods behind the Services that the guard's stages name.
    """
    config = _guard_config(key, model_spec, version, version_spec, defaults, arm_token)
    config = config.model_copy(update={"force_block": force_block, "refuse": refuse})
    image = triton.image_of(model_spec, defaults)
    generated = repository.render(version_spec.serving, image)
    paths = {path.replace("/", "__"): path for path in generated}
    data = {pods.GUARD_CONFIG: json.dumps(config.dump(), indent=2, sort_keys=True) + "\n"}
    data |= {name: generated[path] for name, path in paths.items()}
    plan = PodPlan(
        model=key.name,
        version=version,
        model_spec=model_spec,
        version_spec=version_spec,
        defaults=defaults,
        config_map=names.child(version, f"config-{_hash(data)[:10]}"),
        files=paths,
    )
    gpus = version_spec.serving.gpu.count
    source = sources.parse(version_spec.artifact)
    ports = set(guards.egress_ports(model_spec.guard, key.namespace, defaults.guard_providers))
    ports |= set(defaults.fetch_ports) if source.is_fetched else set()
    if defaults.guard_tracing is not None:
        ports.add(guards.port_of(defaults.guard_tracing.endpoint))
    return Rendering(
        namespace=key.namespace,
        model=key.name,
        version=version,
        template=_marked(
            patches.merge(pods.template(plan), model_spec.serving.pod_template), renewed_in
        ),
        data=data,
        config_map=plan.config_map,
        egress_ports=tuple(sorted(ports)),
        service_ports=tuple(sorted(service_ports)),
        reach=guards.reach(model_spec, key.namespace, defaults.guard_providers),
        can_surge=not (gpus and model_spec.rollout.surge == "None"),
        deadline_seconds=max(
            1, int(parse_duration(model_spec.rollout.ready_timeout).total_seconds())
        ),
        gpus=gpus,
    )


def _marked(template: dict[str, Any], renewed_in: str | None) -> dict[str, Any]:
    if renewed_in is None:
        return template
    metadata = template["metadata"]
    annotations = {**metadata["annotations"], names.RENEWED_ANNOTATION: renewed_in}
    return {**template, "metadata": {**metadata, "annotations": annotations}}


def _guard_config(
    key: Key,
    model_spec: ModelSpec,
    version: str,
    version_spec: VersionSpec,
    defaults: ServingDefaults,
    arm_token: str | None,
) -> GuardConfig:
    is_https = model_spec.guard.tls is not None
    live = guards.live(model_spec.guard, key.namespace, defaults.guard_providers)
    max_age = parse_duration(model_spec.traffic.stickiness.max_age).total_seconds()
    return GuardConfig(
        namespace=key.namespace,
        model=key.name,
        version=version,
        identity=version_spec.identity(),
        triton_url=f"http://127.0.0.1:{triton.PORT}",
        triton_model=repository.MODEL,
        exclude_input=version_spec.serving.backend == "vllm",
        chat_template=version_spec.serving.chat_template,
        guard=live.guard,
        providers=live.providers,
        live_file=pods.LIVE_FILE,
        credentials_folder=pods.CREDENTIALS_FOLDER,
        fallback_url=_fallback_url(key, model_spec, version),
        tls_folder=pods.TLS_FOLDER if is_https else None,
        tracing=defaults.guard_tracing,
        stickiness=GuardStickiness(
            mode="Arm" if arm_token else "None",
            max_age_seconds=max(1, int(max_age)),
            arm_token=arm_token,
        ),
        limits=defaults.guard_bounds,
        lame_duck_seconds=defaults.drain.total_seconds(),
        drain_seconds=defaults.longest_generation.total_seconds(),
        port=containers.HTTP_PORT,
        operations_port=containers.OPERATIONS_PORT,
        peers=f"{names.peers(key.name)}.{key.namespace}.svc",
    )


def _fallback_url(key: Key, model_spec: ModelSpec, version: str) -> str | None:
    fallback = model_spec.fallback.version
    if version == fallback or model_spec.guard.tls is not None:
        return None
    return f"http://{names.child(fallback, 'serving')}.{key.namespace}.svc"


def _hash(data: Mapping[str, Any]) -> str:
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
