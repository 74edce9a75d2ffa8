"""The guard's instruments, made from the definitions in `api/metrics.py`.

Everything that can be counted is created at 0: a counter that appears later hides its first event.
What no stage or pattern looks for is not there: a 0 would pass for good news.
"""

from __future__ import annotations

from collections.abc import Sequence

import prometheus_client as prometheus

from rlhf_operator.api import metrics as names
from rlhf_operator.api.guard import GuardSpec
from rlhf_operator.api.metrics import FirstKind
from rlhf_operator.guard.instruments import (
    DIRECTIONS,
    Categories,
    Firsts,
    Redactions,
    Sometimes,
    StageInstruments,
    StreamInstruments,
    counter,
    gauge,
    histogram,
)
from rlhf_operator.guard.judge import Judged
from rlhf_operator.guard.rules import Ruleset, applies
from rlhf_operator.guard.tokens import ResponseId
from rlhf_operator.guard.users import Users

MOST_USERS = 100_000
"""How many events of known users one guard remembers: about 20 MB."""

SETS = 256
"""How many sets of several categories are told apart by one guard."""


class _Sets:
    """Counts each answer once, under all its categories together.

    Should more sets occur than can be told apart, an answer with yet another one counts once for
    each of its categories: too often rather than not at all.
    """

    def __init__(self, counter: prometheus.Counter) -> None:
        self._counter = counter
        self._known: set[str] = set()
        self._alone: set[str] = set()
        self._most = SETS

    def know(self, categories: Sequence[str]) -> None:
        """Begin at 0 for each of these alone; they do not use up the room for sets."""
        gone = self._alone - set(categories)
        for name in [each for each in self._known if not gone.isdisjoint(each.split(","))]:
            self._known.remove(name)
            self._counter.remove(name)
        self._alone = set(categories)
        self._most = SETS + len(self._alone)
        for category in self._alone:
            self._known.add(category)
            self._counter.labels(category)

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


def _know(votes: prometheus.Counter, version: str) -> None:
    for kind, values in names.FEEDBACK_VALUES.items():
        for value in values:
            votes.labels(version, kind, value)


