"""The edition of the checks: word lists and code lie in the guard's image, not in the spec."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

_HERE = Path(__file__).parent
_KINDS = {".py", ".toml"}


@lru_cache(maxsize=1)
def edition() -> str:
    """Return the SHA-256 of everything in this package that finds something, in hexadecimal."""
    return digest(_HERE)


def digest(folder: Path) -> str:
    """Return the SHA-256 of the names and contents of the sources below a folder."""
    whole = hashlib.sha256()
    for path in _sources(folder):
        content = path.read_bytes()
        whole.update(f"{path.relative_to(folder)}\0{len(content)}\0".encode() + content)
    return whole.hexdigest()


def _sources(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in _KINDS)
