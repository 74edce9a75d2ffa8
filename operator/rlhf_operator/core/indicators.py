"""Built-in indicators: which counters make up the number, and which direction is better."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from functools import lru_cache
from math import ceil

from rlhf_operator.api import metrics
from rlhf_operator.api.policy import SLO, Indicator


class Better(StrEnum):
    """Which direction is better."""

    LOWER = "Lower"
    HIGHER = "Higher"


class Form(StrEnum):
    """How the number comes from the counts."""

    RATE = "Rate"
    """Events per sample."""
    COUNT = "Count"
    """Events alone."""
    MEAN = "Mean"
    """A sum per sample."""
    QUERY = "Query"
    """The value of the team's own expression; only its samples are counted."""


@dataclass(frozen=True, slots=True)
class Counter:
    """Series of one counter; `where` says which values of a label count, all when empty."""

    name: str
    where: tuple[tuple[str, tuple[str, ...]], ...] = ()
    version_label: str = metrics.VERSION

    def __str__(self) -> str:
        """Return the counter as it would be written in PromQL."""
        chosen = ",".join(
            f'{label}="{values[0]}"' if len(values) == 1 else f'{label}=~"{"|".join(values)}"'
            for label, values in self.where
        )
        return f"{self.name}{{{chosen}}}" if chosen else self.name


@dataclass(frozen=True, slots=True)
class Measure:
    """What must be counted for one SLO, and how the number is read."""

    form: Form
    better: Better
    samples: Counter
    events: Counter | None = None
    # A version about which nobody has voted yet has no series of its own votes; a missing
    # category, however, means that no rule looks for it, and that must not pass as zero.
    absent_is_zero: bool = False
    # Measures are looked up for every judgement; a text remembers its hash.
    key: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", f"{self.form} {self}")

    @property
    def counters(self) -> tuple[Counter, ...]:
        """Return the counters to read."""
        return (self.samples,) if self.events is None else (self.events, self.samples)

    def __str__(self) -> str:
        """Return the measure as a formula."""
        match self.form:
            case Form.COUNT:
                return str(self.events)
            case Form.QUERY:
                return str(self.samples)
            case Form.RATE | Form.MEAN:
                return f"{self.events} / {self.samples}"


def _counter(metric: metrics.Metric, suffix: str = "") -> Counter:
    return Counter(metric.name + suffix)


def _votes(kind: str, *values: str) -> Counter:
    return Counter(
        metrics.GUARD_FEEDBACK.name,
        ((metrics.KIND, (kind,)), (metrics.VALUE, values)),
        metrics.ABOUT_VERSION,
    )


def _unsafe(
    form: Form, total: metrics.Metric, by_category: metrics.Metric, indicator: Indicator
) -> Measure:
    served = total is metrics.GUARD_UNSAFE_SERVED_RESPONSES
    samples = metrics.GUARD_RESPONSES if served else metrics.GUARD_GENERATED_RESPONSES
    events = _counter(total)
    if indicator.categories:
        chosen = tuple(sorted(set(indicator.categories)))
        events = Counter(by_category.name, ((metrics.CATEGORY, chosen),))
    return Measure(form, Better.LOWER, _counter(samples), events)


def measure(slo: SLO) -> Measure:
    """Return what must be counted for an SLO."""
    if slo.indicator is not None:
        return _built_in(slo.indicator)
    assert slo.query is not None, "the schema demands an indicator or a query"
    return Measure(Form.QUERY, Better(slo.query.better_when), Counter(slo.query.samples))


def _built_in(indicator: Indicator) -> Measure:
    served = (metrics.GUARD_UNSAFE_SERVED_RESPONSES, metrics.GUARD_UNSAFE_SERVED)
    generated = (metrics.GUARD_UNSAFE_GENERATED_RESPONSES, metrics.GUARD_UNSAFE_GENERATED)
    requests, responses = _counter(metrics.GUARD_REQUESTS), _counter(metrics.GUARD_RESPONSES)
    length = metrics.GUARD_RESPONSE_LENGTH
    match indicator.type:
        case "UnsafeServedRate":
            return _unsafe(Form.RATE, *served, indicator)
        case "UnsafeServedCount":
            return _unsafe(Form.COUNT, *served, indicator)
        case "UnsafeGeneratedRate":
            return _unsafe(Form.RATE, *generated, indicator)
        case "GuardBlockRate":
            blocked = _counter(metrics.GUARD_BLOCKED_RESPONSES)
            return Measure(Form.RATE, Better.LOWER, responses, blocked)
        case "ErrorRate":
            return Measure(Form.RATE, Better.LOWER, requests, _counter(metrics.GUARD_ERRORS))
        case "RefusalRate":
            made = _counter(metrics.GUARD_GENERATED_RESPONSES)
            return Measure(Form.RATE, Better.LOWER, made, _counter(metrics.GUARD_REFUSED))
        case "ThumbsDownRate":
            votes = _votes("thumbs", "down", "up")
            return Measure(Form.RATE, Better.LOWER, votes, _votes("thumbs", "down"), True)
        case "TaskCompletionRate":
            votes = _votes("task", "done", "failed")
            return Measure(Form.RATE, Better.HIGHER, votes, _votes("task", "done"), True)
        case "ResponseLength":
            # A model that learnt to please a reward model gets wordy first.
            samples, total = _counter(length, "_count"), _counter(length, "_sum")
            return Measure(Form.MEAN, Better.LOWER, samples, total)


def counter_names(slos: Iterable[SLO]) -> tuple[str, ...]:
    """Return the distinct counters behind these SLOs, in a fixed order."""
    return tuple(sorted({counter.name for slo in slos for counter in measure(slo).counters}))


@lru_cache(maxsize=4096)
def range_query(name: str, window: timedelta, matchers: str = "") -> str:
    """Return the range selector that yields a counter's raw points for all models at once."""
    seconds = max(1, ceil(window.total_seconds()))
    return f"{name}{matchers}[{seconds}s]"
