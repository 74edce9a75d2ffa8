"""How metric definitions of `api/metrics.py` become instruments, and those of the stages.

Everything that can be counted is created at 0: a counter that appears later hides its first event.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

import prometheus_client as prometheus

from rlhf_operator.api import metrics as names
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


class StageInstruments:
    """Counts what each stage did; the pipeline's `Counts`."""

    def __init__(self, registry: prometheus.CollectorRegistry) -> None:
        # Kept, as all stages count every text, and to look a series up costs more than to count.
        self._decisions = functools.cache(counter(names.GUARD_STAGE_DECISIONS, registry).labels)
        self._errors = counter(names.GUARD_STAGE_ERRORS, registry)
        self._duration = histogram(names.GUARD_STAGE_DURATION, registry)
        self._bypasses = counter(names.GUARD_BYPASSES, registry)

    def know(self, spec: GuardSpec) -> None:
        """Begin at 0 for every stage of a spec."""
        for stage in spec.stages:
            for direction in stage.applies_to:
                for decision in names.STAGE_DECISIONS:
                    self._decisions(stage.name, direction.lower(), decision)
            if stage.type != "Rules":
                self._bypasses.labels(stage.name)
                for reason in Unjudged:
                    self._errors.labels(stage.name, reason.value)

    def decided(self, stage: str, direction: Direction, decision: str) -> None:
        """Count one text that a stage was shown."""
        self._decisions(stage, direction.lower(), decision).inc()

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
