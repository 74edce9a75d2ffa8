"""The fixed states: stored objects in `states/`, read as the plugin reads a cluster."""

from __future__ import annotations

from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import yaml
from rich.console import RenderableType

from rlhf_operator.cli import state, terminal

STATES = Path(__file__).parent / "states"
NOW = {
    "rolled-back": datetime(2026, 11, 24, 21, 55, tzinfo=UTC),
    "midway": datetime(2026, 11, 24, 21, 51, 36, tzinfo=UTC),
    "people": datetime(2026, 11, 24, 22, 30, tzinfo=UTC),
    "halfway": datetime(2026, 11, 25, 1, 12, 16, 700000, tzinfo=UTC),
    "worse": datetime(2026, 11, 25, 1, 4, 13, 200000, tzinfo=UTC),
    "left": datetime(2026, 11, 25, 1, 55, tzinfo=UTC),
    "lost-test": datetime(2026, 11, 25, 1, 11, 58, tzinfo=UTC),
}
"""At what time each state is looked at."""


def objects(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((STATES / f"{name}.yaml").read_text()))


def fixed(name: str) -> state.State:
    found = state.read(objects(name), NOW[name])
    assert found.unreadable == ()
    return found


def text(made: RenderableType, width: int = 110) -> str:
    """What would be printed into a file; a table's padding to the right is no part of it."""
    written = StringIO()
    terminal.console(written, width).print(made)
    return "".join(f"{line.rstrip()}\n" for line in written.getvalue().splitlines())
