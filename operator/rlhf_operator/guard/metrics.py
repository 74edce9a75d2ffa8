"""The guard's instruments, made from the definitions in `api/metrics.py`.

Everything that can be counted is created at 0: a counter that appears later hides its first event.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import prometheus_client as prometheus

from rlhf_operator.api import metrics as names
from rlhf_operator.api.metrics import FirstKind
from rlhf_operator.guard.judge import Judged
from rlhf_operator.guard.rules import Ruleset
from rlhf_operator.guard.users import Users

# The time of creation as a series of its own doubles the series and tells us nothing.
prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]


MOST_USERS = 100_000
"""How many events of known users one guard remembers: about 20 MB."""

SETS = 256
"""How many sets of several categories are told apart by one guard."""


class _Sets:
    """Counts each answer once, under all its categories together.

    Should more sets occur than can be told apart, an answer with yet another one counts once for
    each of its categories: too often rather than not at all.
    """

    def __init__(self, counter: prometheus.Counter, categories: Collection[str]) -> None:
        self._counter = counter
        self._known = set(categories)
        self._most = len(self._known) + SETS
        for category in categories:
            counter.labels(category)

    def count(self, categories: Sequence[str]) -> None:
        """Count one answer; its categories are sorted."""
        name = ",".join(categories)
        is_new = name not in self._known
        if is_new and len(self._known) >= self._most:
            for category in categories:
                self._counter.labels(category).inc()
            return
        self._known.add(name)
        self._counter.labels(name).inc()


class Instruments:
    """Counts what happens; one registry per guard."""

    def __init__(self, rules: Ruleset, *, version: str) -> None:
        self.registry = prometheus.CollectorRegistry()
        self.requests = self._counter(names.GUARD_REQUESTS)
        self.errors = self._counter(names.GUARD_ERRORS)
        self.duration = self._histogram(names.GUARD_REQUEST_DURATION)
        self.first_token = self._histogram(names.GUARD_TIME_TO_FIRST_TOKEN)
        self._generated = self._counter(names.GUARD_GENERATED_RESPONSES)
        self._unsafe_generated = self._counter(names.GUARD_UNSAFE_GENERATED)
        self._sets_generated = self._sets(names.GUARD_UNSAFE_GENERATED_SETS, rules)
        self._unsafe_generated_responses = self._counter(names.GUARD_UNSAFE_GENERATED_RESPONSES)
        self._responses = self._counter(names.GUARD_RESPONSES)
        self._unsafe_served = self._counter(names.GUARD_UNSAFE_SERVED)
        self._sets_served = self._sets(names.GUARD_UNSAFE_SERVED_SETS, rules)
        self._unsafe_served_responses = self._counter(names.GUARD_UNSAFE_SERVED_RESPONSES)
        self._blocked = self._counter(names.GUARD_BLOCKED)
        self._blocked_responses = self._counter(names.GUARD_BLOCKED_RESPONSES)
        self._refused = self._counter(names.GUARD_REFUSED)
        self._length = self._histogram(names.GUARD_RESPONSE_LENGTH)
        self._length_squares = self._counter(names.GUARD_RESPONSE_LENGTH_SQUARES)
        self._feedback = self._counter(names.GUARD_FEEDBACK)
        self._first_events = self._counter(names.GUARD_FIRST_EVENTS)
        self._first_samples = self._counter(names.GUARD_FIRST_SAMPLES)
        self.users = Users(MOST_USERS, self._counter(names.GUARD_USERS_FORGOTTEN).inc)
        for kind in FirstKind:
            self._first_events.labels(kind)
            self._first_samples.labels(kind)
        for category in rules.categories:
            for counter in (self._unsafe_generated, self._unsafe_served, self._blocked):
                counter.labels(category)
        self._know(version)
        info = names.GUARD_INFO
        gauge = prometheus.Gauge(info.name, info.help, info.labels, registry=self.registry)
        gauge.labels(rules.digest).set(1)

    def count_request(self, user: bytes | None = None) -> None:
        """Count a request for an answer."""
        self.requests.inc()
        self._sample(FirstKind.ERROR, user)

    def count_error(self, user: bytes | None = None) -> None:
        """Count that a request which was counted failed."""
        self.errors.inc()
        self._event(FirstKind.ERROR, user)

    def _sample(self, kind: FirstKind, user: bytes | None) -> None:
        if not self.users.had(kind, user):
            self._first_samples.labels(kind).inc()

    def _event(self, kind: FirstKind, user: bytes | None) -> None:
        if self.users.add(kind, user):
            self._first_events.labels(kind).inc()

    def _first(self, kind: FirstKind, user: bytes | None, *, is_event: bool) -> None:
        """Count an answer among the first ones, unless its user had such an event before."""
        self._sample(kind, user)
        if is_event:
            self._event(kind, user)

    def count_generated(self, judged: Judged, user: bytes | None = None) -> None:
        """Count an answer that the model made."""
        if judged.made is None:
            return
        self._first(FirstKind.UNSAFE_GENERATED, user, is_event=bool(judged.made.categories))
        self._first(FirstKind.REFUSED, user, is_event=judged.is_refusal)
        self._generated.inc()
        for category in judged.made.categories:
            self._unsafe_generated.labels(category).inc()
        if judged.made.categories:
            self._unsafe_generated_responses.inc()
            self._sets_generated.count(judged.made.categories)
        if judged.is_refusal:
            self._refused.inc()

    def count_served(self, judged: Judged, user: bytes | None = None) -> None:
        """Count an answer that is about to leave."""
        is_unsafe = not judged.is_blocked and judged.made is not None and judged.made.categories
        self._first(FirstKind.UNSAFE_SERVED, user, is_event=bool(is_unsafe))
        self._first(FirstKind.BLOCKED, user, is_event=judged.is_blocked)
        self._responses.inc()
        self._length.observe(judged.length)
        self._length_squares.inc(judged.length**2)
        if judged.is_blocked:
            self._blocked_responses.inc()
            for category in judged.blocking:
                self._blocked.labels(category).inc()
        elif judged.made is not None and judged.made.categories:
            self._unsafe_served_responses.inc()
            self._sets_served.count(judged.made.categories)
            for category in judged.made.categories:
                self._unsafe_served.labels(category).inc()

    def count_vote(self, *, about_version: str, kind: str, value: str) -> None:
        """Count a user's vote about a version."""
        self._know(about_version)
        self._feedback.labels(about_version, kind, value).inc()

    def _know(self, version: str) -> None:
        for kind, values in names.FEEDBACK_VALUES.items():
            for value in values:
                self._feedback.labels(version, kind, value)

    def _sets(self, metric: names.Metric, rules: Ruleset) -> _Sets:
        return _Sets(self._counter(metric), rules.categories)

    def _counter(self, metric: names.Metric) -> prometheus.Counter:
        return prometheus.Counter(metric.name, metric.help, metric.labels, registry=self.registry)

    def _histogram(self, metric: names.Metric) -> prometheus.Histogram:
        return prometheus.Histogram(
            metric.name,
            metric.help,
            metric.labels,
            buckets=metric.buckets,
            registry=self.registry,
        )
