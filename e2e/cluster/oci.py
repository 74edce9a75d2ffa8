"""OCI image archives, written byte for byte the same from the same files."""

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True)
class Content:
    """What an image holds: files by their path in it, and how a container starts."""

    files: Mapping[str, Path]
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Blob:
    """A part of an image, named by the digest of its bytes."""

    media_type: str
    digest: str
    size: int

    @property
    def descriptor(self) -> dict[str, str | int]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


def write(archive: Path, content: Content, name: str) -> str:
    """Write an image of one layer and return its manifest digest.

    A name that ends in `@` is completed by the digest: containerd then knows it by digest.
    """
    archive.parent.mkdir(parents=True, exist_ok=True)
    unfinished = archive.with_name(f".{archive.name}")
    with (
        tempfile.TemporaryFile(dir=archive.parent) as layer,
        tarfile.open(unfinished, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        packed = _pack(content.files, layer)
        add_stream(tar, blob_path(packed.digest), packed.size, layer)
        config = _add_blob(tar, CONFIG, _config(content, packed))
        described = _add_blob(tar, MANIFEST, manifest(config, [packed]))
        add_index(tar, described, name + described.digest if name.endswith("@") else name)
    unfinished.rename(archive)
    return described.digest


def manifest(config: Blob, layers: Sequence[Blob]) -> bytes:
    """Return the manifest that ties an image's parts together."""
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor,
            "layers": [layer.descriptor for layer in layers],
        }
    )


def add_index(tar: tarfile.TarFile, described: Blob, name: str) -> None:
    """Finish an archive: say which manifest it holds, and under which name to import it."""
    named = described.descriptor | {"annotations": {"io.containerd.image.name": name}}
    add_bytes(tar, "index.json", _json({"schemaVersion": 2, "manifests": [named]}))
    add_bytes(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))


def add_bytes(tar: tarfile.TarFile, name: str, body: bytes) -> None:
    """Add a small file to an archive."""
    add_stream(tar, name, len(body), io.BytesIO(body))


def add_stream(tar: tarfile.TarFile, name: str, size: int, content: IO[bytes]) -> None:
    """Add a file of known size to an archive."""
    entry = tarfile.TarInfo(name)
    entry.size = size
    tar.addfile(entry, content)


def blob_path(digest: str) -> str:
    """Return where an archive holds a blob."""
    return f"blobs/{digest.replace(':', '/')}"


def _pack(files: Mapping[str, Path], layer: IO[bytes]) -> Blob:
    with tarfile.open(fileobj=layer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for folder in sorted({p for name in files for p in Path(name).parents} - {Path()}):
            entry = tarfile.TarInfo(str(folder))
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name, path in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = path.stat().st_size
            entry.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
            with path.open("rb") as content:
                tar.addfile(entry, content)
    size = layer.tell()
    layer.seek(0)
    digest = hashlib.sha256()
    while chunk := layer.read(1 << 20):
        digest.update(chunk)
    layer.seek(0)
    return Blob(LAYER, f"sha256:{digest.hexdigest()}", size)


def _config(content: Content, layer: Blob) -> bytes:
    return _json(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": dict(content.config),
            "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
        }
    )


def _add_blob(tar: tarfile.TarFile, media_type: str, body: bytes) -> Blob:
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    add_bytes(tar, blob_path(digest), body)
    return Blob(media_type, digest, len(body))


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
