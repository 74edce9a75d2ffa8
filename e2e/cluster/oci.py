"""OCI image archives, written byte for byte the same from the same files."""

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True)
class Content:
    """What an image holds: files by their path in it, and how a container starts."""

    files: Mapping[str, Path]
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Blob:
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
        _add(tar, _path(packed.digest), packed.size, layer)
        config = _add_json(tar, _CONFIG, _config(content, packed))
        body = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": config.descriptor,
            "layers": [packed.descriptor],
        }
        manifest = _add_json(tar, _MANIFEST, body)
        full_name = name + manifest.digest if name.endswith("@") else name
        named = manifest.descriptor | {"annotations": {"io.containerd.image.name": full_name}}
        _add_bytes(tar, "index.json", _json({"schemaVersion": 2, "manifests": [named]}))
        _add_bytes(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
    unfinished.rename(archive)
    return manifest.digest


def _pack(files: Mapping[str, Path], layer: BinaryIO) -> _Blob:
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
    return _Blob(_LAYER, f"sha256:{digest.hexdigest()}", size)


def _config(content: Content, layer: _Blob) -> dict[str, Any]:
    return {
        "architecture": "amd64",
        "os": "linux",
        "config": dict(content.config),
        "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
    }


def _add_json(tar: tarfile.TarFile, media_type: str, value: Mapping[str, Any]) -> _Blob:
    body = _json(value)
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    _add_bytes(tar, _path(digest), body)
    return _Blob(media_type, digest, len(body))


def _add_bytes(tar: tarfile.TarFile, name: str, body: bytes) -> None:
    _add(tar, name, len(body), io.BytesIO(body))


def _add(tar: tarfile.TarFile, name: str, size: int, content: BinaryIO) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = size
    tar.addfile(entry, content)


def _path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
