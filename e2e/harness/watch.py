"""Sees every change of an object at the moment when the API server tells it."""

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from e2e.harness.kubectl import Kubectl, Object


@dataclass(frozen=True)
class Change:
    """One state of an object, and when it was seen (Unix time)."""

    at: float
    kind: str
    object: Object


class Watch:
    """Follows all objects of a kind in a namespace until it is closed."""

    def __init__(self, kubectl: Kubectl, kind: str) -> None:
        self._changes: list[Change] = []
        self._lock = threading.Lock()
        self._command = kubectl.command("get", kind, "--watch", "--output-watch-events", "-ojson")
        self._process: subprocess.Popen[str] | None = None
        self._is_closed = False
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closed = True
        if self._process is not None:
            self._process.terminate()
        self._thread.join(timeout=5)

    def changes(self, since: int = 0) -> list[Change]:
        """Return what was seen, from the given place in the list on."""
        with self._lock:
            return self._changes[since:]

    def newest(self, name: str) -> Object | None:
        """Return the last state of an object, or nothing where it is gone or was never seen."""
        for change in reversed(self.changes()):
            if change.object["metadata"]["name"] == name:
                return None if change.kind == "DELETED" else change.object
        return None

    def _follow(self) -> None:
        while not self._is_closed:
            with subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            ) as self._process:
                assert self._process.stdout
                for event in _events(self._process.stdout):
                    change = Change(time.time(), event["type"], event["object"])
                    with self._lock:
                        self._changes.append(change)
            # The server ends a watch now and then; the next one starts with what there is.
            time.sleep(0 if self._is_closed else 0.5)


def _events(stream: IO[str]) -> Iterator[Object]:
    """Yield the JSON objects of a stream that has nothing but white space between them."""
    decoder = json.JSONDecoder()
    lines: list[str] = []
    for line in stream:
        lines.append(line)
        # kubectl ends each object with a closing brace in the first column.
        if line.startswith("}") or (line.startswith("{") and line.rstrip().endswith("}")):
            yield decoder.decode("".join(lines))
            lines.clear()
