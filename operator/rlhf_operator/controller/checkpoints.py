"""Checkpoints: exact counts of what is followed, from which a restarted operator counts on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from rlhf_operator.api.evidence import ArmCount, Checkpoint
from rlhf_operator.controller.followed import Followed
from rlhf_operator.controller.goal import Goal
from rlhf_operator.controller.reader import Reader
from rlhf_operator.core.facts import MOST_STRATA
from rlhf_operator.core.moments import sums_of
from rlhf_operator.core.stretches import condensed

Readers = Mapping[str, Reader]
"""The readers of the metric sources, by name."""


def counted(followed: Followed, readers: Readers, at: datetime) -> Checkpoint | None:
    """Return the counts as of an instant not after `at`; None when there is nothing yet."""
    until = _settled(followed, readers, at)
    if until is None or until <= followed.newest_mark:
        return followed.checkpoint
    counts = tuple(
        count
        for goal in followed.goals
        for version in followed.versions
        if (count := _count(followed, readers, goal, version, until)) is not None
    )
    return Checkpoint(
        since=followed.subject.since,
        at=until,
        counts=counts,
        strata=condensed(followed.strata(), MOST_STRATA // followed.subject.tested),
    )


def _settled(followed: Followed, readers: Readers, at: datetime) -> datetime | None:
    until = at
    for goal in followed.goals:
        reader = readers.get(goal.source)
        for counter in goal.counters if reader else ():
            assert reader is not None
            settled = reader.settled_until(counter.name)
            if settled is None or not reader.ready(followed.model, counter.name):
                return None
            until = min(until, settled)
    return until


def _count(
    followed: Followed, readers: Readers, goal: Goal, version: str, until: datetime
) -> ArmCount | None:
    reader = readers.get(goal.source)
    if reader is None:
        return None
    start = goal.starts[version]
    tally = reader.ledger.tally(
        followed.model,
        version,
        goal.objective.measure,
        start.mark,
        until.timestamp(),
    )
    grown = start.grown(tally)
    count = ArmCount(
        slo=goal.objective.name,
        version=version,
        events=grown.events,
        samples=grown.samples,
        sums=sums_of(grown.moments),
        scorer=",".join(sorted(grown.scorers))[:1024] or None,
    )
    if goal.users is None:
        return count
    users = reader.ledger.tally(followed.model, version, goal.users, start.mark, until.timestamp())
    if users is None and not start.first_samples:
        return count  # its guard tells no users apart, which is not to have seen none
    first = {
        "first_events": start.first_events + (users.events if users else 0),
        "first_samples": start.first_samples + (users.samples if users else 0),
    }
    return count.model_copy(update=first)
