"""End everything that `up` started, and leave nothing of it behind but caches."""

import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from . import binaries, gateway, packages, processes, settings
from .commands import run, succeeds
from .progress import ClusterError, step
from .store import ctr

_CGROUPS = Path("/sys/fs/cgroup")
_LAST = ("kube-apiserver", "etcd")
_ADDRESS_CACHE = Path("/var/lib/cni/results")


def down() -> None:
    """Stop pods and processes, undo changes to the machine, delete the state folder."""
    if not settings.STATE.exists():
        return
    with step("stopping the cluster"):
        # First the kubelet, which would start the pods again.
        processes.stop(settings.PIDS / "kubelet.json")
        if processes.running(settings.PIDS / "containerd.json"):
            _remove_containers()
        for record in sorted(settings.PIDS.glob("*.json"), key=_order):
            processes.stop(record)
        shim = binaries.path("containerd-shim-runc-v2")
        processes.end_orphans(shim, str(settings.CONTAINERD_SOCKET))
        processes.end_orphans(packages.ENVOY)
        _unmount()
        _remove_network()
        _remove_cgroups()
        if gateway.FIXED_CERTIFICATES.is_symlink():
            gateway.FIXED_CERTIFICATES.unlink()
        shutil.rmtree(settings.STATE)


def _order(record: Path) -> int:
    # Everything else says goodbye to the API server, which needs etcd.
    return _LAST.index(record.stem) + 1 if record.stem in _LAST else 0


def _remove_containers() -> None:
    for container in run([*ctr(), "containers", "list", "--quiet"]).split():
        succeeds([*ctr(), "tasks", "delete", "--force", container])
        succeeds([*ctr(), "containers", "delete", container])


def _unmount() -> None:
    for place in reversed(_mounted()):
        succeeds(["umount", "--lazy", place])
    if left := _mounted():
        # Deleting the state folder would delete what is mounted in it.
        raise ClusterError(f"can not unmount {left[0]}; unmount it by hand and try again")


def _mounted() -> list[str]:
    places = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return [place for place in places if place.startswith(f"{settings.STATE}/")]


def _remove_network() -> None:
    succeeds([binaries.path("kube-proxy"), "--cleanup"])
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=False).stdout
    ours = set(re.findall(r'name: \\"rlhf-e2e\\".* -j (CNI-\w+)', rules))
    if ours:
        kept = [line for line in rules.splitlines() if not any(chain in line for chain in ours)]
        run(["iptables-restore"], text="\n".join([*kept, ""]))
    for bridge in (settings.POD_BRIDGE, settings.NODE_BRIDGE):
        succeeds(["ip", "link", "delete", bridge])
    for cached in _ADDRESS_CACHE.glob("rlhf-e2e-*"):
        cached.unlink()


def _remove_cgroups() -> None:
    for parent in [*_CGROUPS.glob("kubepods"), *_CGROUPS.glob("*/kubepods")]:
        for folder in [*sorted(parent.rglob("*/"), reverse=True), parent]:
            with suppress(OSError):
                folder.rmdir()
