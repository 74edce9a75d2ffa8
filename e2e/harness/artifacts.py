"""Brings a checkpoint into the cluster, in the way that the cluster allows.

The cluster of this machine takes it as an image into its node's store. Anywhere else nothing can
be put beside a node, so it goes into a volume, through a pod.
"""

import io
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import artifacts
from e2e.cluster.endpoints import CURRENT
from e2e.harness.errors import HarnessError
from e2e.harness.install import image
from e2e.harness.kubectl import Kubectl, Object
from rlhf_operator.serving import artifact

_CLAIM = "checkpoints"
_LOADER = "checkpoint-loader"
_USER = 65532


@dataclass(frozen=True)
class Published:
    """An artefact as a model version names it."""

    uri: str
    digest: str


def publish(kubectl: Kubectl, folder: Path, name: str) -> Published:
    """Bring a folder into the cluster, for models of kubectl's namespace."""
    if CURRENT:
        return into_volume(kubectl, folder, name)
    loaded = artifacts.load(folder, f"localhost/models/{name}")
    return Published(f"oci://{loaded.name}", loaded.digest)


def offer_volume(kubectl: Kubectl, folder: Path) -> str:
    """Offer a folder of this machine to the claim `checkpoints`, and return the volume's name.

    The cluster of this machine has no storage class; where there is one, nothing is offered.
    """
    name = f"{kubectl.namespace}-{_CLAIM}"
    if not CURRENT:
        folder.chmod(0o777)  # the loader is not root
        kubectl.delete("persistentvolume", name)
        kubectl.apply(_volume(name, folder, kubectl.namespace))
    return name


def into_volume(kubectl: Kubectl, folder: Path, name: str) -> Published:
    """Copy a folder into the claim `checkpoints`, made by the default storage class if need be."""
    if kubectl.get("persistentvolumeclaim", _CLAIM) is None:
        kubectl.apply(_claim())
    kubectl.apply(_loader())
    try:
        kubectl.run("wait", f"pod/{_LOADER}", "--for=condition=Ready", "--timeout=180s")
        script = f"rm -rf /models/{name} && tar --extract --directory=/models"
        _send(kubectl.command("exec", "-i", _LOADER, "--", "sh", "-c", script), folder, name)
    finally:
        kubectl.delete("pod", _LOADER)
    return Published(f"pvc://{_CLAIM}/{name}", artifact.digest(folder))


def _send(command: list[str], folder: Path, name: str) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(folder, name)
    done = subprocess.run(command, input=packed.getvalue(), capture_output=True, check=False)
    if done.returncode != 0:
        raise HarnessError(f"copying {name} into a volume: {done.stderr.decode().strip()}")


def _volume(name: str, folder: Path, namespace: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": namespace, "name": _CLAIM},
            "hostPath": {"path": str(folder)},
        },
    }


def _claim() -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": _CLAIM},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }


def _loader() -> Object:
    container = {
        "name": "loader",
        "image": image("artifacts"),
        "command": ["sleep", "600"],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "models", "mountPath": "/models"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": _LOADER},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": _USER,
                "runAsGroup": _USER,
                "fsGroup": _USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": _CLAIM}}],
        },
    }
