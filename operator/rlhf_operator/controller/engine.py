"""The shared SLO engine: each distinct query once per interval, for all models at once.

Nothing that matters lives here alone: after a restart it counts on from the checkpoints in the
rollouts' status and from the points that Prometheus keeps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from rlhf_operator.api.measurements import Answer, Problem
from rlhf_operator.api.rollout import Checkpoint, PinnedPolicy, SLOResult
from rlhf_operator.core.observed import Key


class MetricSource(Protocol):
    """One Prometheus, asked about all models at once."""

    scrape_interval: timedelta

    async def range_vector(self, query: str, at: datetime) -> Answer:
        """Return the raw points that a range selector yields."""

    async def instant(self, query: str, at: datetime) -> Answer:
        """Return the values of an expression, one point a series."""


class Observer(Protocol):
    """Who is told how the engine itself does."""

    def queried(self, source: str, query: str, seconds: float, problem: Problem | None) -> None:
        """Note one query, its duration, and why it yielded nothing."""

    def judged(self, subjects: int, seconds: float, late: float) -> None:
        """Note one round: how many subjects, how long it took, how late it began."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """One model under judgement, as its rollout's status has it."""

    key: Key
    policies: tuple[PinnedPolicy, ...]
    version: str
    """The version under judgement."""
    stable: str | None
    """The version to compare with; None when no other serves."""
    since: datetime
    """The last weight change in force: the start of the stratum."""
    checkpoint: Checkpoint | None = None
    """Counts from which to count on."""
    previous: tuple[SLOResult, ...] = ()
    """Recorded results, so that runs of failures go on after a restart."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Assessment:
    """What all SLOs of one subject say, complete, for the version and stratum followed."""

    key: Key
    version: str
    since: datetime
    at: datetime
    results: tuple[SLOResult, ...]
    """One result per policy and SLO for the version under judgement."""
    stable_results: tuple[SLOResult, ...] = ()
    """The Safety SLOs of the stable version under their absolute bounds."""


class Engine:
    """Follows subjects, reads metrics for all of them, and tells when verdicts change."""

    def __init__(
        self,
        *,
        sources: Mapping[str, MetricSource],
        now: Callable[[], datetime],
        notify: Callable[[Key], None],
        observer: Observer | None = None,
    ) -> None:
        raise NotImplementedError

    def follow(self, subject: Subject) -> None:
        """Judge this subject from now on; the same subject again changes nothing."""
        raise NotImplementedError

    def forget(self, key: Key) -> None:
        """Stop judging a model."""
        raise NotImplementedError

    def results(self, key: Key) -> Assessment | None:
        """Return the newest assessment of what is followed; None until each SLO was judged."""
        raise NotImplementedError

    def checkpoint(self, key: Key, at: datetime) -> Checkpoint | None:
        """Return exact counts as of an instant not after `at`, or None before the first read."""
        raise NotImplementedError

    async def try_queries(
        self, policies: tuple[PinnedPolicy, ...], namespace: str, model: str, version: str
    ) -> tuple[str, ...]:
        """Ask each query of the teams' own once for a version; return what is wrong."""
        raise NotImplementedError

    async def run(self, stop: asyncio.Event) -> None:
        """Read and judge until told to stop."""
        raise NotImplementedError
