"""Where a test finds everything; reading it starts nothing."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from . import binaries, settings

CURRENT = os.environ.get("CLUSTER") == "current"


@dataclass(frozen=True)
class Endpoints:
    """The addresses and programs of the cluster under test."""

    kubeconfig: Path
    kubectl: Path
    helm: Path
    gateway_url: str
    gateway_namespace: str
    gateway_name: str
    prometheus_url: str
    prometheus_url_in_cluster: str


def endpoints() -> Endpoints:
    """Describe the cluster of this machine, or with CLUSTER=current that of the kubeconfig."""
    if CURRENT:
        return _current()
    return Endpoints(
        kubeconfig=settings.KUBECONFIG,
        kubectl=binaries.path("kubectl"),
        helm=binaries.path("helm"),
        gateway_url=settings.GATEWAY_URL,
        gateway_namespace=settings.GATEWAY_NAMESPACE,
        gateway_name=settings.GATEWAY_NAME,
        prometheus_url=settings.PROMETHEUS_URL,
        prometheus_url_in_cluster=settings.PROMETHEUS_URL_IN_CLUSTER,
    )


def _current() -> Endpoints:
    given = os.environ.get("KUBECONFIG", "~/.kube/config").split(":")[0]
    prometheus = os.environ.get("PROMETHEUS_URL", "")
    return Endpoints(
        kubeconfig=Path(given).expanduser(),
        kubectl=Path(shutil.which("kubectl") or binaries.path("kubectl")),
        helm=Path(shutil.which("helm") or binaries.path("helm")),
        gateway_url=os.environ.get("GATEWAY_URL", settings.GATEWAY_URL),
        gateway_namespace=os.environ.get("GATEWAY_NAMESPACE", settings.GATEWAY_NAMESPACE),
        gateway_name=os.environ.get("GATEWAY_NAME", settings.GATEWAY_NAME),
        prometheus_url=prometheus,
        prometheus_url_in_cluster=os.environ.get("PROMETHEUS_URL_IN_CLUSTER", prometheus),
    )
