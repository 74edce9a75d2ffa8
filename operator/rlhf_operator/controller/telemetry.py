"""The operator's own metrics; what each means stands in its help text."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from rlhf_operator.api.measurements import Problem


class Telemetry:
    """Counters and gauges of one operator process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.passes = Counter(
            "rlhf_operator_reconciles",
            "Passes over a model, by how they ended.",
            ["result"],
            registry=registry,
        )
        self.seconds = Histogram(
            "rlhf_operator_reconcile_duration_seconds",
            "Seconds of one pass.",
            registry=registry,
            buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5),
        )
        self.lateness = Histogram(
            "rlhf_operator_queue_lateness_seconds",
            "How late a pass began.",
            registry=registry,
            buckets=(0.001, 0.01, 0.05, 0.1, 0.5, 1, 5, 30),
        )
        self.decisions = Counter(
            "rlhf_operator_decisions",
            "Decisions that changed a record, by action and reason.",
            ["action", "reason"],
            registry=registry,
        )
        self.queries = Counter(
            "rlhf_operator_metric_queries",
            "Queries to a metric source, by how they ended.",
            ["source", "result"],
            registry=registry,
        )
        self.query_seconds = Histogram(
            "rlhf_operator_metric_query_duration_seconds",
            "Seconds of one query.",
            registry=registry,
            buckets=(0.005, 0.01, 0.05, 0.1, 0.5, 1, 5),
        )
        self.judging = Histogram(
            "rlhf_operator_judging_duration_seconds",
            "Seconds of one round of judging.",
            registry=registry,
            buckets=(0.001, 0.01, 0.05, 0.1, 0.5, 1, 5),
        )
        self.leading = Gauge(
            "rlhf_operator_leader", "1 while this process leads.", registry=registry
        )

    def queried(self, source: str, query: str, seconds: float, problem: Problem | None) -> None:
        """Note one query, its duration, and why it yielded nothing."""
        self.queries.labels(source, str(problem) if problem else "ok").inc()
        self.query_seconds.observe(seconds)

    def judged(self, subjects: int, seconds: float, late: float) -> None:
        """Note one round: how many subjects, how long it took, how late it began."""
        self.judging.observe(seconds)
