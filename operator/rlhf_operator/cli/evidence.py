"""`why`: the rule that decided, its numbers, and what was asked of Prometheus."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rlhf_operator.api.decision import DecisionRecord
from rlhf_operator.api.evidence import GoldenResult, SLOResult, StepRecord, Verdict
from rlhf_operator.api.plan import Plan
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import RLHFRollout, RolloutStatus
from rlhf_operator.api.strategies import TEST_POLICY
from rlhf_operator.cli import marks, sentences
from rlhf_operator.cli.state import newest_results, plan_of, status_of, tried
from rlhf_operator.core import rollout
from rlhf_operator.core.sequential import odds


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One weight: how long, ended by which rule, on what evidence."""

    weight: int
    share: str
    """The weight as people read it; a shadow's requests are copied."""
    declared_at: datetime
    in_force_at: datetime | None
    ended_at: datetime | None
    rule: str | None
    meaning: str | None
    """What that rule does, in one sentence."""
    message: str | None
    slos: tuple[SLOResult, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """Why a record is as it is."""

    rollout: str
    type: str
    from_: str | None
    to: str
    outcome: str | None
    rule: str | None
    """The rule that decided last; in a run that goes on the record names the reason only."""
    reason: str | None
    meaning: str | None
    message: str | None
    cautions: tuple[str, ...]
    """What a person should know beside it, where it is the newest record."""
    cause: str
    author: str | None
    golden: GoldenResult | None
    dropped: tuple[str, ...]
    """Why each tested version is out that was dropped from a test of several."""
    decisions: tuple[DecisionRecord, ...]
    steps: tuple[Step, ...]
    slos: tuple[SLOResult, ...]
    """The evidence of the last decision, or the newest on record."""


def explain(record: RLHFRollout, cautions: tuple[str, ...] = ()) -> Explanation:
    """Return why this record is as it is; `cautions` are what its model says beside it."""
    spec, status = record.spec, status_of(record)
    steps = tuple(_step(each, plan_of(record)) for each in status.steps)
    last = steps[-1] if steps else None
    ended = last is not None and last.ended_at is not None
    return Explanation(
        rollout=record.metadata.name,
        type=spec.type,
        from_=spec.from_.name if spec.from_ else None,
        to=tried(record),
        outcome=status.outcome,
        rule=last.rule if last is not None and ended else None,
        reason=status.reason,
        meaning=reason_sentence(status.reason),
        message=_numbers(status),
        cautions=cautions,
        cause=spec.cause.message,
        author=spec.cause.author,
        golden=status.golden,
        dropped=tuple(sentences.dropped(arm) for arm in status.arms if arm.state == "Dropped"),
        decisions=status.decisions,
        steps=steps,
        slos=(last.slos if last is not None and ended and last.slos else newest_results(status)),
    )


def _numbers(status: RolloutStatus) -> str | None:
    """Return the sentence of the last decision; while a run waits for evidence, the newest."""
    waits = status.outcome is None and status.reason == Reason.INCONCLUSIVE
    found = newest_results(status)
    newest = [
        f"{each.version}: {each.message}" if status.testing else each.message
        for each in found
        if each.verdict is not Verdict.SUCCESSFUL
    ]
    return "; ".join(newest) if waits and newest else status.message


def _step(record: StepRecord, plan: Plan) -> Step:
    return Step(
        weight=record.weight,
        share=plan.told(record.weight, " %"),
        declared_at=record.declared_at,
        in_force_at=record.in_force_at,
        ended_at=record.ended_at,
        rule=record.rule,
        meaning=rule_sentence(record.rule),
        message=record.message,
        slos=record.slos,
    )


def rule_sentence(name: str | None) -> str | None:
    """Return what a rule does, from its own docstring; None for a word that names no rule."""
    found = next((rule for rule in rollout.RULES if rule.__name__ == name), None)
    text = inspect.getdoc(found) if found is not None else None
    return text.splitlines()[0] if text else None


def reason_sentence(reason: str | None) -> str | None:
    """Return what a reason means, from the sentence that stands below it in the API."""
    lines = [line.strip() for line in inspect.getsource(Reason).splitlines()]
    for line, following in itertools.pairwise(lines):
        if line.endswith(f'= "{reason}"') and following.startswith('"""'):
            return following.strip('"')
    return None


def render(found: Explanation) -> RenderableType:
    """Return the explanation as text."""
    way = f"{found.from_} → {found.to}" if found.from_ else found.to
    parts: list[RenderableType] = [
        Text.assemble((found.rollout, "name"), f"  {found.type}  {way}  ", _end(found)),
        Text(f"began: {found.cause}" + (f" (by {found.author})" if found.author else "")),
    ]
    if found.rule:
        parts.append(Text.assemble("rule: ", (found.rule, "name"), f"  {_rule(found)}"))
    if found.reason:
        said = f"  {found.meaning}" if found.meaning else ""
        parts.append(Text.assemble("reason: ", (found.reason, "name"), said))
    if found.message:
        parts.append(Text(f"numbers: {found.message}"))
    parts += [Text(each, "wait") for each in found.cautions]
    if found.golden is not None:
        parts.append(_golden(found.golden))
    parts += [Text(f"dropped: {each}", "wait") for each in found.dropped]
    parts += [Text(_said(each)) for each in found.decisions]
    if found.slos:
        parts += [Text(""), slo_table(found.slos)]
    if found.steps:
        parts += [Text(""), _steps(found.steps, going=found.outcome is None)]
    return Group(*parts)


def _rule(found: Explanation) -> str:
    return next((step.meaning for step in reversed(found.steps) if step.meaning), "")


def _end(found: Explanation) -> Text:
    if found.outcome is None:
        return Text("going on", "wait")
    return Text(found.outcome, "good" if found.outcome == "Promoted" else "bad")


def _golden(golden: GoldenResult) -> Text:
    if golden.passed:
        return Text(f"golden prompts: all answered as they should, {sentences.clock(golden.at)}")
    return Text(f"golden prompts failed: {'; '.join(golden.failures)}", "bad")


def _said(decision: DecisionRecord) -> str:
    at = sentences.clock(decision.at)
    who = f"{decision.author} via {decision.via}" if decision.via else decision.author
    return f"{who}: {decision.action}, {at}: {decision.reason} ({decision.name})"


def slo_table(results: tuple[SLOResult, ...]) -> RenderableType:
    """Return the objectives with verdict, numbers and bound, and below each what was asked."""
    table = Table(box=None, pad_edge=False, header_style="faint")
    for title in ("OBJECTIVE", "CLASS", "VERDICT", "VALUE", "STABLE", "BOUND", "SAMPLES"):
        table.add_column(title, no_wrap=title != "BOUND")
    for each in results:
        counts = each.firsts or each
        table.add_row(
            Text(sentences.objective(each, results), "name"),
            each.class_,
            marks.verdict(each.verdict),
            _amount(each.value, counts.events, counts.samples),
            _amount(each.stable_value, counts.stable_events, counts.stable_samples),
            each.bound or "",
            "none" if each.samples is None else str(each.samples),
        )
    parts: list[RenderableType] = [table]
    named = [(each, sentences.objective(each, results)) for each in results]
    if weighed := [Text(line) for each, name in named for line in _weighed(each, name)]:
        parts += [Text(""), Text("evidence over the whole run:", "faint"), *_indent(weighed)]
    asked = dict.fromkeys(f"{each.name}: {each.query}" for each in results if each.query)
    told = _indent([Text(line, "faint") for line in asked])
    return Group(*parts, Text(""), Text("asked of Prometheus:", "faint"), *told)


def _amount(value: str | None, events: int | None, samples: int | None) -> str:
    """Return a number with the counts behind it."""
    shown = sentences.number(value)
    return shown if events is None or not samples else f"{shown} ({events} of {samples})"


def _weighed(result: SLOResult, name: str) -> Iterator[str]:
    """Yield how strong the evidence is, and between which numbers the truth lies."""
    if result.harm_proven is None or result.good_proven is None:
        return
    good, harm = odds(float(result.good or 0)), odds(float(result.harm or 0))
    passes, proof = odds(float(result.good_proven)), odds(float(result.harm_proven))
    if result.policy == TEST_POLICY:
        yield f"{name}: {good} for better, {harm} for worse ({proof} decides)"
    else:
        yield (f"{name}: {good} against harm ({passes} passes), {harm} for it ({proof} is proof)")
    sure = []
    if result.low is not None and result.high is not None:
        unit = "the rate" if result.firsts is None else "the rate, each user once,"
        sure.append(f"{unit} is {_between(result.low, result.high)}")
    if result.ratio_low is not None:
        sure.append(f"{_between(result.ratio_low, result.ratio_high)} times stable's")
    if result.difference_low is not None:
        sure.append(f"{_between(result.difference_low, result.difference_high)} from stable's mean")
    if sure:
        yield f"{name}: 95 % sure: {', '.join(sure)}"


def _between(low: str, high: str | None) -> str:
    return f"{sentences.number(low)} {f'to {sentences.number(high)}' if high else 'or more'}"


def _indent(lines: list[Text]) -> list[Padding]:
    return [Padding(line, (0, 0, 0, 2), expand=False) for line in lines]


def _steps(steps: tuple[Step, ...], *, going: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="faint")
    for title in ("WEIGHT", "DECLARED", "IN FORCE", "HELD", "ENDED BY"):
        table.add_column(title, no_wrap=title != "ENDED BY")
    for step in steps:
        since = step.in_force_at or step.declared_at
        force = "-"
        if step.in_force_at is not None:
            force = f"after {sentences.length(step.in_force_at - step.declared_at)}"
        held = "still" if going else "-"
        if step.ended_at is not None:
            held = sentences.length(step.ended_at - since)
        why = ": ".join(filter(None, (step.rule, step.message)))
        table.add_row(step.share, sentences.clock(step.declared_at), force, held, Text(why))
    return table
