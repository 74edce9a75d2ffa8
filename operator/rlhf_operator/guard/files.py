"""Files that kubelet changes while the guard runs."""

from __future__ import annotations

import os
from pathlib import Path

Mark = tuple[int, ...]


def mark(path: Path) -> Mark:
    """Return what is another one when a file was written or exchanged; OSError without a file."""
    found = os.stat(path)
    return (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)
