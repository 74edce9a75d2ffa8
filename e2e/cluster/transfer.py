"""Send a built image to the node: only the layers that it lacks, and without compressing them."""

import hashlib
import json
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass

from . import oci, store
from .base_system import buildah
from .commands import run
from .progress import ClusterError

_STORAGE = "/var/lib/containers/storage"
_STORAGE_COMMAND = (
    *("containers-storage", "--storage-driver", "overlay"),
    *("--graph", _STORAGE, "--run", "/run/containers/storage"),
)


@dataclass(frozen=True)
class _Layer:
    id: str
    digest: str
    size: int


def send(name: str) -> bool:
    """Import a built image into containerd; tell whether it was new there."""
    inspected = json.loads(run([*buildah(), "inspect", "--type=image", name]))
    config = inspected["Config"].encode()
    layers = _layers(name)
    blobs = [oci.Blob(oci.LAYER, layer.digest, layer.size) for layer in layers]
    manifest = oci.manifest(oci.Blob(oci.CONFIG, _digest(config), len(config)), blobs)
    if store.digest(name) == _digest(manifest):
        return False
    known = store.blobs()
    missing = [layer for layer in layers if layer.digest not in known]
    _stream(name, manifest, config, missing)
    return True


def _layers(name: str) -> list[_Layer]:
    """Return the layers of an image, the lowest first."""
    (image,) = json.loads(run([*_STORAGE_COMMAND, "image", "--json", name]))
    with open(f"{_STORAGE}/overlay-layers/layers.json") as index:
        known = {layer["id"]: layer for layer in json.load(index)}
    layers: list[_Layer] = []
    place = image["layer"]
    while place:
        found = known[place]
        layers.insert(0, _Layer(place, found["diff-digest"], found["diff-size"]))
        place = found.get("parent")
    return layers


def _stream(name: str, manifest: bytes, config: bytes, layers: Sequence[_Layer]) -> None:
    command = [*store.ctr(), "images", "import", "-"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as importer:
        assert importer.stdin
        assert importer.stdout
        try:
            with tarfile.open(fileobj=importer.stdin, mode="w|") as tar:
                for layer in layers:
                    _add_layer(tar, layer)
                for body in (config, manifest):
                    oci.add_bytes(tar, oci.blob_path(_digest(body)), body)
                named = oci.Blob(oci.MANIFEST, _digest(manifest), len(manifest))
                oci.add_index(tar, named, name)
            importer.stdin.close()
        except BrokenPipeError:
            # It has refused the image, and says why below.
            pass
        said = importer.stdout.read().decode(errors="replace")
    if importer.returncode != 0:
        raise ClusterError(f"containerd refused {name}:\n{said}")


def _add_layer(tar: tarfile.TarFile, layer: _Layer) -> None:
    command = [*_STORAGE_COMMAND, "diff", "--uncompressed", layer.id]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as reader:
        assert reader.stdout
        oci.add_stream(tar, oci.blob_path(layer.digest), layer.size, reader.stdout)


def _digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"
