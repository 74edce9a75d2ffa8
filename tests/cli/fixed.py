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


def three_at_once() -> state.State:
    """The midway state, had it been a test of three versions of which one is dropped already."""
    raws = objects("midway")
    stored = {(raw["kind"], raw["metadata"]["name"]): raw for raw in raws}
    record = stored["RLHFRollout", "support-2"]
    second, third = (
        {"name": f"support-v{number}", "identity": f"sha256:{str(number) * 64}"}
        for number in (3, 4)
    )
    primary = {"name": "thumbs", "indicator": {"type": "ThumbsDownRate"}}
    others = [{"version": each["name"], "weight": 25} for each in (second, third)]
    record["spec"] |= {"others": [second, third], "plan": record["spec"]["plan"] | {
        "strategy": "ABTest", "steps": [{"weight": 25, "hold": "10s"}],
        "abTest": {"weight": 25, "others": others, "primary": primary},
    }}  # fmt: skip
    status = record["status"]
    slos = [each | {"version": "support-v3"} for each in status["slos"]]
    status |= {"weight": 25, "step": 0, "arms": [
        {"version": second["name"], "identity": second["identity"], "weight": 25, "slos": slos},
        {"version": third["name"], "identity": third["identity"], "state": "Dropped",
         "reason": "SafetyFailed", "message": "support-v4 at 25%: unsafe-answers 0.7 (7 of 10)",
         "at": "2026-11-24T21:51:30.000000Z"},
    ]}  # fmt: skip
    for rule in stored["HTTPRoute", "support"]["spec"]["rules"]:
        stable, canary = rule["backendRefs"]
        rule["backendRefs"] = [
            stable, canary | {"weight": 25}, canary | {"weight": 25, "name": "support-v3-serving"},
        ]  # fmt: skip
    shown = stored["RLHFModel", "support"]["status"]
    shown |= {"weight": 25, "tested": "support-v1 25%, support-v3 25%"}
    shown["versions"][1]["weight"] = 25
    shown["versions"].append({"name": "support-v3", "role": "Canary", "weight": 25, "ready": "1/1"})
    return state.read(raws, NOW["midway"])
