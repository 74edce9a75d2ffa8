"""The pod that serves one version: an artefact check, then Triton with a guard in front.

Users reach the guard only; Triton listens on the pod's own loopback.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

from rlhf_operator.api.sampling import FLUSH_SECONDS
from rlhf_operator.core import containers, guards, names, repository, sources, triton
from rlhf_operator.core.containers import HTTP_PORT, OPERATIONS_PORT
from rlhf_operator.core.pod_plan import PodPlan

Manifest = dict[str, Any]

GUARD_CONFIG = "guard.json"

_GUARD_FOLDER = "/etc/rlhf-guard"
_CONFIG_FOLDER = f"{_GUARD_FOLDER}/config"
_LIVE_FOLDER = f"{_GUARD_FOLDER}/live"
LIVE_FILE = f"{_LIVE_FOLDER}/{guards.FILE}"
CREDENTIALS_FOLDER = f"{_GUARD_FOLDER}/credentials"
TLS_FOLDER = f"{_GUARD_FOLDER}/tls"
_USER = 65532
_MARGIN_SECONDS = 10


def template(plan: PodPlan) -> Manifest:
    """Return the pod template, before the team's own patch."""
    answering = plan.defaults.drain + plan.defaults.longest_generation
    # The guard goes on serving, finishes, and brings the last samples away; then Triton may stop.
    grace = answering.total_seconds() + FLUSH_SECONDS + triton.EXIT_SECONDS + _MARGIN_SECONDS
    spec: Manifest = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": math.ceil(grace),
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
        **containers.restricted("guard", image, cpu="100m", memory="320Mi"),
        "command": ["python", "-m", "rlhf_operator.guard"],
        "args": [f"--config={_CONFIG_FOLDER}/{GUARD_CONFIG}"],
        "env": [{"name": "GUARD_SIGNING_KEY", "valueFrom": {"secretKeyRef": key}}],
        "ports": [
            {"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"},
            {"name": "operations", "containerPort": OPERATIONS_PORT, "protocol": "TCP"},
        ],
        # Ready only when Triton and its model are: this probe speaks for the whole pod.
        "readinessProbe": {
            "httpGet": {"path": "/healthz/ready", "port": "http", **_scheme(plan)},
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
            {"name": "config", "mountPath": _CONFIG_FOLDER, "readOnly": True},
            *(
                {"name": volume["name"], "mountPath": folder, "readOnly": True}
                for folder, volume in _guard_volumes(plan).items()
            ),
            containers.tmp("guard"),
        ],
    }


def _scheme(plan: PodPlan) -> dict[str, str]:
    return {"scheme": "HTTPS"} if plan.model_spec.guard.tls is not None else {}


def _guard_volumes(plan: PodPlan) -> dict[str, Manifest]:
    """Return what the guard alone mounts, by folder; what is there optionally may come later."""
    spec = plan.model_spec.guard
    # As a whole folder: kubelet brings changes of those, and not of single files.
    live = {"name": guards.config_map_name(plan.model), "optional": True}
    found: dict[str, Manifest] = {_LIVE_FOLDER: {"name": "guard-live", "configMap": live}}
    for secret, keys in guards.credentials(spec).items():
        items = [{"key": key, "path": key} for key in keys]
        found[f"{CREDENTIALS_FOLDER}/{secret}"] = {
            "name": names.child("credentials", hashlib.sha256(secret.encode()).hexdigest()[:10]),
            "secret": {"secretName": secret, "items": items, "optional": True},
        }
    if spec.tls is not None:
        secret_volume = {"secretName": spec.tls.secret_name}
        found[TLS_FOLDER] = {"name": "guard-tls", "secret": secret_volume}
    return found


def _volumes(plan: PodPlan) -> list[Manifest]:
    return [
        sources.parse(plan.version_spec.artifact).volume(),
        containers.files("config", plan.config_map, {GUARD_CONFIG: GUARD_CONFIG}),
        *_guard_volumes(plan).values(),
        *({"name": f"{each}-tmp", "emptyDir": {}} for each in ("artifact", "triton", "guard")),
        *triton.volumes(plan),
    ]
