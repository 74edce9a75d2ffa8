"""Built-in indicators: which counters make up the number, and which direction is better."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from functools import lru_cache
from math import ceil

from rlhf_operator.api import metrics
from rlhf_operator.api.measure import Indicator, TeamCounter
from rlhf_operator.api.policy import SLO


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
class Touching:
    """The label values that list, joined by commas, one of these words or more."""

    words: tuple[str, ...]

    def __contains__(self, value: str) -> bool:
        """Tell whether a label's value lists one of the words."""
        return not set(self.words).isdisjoint(value.split(","))


@dataclass(frozen=True, slots=True)
class Counter:
    """Series of one counter; `where` says which values of a label count, all when empty."""

    name: str
    where: tuple[tuple[str, tuple[str, ...] | Touching], ...] = ()
    version_label: str = metrics.VERSION

    def chooses(self, labels: Mapping[str, str]) -> bool:
        """Return whether a series with these labels counts."""
        return all(labels.get(label, "") in values for label, values in self.where)

    def __str__(self) -> str:
        """Return the counter as it would be written in PromQL."""
        chosen = ",".join(_matcher(label, values) for label, values in self.where)
        return f"{self.name}{{{chosen}}}" if chosen else self.name


def _matcher(label: str, values: tuple[str, ...] | Touching) -> str:
    if isinstance(values, Touching):
        return f'{label}=~"(.*,)?({"|".join(values.words)})(,.*)?"'
    return f'{label}="{values[0]}"' if len(values) == 1 else f'{label}=~"{"|".join(values)}"'


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
    by_user: Measure | None = None
    """The same with each user's first event or vote alone, where the guard counts that."""
    less: Counter | None = None
    """What is taken off the events: a counter cannot fall, so a sum with a sign has two."""
    squares: Counter | None = None
    """The sum of the squares, where a mean is judged by evidence."""
    scorer: str | None = None
    """The label that tells what scored the values; scores of two are never added or compared."""
    # Measures are looked up for every judgement; a text remembers its hash.
    key: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", f"{self.form} {self} {self.squares}")

    @property
    def counters(self) -> tuple[Counter, ...]:
        """Return the counters to read."""
        parts = (self.events, self.less, self.squares, self.samples)
        return tuple(part for part in parts if part is not None)

    def __str__(self) -> str:
        """Return the measure as a formula."""
        match self.form:
            case Form.COUNT:
                return str(self.events)
            case Form.QUERY:
                return str(self.samples)
            case Form.RATE | Form.MEAN:
                events = str(self.events) if self.less is None else f"({self.events} - {self.less})"
                return f"{events} / {self.samples}"


def _counter(metric: metrics.Metric, suffix: str = "") -> Counter:
    return Counter(metric.name + suffix)


def _votes(better: Better, kind: str, event: str, other: str) -> Measure:
    """Return the share of one of two values among the votes of a kind."""

    def among(counted: metrics.Metric) -> Measure:
        samples, events = (
            Counter(
                counted.name,
                ((metrics.KIND, (kind,)), (metrics.VALUE, values)),
                metrics.ABOUT_VERSION,
            )
            for values in ((event, other), (event,))
        )
        return Measure(Form.RATE, better, samples, events, absent_is_zero=True)

    # A user's first vote counts whichever it is: of votes until the first bad one, a user who
    # praises every answer would have all.
    return replace(among(metrics.GUARD_FEEDBACK), by_user=among(metrics.GUARD_FIRST_FEEDBACK))


@dataclass(frozen=True, slots=True)
class _Unsafe:
    """The counters of unsafe answers: of all, by category, and by set of categories."""

    samples: metrics.Metric
    total: metrics.Metric
    by_category: metrics.Metric
    by_set: metrics.Metric
    first: metrics.FirstKind


_SERVED = _Unsafe(
    metrics.GUARD_RESPONSES,
    metrics.GUARD_UNSAFE_SERVED_RESPONSES,
    metrics.GUARD_UNSAFE_SERVED,
    metrics.GUARD_UNSAFE_SERVED_SETS,
    metrics.FirstKind.UNSAFE_SERVED,
)
_GENERATED = _Unsafe(
    metrics.GUARD_GENERATED_RESPONSES,
    metrics.GUARD_UNSAFE_GENERATED_RESPONSES,
    metrics.GUARD_UNSAFE_GENERATED,
    metrics.GUARD_UNSAFE_GENERATED_SETS,
    metrics.FirstKind.UNSAFE_GENERATED,
)


def _firsts(kind: metrics.FirstKind) -> Measure:
    chosen = ((metrics.KIND, (str(kind),)),)
    return Measure(
        Form.RATE,
        Better.LOWER,
        Counter(metrics.GUARD_FIRST_SAMPLES.name, chosen),
        Counter(metrics.GUARD_FIRST_EVENTS.name, chosen),
    )


def _rate(samples: metrics.Metric, events: metrics.Metric, first: metrics.FirstKind) -> Measure:
    return Measure(
        Form.RATE, Better.LOWER, _counter(samples), _counter(events), by_user=_firsts(first)
    )


def _unjudged(events: metrics.Metric) -> Measure:
    # A service that fails is no act of a user, so it is not counted by user.
    return Measure(Form.RATE, Better.LOWER, _counter(metrics.GUARD_RESPONSES), _counter(events))


