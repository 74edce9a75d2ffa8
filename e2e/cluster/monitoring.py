"""Prometheus in the cluster, which scrapes every pod that asks for it by annotation."""

import hashlib
import json
from string import Template

from . import binaries, oci, settings, store
from .commands import run, succeeds
from .control_plane import apply_once, forget, kubectl


def start() -> None:
    """Apply what is new and wait until Prometheus is ready."""
    scrape = Template((settings.SOURCE / "config" / "prometheus.yaml").read_text())
    configuration = scrape.substitute(interval=settings.SCRAPE_INTERVAL)
    template = Template((settings.SOURCE / "manifests" / "monitoring.yaml").read_text())
    version = hashlib.sha256(configuration.encode()).hexdigest()[:12]
    manifest = template.substitute(image=_import_image(), configuration=version)
    manifest += "---\n" + _config_map(configuration)
    # Somebody may have taken the namespace away.
    if not succeeds([*kubectl(), "get", "deployment/prometheus", "--namespace=rlhf-monitoring"]):
        forget("monitoring")
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


def _import_image() -> str:
    program = binaries.path("prometheus")
    name = f"localhost/prometheus:{program.parent.name.removeprefix('prometheus-')}"
    if not store.has(name):
        archive = settings.ARCHIVES / "prometheus.tar"
        content = oci.Content({"bin/prometheus": program}, {"Entrypoint": ["/bin/prometheus"]})
        oci.write(archive, content, name)
        store.load_archive(archive)
        archive.unlink()
    return name
