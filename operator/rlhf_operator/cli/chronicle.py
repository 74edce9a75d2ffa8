"""`history`: the rollout records told as a person would: what was live when, why, by whom."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from rich.console import Group
from rich.padding import Padding
from rich.text import Text

from rlhf_operator.api.quarantine import QuarantineRecord
from rlhf_operator.api.rollout import Outcome, RLHFRollout, RunType
from rlhf_operator.cli import marks, sentences
from rlhf_operator.cli.state import State, plan_of, status_of, tried
from rlhf_operator.core import contenders


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """One human act on a run."""

    author: str
    action: str
    reason: str
    decision: str
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One record."""

    revision: int
    name: str
    type: str
    began: datetime | None
    ended: datetime | None
    from_: str | None
    to: str
    outcome: str | None
    story: str
    """What happened, in one sentence."""
    live: str | None
    """What served by default when it ended, or serves by default now."""
    weights: tuple[int, ...]
    """The weights that the new version was given."""
    shares: tuple[str, ...]
    """The same as people read them; a shadow's requests are copied."""
    reason: str | None
    message: str | None
    people: tuple[Person, ...]
    dropped: tuple[str, ...]
    """Why each tested version is out that was dropped from a test of several."""
    quarantined: str | None
    """Which version may not serve since, and whether that was lifted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chronicle:
    """The history of one model, oldest first."""

    model: str
    entries: tuple[Entry, ...]


def chronicle(state: State, model: str) -> Chronicle:
    """Return the history of a model."""
    records = state.records(model)
    return Chronicle(
        model=model,
        entries=tuple(
            _entry(each, _left(each, records[place + 1 :])) for place, each in enumerate(records)
        ),
    )


def _left(record: RLHFRollout, later: tuple[RLHFRollout, ...]) -> datetime | None:
    """Return when another version took the place of what this record made stable."""
    stable = status_of(record).stable
    for each in later:
        status = status_of(each)
        if status.outcome is not None and status.stable != stable:
            return status.finished_at
    return None


def _entry(record: RLHFRollout, left: datetime | None) -> Entry:
    spec, status = record.spec, status_of(record)
    people = [
        Person(
            author=_sender(each.author, each.via),
            action=each.action,
            reason=each.reason,
            decision=each.name,
            at=each.at,
        )
        for each in status.decisions
    ]
    return Entry(
        revision=spec.revision,
        name=record.metadata.name,
        type=spec.type,
        began=status.started_at,
        ended=status.finished_at,
        from_=spec.from_.name if spec.from_ else None,
        to=tried(record),
        outcome=status.outcome,
        story=_story(record, left),
        live=status.stable.name if status.stable else None,
        weights=tuple(each.weight for each in status.steps if each.weight > 0),
        shares=tuple(
            plan_of(record).told(each.weight, " %") for each in status.steps if each.weight > 0
        ),
        reason=status.reason,
        message=status.message,
        people=tuple(people),
        dropped=tuple(sentences.dropped(arm) for arm in status.arms if arm.state == "Dropped"),
        quarantined=_quarantined(record),
    )


def _sender(author: str, via: str | None) -> str:
    return f"{author} via {via}" if via else author


def _quarantined(record: RLHFRollout) -> str | None:
    found = status_of(record).quarantines
    return "; ".join(_told(each) for each in found) or None


def _told(found: QuarantineRecord) -> str:
    name = found.version or "an artefact"
    said = f"{name} (identity {marks.short_digest(found.identity)}): {found.message}"
    if found.lifted is None:
        return f"{said}; in force"
    who = _sender(found.lifted.author, found.lifted.via)
    why = f": {found.lifted.reason}" if found.lifted.reason else ""
    return f"{said}; lifted by {who}, {sentences.clock(found.lifted.at)}{why}"


def _story(record: RLHFRollout, left: datetime | None) -> str:
    """Return what was tried, by whom, and how it went."""
    return f"{_attempt(record)}; {_end(record, left)}"


def _attempt(record: RLHFRollout) -> str:
    spec = record.spec
    to, before = spec.to.name, spec.from_.name if spec.from_ else "nothing"
    who = f"{spec.cause.author} asked" if spec.cause.author else None
    match spec.type:
        case RunType.INITIAL:
            return f"{to} was brought up first"
        case RunType.ROLLOUT:
            several = f"{tried(record)} were tested" if spec.others else f"{to} was tried"
            return f"{several} in place of {before}"
        case RunType.ROLLBACK:
            return (
                f"{who or 'the operator went'} {'to go ' if who else ''}back from {before} to {to}"
            )
        case RunType.FALLBACK:
            return f"{who or 'the operator fled'} {'to flee ' if who else ''}from {before} to {to}"
        case RunType.RESTART:
            return f"{who or 'the spec asked'} for new pods of {to}"
        case RunType.DRILL:
            return f"{to} got a little traffic beside {before}, to prove the way back"


def _end(record: RLHFRollout, left: datetime | None) -> str:
    status = status_of(record)
    stable = status.stable.name if status.stable else "nothing"
    match status.outcome:
        case Outcome.PROMOTED if left is not None:
            return f"{stable} served from {_clock(status.finished_at)} to {_clock(left)}"
        case Outcome.PROMOTED:
            return f"{stable} serves since {_clock(status.finished_at)}"
        case Outcome.ROLLED_BACK:
            return f"it was rolled back and {stable} went on serving"
        case Outcome.ABORTED:
            return f"it was ended and {stable} went on serving"
        case Outcome.SUPERSEDED:
            return f"another version was asked for meanwhile; {stable} went on serving"
        case Outcome.PROVEN:
            return f"it served, and {stable} went on serving"
        case Outcome.UNPROVEN:
            return f"it was not proven, and {stable} went on serving"
        case None if status.started_at is None:
            return "it has not begun yet"
        case None:
            plan = plan_of(record)
            share = plan.told(status.weight, " %")
            if status.testing:
                share = sentences.shares(contenders.shares(status))
            return f"it is going on: step {status.step + 1} of {len(plan.steps)}, {share}"


def _clock(moment: datetime | None) -> str:
    return sentences.clock(moment) if moment else "an unknown time"


def render(found: Chronicle) -> Group | Text:
    """Return the history as text, oldest first."""
    if not found.entries:
        return Text(f"{found.model} has no rollout record yet")
    return Group(*(part for entry in found.entries for part in _lines(entry)))


def _lines(entry: Entry) -> list[Text | Padding]:
    style = {"Promoted": "good", "Proven": "good", None: "wait"}.get(entry.outcome, "bad")
    head = Text.assemble(
        (f"#{entry.revision}", "name"),
        f"  {_clock(entry.began) if entry.began else 'not begun'}",
        f"{_took(entry)}  {entry.type}  ",
        (entry.outcome or "going on", style),
    )
    lines = [entry.story]
    if entry.weights:
        lines.append("weights: " + ", ".join(entry.shares))
    if entry.reason:
        lines.append(f"why: {': '.join(filter(None, (entry.reason, entry.message)))}")
    lines += [f"dropped: {each}" for each in entry.dropped]
    lines += [
        f"{each.author}: {each.action}, {sentences.clock(each.at)}: {each.reason}"
        for each in entry.people
    ]
    if entry.quarantined:
        lines.append(f"quarantined: {entry.quarantined}")
    return [head, *(Padding(Text(line), (0, 0, 0, 4), expand=False) for line in lines)]


def _took(entry: Entry) -> str:
    if entry.began is None or entry.ended is None:
        return ""
    span: timedelta = entry.ended - entry.began
    return f"  took {sentences.length(span)}"
