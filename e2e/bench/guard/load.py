"""Asks a target many times, with a Go program that costs little beside what it asks."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.bench import programs
from e2e.bench.guard.figures import Sample
from e2e.bench.measure import processor_seconds
from e2e.cluster import binaries, settings
from e2e.cluster.commands import run

_SOURCE = Path(__file__).parent / "go"


class LoadError(Exception):
    """The target did not answer as it should; the message says how."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What is asked: a chat's address, and the process whose time is counted."""

    name: str
    url: str
    pid: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """How a target is asked; a rate makes an open loop, a number of requests ends it too."""

    connections: int
    seconds: float = 2.0
    warmup: float = 0.5
    stream: bool = False
    rate: float = 0.0
    requests: int = 0


def program() -> Path:
    """Return the program; it is built where this source was not built yet."""
    sources = sorted(_SOURCE.iterdir())
    content = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    built = settings.BINARIES / f"guard-bench-{content[:12]}" / "guard-bench"
    if not built.exists():
        built.parent.mkdir(parents=True, exist_ok=True)
        unfinished = built.with_name(".guard-bench")
        environment = {"PATH": binaries.path_with_go(), **binaries.STATIC}
        run(["go", "build", "-o", unfinished, "."], cwd=_SOURCE, environment=environment)
        unfinished.rename(built)
    return built


def write(name: str, bodies: Sequence[str]) -> Path:
    """Write the bodies that are sent, a line each."""
    path = programs.FOLDER / f"{name}.jsonl"
    path.write_text("\n".join(bodies) + "\n")
    return path


def ask(
    target: Target,
    load: Load,
    bodies: Path,
    *,
    progress: Callable[[int], None] = lambda _done: None,
    may_refuse: bool = False,
) -> Sample:
    """Return what asking found; `progress` is told once a second how much was asked."""
    used = processor_seconds(target.pid)
    command = [
        str(program()), "ask", f"-url={target.url}", f"-bodies={bodies}",
        f"-connections={load.connections}", f"-for={load.seconds}s", f"-warmup={load.warmup}s",
        f"-rate={load.rate}", f"-requests={load.requests}", f"-stream={str(load.stream).lower()}",
    ]  # fmt: skip
    found: dict[str, Any] = {}
    with _lines(command) as lines:
        for line in lines:
            found = json.loads(line)
            if "whole_us" not in found:
                progress(found["done"])
    if "whole_us" not in found:
        raise LoadError(f"asking {target.name} failed; the terminal shows why")
    if found["refused"] and not may_refuse:
        raise LoadError(f"{target.name}: {found['refused']} answers are not the model's")
    if found["errors"] == found["done"]:
        raise LoadError(f"{target.name}: nothing but errors, such as {found['an_error']}")
    return Sample(
        whole=tuple(found["whole_us"]),
        first=tuple(found["first_us"]),
        in_time=found["in_time"],
        seconds=found["seconds"],
        done=found["done"],
        errors=found["errors"],
        processor_seconds=processor_seconds(target.pid) - used,
    )


@contextmanager
def _lines(command: Sequence[str]) -> Iterator[Iterator[str]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield iter(process.stdout)
        except BaseException:
            process.kill()
            raise
