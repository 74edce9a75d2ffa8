"""`watch`: one frame of a model's rollout: weights, objectives against bounds, time to decision.

A record keeps evidence at decisions and about once a minute, so a frame says how old it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rlhf_operator.api.model import RLHFModel
from rlhf_operator.api.rollout import RLHFRollout, RolloutStatus
from rlhf_operator.api.schema import parse_duration
from rlhf_operator.cli import gauges, listing, marks, sentences
from rlhf_operator.cli.gauges import Gauge
from rlhf_operator.cli.state import (
    RouteSeen,
    State,
    newest_results,
    plan_of,
    status_of,
    users_share,
    users_shares,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """What a model does at one time."""

    at: datetime
    model: str
    phase: str | None
    message: str | None
    cautions: tuple[str, ...]
    """What a person should know beside it."""
    rollout: str | None
    outcome: str | None
    stable: str | None
    canary: str | None
    weight: int
    """Percent of the users' requests."""
    others: tuple[tuple[str, int], ...]
    """The versions that are tested beside the canary, and the percent of each."""
    dropped: tuple[str, ...]
    """Why each that was dropped is out, in a sentence."""
    copied: int | None
    """Percent of the requests that are copied, where the canary is a shadow."""
    step: int
    steps: tuple[int, ...]
    route: RouteSeen | None
    gauges: tuple[Gauge, ...]
    evidence_at: datetime | None
    waits_for: str
    """What comes next, in one sentence."""
    due: datetime | None
    """When that is due, as far as the plan says."""


def frame(state: State, model: RLHFModel) -> Frame:
    """Return what a model does now."""
    name = model.metadata.name
    record = state.newest(name)
    status = status_of(record) if record else RolloutStatus()
    waits_for, due = _next(record, state.at)
    return Frame(
        at=state.at,
        model=name,
        phase=model.status.phase if model.status else None,
        message=model.status.message if model.status else None,
        cautions=listing.cautions(model),
        rollout=record.metadata.name if record else None,
        outcome=status.outcome,
        stable=status.stable.name if status.stable else None,
        canary=status.canary.name if status.canary else None,
        weight=users_share(record) if record else 0,
        others=tuple((arm.version, arm.weight) for arm in status.testing if status.canary),
        dropped=tuple(sentences.dropped(arm) for arm in status.arms if arm.state == "Dropped"),
        copied=status.weight if record and plan_of(record).strategy == "Shadow" else None,
        step=status.step,
        steps=tuple(step.weight for step in plan_of(record).steps) if record else (),
        route=state.route(name),
        gauges=tuple(gauges.gauge(record, each) for each in newest_results(status))
        if record
        else (),
        evidence_at=gauges.evidence_at(status),
        waits_for=waits_for,
        due=due,
    )


def _next(record: RLHFRollout | None, now: datetime) -> tuple[str, datetime | None]:
    """Return what the record waits for, and until when at the latest."""
    if record is None:
        return "the operator has not looked at this model yet", None
    plan, status = plan_of(record), status_of(record)
    if status.started_at is None:
        return "the record was made a moment ago", None
    if status.outcome is not None:
        done = status.settled_at is not None
        return ("nothing: the last run is over" if done else "the old pods to drain"), None
    if status.paused:
        return "a person: this run is paused (kubectl rlhf resume)", None
    if status.awaiting is not None:
        where = f"{status.awaiting.gate.lower()} step {status.awaiting.step + 1}"
        return f"people who agree to {where} (kubectl rlhf approve)", None
    if status.phase == "Parked":
        return "Safety data: without it the weight stays 0", None
    if status.step < 0:
        since = status.ready_since or status.started_at
        return "ready pods and golden prompts, or NotReady", since + parse_duration(
            plan.ready_timeout
        )
    if status.in_force_at is None:
        if len(shares := users_shares(record)) > 1:
            return f"the router to give {sentences.shares(shares)}", None
        copies = plan.strategy == "Shadow"
        return f"the router to {'copy' if copies else 'give'} {status.weight} %", None
    since = status.step_since or status.in_force_at
    end = since + parse_duration(plan.steps[status.step].hold)
    last = status.step == len(plan.steps) - 1
    after = "promotion" if last else plan.told(plan.steps[status.step + 1].weight, " %")
    if now < end:
        return f"the hold to end, then {after} if every objective says Successful", end
    if plan.ab_test is not None:
        over = since + parse_duration(plan.ab_test.duration)
        which = f"{plan.ab_test.primary.name} to show which version is better"
        return f"{which}, and every objective to say Successful; at the latest it ends", over
    limit = end + parse_duration(plan.max_hold) + parse_duration(status.held_for)
    then = "it is rolled back" if plan.on_inconclusive == "RollBack" else "it is held on"
    return f"every objective to say Successful, then {after}; at the latest {then}", limit


def tells_more(before: Frame, after: Frame) -> bool:
    """Return whether more than the time has changed between two frames."""
    return replace(before, at=after.at) != after


def render(found: Frame) -> RenderableType:
    """Return the frame as text."""
    parts: list[RenderableType] = [
        Text.assemble((found.model, "name"), f"  {found.phase or ''}  {sentences.clock(found.at)}")
    ]
    if found.message:
        parts.append(Text(found.message))
    parts += [Text(each, "wait") for each in found.cautions]
    if found.rollout is None:
        return Group(*parts, Text(found.waits_for))
    parts += [Text(""), _weights(found), Text("")]
    if found.gauges:
        parts += [gauges.render(found.gauges), Text(_freshness(found), "faint"), Text("")]
    parts.append(_due(found))
    return Group(*parts)


def _weights(found: Frame) -> Table:
    table = Table.grid(padding=(0, 2))
    tested = ((found.canary, found.weight), *found.others)
    declared = [(found.stable, 100 - sum(part for _, part in tested)), *tested]
    routed = dict(found.route.weights) if found.route else {}
    for (name, weight), style in zip(declared, ("good", *("wait" for _ in tested)), strict=True):
        if name is None:
            continue
        seen = routed.get(name, 0)
        said = "" if seen == weight else f"the router gives {seen} %"
        table.add_row(
            Text(name, "name"),
            marks.bar(weight / 100, 40, style),
            f"{weight} %",
            Text(said, "wait"),
        )
    if found.canary and found.copied is not None:
        routed_copies = found.route.copies[1] if found.route and found.route.copies else 0
        said = "" if routed_copies == found.copied else f"the router copies {routed_copies} %"
        bar = marks.bar(found.copied / 100, 40, "faint")
        table.add_row("copies", bar, f"{found.copied} % copied", Text(said, "wait"))
    if found.canary and found.steps:
        how = " % copied" if found.copied is not None else " %"
        plan = " → ".join(
            f"[{weight}{how}]" if place == found.step else f"{weight}{how}"
            for place, weight in enumerate(found.steps)
        )
        table.add_row("plan", Text(f"{plan} → promoted"), "", "")
    for each in found.dropped:
        table.add_row("dropped", Text(each, "faint"), "", "")
    return table


def _freshness(found: Frame) -> str:
    if found.evidence_at is None:
        return ""
    old = sentences.length(max(timedelta(), found.at - found.evidence_at))
    return f"recorded {old} ago; a record keeps evidence at decisions and about once a minute"


def _due(found: Frame) -> Text:
    line = Text.assemble("waits for ", found.waits_for)
    if found.due is not None:
        left = found.due - found.at
        when = "overdue by " if left < timedelta() else "in "
        line.append(f"  ({when}{sentences.length(abs(left))})", "name")
    return line
