"""`get`: the models with what each does now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rlhf_operator.api.common import Condition
from rlhf_operator.api.model import RLHFModel
from rlhf_operator.cli import marks, sentences
from rlhf_operator.cli.state import State


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One model."""

    namespace: str
    name: str
    wanted: str
    """The version that the spec asks for."""
    stable: str | None
    canary: str | None
    weight: int | None
    copied: int | None
    """Percent of the requests that are copied to the canary, where it is a shadow."""
    step: str | None
    phase: str | None
    ready: str | None
    reason: str | None
    message: str | None
    created: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """All models that were asked for."""

    at: datetime
    models: tuple[Row, ...]
    unreadable: tuple[str, ...] = ()


def condition(conditions: tuple[Condition, ...], kind: str) -> Condition | None:
    """Return one condition, if it is there."""
    return next((each for each in conditions if each.type == kind), None)


def listing(state: State, chosen: tuple[str, ...] = ()) -> Listing:
    """Return the models, by namespace and name; all when none is chosen."""
    found = [each for each in state.models if not chosen or each.metadata.name in chosen]
    found.sort(key=lambda each: (each.metadata.namespace, each.metadata.name))
    return Listing(
        at=state.at, models=tuple(_row(each) for each in found), unreadable=state.unreadable
    )


def _row(model: RLHFModel) -> Row:
    status = model.status
    ready = condition(status.conditions, "Ready") if status else None
    return Row(
        namespace=model.metadata.namespace,
        name=model.metadata.name,
        wanted=model.spec.version,
        stable=status.stable.name if status and status.stable else None,
        canary=status.canary.name if status and status.canary else None,
        weight=status.weight if status else None,
        copied=status.copied if status else None,
        step=status.step if status else None,
        phase=status.phase if status else None,
        ready=ready.status if ready else None,
        reason=ready.reason if ready else None,
        message=(status.message if status else None) or (ready.message if ready else None),
        created=model.metadata.creation_timestamp,
    )


def render(found: Listing, *, everywhere: bool = False) -> RenderableType:
    """Return the table."""
    if not found.models and not found.unreadable:
        return Text("no RLHFModel here")
    table = Table(box=None, pad_edge=False, header_style="faint")
    if everywhere:
        table.add_column("NAMESPACE", no_wrap=True)
    for title in ("NAME", "WANTED", "STABLE", "CANARY", "TRAFFIC", "STEP", "PHASE", "READY", "AGE"):
        table.add_column(title, no_wrap=title != "TRAFFIC")
    for row in found.models:
        table.add_row(*([row.namespace] if everywhere else []), *_cells(row, found.at))
    unreadable = (Text(f"cannot be read: {each}", "bad") for each in found.unreadable)
    return Group(table, *unreadable)


def _cells(row: Row, now: datetime) -> list[Text | str]:
    traffic: Text | str = ""
    if row.canary:
        weight = row.weight or 0
        traffic = Text.assemble(marks.bar(weight / 100, 10, "wait"), f" {weight} %")
    if row.canary and row.copied is not None:
        traffic = Text.assemble(marks.bar(row.copied / 100, 10, "faint"), f" {row.copied} % copied")
    ready = marks.truth(row.ready)
    if row.ready != "True" and row.reason:
        ready.append(f" ({row.reason})")
    return [
        Text(row.name, "name"),
        row.wanted,
        row.stable or "",
        row.canary or "",
        traffic,
        row.step or "",
        row.phase or "",
        ready,
        sentences.age(row.created, now),
    ]