def _unsafe(form: Form, known: _Unsafe, indicator: Indicator) -> Measure:
    chosen = tuple(sorted(set(indicator.categories)))
    match len(chosen):
        case 0 if form is Form.RATE:
            return _rate(known.samples, known.total, known.first)
        case 0:
            events = _counter(known.total)
        case 1:
            events = Counter(known.by_category.name, ((metrics.CATEGORY, chosen),))
        case _:  # summed over categories, an answer that is in two of them would count twice
            events = Counter(known.by_set.name, ((metrics.CATEGORY, Touching(chosen)),))
    return Measure(form, Better.LOWER, _counter(known.samples), events)


def measure(slo: SLO) -> Measure:
    """Return what must be counted for an SLO."""
    if slo.indicator is not None:
        found = _built_in(slo.indicator)
        # A guard of before exports no squares; what needs none must not wait for them.
        return found if _weighs_means(slo) else replace(found, squares=None)
    assert slo.query is not None, "the schema demands an indicator or a query"
    better = Better(slo.query.better_when)
    if slo.query.counters is not None:
        counted = slo.query.counters
        return Measure(Form.RATE, better, _teams(counted.samples), _teams(counted.events))
    return Measure(Form.QUERY, better, Counter(slo.query.samples or ""))


def _teams(counter: TeamCounter) -> Counter:
    return Counter(counter.name, tuple((each.label, each.values) for each in counter.where))


def _within(indicator: Indicator) -> Counter:
    """Return the answers that were not slow."""
    assert indicator.slower_than is not None, "the schema demands it"
    bound = indicator.slower_than
    # A whole number stands in the label as it was exported, or as Prometheus spells numbers.
    spelt = (bound,) if "." in bound else (bound, f"{bound}.0")
    return Counter(metrics.GUARD_REQUEST_DURATION.name + "_bucket", (("le", spelt),))


def _weighs_means(slo: SLO) -> bool:
    margin = slo.versus_stable
    if margin is None or slo.failure_limit is not None:
        return False
    return margin.method == "Sequential" and margin.difference is not None


def _scores(
    better: Better,
    number: metrics.Metric,
    total: metrics.Metric,
    squares: metrics.Metric,
    scorer: str,
) -> Measure:
    """Return the mean of what the evaluator makes of each answer; it may be negative."""
    about = metrics.ABOUT_VERSION
    positive, negative = (
        Counter(total.name, ((metrics.SIGN, (sign,)),), about) for sign in metrics.SIGNS
    )
    return Measure(
        Form.MEAN,
        better,
        Counter(number.name, (), about),
        positive,
        less=negative,
        squares=Counter(squares.name, (), about),
        scorer=scorer,
    )


def _built_in(indicator: Indicator) -> Measure:
    length, kinds = metrics.GUARD_RESPONSE_LENGTH, metrics.FirstKind
    match indicator.type:
        case "UnsafeServedRate":
            return _unsafe(Form.RATE, _SERVED, indicator)
        case "UnsafeServedCount":
            return _unsafe(Form.COUNT, _SERVED, indicator)
        case "UnsafeGeneratedRate":
            return _unsafe(Form.RATE, _GENERATED, indicator)
        case "GuardBlockRate":
            blocked = metrics.GUARD_BLOCKED_RESPONSES
            return _rate(metrics.GUARD_RESPONSES, blocked, kinds.BLOCKED)
        case "GuardBypassRate":
            return _unjudged(metrics.GUARD_BYPASSED_RESPONSES)
        case "GuardWithheldRate":
            return _unjudged(metrics.GUARD_WITHHELD)
        case "ErrorRate":
            return _rate(metrics.GUARD_REQUESTS, metrics.GUARD_ERRORS, kinds.ERROR)
        case "SlowRatio":
            every = _counter(metrics.GUARD_REQUEST_DURATION, "_count")
            return Measure(Form.RATE, Better.LOWER, every, every, less=_within(indicator))
        case "RefusalRate":
            made = metrics.GUARD_GENERATED_RESPONSES
            return _rate(made, metrics.GUARD_REFUSED, kinds.REFUSED)
        case "ThumbsDownRate":
            return _votes(Better.LOWER, "thumbs", "down", "up")
        case "TaskCompletionRate":
            return _votes(Better.HIGHER, "task", "done", "failed")
        case "ResponseLength":
            # A model that learnt to please a reward model gets wordy first.
            samples, total = _counter(length, "_count"), _counter(length, "_sum")
            squares = _counter(metrics.GUARD_RESPONSE_LENGTH_SQUARES)
            return Measure(Form.MEAN, Better.LOWER, samples, total, squares=squares)
        case "RewardScore":
            return _scores(
                Better.HIGHER,
                metrics.EVALUATOR_REWARDS,
                metrics.EVALUATOR_REWARD_SUM,
                metrics.EVALUATOR_REWARD_SQUARES,
                metrics.REWARD_MODEL,
            )
        case "KLToSFT":
            return _scores(
                Better.LOWER,
                metrics.EVALUATOR_DIVERGENCES,
                metrics.EVALUATOR_DIVERGENCE_SUM,
                metrics.EVALUATOR_DIVERGENCE_SQUARES,
                metrics.REFERENCE,
            )


def counter_names(slos: Iterable[SLO]) -> tuple[str, ...]:
    """Return the distinct counters behind these SLOs, in a fixed order."""
    return tuple(sorted({counter.name for slo in slos for counter in measure(slo).counters}))


@lru_cache(maxsize=4096)
def range_query(name: str, window: timedelta, matchers: str = "") -> str:
    """Return the range selector that yields a counter's raw points for all models at once."""
    seconds = max(1, ceil(window.total_seconds()))
    return f"{name}{matchers}[{seconds}s]"
