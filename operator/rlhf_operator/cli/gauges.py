"""Gauges: the objectives of a run, each against its bound, as `watch` draws them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from rich.table import Table
from rich.text import Text

from rlhf_operator.api.evidence import SLOResult, Verdict
from rlhf_operator.api.policy import SLO
from rlhf_operator.api.rollout import RLHFRollout, RolloutStatus
from rlhf_operator.api.strategies import TEST_POLICY
from rlhf_operator.cli import marks, sentences
from rlhf_operator.cli.state import policies_of, status_of
from rlhf_operator.core.indicators import Better, measure


@dataclass(frozen=True, kw_only=True, slots=True)
class Gauge:
    """One objective against its bound, as a share of what is allowed."""

    result: SLOResult
    used: float | None
    """Share of the bound that is used up: 1 is at the bound, more is beyond; None: no number."""
    samples_wanted: int
    decided_in: timedelta | None
    """About how long the evidence still takes, if rates and traffic stay; None: unknown."""


def gauge(record: RLHFRollout, result: SLOResult) -> Gauge:
    """Return an objective of a record against its bound."""
    found = (
        slo
        for policy in policies_of(record)
        if policy.name == result.policy
        for slo in policy.slos
        if slo.name == result.name
    )
    slo = next(found, None)
    return Gauge(
        result=result,
        used=_used(slo, result) if slo else None,
        samples_wanted=slo.min_samples if slo else 1,
        decided_in=_decided_in(status_of(record), result),
    )


def _decided_in(status: RolloutStatus, result: SLOResult) -> timedelta | None:
    """Return how long the missing answers take at the pace of this weight so far."""
    at, since = evidence_at(status), status.in_force_at
    if result.needs is None or at is None or since is None or at <= since:
        return None
    counts = result.firsts or result
    answers = (counts.samples or 0) + (counts.stable_samples or 0)
    return (at - since) * result.needs / answers if answers else None


def _used(slo: SLO, result: SLOResult) -> float | None:
    """Return how much of the nearest bound is used up."""
    value = None if result.value is None else float(result.value)
    shares = []
    if slo.max_count is not None and result.events is not None:
        shares.append(result.events / (slo.max_count + 1))  # one more than allowed fails
    if value is not None and slo.max is not None and float(slo.max) > 0:
        shares.append(value / float(slo.max))
    if value is not None and slo.min is not None and value > 0:
        shares.append(float(slo.min) / value)
    if (compared := _used_against_stable(slo, result)) is not None:
        shares.append(compared)
    return max(shares, default=None)


def _used_against_stable(slo: SLO, result: SLOResult) -> float | None:
    """Return how much of the margin to stable is used up: an equal version at ratio 2 uses half.

    Of a difference an equal or better version uses nothing. Where a higher number is better, ratio
    and difference are turned over.
    """
    margin, is_better_high = slo.versus_stable, measure(slo).better is Better.HIGHER
    if margin is None:
        return None
    if margin.ratio is not None and result.ratio is not None:
        ratio = float(result.ratio)
        if is_better_high and ratio <= 0:
            return None
        return (1 / ratio if is_better_high else ratio) / float(margin.ratio)
    if margin.difference is not None and result.difference is not None:
        worse = float(result.difference) * (-1 if is_better_high else 1)
        return max(0.0, worse) / float(margin.difference) if float(margin.difference) else None
    return None


def evidence_at(status: RolloutStatus) -> datetime | None:
    """Return of when the evidence on record is; None where there is none."""
    if not status.slos:
        return None
    if status.checkpoint is not None:
        return status.checkpoint.at
    return status.finished_at or status.declared_at


def render(gauges: tuple[Gauge, ...]) -> Table:
    """Return a line for each objective."""
    table = Table(box=None, pad_edge=False, header_style="faint")
    for title in ("OBJECTIVE", "OF ITS BOUND", "VALUE", "BOUND", "SAMPLES", "EVIDENCE", "VERDICT"):
        table.add_column(title, no_wrap=True)
    for each in gauges:
        result, used = each.result, each.used
        style = {Verdict.SUCCESSFUL: "good", Verdict.FAILED: "bad"}.get(result.verdict, "wait")
        share = Text(_without_number(result)) if used is None else marks.bar(used, 12, style)
        if used is not None:
            share.append(f" {used:4.0%}")
        samples = "none" if result.samples is None else f"{result.samples}/{each.samples_wanted}"
        table.add_row(
            Text(sentences.objective(result, (one.result for one in gauges)), "name"),
            share,
            sentences.number(result.value),
            _bound(result.bound or ""),
            samples,
            _evidence(each),
            marks.verdict(result.verdict),
        )
    return table


def _without_number(result: SLOResult) -> str:
    """Return why there is no share of a bound: a comparison takes some answers, a test has none."""
    if result.policy == TEST_POLICY:
        return "-"
    return "nothing yet" if result.value is None or result.harm_proven else "no number"


def _bound(text: str) -> str:
    """Return bounds so short that a line fits into a window."""
    text = re.sub(r"versusStable ratio (\S+)", r"\1x stable", text)
    return re.sub(r"versusStable difference (\S+)", r"\1 from stable", text)


def _evidence(found: Gauge) -> str:
    """Return how near evidence is to a verdict, the nearer of the two, and when it is there.

    An objective asks whether harm is proven or refuted, a test which version is better.
    """
    result = found.result
    if result.harm_proven is None or result.good_proven is None:
        return "-"
    proven = float(result.harm or 0) / float(result.harm_proven)
    refuted = float(result.good or 0) / float(result.good_proven)
    if max(proven, refuted) <= 0:
        return "none yet"
    is_test = result.policy == TEST_POLICY
    worse, better = ("worse", "better") if is_test else ("harm proven", "harm refuted")
    if max(proven, refuted) >= 1:
        return worse if proven >= refuted else better
    if proven >= refuted:
        return f"{proven:.0%} to {worse}"
    left = found.decided_in
    when = f", {sentences.length(timedelta(seconds=ceil(left.total_seconds())))}" if left else ""
    return f"{refuted:.0%} to {better}{when}"
