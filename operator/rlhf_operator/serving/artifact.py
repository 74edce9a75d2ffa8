"""What an artefact's files are: their digest, and whether they hold nothing but data.

Nothing here loads a model: a file is hashed, and of weights only the header is read.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlhf_operator.api.reasons import Reason

DATA_SUFFIXES = (
    ".jinja",
    ".json",
    ".md",
    ".model",
    ".safetensors",
    ".tiktoken",
    ".txt",
    ".vocab",
)
"""What a checkpoint needs; every other form could be code, or be unpickled into code."""

_PLAIN_NAMES = {".gitattributes", "LICENSE", "NOTICE", "README", "USE_POLICY"}
_LARGEST_HEADER = 100_000_000
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "BF16": 16, "F16": 16, "F32": 32, "F64": 64, "C64": 64,
}  # fmt: skip


class Unacceptable(Exception):  # noqa: N818 - it names what is wrong, not that something is
    """The artefact may not be served; the message says which file, and why."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def digest(folder: Path) -> str:
    """Return the sha256 over the sorted lines `sha256 size path` of all files."""
    lines = sorted(_line(folder, path) for path in files(folder))
    if not lines:
        raise Unacceptable(Reason.ARTIFACT_NOT_FOUND, "the artefact holds no files")
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def check_weights(folder: Path) -> None:
    """Raise unless the folder is a checkpoint of safetensors and plain data alone."""
    found = list(files(folder))
    for path in found:
        name = path.relative_to(folder)
        if path.suffix not in DATA_SUFFIXES and path.name not in _PLAIN_NAMES:
            raise _mismatch(f"{name} may hold code; only safetensors and plain data are served")
        if path.suffix == ".safetensors":
            check_header(path, str(name))
    if not any(path.suffix == ".safetensors" for path in found):
        raise Unacceptable(Reason.ARTIFACT_NOT_FOUND, "the artefact holds no safetensors weights")
    if folder / "config.json" not in found:
        raise Unacceptable(Reason.ARTIFACT_NOT_FOUND, "the artefact holds no config.json")
    _check_shards(folder, {str(path.relative_to(folder)) for path in found})


def check_header(path: Path, name: str) -> None:
    """Raise unless a safetensors file is whole and its header describes it exactly."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > min(size - 8, _LARGEST_HEADER):
            raise _mismatch(f"{name} is truncated or no safetensors file")
        raw = file.read(length)
    try:
        header = json.loads(raw)
    except ValueError:
        raise _mismatch(f"{name} has a header that is not JSON") from None
    if not isinstance(header, dict):
        raise _mismatch(f"{name} has a header that is not a JSON object")
    header.pop("__metadata__", None)
    at = 0
    for begin, end in sorted(_extent(entry, name) for entry in header.values()):
        if begin != at:
            raise _mismatch(f"{name} has a gap or an overlap between its tensors")
        at = end
    if at != size - 8 - length:
        raise _mismatch(f"{name} holds {size - 8 - length} bytes of tensors, its header says {at}")


def files(folder: Path) -> Iterator[Path]:
    """Yield all files; anything that leads out of the folder or is no file is refused."""
    if not folder.is_dir():
        raise Unacceptable(Reason.ARTIFACT_NOT_FOUND, "the artefact's folder does not exist")
    root = folder.resolve()
    for parent, folders, names in os.walk(folder, onerror=_unreadable):
        for name in (*folders, *names):
            path = Path(parent, name)
            mode = path.stat().st_mode if path.exists() else 0
            is_outside = path.is_symlink() and not path.resolve().is_relative_to(root)
            if is_outside or (path.is_symlink() and stat.S_ISDIR(mode)):
                raise _mismatch(f"{path.relative_to(folder)} is a link out of the artefact")
            if stat.S_ISREG(mode):
                yield path
            elif not stat.S_ISDIR(mode):
                raise _mismatch(f"{path.relative_to(folder)} is not a file")


def _line(folder: Path, path: Path) -> str:
    name = path.relative_to(folder).as_posix()
    if "\n" in name or not name.isprintable():
        raise _mismatch(f"{name!r} has a name that cannot stand in one line")
    try:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _not_readable(name, error) from error
    return f"{content} {path.stat().st_size} {name}\n"


def _extent(entry: Any, name: str) -> tuple[int, int]:
    try:
        begin, end = entry["data_offsets"]
        bits = math.prod(entry["shape"]) * _BITS[entry["dtype"]]
        fits = all(type(each) is int and each >= 0 for each in (begin, end, *entry["shape"]))
    except (KeyError, TypeError, ValueError):
        raise _mismatch(f"{name} has a header that describes no tensors") from None
    if not fits or bits != 8 * (end - begin):
        raise _mismatch(f"{name} has a tensor whose size does not fit its shape")
    return begin, end


def _check_shards(folder: Path, present: set[str]) -> None:
    for index in folder.glob("*.safetensors.index.json"):
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError):
            raise _mismatch(f"{index.name} is no index of weights") from None
        if missing := sorted(str(shard) for shard in shards - present):
            raise Unacceptable(Reason.ARTIFACT_NOT_FOUND, f"{missing[0]} is missing")


def _unreadable(error: OSError) -> None:
    raise _not_readable("a folder of the artefact", error) from error


def _not_readable(name: str, error: OSError) -> Unacceptable:
    return Unacceptable(Reason.ARTIFACT_NOT_FOUND, f"{name} cannot be read: {error.strerror}")


def _mismatch(message: str) -> Unacceptable:
    return Unacceptable(Reason.ARTIFACT_MISMATCH, message)
