"""Envoy Gateway and Envoy as processes of the machine, and the Gateway that tests use."""

import socket
from pathlib import Path
from string import Template

from . import binaries, packages, processes, settings
from .commands import run
from .control_plane import apply_once, kubectl
from .processes import Process

_HOME = settings.STATE / "envoy-gateway"
_CERTIFICATES = _HOME / "config" / "certs" / "envoy-gateway"
# Envoy Gateway looks for its certificates here whenever its resources come from Kubernetes.
FIXED_CERTIFICATES = Path("/certs")
_CRD_PINS = ("envoy-gateway", "istio")
_ISTIO_KINDS = ("virtualservices", "destinationrules")


def start() -> None:
    """Start Envoy Gateway and wait until its Gateway accepts connections."""
    pins = "".join((settings.SOURCE / "go" / name / "go.mod").read_text() for name in _CRD_PINS)
    apply_once("crds", pins, _crds)
    run([*kubectl(), "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"])
    template = Template((settings.SOURCE / "manifests" / "gateway.yaml").read_text())
    manifest = template.substitute(address=settings.NODE_ADDRESS)
    apply_once("gateway", manifest, lambda: manifest)
    _prepare()
    controller = _controller()
    if not processes.running(controller.record):
        # An Envoy that outlived its controller holds the port.
        processes.end_orphans(packages.ENVOY)
    controller.start()
    controller.wait(_listening)


def programmed() -> bool:
    """Tell whether the Gateway says that it is ready for routes."""
    template = "--output=jsonpath={.status.conditions[?(@.type=='Programmed')].status}"
    place = ["gateway", settings.GATEWAY_NAME, "--namespace", settings.GATEWAY_NAMESPACE]
    return run([*kubectl(), "get", *place, template]) == "True"


def _crds() -> str:
    gateway_api = binaries.source("envoy-gateway", "sigs.k8s.io/gateway-api")
    envoy = binaries.source("envoy-gateway", "github.com/envoyproxy/gateway")
    istio = binaries.source("istio", "istio.io/api")
    files = [
        *sorted((gateway_api / "config/crd/standard").glob("*.yaml")),
        *sorted((envoy / "charts/gateway-helm/charts/crds/crds/generated").glob("*.yaml")),
    ]
    bundle = (istio / "kubernetes" / "customresourcedefinitions.gen.yaml").read_text()
    wanted = [
        document
        for document in bundle.split("\n---\n")
        if any(f"\n  name: {kind}.networking.istio.io\n" in document for kind in _ISTIO_KINDS)
    ]
    return "\n---\n".join([*(file.read_text() for file in files), *wanted])


def _prepare() -> None:
    _HOME.mkdir(parents=True, exist_ok=True)
    template = Template((settings.SOURCE / "config" / "envoy-gateway.yaml").read_text())
    values = {"envoy": packages.ENVOY_HOME, "version": packages.ENVOY_VERSION}
    config, wanted = _HOME / "config.yaml", template.substitute(values, state=settings.STATE)
    # A controller that runs reads it anew whenever it is written, and serves nobody meanwhile.
    if not config.exists() or config.read_text() != wanted:
        config.write_text(wanted)
    if not _CERTIFICATES.exists():
        program = binaries.path("envoy-gateway")
        run([program, "certgen", "--local", "--config-home", _HOME / "config"])
    if FIXED_CERTIFICATES.is_symlink():
        FIXED_CERTIFICATES.unlink()
    FIXED_CERTIFICATES.symlink_to(_CERTIFICATES)


def _controller() -> Process:
    program = str(binaries.path("envoy-gateway"))
    return Process(
        "envoy-gateway",
        (program, "server", "--config-path", str(_HOME / "config.yaml")),
        {"KUBECONFIG": str(settings.KUBECONFIG)},
    )


def _listening() -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", 8888)) == 0 and programmed()
