"""The two programs that the bench starts and ends: KWOK and the operator."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from e2e.bench.models import FAKE
from e2e.bench.prometheus import NAMESPACE
from e2e.cluster import binaries, endpoints, settings

FOLDER = settings.REPOSITORY / ".state" / "bench"
_STAGES = (
    "node/fast/node-initialize.yaml",
    "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
    "pod/fast/pod-delete.yaml",
)


@contextmanager
def kwok() -> Iterator[int]:
    """Play the kubelet for fake nodes, and for those only; build KWOK when it is not there."""
    binaries.build_missing(binaries.BENCH)
    folder = binaries.source("kwok", "sigs.k8s.io/kwok") / "kustomize" / "stage"
    stages = [(folder / stage).read_text() for stage in _STAGES]
    stages.append((Path(__file__).parent / "pod-ready.yaml").read_text())
    config = FOLDER / "stages.yaml"
    config.write_text("\n---\n".join(stages))
    # fmt: off
    command = [
        str(binaries.path("kwok")), f"--kubeconfig={endpoints().kubeconfig}", f"--config={config}",
        f"--manage-nodes-with-label-selector={FAKE}=true", "--node-lease-duration-seconds=40",
        "--server-address=127.0.0.1:0",
    ]
    # fmt: on
    with running(command, "kwok", {}) as pid:
        yield pid


@contextmanager
def operator(prometheus_url: str, metrics_port: int) -> Iterator[int]:
    """Run the operator on this machine, for the bench's namespace only."""
    config: dict[str, Any] = {
        "namespace": NAMESPACE,
        "watchNamespaces": [NAMESPACE],
        "metricSources": [{"name": "default", "url": prometheus_url}],
        "images": {name: f"bench.invalid/{name}" for name in ("triton", "guard", "artifacts")},
        "routers": {"gatewayAPI": False, "istio": True},
        "maxConcurrentRollouts": 100_000,
        "drain": "5s",
        "scrapeInterval": "1s",
        "leaderElection": {"leaseName": "rlhf-bench"},
        "logging": {"format": "text"},
        "healthPort": free_port(),
        "metricsPort": metrics_port,
    }
    path = FOLDER / "operator.yaml"
    path.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "e2e.bench.operator", f"--config={path}"]
    environment = {"KUBECONFIG": str(endpoints().kubeconfig)}
    with running(command, "operator", environment) as pid:
        yield pid


def is_running(pid: int) -> bool:
    """Tell whether a process that was started here has not ended."""
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state != "Z"


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def running(command: list[str], name: str, environment: dict[str, str]) -> Iterator[int]:
    """Run a program, with its log in the bench's folder; end it in the end."""
    with (FOLDER / f"{name}.log").open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=settings.REPOSITORY,
            env={**os.environ, **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
