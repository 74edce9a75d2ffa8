"""Counts what became of events for the sink; every outcome begins at 0."""

from __future__ import annotations

import prometheus_client as prometheus

from rlhf_operator.api import metrics as names
from rlhf_operator.guard.instruments import counter


class SampleCounts:
    """Counts samples and feedback by what became of them."""

    def __init__(self, registry: prometheus.CollectorRegistry) -> None:
        self._samples = counter(names.GUARD_SAMPLES, registry)
        self._feedback = counter(names.GUARD_FEEDBACK_EVENTS, registry)
        for outcome in names.SAMPLE_OUTCOMES:
            self._samples.labels(outcome)
            self._feedback.labels(outcome)

    def samples(self, outcome: str) -> None:
        """Count one answer."""
        self._samples.labels(outcome).inc()

    def feedback(self, outcome: str) -> None:
        """Count one vote."""
        self._feedback.labels(outcome).inc()
