"""The container that runs Triton: how it is started, probed and stopped."""

from __future__ import annotations

import math
from typing import Any

from rlhf_operator.api.model import ModelSpec
from rlhf_operator.api.schema import parse_duration
from rlhf_operator.core import containers, repository, sources, tensorrt
from rlhf_operator.core.containers import OPERATIONS_PORT
from rlhf_operator.core.pod_plan import PodPlan, ServingDefaults

Manifest = dict[str, Any]

PORT = 8000
EXIT_SECONDS = 30
"""How long Triton may take to stop once the guard has gone."""

_REPOSITORY = "/repository"
_GENERATED = "/generated"
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - in the container, a volume of its own
_PROBE_SECONDS = 3
# Where only Triton is restarted the guard goes on, and waiting for its end would be in vain.
_RESTART_SECONDS = 5
_CLOSED = "shared-memory,model-repository,trace,logging"

# The kubelet's probes reach the pod's address only, and Triton listens on loopback; bash can
# open a connection by itself and is in every Triton image.
_ASK = (
    f"exec 3<>/dev/tcp/127.0.0.1/{PORT}"
    " && printf 'GET /v2/health/live HTTP/1.0\\r\\n\\r\\n' >&3"
    ' && read -r _ status _ <&3 && test "$status" = 200'
)
# Triton goes on saying that it lives, and that its model is ready, when the process that runs
# the model in Python has died.
_DEAD_MODEL = (
    "for file in /proc/[0-9]*/stat; do"
    ' read -r _ name state _ <"$file" || continue;'
    ' test "$name$state" != "(triton_python_b)Z" || exit 1;'
    " done"
)
# The guard closes this port when its last answer has left; only then may Triton stop.
_OUTLIVE_GUARD = (
    f"while (exec 3<>/dev/tcp/127.0.0.1/{OPERATIONS_PORT}) 2>/dev/null; do sleep 0.2; done"
)
# The code of two of TensorRT-LLM's models lies in the image, their configuration does not.
_ASSEMBLE = (
    f"cp -RL {' '.join(f'{tensorrt.CODE}/{each}' for each in tensorrt.WITH_CODE)} {_REPOSITORY}/"
    f' && cp -RL {_GENERATED}/* {_REPOSITORY}/ && exec "$0" "$@"'
)
_COMMAND = (
    "tritonserver",
    f"--model-repository={_REPOSITORY}",
    "--model-control-mode=none",
    "--exit-on-error=true",
    "--strict-readiness=true",
    "--http-address=127.0.0.1",
    f"--http-port={PORT}",
    "--allow-grpc=false",
    # Each of these asks for a header that nobody knows who can reach Triton.
    f"--http-restricted-api={_CLOSED}:rlhf-closed=$(POD_UID)",
    f"--exit-timeout-secs={EXIT_SECONDS}",
)
_ENVIRONMENT = {
    "HOME": containers.TMP,
    "XDG_CACHE_HOME": f"{containers.TMP}/cache",
    "HF_HOME": f"{containers.TMP}/huggingface",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}


def image_of(model_spec: ModelSpec, defaults: ServingDefaults) -> str:
    """Return the image that Triton runs from."""
    return model_spec.serving.images.triton or defaults.triton_image


def container(plan: PodPlan) -> Manifest:
    """Return the container."""
    deadline = parse_duration(plan.model_spec.rollout.ready_timeout).total_seconds()
    started = {"exec": {"command": ["bash", "-c", _ASK]}, "timeoutSeconds": 10}
    alive = {"exec": {"command": ["bash", "-c", f"{_DEAD_MODEL}; {_ASK}"]}, "timeoutSeconds": 10}
    image = image_of(plan.model_spec, plan.defaults)
    uid = {"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}
    return {
        **containers.restricted("triton", image, cpu="250m", memory="768Mi"),
        "resources": _resources(plan),
        "command": _command(plan.version_spec.serving.backend),
        "env": [uid, *({"name": name, "value": value} for name, value in _ENVIRONMENT.items())],
        # Only Triton's own log shows why a model does not load; it holds no prompts.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "startupProbe": {
            **started,
            "periodSeconds": _PROBE_SECONDS,
            "failureThreshold": math.ceil(deadline / _PROBE_SECONDS) + 1,
            "terminationGracePeriodSeconds": _RESTART_SECONDS,
        },
        "readinessProbe": {**alive, "periodSeconds": 5, "failureThreshold": 2},
        "livenessProbe": {
            **alive,
            "periodSeconds": 15,
            "failureThreshold": 2,
            "terminationGracePeriodSeconds": _RESTART_SECONDS,
        },
        "lifecycle": {"preStop": {"exec": {"command": ["bash", "-c", _OUTLIVE_GUARD]}}},
        "volumeMounts": [
            sources.parse(plan.version_spec.artifact).mount(_artifact_path(plan), read_only=True),
            *_repository_mounts(plan),
            containers.tmp("triton"),
            {"name": "shared-memory", "mountPath": _SHARED_MEMORY},
        ],
    }


def volumes(plan: PodPlan) -> list[Manifest]:
    """Return the volumes that only this container needs."""
    size = {"medium": "Memory", "sizeLimit": plan.defaults.shared_memory}
    found: list[Manifest] = [{"name": "shared-memory", "emptyDir": size}]
    if plan.files:
        found.append(containers.files("generated", plan.config_map, plan.files))
    if plan.version_spec.serving.backend == "tensorrtllm":
        found.append({"name": "repository", "emptyDir": {}})
    return found


def _command(backend: str) -> list[str]:
    match backend:
        case "huggingface":
            # The configuration is complete; to complete it Triton would load torch twice.
            return [*_COMMAND, "--disable-auto-complete-config"]
        case "tensorrtllm":
            return ["bash", "-c", _ASSEMBLE, *_COMMAND]
        case _:
            return list(_COMMAND)


def _resources(plan: PodPlan) -> Manifest:
    requests = {"cpu": "250m", "memory": "768Mi"}
    gpu = plan.version_spec.serving.gpu
    if not gpu.count:
        return {"requests": requests}
    amount = {gpu.resource: str(gpu.count)}
    return {"requests": requests | amount, "limits": amount}


def _artifact_path(plan: PodPlan) -> str:
    is_repository = plan.version_spec.serving.backend == "repository"
    return _REPOSITORY if is_repository else repository.ARTIFACT


def _repository_mounts(plan: PodPlan) -> list[Manifest]:
    match plan.version_spec.serving.backend:
        case "repository":
            return []
        case "tensorrtllm":
            return [
                {"name": "generated", "mountPath": _GENERATED, "readOnly": True},
                {"name": "repository", "mountPath": _REPOSITORY},
            ]
        case _:
            # The model alone: a ConfigMap's own folder holds hidden folders beside the files,
            # and Triton would take them for models.
            return [
                {
                    "name": "generated",
                    "mountPath": f"{_REPOSITORY}/{repository.MODEL}",
                    "subPath": repository.MODEL,
                    "readOnly": True,
                }
            ]
