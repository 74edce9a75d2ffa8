"""Overrides: objectives that a person took out of a run's judgement for a time; never Safety."""

from __future__ import annotations

from datetime import UTC, datetime

from rlhf_operator.api.decision import DecisionRecord
from rlhf_operator.api.evidence import SLOResult
from rlhf_operator.core.observed import Observed, Run


def in_force(run: Run, now: datetime) -> tuple[DecisionRecord, ...]:
    """Return the overrides of a run that have not ended."""
    return tuple(
        entry
        for entry in run.status.decisions
        if entry.action == "Override" and entry.until is not None and now < entry.until
    )


def gating(seen: Observed, run: Run) -> tuple[SLOResult, ...]:
    """Return what the canary's objectives say, without those that are overridden now."""
    names = {entry.slo for entry in in_force(run, seen.now)}
    results = seen.canary.results if seen.canary is not None else ()
    return tuple(each for each in results if each.class_ == "Safety" or each.name not in names)


def told(run: Run, now: datetime) -> str:
    """Return which objectives do not count, until when and by whom, for the record."""
    return "".join(
        f"; {entry.slo} does not count until {clock(entry.until)}, by {entry.author}"
        for entry in in_force(run, now)
    )


def clock(moment: datetime | None) -> str:
    """Return a moment as people read it."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if moment else "for ever"
