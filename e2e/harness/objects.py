"""Builders for our kinds as plain objects; a story states only what matters to it."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from e2e.cluster import Endpoints
from e2e.harness.artifacts import Published

Object = dict[str, Any]
API_VERSION = "rlhf.dev/v1alpha1"


def namespace(name: str) -> Object:
    """Return a namespace that takes none but restricted pods."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def version(
    name: str,
    artifact: Published,
    *,
    model: str = "support",
    stage: str = "RLHF",
    parent: str | None = None,
    **serving: Any,
) -> Object:
    """Return a version that runs on a processor with our own backend."""
    lineage = {"lineage": {"parent": parent, "sft": parent}} if parent else {}
    # A ready repository says it in its own files.
    is_ready = serving.get("backend") == "repository"
    batching = {} if is_ready else {"batching": {"maxBatchSize": 8, "maxQueueDelay": "5ms"}}
    spec = {
        "model": model,
        "stage": stage,
        "artifact": {"uri": artifact.uri, "digest": artifact.digest},
        **lineage,
        "serving": {
            "backend": "huggingface",
            # Small models: more threads than one only get in each other's way.
            "engineArgs": {"threads": "1"},
            "gpu": {"count": 0},
            **batching,
            **serving,
        },
    }
    return _object("RLHFModelVersion", name, spec)


def safety_slo(**changes: Any) -> Object:
    """Return the objective on unsafe answers; changes are merged over it."""
    return {
        "name": "unsafe-answers",
        "class": "Safety",
        "indicator": {"type": "UnsafeServedRate"},
        "max": "0.05",
        "minSamples": 20,
        **changes,
    }


def policy(name: str, *slos: Object, interval: str = "1s") -> Object:
    """Return a policy; with one safety objective if none is given."""
    listed = list(slos) or [safety_slo()]
    return _object("AlignmentPolicy", name, {"interval": interval, "slos": listed})


def steps(*weights: int, hold: str = "5s") -> list[Object]:
    """Return the steps of a canary."""
    return [{"weight": weight, "hold": hold} for weight in weights]


def model(
    endpoints: Endpoints,
    *,
    version: str,
    fallback: str,
    policies: Sequence[str],
    name: str = "support",
    host: str = "support.example.com",
    steps: Sequence[Object] = (),
    guard: Mapping[str, Any] | None = None,
    rollout: Mapping[str, Any] | None = None,
    **spec: Any,
) -> Object:
    """Return a model behind the gateway under test; `rollout` is merged over short times.

    The steps are a canary's; where `rollout` names another strategy, it says all about that.
    """
    parent = {"name": endpoints.gateway_name, "namespace": endpoints.gateway_namespace}
    rollout = dict(rollout or {})
    if "strategy" not in rollout:
        canary = {"steps": list(steps) or [{"weight": 50, "hold": "5s"}]}
        rollout = {"strategy": "Canary", "canary": canary, **rollout}
    plan = {
        "readyTimeout": "3m",
        "maxHold": "2m",
        "coolDown": "1s",
    }
    return _object(
        "RLHFModel",
        name,
        {
            "version": version,
            "fallback": {"version": fallback},
            "policies": [{"name": each} for each in policies],
            "serving": {"podTemplate": small_pods()},
            "rollout": {**plan, **rollout},
            "standby": {"keep": "10m"},
            "traffic": {"router": "GatewayAPI", "parentRefs": [parent], "hostnames": [host]},
            "guard": dict(guard or {}),
            **spec,
        },
    )


def small_pods() -> Object:
    """Return a pod template by which several versions fit on a machine of two processors."""
    asked = {"triton": ("50m", "512Mi"), "guard": ("20m", "64Mi")}
    containers = [
        {"name": name, "resources": {"requests": {"cpu": cpu, "memory": memory}}}
        for name, (cpu, memory) in asked.items()
    ]
    return {"spec": {"containers": containers}}


def decision(name: str, action: str, *, author: str, model: str = "support", **spec: Any) -> Object:
    """Return a person's decision."""
    said = {"action": action, "model": model, "author": author, "reason": "a test asks for it"}
    return _object("RLHFDecision", name, {**said, **spec})


def with_version(model: Object, version: str) -> Object:
    """Return the model after the commit that changes its one line."""
    changed = copy.deepcopy(model)
    changed["spec"]["version"] = version
    return changed


def _object(kind: str, name: str, spec: Object) -> Object:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}
