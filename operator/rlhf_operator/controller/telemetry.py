"""The operator's own metrics, made from the definitions in `api/operator_metrics.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from rlhf_operator.api import operator_metrics as names
from rlhf_operator.api.measurements import Problem
from rlhf_operator.api.metrics import Metric
from rlhf_operator.controller.estimates import Estimate, Estimates, Shares
from rlhf_operator.core import contenders
from rlhf_operator.core.decision import Action, Decision
from rlhf_operator.core.observed import Key, Observed, Run


class Telemetry:
    """Counters and gauges of one operator process."""

    def __init__(self, live: Callable[[], Iterable[Estimate]] = tuple) -> None:
        """Begin to count; `live` tells, whenever asked, what is known of the runs then."""
        disable_created_metrics()  # type: ignore[no-untyped-call]
        registry = CollectorRegistry()

        def counter(metric: Metric) -> Counter:
            return Counter(metric.name, metric.help, metric.labels, registry=registry)

        def histogram(metric: Metric) -> Histogram:
            buckets = metric.buckets
            return Histogram(
                metric.name, metric.help, metric.labels, buckets=buckets, registry=registry
            )

        self.passes = counter(names.RECONCILES)
        self.seconds = histogram(names.RECONCILE_DURATION)
        self.lateness = histogram(names.QUEUE_LATENESS)
        self._decisions = counter(names.DECISIONS)
        self._queries = counter(names.QUERIES)
        self._query_seconds = histogram(names.QUERY_DURATION)
        self._judging = histogram(names.JUDGING_DURATION)
        self._judging_lateness = histogram(names.JUDGING_LATENESS)
        self._judged = counter(names.JUDGED)
        self.leading = Gauge(names.LEADER.name, names.LEADER.help, registry=registry)
        self.registry = registry
        self._shares: dict[Key, Shares] = {}
        self._estimates = Estimates(live, self._shares)

    async def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry) + (await self._estimates.text()).encode()

    def queried(self, source: str, query: str, seconds: float, problem: Problem | None) -> None:
        """Note one query, its duration, and why it yielded nothing."""
        self._queries.labels(source, str(problem) if problem else "ok").inc()
        self._query_seconds.observe(seconds)

    def judged(self, subjects: int, seconds: float, late: float) -> None:
        """Note one round: how many subjects, how long it took, how late it began."""
        self._judging.observe(seconds)
        self._judging_lateness.observe(max(0.0, late))
        self._judged.inc(subjects)

    def reported(self, seen: Observed, decision: Decision, run: Run | None) -> None:
        """Note what a pass put on record, and the weights of a run that goes on."""
        if _is_news(seen.run, decision, run):
            self._decisions.labels(str(decision.action), str(decision.reason)).inc()
        if run is None or not run.is_active or seen.deleted:
            self._shares.pop(seen.key, None)
        else:
            self._shares[seen.key] = _shares(run)


def _is_news(before: Run | None, decision: Decision, after: Run | None) -> bool:
    """Return whether a decision is on record that was not there: who waits goes on deciding so."""
    if decision.action in (Action.START, Action.LIFT):
        return True
    if before is None or after is None or after.status == before.status:
        return False
    if decision.action not in (Action.HOLD, Action.KEEP):
        return True
    told, known = after.status, before.status
    return (told.reason, told.not_the_model) != (known.reason, known.not_the_model)


def _shares(run: Run) -> Shares:
    tested = contenders.shares(run.status)
    stable = run.status.stable
    if stable is None or stable.name in tested:
        return tuple(tested.items())
    rest = 100 if run.is_shadow else 100 - sum(tested.values())
    return (*tested.items(), (stable.name, rest))
