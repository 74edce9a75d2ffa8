"""Run a program to its end."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .progress import ClusterError


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    text: str | None = None,
) -> str:
    """Return what the command prints; a failure shows the last lines of what it said."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise ClusterError(f"`{' '.join(words)[:300]}` ended with {done.returncode}:\n{said}")
    return done.stdout


def succeeds(command: Sequence[str | Path]) -> bool:
    """Tell whether the command ends with exit status 0."""
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0
