"""The node's image store: what containerd has, and how images get into it."""

import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from . import binaries, settings
from .commands import run
from .progress import ClusterError


def ctr() -> tuple[str, ...]:
    """Return the beginning of a containerd command on the images and containers of pods."""
    return (
        str(binaries.path("ctr")),
        f"--address={settings.CONTAINERD_SOCKET}",
        "--namespace=k8s.io",
    )


def has(reference: str) -> bool:
    """Tell whether there is an image of exactly this name."""
    return reference in run([*ctr(), "images", "list", "--quiet"]).split()


def digest(reference: str) -> str | None:
    """Return the manifest digest that a name stands for."""
    for line in run([*ctr(), "images", "list", f"name=={reference}"]).splitlines()[1:]:
        return line.split()[2]
    return None


def load_archive(archive: Path) -> None:
    """Import an image archive."""
    run([*ctr(), "images", "import", archive])


def load_layout(layout: Path, reference: str) -> bool:
    """Import an image from an OCI layout folder, sending only layers that are not there yet."""
    index = json.loads((layout / "index.json").read_text())
    (found,) = (
        manifest
        for manifest in index["manifests"]
        if manifest["annotations"]["org.opencontainers.image.ref.name"] == reference
    )
    if digest(reference) == found["digest"]:
        return False
    named = {**found, "annotations": {"io.containerd.image.name": reference}}
    manifest = json.loads(_blob(layout, found).read_text())
    known = set(run([*ctr(), "content", "list", "--quiet"]).split())
    blobs = [
        _blob(layout, blob)
        for blob in (found, manifest["config"], *manifest["layers"])
        if blob["digest"] not in known
    ]
    _stream(layout, blobs, {"schemaVersion": 2, "manifests": [named]})
    return True


def _blob(layout: Path, descriptor: dict[str, Any]) -> Path:
    return layout / "blobs" / Path(*descriptor["digest"].split(":"))


def _stream(layout: Path, blobs: list[Path], index: dict[str, Any]) -> None:
    command = [*ctr(), "images", "import", "-"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as importer:
        assert importer.stdin
        assert importer.stdout
        try:
            with tarfile.open(fileobj=importer.stdin, mode="w|") as tar:
                tar.add(layout / "oci-layout", "oci-layout")
                for blob in blobs:
                    tar.add(blob, str(blob.relative_to(layout)))
                body = json.dumps(index).encode()
                entry = tarfile.TarInfo("index.json")
                entry.size = len(body)
                tar.addfile(entry, io.BytesIO(body))
            importer.stdin.close()
        except BrokenPipeError:
            pass
        said = importer.stdout.read().decode(errors="replace")
    if importer.returncode != 0:
        raise ClusterError(f"containerd refused an image:\n{said}")
