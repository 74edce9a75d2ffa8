"""How metric definitions of `api/metrics.py` become instruments, and those of the stages.

Everything that can be counted is created at 0: a counter that appears later hides its first event.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

import prometheus_client as prometheus

from rlhf_operator.api import metrics as names
from rlhf_operator.api.categories import in_stages
from rlhf_operator.api.guard import GuardSpec
from rlhf_operator.api.stages import Direction
from rlhf_operator.guard.verdict import Failure, Unjudged

# The time of creation as a series of its own doubles the series and tells us nothing.
prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]

DIRECTIONS = ("input", "output")


def counter(metric: names.Metric, registry: prometheus.CollectorRegistry) -> prometheus.Counter:
    """Return a new counter of this definition."""
    return prometheus.Counter(metric.name, metric.help, metric.labels, registry=registry)


def gauge(metric: names.Metric, registry: prometheus.CollectorRegistry) -> prometheus.Gauge:
    """Return a new gauge of this definition."""
    return prometheus.Gauge(metric.name, metric.help, metric.labels, registry=registry)


def histogram(metric: names.Metric, registry: prometheus.CollectorRegistry) -> prometheus.Histogram:
    """Return a new histogram of this definition."""
    return prometheus.Histogram(
        metric.name, metric.help, metric.labels, buckets=metric.buckets, registry=registry
    )


class Sometimes:
    """Counters that are exported while something can raise them; they begin at 0 each time.

    A 0 that nobody counts would pass for good news.
    """

    def __init__(
        self, registry: prometheus.CollectorRegistry, *counters: prometheus.Counter
    ) -> None:
        self._registry = registry
        self._counters = counters
        self._is_shown = True

    def show(self, is_raised: bool) -> None:
        """Export them, or no more."""
        if is_raised == self._is_shown:
            return
        self._is_shown = is_raised
        for each in self._counters:
            if is_raised:
                each.reset()
                self._registry.register(each)
            else:
                self._registry.unregister(each)


class Categories:
    """Counts by category, for those alone that can be found."""

    def __init__(self, counter: prometheus.Counter) -> None:
        self.counter = counter
        self._known: set[str] = set()

    def know(self, categories: Iterable[str]) -> None:
        """Begin at 0 for these categories, and forget those that were known and are not there."""
        now = set(categories)
        for gone in self._known - now:
            self.counter.remove(gone)
        self._known = now
        for category in now:
            self.counter.labels(category)

    def count(self, categories: Iterable[str]) -> None:
        """Count one answer."""
        for category in categories:
            self.counter.labels(category).inc()


class Firsts:
    """Counts each user's first event of a kind, and what it is counted among."""

    def __init__(self, registry: prometheus.CollectorRegistry) -> None:
        self._events = counter(names.GUARD_FIRST_EVENTS, registry)
        self._samples = counter(names.GUARD_FIRST_SAMPLES, registry)
        # Kept, as every answer counts in each kind, and to look a series up costs more.
        self._known: dict[names.FirstKind, tuple[prometheus.Counter, prometheus.Counter]] = {}

    def know(self, kinds: Iterable[names.FirstKind]) -> None:
        """Begin at 0 for kinds of events that something can raise, and forget all others."""
        now = frozenset(kinds)
        for gone in self._known.keys() - now:
            del self._known[gone]
            self._events.remove(gone)
            self._samples.remove(gone)
        for kind in now - self._known.keys():
            self._known[kind] = self._events.labels(kind), self._samples.labels(kind)

    def sample(self, kind: names.FirstKind) -> None:
        """Count an answer to a user who has had no such event."""
        if kind in self._known:
            self._known[kind][1].inc()

    def event(self, kind: names.FirstKind) -> None:
        """Count a user's first event."""
        if kind in self._known:
            self._known[kind][0].inc()


class StageInstruments:
    """Counts what each stage did; the pipeline's `Counts`."""

    def __init__(self, registry: prometheus.CollectorRegistry) -> None:
        # Kept, as all stages count every text, and to look a series up costs more than to count.
        self._decisions = functools.cache(counter(names.GUARD_STAGE_DECISIONS, registry).labels)
        self._found = counter(names.GUARD_FOUND, registry)
        self._errors = counter(names.GUARD_STAGE_ERRORS, registry)
        self._duration = histogram(names.GUARD_STAGE_DURATION, registry)
        self._bypasses = counter(names.GUARD_BYPASSES, registry)

    def know(self, spec: GuardSpec) -> None:
        """Begin at 0 for every stage of a spec."""
        for stage in spec.stages:
            for direction in stage.applies_to:
                for decision in names.STAGE_DECISIONS:
                    self._decisions(stage.name, direction.lower(), decision)
                for category in in_stages([stage]):
                    self._found.labels(stage.name, direction.lower(), category)
            if stage.type != "Rules":
                self._bypasses.labels(stage.name)
                for reason in Unjudged:
                    self._errors.labels(stage.name, reason.value)

    def decided(self, stage: str, direction: Direction, decision: str) -> None:
        """Count one text that a stage was shown."""
        self._decisions(stage, direction.lower(), decision).inc()

    def found(self, stage: str, direction: Direction, category: str) -> None:
        """Count one text in which a stage found a category."""
        self._found.labels(stage, direction.lower(), category).inc()

    def failed(self, stage: str, failure: Failure, direction: Direction) -> None:
        """Count one text that a stage could not judge."""
        self.decided(stage, direction, "error")
        self._errors.labels(stage, failure.reason.value).inc()
        if failure.passes:
            self._bypasses.labels(stage).inc()

    def took(self, stage: str, seconds: float) -> None:
        """Note how long a classifier or service took."""
        self._duration.labels(stage).observe(seconds)


class StreamInstruments:
    """Counts how streamed answers went."""

    def __init__(self, registry: prometheus.CollectorRegistry) -> None:
        self._ends = counter(names.GUARD_STREAMS, registry)
        self._escaped = counter(names.GUARD_STREAMS_ESCAPED, registry)
        self._per_token = histogram(names.GUARD_TIME_PER_TOKEN, registry)
        for end in names.STREAM_ENDS:
            self._ends.labels(end)

    def ended(self, end: str, *, has_escaped: bool = False) -> None:
        """Count a stream by how it ended."""
        self._ends.labels(end).inc()
        if has_escaped:
            self._escaped.inc()

    def took(self, seconds: float, tokens: int) -> None:
        """Note the time since the tokens before these."""
        for _ in range(tokens):
            self._per_token.observe(seconds / tokens)


class Redactions:
    """Counts texts of which parts were replaced, by category and direction."""

    def __init__(self, registry: prometheus.CollectorRegistry) -> None:
        self._texts = counter(names.GUARD_REDACTED, registry)

    def know(self, categories: Iterable[str]) -> None:
        """Begin at 0 for these categories."""
        for category in categories:
            for direction in DIRECTIONS:
                self._texts.labels(category, direction)

    def count(self, categories: Iterable[str], direction: str) -> None:
        """Count one text."""
        for category in categories:
            self._texts.labels(category, direction).inc()
