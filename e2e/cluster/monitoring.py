"""Prometheus in the cluster, which scrapes every pod that asks for it by annotation."""

import hashlib
import json
import re
from pathlib import Path
from string import Template

from . import oci, packages, settings, store
from .commands import run
from .control_plane import apply_once, kubectl

_IMAGE = "localhost/prometheus:debian"


def start() -> None:
    """Apply what is new and wait until Prometheus is ready."""
    _import_image()
    scrape = Template((settings.SOURCE / "config" / "prometheus.yaml").read_text())
    configuration = scrape.substitute(interval=settings.SCRAPE_INTERVAL)
    template = Template((settings.SOURCE / "manifests" / "monitoring.yaml").read_text())
    version = hashlib.sha256(configuration.encode()).hexdigest()[:12]
    manifest = template.substitute(image=_IMAGE, configuration=version)
    manifest += "---\n" + _config_map(configuration)
    apply_once("monitoring", manifest, lambda: manifest)


def wait() -> None:
    """Wait until the newest Prometheus is ready."""
    place = ["deployment/prometheus", "--namespace=rlhf-monitoring"]
    run([*kubectl(), "rollout", "status", *place, "--timeout=60s"])


def _config_map(configuration: str) -> str:
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "prometheus", "namespace": "rlhf-monitoring"},
            "data": {"prometheus.yaml": configuration},
        }
    )


def _import_image() -> None:
    if store.has(_IMAGE):
        return
    program = packages.prometheus()
    # Debian links it against the C library: the image is the program and what it links to.
    needed = re.findall(r"(/\S+) \(0x", run(["ldd", program]))
    files = {"bin/prometheus": program} | {name.lstrip("/"): Path(name) for name in needed}
    archive = settings.ARCHIVES / "prometheus.tar"
    oci.write(archive, oci.Content(files, {"Entrypoint": ["/bin/prometheus"]}), _IMAGE)
    store.load_archive(archive)
    archive.unlink()
