"""The pod that serves one version: an artefact check, then Triton with a guard in front.

Users reach the guard only; Triton listens on the pod's own loopback.
"""

from __future__ import annotations

import math
from typing import Any

from rlhf_operator.core import containers, names, repository, sources, triton
from rlhf_operator.core.containers import HTTP_PORT, OPERATIONS_PORT
from rlhf_operator.core.pod_plan import PodPlan

Manifest = dict[str, Any]

GUARD_CONFIG = "guard.json"

_GUARD_FOLDER = "/etc/rlhf-guard"
_USER = 65532


def template(plan: PodPlan) -> Manifest:
    """Return the pod template, before the team's own patch."""
    grace = plan.defaults.drain + plan.defaults.longest_generation
    spec: Manifest = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": math.ceil(grace.total_seconds())
        + triton.EXIT_SECONDS
        + 10,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [_artifact(plan)],
        "containers": [triton.container(plan), _guard(plan)],
        "volumes": _volumes(plan),
    }
    if plan.model_spec.serving.service_account_name:
        spec["serviceAccountName"] = plan.model_spec.serving.service_account_name
    annotations = {
        names.SCRAPE_ANNOTATION: "true",
        names.METRICS_PORT_ANNOTATION: str(OPERATIONS_PORT),
        "kubectl.kubernetes.io/default-container": "guard",
    }
    labels = names.labels(plan.model, plan.version)
    return {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec}


def _artifact(plan: PodPlan) -> Manifest:
    source = sources.parse(plan.version_spec.artifact)
    is_weights_only = plan.version_spec.serving.backend in ("huggingface", "vllm")
    container = containers.restricted(
        "artifact", plan.defaults.artifacts_image, cpu="100m", memory="128Mi"
    )
    container |= {
        "command": ["python", "-m", "rlhf_operator.serving", "fetch-and-verify"],
        "args": [
            f"--uri={plan.version_spec.artifact.uri}",
            f"--digest={plan.version_spec.artifact.digest}",
            f"--folder={repository.ARTIFACT}",
            f"--content={'safetensors' if is_weights_only else 'any'}",
        ],
        "env": [
            {"name": "HOME", "value": containers.TMP},
            {"name": "HF_HUB_DISABLE_TELEMETRY", "value": "1"},
        ],
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            source.mount(repository.ARTIFACT, read_only=not source.is_fetched),
            containers.tmp("artifact"),
        ],
    }
    secret = plan.model_spec.serving.credentials
    if source.is_fetched and secret is not None:
        container["envFrom"] = [{"secretRef": {"name": secret.secret_name}}]
    return container


def _guard(plan: PodPlan) -> Manifest:
    image = plan.model_spec.serving.images.guard or plan.defaults.guard_image
    key = {"name": plan.defaults.signing_secret, "key": "signing-key"}
    return {
        **containers.restricted("guard", image, cpu="100m", memory="128Mi"),
        "command": ["python", "-m", "rlhf_operator.guard"],
        "args": [f"--config={_GUARD_FOLDER}/{GUARD_CONFIG}"],
        "env": [{"name": "GUARD_SIGNING_KEY", "valueFrom": {"secretKeyRef": key}}],
        "ports": [
            {"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"},
            {"name": "operations", "containerPort": OPERATIONS_PORT, "protocol": "TCP"},
        ],
        # Ready only when Triton and its model are: this probe speaks for the whole pod.
        "readinessProbe": {
            "httpGet": {"path": "/healthz/ready", "port": "http"},
            "periodSeconds": 2,
            "timeoutSeconds": 5,
            "failureThreshold": 2,
        },
        "livenessProbe": {
            "httpGet": {"path": "/healthz/live", "port": "operations"},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        "volumeMounts": [
            {"name": "config", "mountPath": _GUARD_FOLDER, "readOnly": True},
            containers.tmp("guard"),
        ],
    }


def _volumes(plan: PodPlan) -> list[Manifest]:
    return [
        sources.parse(plan.version_spec.artifact).volume(),
        containers.files("config", plan.config_map, {GUARD_CONFIG: GUARD_CONFIG}),
        *({"name": f"{each}-tmp", "emptyDir": {}} for each in ("artifact", "triton", "guard")),
        *triton.volumes(plan),
    ]
