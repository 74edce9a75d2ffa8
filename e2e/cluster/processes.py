"""Long-running processes: each has a pid file and a log in the state folder."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from . import settings
from .progress import ClusterError, say


@dataclass(frozen=True)
class Process:
    """A program that runs beside the cluster until `down`."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        return settings.LOGS / f"{self.name}.log"

    @property
    def record(self) -> Path:
        return settings.PIDS / f"{self.name}.json"

    def start(self) -> bool:
        """Start it unless exactly this command runs already; tell whether it was started."""
        if running(self.record) and recorded(self.record)[1] == self.command:
            return False
        stop(self.record)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.record.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )
        # The kernel shows the new command line only a moment after it runs the program.
        while _words(child.pid) != self.command and child.poll() is None:
            time.sleep(0.01)
        self.record.write_text(json.dumps({"pid": child.pid, "command": self.command}))
        say(f"started {self.name} (process {child.pid})")
        return True

    def wait(self, ready: Callable[[], bool], seconds: float = 60) -> None:
        """Poll until it is ready; when it dies or is late, show the end of its log."""
        deadline = time.monotonic() + seconds
        while not ready():
            if not running(self.record):
                raise ClusterError(f"{self.name} ended while starting{self._last_lines()}")
            if time.monotonic() > deadline:
                raise ClusterError(f"{self.name} not ready in {seconds:.0f} s{self._last_lines()}")
            time.sleep(0.2)

    def _last_lines(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-12:]
        return "\n".join([f"; the end of {self.log}:", *lines])


def running(record: Path) -> bool:
    """Tell whether the recorded process lives, and is not a stranger with a reused pid."""
    if not record.exists():
        return False
    pid, command = recorded(record)
    return _words(pid) == command


def stop(record: Path, patience: float = 15) -> None:
    """End the recorded process and its children: politely, then by force."""
    if running(record):
        pid, _ = recorded(record)
        os.killpg(pid, signal.SIGTERM)
        deadline = time.monotonic() + patience
        while running(record) and time.monotonic() < deadline:
            time.sleep(0.05)
        if running(record):
            os.killpg(pid, signal.SIGKILL)
    record.unlink(missing_ok=True)


def end_orphans(program: Path, *arguments: str) -> None:
    """End children that outlived their parent: those of exactly this program of ours."""
    for process in Path("/proc").glob("[0-9]*"):
        words = _words(int(process.name))
        if words[0] == str(program) and set(arguments) <= set(words):
            with suppress(ProcessLookupError):
                os.kill(int(process.name), signal.SIGKILL)


def recorded(record: Path) -> tuple[int, tuple[str, ...]]:
    """Return the pid and the command that a pid file names."""
    found = json.loads(record.read_text())
    return int(found["pid"]), tuple(found["command"])


def _words(pid: int) -> tuple[str, ...]:
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ("",)
    return tuple(os.fsdecode(word) for word in line.rstrip(b"\0").split(b"\0"))
