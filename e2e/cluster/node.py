"""The machine as a Kubernetes node: network, containerd, kubelet, kube-proxy and DNS."""

import json
import os
import time
from pathlib import Path
from string import Template

from . import binaries, certificates, oci, settings, store
from .commands import run, succeeds
from .control_plane import apply_once, kubectl
from .probes import answers
from .processes import Process
from .progress import ClusterError

_PAUSE = "localhost/pause:1"


def start() -> None:
    """Start what does not run yet, and wait until the node is Ready."""
    _write_configuration()
    containerd = _containerd()
    containerd.start()
    containerd.wait(lambda: succeeds([*store.ctr(), "version"]))
    _import_pause()
    permissions = (settings.SOURCE / "manifests" / "dns.yaml").read_text()
    apply_once("dns", permissions, lambda: permissions)
    kubelet, dns = _kubelet(), _dns()
    for process in (kubelet, _proxy(), dns):
        process.start()
    kubelet.wait(_node_ready, seconds=90)
    dns.wait(lambda: answers(f"http://{settings.NODE_ADDRESS}:8181/ready"))


def prepare_network() -> None:
    """Give the machine the address that the API server and the DNS answer at."""
    if not succeeds(["ip", "link", "show", settings.NODE_BRIDGE]):
        run(["ip", "link", "add", settings.NODE_BRIDGE, "type", "bridge"])
    run(["ip", "address", "replace", f"{settings.NODE_ADDRESS}/32", "dev", settings.NODE_BRIDGE])
    run(["ip", "link", "set", settings.NODE_BRIDGE, "up"])
    # While kube-proxy changes its rules a Service's address leads nowhere for a moment; such a
    # packet must end here and not at whoever answers it outside.
    run(["ip", "route", "replace", settings.SERVICE_RANGE, "dev", settings.NODE_BRIDGE])
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    filtered = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if not filtered.exists():
        succeeds(["modprobe", "br_netfilter"])
    if filtered.exists():
        filtered.write_text("1")


def _write_configuration() -> None:
    values = {
        "address": settings.NODE_ADDRESS,
        "authority": certificates.AUTHORITY,
        "bridge": settings.POD_BRIDGE,
        "images": settings.IMAGES,
        "node": settings.NODE,
        "pods": settings.POD_RANGE,
        "socket": settings.CONTAINERD_SOCKET,
        "state": settings.STATE,
    }
    clients = {"kube-proxy.yaml": certificates.PROXY, "Corefile": certificates.DNS}
    for name in ("containerd.toml", "cni.conflist", "kubelet.yaml", "kube-proxy.yaml", "Corefile"):
        template = Template((settings.SOURCE / "config" / name).read_text())
        client = clients.get(name, certificates.KUBELET)
        target = _configuration(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = template.substitute(values, kubeconfig=client.kubeconfig)
        # kube-proxy ends whenever its file is written.
        if not target.exists() or target.read_text() != text:
            target.write_text(text)


def _configuration(name: str) -> Path:
    folder = "cni" if name.startswith("cni") else "config"
    return settings.STATE / folder / name


def _import_pause() -> None:
    if store.has(_PAUSE):
        return
    content = oci.Content({"pause": binaries.path("pause")}, {"Entrypoint": ["/pause"]})
    archive = settings.ARCHIVES / "pause.tar"
    oci.write(archive, content, _PAUSE)
    store.load_archive(archive)


def _containerd() -> Process:
    programs = {str(binaries.path(name).parent) for name in ("containerd-shim-runc-v2", "runc")}
    return Process(
        "containerd",
        (str(binaries.path("containerd")), "--config", str(_configuration("containerd.toml"))),
        {"PATH": ":".join([*sorted(programs), os.environ["PATH"], "/usr/sbin:/sbin"])},
    )


def _kubelet() -> Process:
    # fmt: off
    return Process("kubelet", (
        str(binaries.path("kubelet")),
        f"--config={_configuration('kubelet.yaml')}",
        f"--kubeconfig={certificates.KUBELET.kubeconfig}",
        f"--hostname-override={settings.NODE}",
        f"--node-ip={settings.NODE_ADDRESS}",
        f"--root-dir={settings.STATE / 'kubelet'}",
    ))
    # fmt: on


def _proxy() -> Process:
    configuration = f"--config={_configuration('kube-proxy.yaml')}"
    return Process("kube-proxy", (str(binaries.path("kube-proxy")), configuration))


def _dns() -> Process:
    corefile = str(_configuration("Corefile"))
    return Process("coredns", (str(binaries.path("coredns")), "-conf", corefile))


def _node_ready() -> bool:
    template = "--output=jsonpath={.status.conditions[?(@.type=='Ready')].status}"
    return succeeds([*kubectl(), "get", "node", settings.NODE]) and "True" in run(
        [*kubectl(), "get", "node", settings.NODE, template]
    )


def show_gpus() -> None:
    """Give the node the GPUs that tests schedule on; only the scheduler counts them."""
    wanted = str(settings.GPUS)
    patch = json.dumps({"status": {"capacity": {"nvidia.com/gpu": wanted}}})
    deadline = time.monotonic() + 30
    # A kubelet that has just started sets unknown resources to 0 once: patch until it stays.
    while _allocatable_gpus() != wanted:
        if time.monotonic() > deadline:
            raise ClusterError(f"node {settings.NODE} does not keep {wanted} nvidia.com/gpu")
        run([*kubectl(), "patch", "node", settings.NODE, "--subresource=status", "-p", patch])
        time.sleep(0.5)


def _allocatable_gpus() -> str:
    path = r"--output=jsonpath={.status.allocatable.nvidia\.com/gpu}"
    return run([*kubectl(), "get", "node", settings.NODE, path])
