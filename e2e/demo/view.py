"""What the person at the terminal sees: one line for each change, and how users fare."""

import os
import sys
import time

from e2e.harness.traffic import Answers
from e2e.harness.watch import Change

_COLOURS = {"good": "32", "bad": "31", "plain": "36"}
_WINDOW = 4.0


class View:
    """Prints lines with the seconds since the start."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._has_colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._shown: dict[str, str] = {}

    def title(self, text: str) -> None:
        """Begin a part of the story."""
        self._line(self._coloured(text, "plain"))

    def success(self, text: str) -> None:
        """Tell that a part of the story came out well."""
        self._line(self._coloured(text, "good"))

    def change(self, change: Change) -> None:
        """Show a model's or a run's new state, unless it looks like the one before."""
        found = change.object
        show = {"RLHFModel": _model_line, "RLHFRollout": _run_line}.get(found["kind"])
        if show is None or change.kind == "DELETED":
            return
        name = f"{found['kind']}/{found['metadata']['name']}"
        line = show(found)
        if line and self._shown.get(name) != line:
            self._shown[name] = line
            bad = "RolledBack" in line or "Failed" in line
            self._line("  " + (self._coloured(line, "bad") if bad else line))

    def traffic(self, answers: Answers, now: float) -> None:
        """Show what users got in the last seconds."""
        recent = answers.since(now - _WINDOW)
        shares = "  ".join(f"{name} {share:.0%}" for name, share in recent.shares().items())
        self._line(
            f"  users: {len(recent.all) / _WINDOW:4.1f} answers/s  p50 {recent.latency(0.5):.2f} s"
            f"  p95 {recent.latency(0.95):.2f} s  unsafe {len(answers.unsafe)}"
            f"  failed {len(answers.failed)}  from {shares or 'nobody'}"
        )

    def _line(self, text: str) -> None:
        print(f"{time.monotonic() - self._started:6.1f}  {text}", flush=True)

    def _coloured(self, text: str, colour: str) -> str:
        return f"\033[{_COLOURS[colour]}m{text}\033[0m" if self._has_colour else text


def _model_line(found: dict[str, object]) -> str:
    status = found.get("status")
    if not isinstance(status, dict) or not status.get("stable"):
        return ""
    canary = status.get("canary")
    beside = f", {canary['name']} gets {status.get('weight', 0)} %" if canary else ""
    return f"model: {status['stable']['name']} is stable{beside}"


def _run_line(found: dict[str, object]) -> str:
    status, spec = found.get("status"), found.get("spec")
    if not isinstance(status, dict) or not isinstance(spec, dict):
        return ""
    if status.get("reason") in (None, "WeightNotInForce"):  # over before it can be read
        return ""
    outcome = f" → {status['outcome']}" if status.get("outcome") else ""
    weight = f"{status.get('weight', 0)} %"
    words = f"{status['reason']}: {status.get('message', '')}"
    return f"run {spec['revision']} to {spec['to']['name']} at {weight}{outcome}  {words}"
