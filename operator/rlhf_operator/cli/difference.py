"""`diff`: two versions side by side: artefact, lineage, engine, and what was measured of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rlhf_operator.api.evidence import SLOResult, StepRecord
from rlhf_operator.api.rollout import RLHFRollout
from rlhf_operator.api.version import RLHFModelVersion
from rlhf_operator.cli import marks
from rlhf_operator.cli.state import State, plan_of, status_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """One field of both versions."""

    field: str
    left: str | None
    right: str | None

    @property
    def differs(self) -> bool:
        """Return whether the versions differ here."""
        return self.left != self.right


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What was last recorded of one version by one objective."""

    value: str | None
    samples: int | None
    verdict: str
    weight: int
    share: str
    """The weight as people read it; a shadow's requests are copied."""
    """Percent of the traffic that it had then."""
    rollout: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredPair:
    """One objective on both versions."""

    objective: str
    left: Measured | None
    right: Measured | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Two versions of a model."""

    left: str
    right: str
    same_identity: bool
    """Whether both give the same answers: artefact, tokenizer, template and engine agree."""
    fields: tuple[Pair, ...]
    measured: tuple[MeasuredPair, ...]


def difference(state: State, left: RLHFModelVersion, right: RLHFModelVersion) -> Difference:
    """Return what tells two versions apart."""
    one, two = dict(_fields(left)), dict(_fields(right))
    names = [*one, *(name for name in two if name not in one)]
    seen_one, seen_two = _measured(state, left), _measured(state, right)
    objectives = [*seen_one, *(name for name in seen_two if name not in seen_one)]
    return Difference(
        left=left.metadata.name,
        right=right.metadata.name,
        same_identity=left.spec.identity() == right.spec.identity(),
        fields=tuple(Pair(field=name, left=one.get(name), right=two.get(name)) for name in names),
        measured=tuple(
            MeasuredPair(objective=name, left=seen_one.get(name), right=seen_two.get(name))
            for name in objectives
        ),
    )


def _fields(version: RLHFModelVersion) -> Iterator[tuple[str, str]]:
    yield "identity", version.spec.identity()
    yield from _leaves("", version.spec.dump())


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield the leaves of JSON data with their paths."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _leaves(f"{path}.{name}" if path else name, part)
    elif isinstance(value, list):
        yield path, ", ".join(str(part) for part in value)
    else:
        yield path, str(value)


def _measured(state: State, version: RLHFModelVersion) -> dict[str, Measured]:
    """Return the newest recorded result of each objective on this version, as a tested one."""
    found: dict[str, Measured] = {}
    for record in state.records(version.spec.model):
        for step in status_of(record).steps:
            for result in step.slos:
                if result.version != version.metadata.name:
                    continue  # of a test of several each version has its own
                name = f"{result.policy}/{result.name}"
                found[name] = _one(result, _weight(step, result.version, record), record)
    return found


def _weight(step: StepRecord, version: str, record: RLHFRollout) -> int:
    """Return what a tested version had of a step; with several the record has all together."""
    test = plan_of(record).ab_test
    if test is None or not test.others or not step.weight:
        return step.weight
    shares = {each.version: each.weight for each in test.others}
    return shares.get(version, test.weight)


def _one(result: SLOResult, weight: int, record: RLHFRollout) -> Measured:
    return Measured(
        value=result.value,
        samples=result.samples,
        verdict=result.verdict,
        weight=weight,
        share=plan_of(record).told(weight, " %"),
        rollout=record.metadata.name,
    )


def render(found: Difference, *, everything: bool = False) -> RenderableType:
    """Return both versions as a table; fields that agree are left out unless asked for."""
    shown = [pair for pair in found.fields if everything or pair.differs]
    said = (
        "the same identity: artefact, tokenizer, template and engine agree"
        if found.same_identity
        else "different identities"
    )
    table = _table("FIELD", found)
    for pair in shown:
        style = "" if pair.differs else "faint"
        table.add_row(pair.field, _cell(pair.left, style), _cell(pair.right, style))
    parts: list[RenderableType] = [Text(said), Text(""), table]
    hidden = len(found.fields) - len(shown)
    if hidden:
        parts.append(Text(f"{hidden} more fields agree (--all shows them)", "faint"))
    if not found.measured:
        return Group(*parts, Text(""), Text("no rollout measured either of them yet"))
    measured = _table("MEASURED", found)
    for each in found.measured:
        measured.add_row(each.objective, _told(each.left), _told(each.right))
    return Group(*parts, Text(""), measured)


def _table(title: str, found: Difference) -> Table:
    table = Table(box=None, pad_edge=False, header_style="faint")
    table.add_column(title, no_wrap=True)
    for name in (found.left, found.right):
        table.add_column(name, overflow="fold")
    return table


def _cell(value: str | None, style: str) -> Text:
    if value is None:
        return Text("-", "faint")
    return Text(f"sha256:{marks.short_digest(value)}…" if _is_digest(value) else value, style)


def _is_digest(value: str) -> bool:
    return value.startswith("sha256:") and len(value) == 71


def _told(found: Measured | None) -> Text:
    if found is None:
        return Text("never measured", "faint")
    style = {"Successful": "good", "Failed": "bad"}.get(found.verdict, "wait")
    line = Text(f"{found.value or '-'} of {found.samples or 0}  ")
    return line.append(found.verdict, style).append(f"  at {found.share} in {found.rollout}")
