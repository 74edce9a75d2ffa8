"""`get`: the models with what each does now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rlhf_operator.api.common import Condition
from rlhf_operator.api.model import ModelStatus, RLHFModel
from rlhf_operator.api.reasons import ConditionType
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
    others: tuple[tuple[str, int], ...]
    """The versions that are tested beside the canary, and the percent of each."""
    copied: int | None
    """Percent of the requests that are copied to the canary, where it is a shadow."""
    step: str | None
    phase: str | None
    ready: str | None
    reason: str | None
    message: str | None
    way_back: str | None
    """Whether a drill proved the way back, as the condition FallbackProven says."""
    proven: datetime | None
    """When one last did."""
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


_BESIDE = (
    ConditionType.TRAFFIC_SPLIT_MISMATCH,
    ConditionType.DECISION_UNLIKELY,
    ConditionType.SLOW_BURN,
)


def cautions(model: RLHFModel | None) -> tuple[str, ...]:
    """Return what a person should know beside what was decided, a sentence each."""
    found = model.status.conditions if model is not None and model.status else ()
    told = (condition(found, kind) for kind in _BESIDE)
    return tuple(f"{each.type}: {each.message}" for each in told if each is not None)


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
    way_back = condition(status.conditions, "FallbackProven") if status else None
    return Row(
        namespace=model.metadata.namespace,
        name=model.metadata.name,
        wanted=model.spec.version,
        stable=status.stable.name if status and status.stable else None,
        canary=status.canary.name if status and status.canary else None,
        weight=status.weight if status else None,
        others=_others(status) if status else (),
        copied=status.copied if status else None,
        step=status.step if status else None,
        phase=status.phase if status else None,
        ready=ready.status if ready else None,
        reason=ready.reason if ready else None,
        message=(status.message if status else None) or (ready.message if ready else None),
        way_back=way_back.status if way_back else None,
        proven=status.fallback_proven_at if status else None,
        created=model.metadata.creation_timestamp,
    )


def _others(status: ModelStatus) -> tuple[tuple[str, int], ...]:
    canary = status.canary.name if status.canary else None
    tested = (each for each in status.versions if each.role == "Canary" and each.name != canary)
    return tuple((each.name, each.weight) for each in tested)


def render(found: Listing, *, everywhere: bool = False) -> RenderableType:
    """Return the table."""
    if not found.models and not found.unreadable:
        return Text("no RLHFModel here")
    table = Table(box=None, pad_edge=False, header_style="faint")
    if everywhere:
        table.add_column("NAMESPACE", no_wrap=True)
    for title in ("NAME", "WANTED", "STABLE", "CANARY", "TRAFFIC", "STEP", "PHASE", "READY", "AGE"):
        table.add_column(title, no_wrap=title != "TRAFFIC")
    drilled = any(row.way_back for row in found.models)
    if drilled:
        table.add_column("FALLBACK PROVEN", no_wrap=True)
    for row in found.models:
        proof = [_proof(row, found.at)] if drilled else []
        table.add_row(*([row.namespace] if everywhere else []), *_cells(row, found.at), *proof)
    unreadable = (Text(f"cannot be read: {each}", "bad") for each in found.unreadable)
    return Group(table, *unreadable)


def _proof(row: Row, now: datetime) -> Text:
    """Return when the way back was last proven, and what the newest drill showed."""
    if row.way_back is None:
        return Text("")
    last = f"{sentences.age(row.proven, now)} ago" if row.proven else "never"
    style = {"True": "good", "False": "bad"}.get(row.way_back, "wait")
    return Text(last, style)


def _cells(row: Row, now: datetime) -> list[Text | str]:
    traffic: Text | str = ""
    if row.canary:
        weight = row.weight or 0
        every = (weight, *(part for _, part in row.others))
        shown = " + ".join(map(str, every))
        traffic = Text.assemble(marks.bar(sum(every) / 100, 10, "wait"), f" {shown} %")
    if row.canary and row.copied is not None:
        traffic = Text.assemble(marks.bar(row.copied / 100, 10, "faint"), f" {row.copied} % copied")
    ready = marks.truth(row.ready)
    if row.ready != "True" and row.reason:
        ready.append(f" ({row.reason})")
    return [
        Text(row.name, "name"),
        row.wanted,
        row.stable or "",
        ", ".join((row.canary, *(name for name, _ in row.others))) if row.canary else "",
        traffic,
        row.step or "",
        row.phase or "",
        ready,
        sentences.age(row.created, now),
    ]
