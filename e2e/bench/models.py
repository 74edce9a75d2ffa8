"""The objects that the bench makes: models behind Istio whose pods only fake nodes take."""

from __future__ import annotations

import hashlib
from typing import Any

from e2e.bench.prometheus import NAMESPACE

Object = dict[str, Any]
API_VERSION = "rlhf.dev/v1alpha1"
POLICY = "safe"
WEIGHT = 50
FAKE = "bench.rlhf.dev/fake"
_HELD = [{"weight": WEIGHT, "hold": "24h"}]


def name_of(number: int) -> str:
    """Return the name of a model."""
    return f"m{number:04d}"


def version_name(model: str, number: int) -> str:
    """Return the name of a model's version; 0 is its fallback."""
    return f"{model}-v{number}"


def version(model: str, number: int) -> Object:
    """Return a version whose artefact nobody ever fetches."""
    name = version_name(model, number)
    digest = hashlib.sha256(name.encode()).hexdigest()
    spec = {
        "model": model,
        "stage": "RLHF" if number else "SFT",
        "artifact": {"uri": "oci://bench.invalid/model", "digest": f"sha256:{digest}"},
        "serving": {"backend": "huggingface", "gpu": {"count": 0}},
    }
    return _object("RLHFModelVersion", name, spec)


def policy() -> Object:
    """Return the one policy: one safety objective, judged each second."""
    slo = {
        "name": "unsafe-answers",
        "class": "Safety",
        "indicator": {"type": "UnsafeServedRate"},
        "max": "0.05",
        "minSamples": 5,
    }
    return _object("AlignmentPolicy", POLICY, {"interval": "1s", "slos": [slo]})


def model(name: str) -> Object:
    """Return a model that serves its fallback and asks for nothing else."""
    pods = {
        "spec": {
            "nodeSelector": {FAKE: "true"},
            "tolerations": [{"key": FAKE, "operator": "Exists"}],
        }
    }
    spec = {
        "version": version_name(name, 0),
        "fallback": {"version": version_name(name, 0), "replicas": 0},
        "policies": [{"name": POLICY}],
        "serving": {"replicas": 1, "podTemplate": pods},
        "rollout": {
            "strategy": "Canary",
            "canary": {"steps": _HELD},
            "coolDown": "1s",
            "maxHold": "24h",
        },
        "standby": {"replicas": 0, "keep": "1s"},
        "traffic": {"router": "Istio", "hostnames": [f"{name}.bench.invalid"]},
    }
    return _object("RLHFModel", name, spec)


def commit(name: str, number: int) -> Object:
    """Return the change that asks for a version, which is held at its first step."""
    return {"spec": {"version": version_name(name, number)}}


def node() -> Object:
    """Return the fake node."""
    room = {"cpu": "100k", "memory": "1000Ti", "pods": "100k"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "rlhf-bench-fake", "labels": {FAKE: "true"}},
        "spec": {"taints": [{"key": FAKE, "effect": "NoSchedule"}]},
        "status": {"allocatable": room, "capacity": room},
    }


def _object(kind: str, name: str, spec: Object) -> Object:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}