class Instruments:
    """Counts what happens; one registry per guard."""

    def __init__(self, spec: GuardSpec, rules: Ruleset, *, version: str) -> None:
        self.registry = prometheus.CollectorRegistry()
        self.stages = StageInstruments(self.registry)
        self.redactions = Redactions(self.registry)
        self.streams = StreamInstruments(self.registry)
        self.requests = self._counter(names.GUARD_REQUESTS)
        self.errors = self._counter(names.GUARD_ERRORS)
        self.duration = self._histogram(names.GUARD_REQUEST_DURATION)
        self.first_token = self._histogram(names.GUARD_TIME_TO_FIRST_TOKEN)
        self._generated = self._counter(names.GUARD_GENERATED_RESPONSES)
        self._unsafe_generated = Categories(self._counter(names.GUARD_UNSAFE_GENERATED))
        self._sets_generated = _Sets(self._counter(names.GUARD_UNSAFE_GENERATED_SETS))
        self._unsafe_generated_responses = self._counter(names.GUARD_UNSAFE_GENERATED_RESPONSES)
        self._responses = self._counter(names.GUARD_RESPONSES)
        self._unsafe_served = Categories(self._counter(names.GUARD_UNSAFE_SERVED))
        self._sets_served = _Sets(self._counter(names.GUARD_UNSAFE_SERVED_SETS))
        self._unsafe_served_responses = self._counter(names.GUARD_UNSAFE_SERVED_RESPONSES)
        self._blocked = self._counter(names.GUARD_BLOCKED)
        self._blocked_responses = self._counter(names.GUARD_BLOCKED_RESPONSES)
        self._refused = self._counter(names.GUARD_REFUSED)
        self._length = self._histogram(names.GUARD_RESPONSE_LENGTH)
        self._length_squares = self._counter(names.GUARD_RESPONSE_LENGTH_SQUARES)
        self._feedback = self._counter(names.GUARD_FEEDBACK)
        self._first_feedback = self._counter(names.GUARD_FIRST_FEEDBACK)
        self._firsts = Firsts(self.registry)
        self.users = Users(MOST_USERS, self._counter(names.GUARD_USERS_FORGOTTEN).inc)
        self._withheld = self._counter(names.GUARD_WITHHELD)
        self._bypassed = self._counter(names.GUARD_BYPASSED_RESPONSES)
        self._redacted = self._counter(names.GUARD_REDACTED_RESPONSES)
        self._over_refused = self._counter(names.GUARD_OVER_REFUSED)
        self._if_refusals = Sometimes(self.registry, self._refused, self._over_refused)
        self._if_output = Sometimes(
            self.registry, self._unsafe_generated_responses, self._unsafe_served_responses
        )
        tokens = self._counter(names.GUARD_TOKENS)
        self._tokens = {direction: tokens.labels(direction) for direction in DIRECTIONS}
        self._reloads = self._counter(names.GUARD_RELOADS)
        for outcome in names.RELOAD_OUTCOMES:
            self._reloads.labels(outcome)
        self._info = gauge(names.GUARD_INFO, self.registry)
        for votes in (self._feedback, self._first_feedback):
            _know(votes, version)
        self.take(spec, rules)

    def take(self, spec: GuardSpec, rules: Ruleset) -> None:
        """Begin at 0 for what these rules can find, and tell that they are in force."""
        self.stages.know(spec)
        self.redactions.know(rules.categories)
        for category in rules.categories:
            self._blocked.labels(category)
        self._look(spec, rules)
        self._info.clear()
        self._info.labels(rules.digest).set(1)

    def _look(self, spec: GuardSpec, rules: Ruleset) -> None:
        """Export what these rules look for in answers, and nothing that nobody looks for."""
        self._sets_generated.know(rules.in_answers)
        self._sets_served.know(rules.in_answers)
        self._unsafe_generated.know(rules.in_answers)
        self._unsafe_served.know(rules.in_answers)
        looks = applies(spec, "Output")
        self._if_output.show(looks)
        self._if_refusals.show(bool(rules.refusals))
        unseen = set() if looks else {FirstKind.UNSAFE_GENERATED, FirstKind.UNSAFE_SERVED}
        unseen |= set() if rules.refusals else {FirstKind.REFUSED}
        self._firsts.know(set(FirstKind) - unseen)

    def count_reload(self, outcome: str) -> None:
        """Count a change of the rules, `taken` or `refused`."""
        self._reloads.labels(outcome).inc()

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
            self._firsts.sample(kind)

    def _event(self, kind: FirstKind, user: bytes | None) -> None:
        if self.users.add(kind, user):
            self._firsts.event(kind)

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
        self.redactions.count(judged.made.redacted, "output")
        self._unsafe_generated.count(judged.made.categories)
        if judged.made.categories:
            self._unsafe_generated_responses.inc()
            self._sets_generated.count(judged.made.categories)
        if judged.is_refusal:
            self._refused.inc()
            if not judged.asked.hits:
                self._over_refused.inc()

    def count_served(self, judged: Judged, user: bytes | None = None) -> None:
        """Count an answer that is about to leave."""
        self._first(FirstKind.UNSAFE_SERVED, user, is_event=bool(judged.unsafe))
        self._first(FirstKind.BLOCKED, user, is_event=judged.is_blocked)
        self._responses.inc()
        self._length.observe(judged.length)
        self._length_squares.inc(judged.length**2)
        if judged.is_blocked:
            self._blocked_responses.inc()
            for category in judged.blocking:
                self._blocked.labels(category).inc()
        elif judged.is_stopped:
            self._withheld.inc()
        else:
            self._count_passed(judged)
        if judged.unsafe:
            self._unsafe_served_responses.inc()
            self._sets_served.count(judged.unsafe)
            self._unsafe_served.count(judged.unsafe)

    def _count_passed(self, judged: Judged) -> None:
        if judged.is_bypassed:
            self._bypassed.inc()
        if judged.made is not None and judged.made.text is not None:
            self._redacted.inc()

    def count_passed_on(self, count: int) -> None:
        """Count answers that were withheld, where another version answered in their place."""
        self._responses.inc(count)
        self._withheld.inc(count)

    def count_tokens(self, *, prompt: int, answer: int) -> None:
        """Count the tokens of one question and of what the model made of it."""
        self._tokens["input"].inc(prompt)
        self._tokens["output"].inc(answer)

    def count_vote(self, about: ResponseId, *, kind: str, value: str) -> None:
        """Count a user's vote about an answer."""
        _know(self._feedback, about.version)
        self._feedback.labels(about.version, kind, value).inc()
        if about.voter is None:
            # A version whose guards tell no voters must not seem to have had none.
            return
        _know(self._first_feedback, about.version)
        if self.users.add(kind, about.voter.encode() or None):
            self._first_feedback.labels(about.version, kind, value).inc()

    def _counter(self, metric: names.Metric) -> prometheus.Counter:
        return counter(metric, self.registry)

    def _histogram(self, metric: names.Metric) -> prometheus.Histogram:
        return histogram(metric, self.registry)
