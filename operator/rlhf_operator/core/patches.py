"""`spec.serving.podTemplate`: what a team may change of a serving pod, and how it is merged.

What is not named here cannot be changed. Our pods hold to the Pod Security Standard
`restricted`, run the images that the operator names and nothing beside them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

from pydantic import ValidationError

from rlhf_operator.api.schema import GROUP, ApiType

Json = dict[str, Any]

MOUNTS = "/mnt/"
"""Where volumes of a team may be mounted."""

# By these an environment variable makes a program load code that is not in its image.
_CODE_VARIABLE = re.compile(r"^(LD_|PYTHON|GUARD_|TRITON_|PATH$|HOME$|HF_|TRANSFORMERS_)")

# How the items of a list are told apart; lists that are not named here are replaced.
_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "resourceClaims": "name",
    "claims": "name",
    "volumeMounts": "mountPath",
}


_NOTHING: Json = {
    "metadata": {"labels": {}},
    "spec": {"volumes": (), "containers": (), "initContainers": ()},
}


class _Metadata(ApiType):
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class _Container(ApiType):
    name: str
    resources: Json = {}
    env: tuple[Json, ...] = ()
    env_from: tuple[Json, ...] = ()
    volume_mounts: tuple[Json, ...] = ()
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None


class _Security(ApiType):
    fs_group: int | None = None
    fs_group_change_policy: Literal["OnRootMismatch", "Always"] | None = None
    run_as_group: int | None = None
    run_as_user: int | None = None
    supplemental_groups: tuple[int, ...] = ()
    se_linux_options: Json = {}


class _Spec(ApiType):
    affinity: Json = {}
    containers: tuple[_Container, ...] = ()
    dns_config: Json = {}
    dns_policy: Literal["ClusterFirst", "Default", "None"] | None = None
    image_pull_secrets: tuple[Json, ...] = ()
    init_containers: tuple[_Container, ...] = ()
    node_selector: dict[str, str] = {}
    preemption_policy: str | None = None
    priority_class_name: str | None = None
    resource_claims: tuple[Json, ...] = ()
    runtime_class_name: str | None = None
    scheduler_name: str | None = None
    security_context: _Security = _Security()
    tolerations: tuple[Json, ...] = ()
    topology_spread_constraints: tuple[Json, ...] = ()
    volumes: tuple[Json, ...] = ()


class _Template(ApiType):
    metadata: _Metadata = _Metadata()
    spec: _Spec = _Spec()


def problems(
    patch: Mapping[str, Any], *, ours: Callable[[], Mapping[str, Any]], volumes: Collection[str]
) -> tuple[str, ...]:
    """Return what in the patch may not be set; `volumes` are the types a team may mount.

    `ours` makes the template that is patched, where the patch names a part that we name too.
    """
    try:
        template = _Template.model_validate(patch)
    except ValidationError as error:
        return tuple(_sentence(each) for each in error.errors(include_input=False))
    spec, labels = template.spec, template.metadata.labels.keys()
    is_shared = labels or spec.volumes or spec.containers or spec.init_containers
    base = ours() if is_shared else _NOTHING
    found = []
    if spec.security_context.run_as_user == 0:
        found.append("spec.securityContext.runAsUser must not be 0")
    protected = {*labels, *template.metadata.annotations}
    protected = {key for key in protected if key.partition("/")[0] == GROUP}
    taken = protected | (labels & base["metadata"]["labels"].keys())
    found += [f"metadata: {key} is set by the operator" for key in sorted(taken)]
    found += _volume_problems(spec.volumes, base["spec"]["volumes"], volumes)
    found += _container_problems("containers", spec.containers, base["spec"])
    found += _container_problems("initContainers", spec.init_containers, base["spec"])
    return tuple(found)


def merge(base: Any, patch: Any, field: str = "") -> Any:
    """Return the patch laid over the base, as `kubectl patch` does it for pods."""
    if isinstance(base, Mapping) and isinstance(patch, Mapping):
        merged = {key: merge(base[key], patch[key], key) for key in base.keys() & patch.keys()}
        return {**base, **patch, **merged}
    if field in _KEYS and isinstance(base, Sequence) and isinstance(patch, Sequence):
        key = _KEYS[field]
        given = {item[key]: item for item in patch}
        kept = [merge(item, given.pop(item[key], {})) for item in base]
        return [*kept, *given.values()]
    return patch


def _sentence(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{where} may not be set"
    return f"{where}: {error['msg']}"


def _volume_problems(
    given: Sequence[Json], ours: Sequence[Json], allowed: Collection[str]
) -> list[str]:
    taken = {volume["name"] for volume in ours}
    found = []
    for volume in given:
        name, types = volume.get("name"), sorted(volume.keys() - {"name"})
        if not isinstance(name, str) or name in taken:
            found.append(f"spec.volumes: a volume needs a name that is not among {sorted(taken)}")
        if len(types) != 1 or types[0] not in allowed:
            of = " and ".join(types) or "nothing"
            found.append(f"spec.volumes: {name} is of {of}; allowed are {sorted(allowed)}")
    return found


def _container_problems(
    field: str, given: Sequence[_Container], ours: Mapping[str, Any]
) -> list[str]:
    known = {container["name"]: container for container in ours[field]}
    found = []
    for container in given:
        where = f"spec.{field}[{container.name}]"
        if container.name not in known:
            found.append(f"{where}: only {', '.join(known)} can be changed, none can be added")
            continue
        taken = {entry["name"] for entry in known[container.name].get("env", ())}
        for entry in container.env:
            name = entry.get("name")
            if not isinstance(name, str) or name in taken or _CODE_VARIABLE.match(name):
                found.append(f"{where}.env: {name} may not be set")
        for mount in container.volume_mounts:
            path = mount.get("mountPath")
            if not isinstance(path, str) or not path.startswith(MOUNTS) or ".." in path:
                found.append(f"{where}.volumeMounts: {path} does not lie under {MOUNTS}")
    return found
