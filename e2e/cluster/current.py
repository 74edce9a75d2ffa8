"""CLUSTER=current: use a cluster that is there already, and change nothing on this machine."""

from .commands import succeeds
from .endpoints import endpoints
from .probes import answers
from .progress import ClusterError


def check() -> None:
    """Say clearly what the given cluster lacks."""
    given = endpoints()
    kubectl = [str(given.kubectl), "--kubeconfig", str(given.kubeconfig)]
    if not succeeds([*kubectl, "get", "--raw", "/readyz"]):
        raise ClusterError(f"the current context of {given.kubeconfig} does not answer")
    if not succeeds([*kubectl, "get", "crd", "httproutes.gateway.networking.k8s.io"]):
        raise ClusterError("the cluster lacks the Gateway API's CRDs")
    if not given.prometheus_url:
        raise ClusterError("set PROMETHEUS_URL to a Prometheus that scrapes the cluster's pods")
    if not answers(f"{given.prometheus_url}/-/ready"):
        raise ClusterError(f"no Prometheus answers at PROMETHEUS_URL={given.prometheus_url}")
