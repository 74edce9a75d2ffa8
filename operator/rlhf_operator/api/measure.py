"""What an objective measures: a built-in indicator, or a query of the team's own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rlhf_operator.api import metrics
from rlhf_operator.api.schema import ApiType, rule

Category = Annotated[str, Field(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
IndicatorType = Literal[
    "UnsafeServedRate",
    "UnsafeServedCount",
    "UnsafeGeneratedRate",
    "GuardBlockRate",
    "GuardBypassRate",
    "GuardWithheldRate",
    "ErrorRate",
    "SlowRatio",
    "RefusalRate",
    "ThumbsDownRate",
    "TaskCompletionRate",
    "ResponseLength",
    "RewardScore",
    "KLToSFT",
]


SLOWER_THAN = Literal[
    "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "1.5", "2", "2.5", "5", "10", "20", "30",
    "60", "120", "300",
]  # fmt: skip
MEANS = ("ResponseLength", "RewardScore", "KLToSFT")


class Indicator(ApiType):
    """A built-in measure, read from the guard's own counters, or from the evaluator's."""

    type: IndicatorType
    """What is measured. Rates are per answer. GuardBypassRate and GuardWithheldRate count answers
    that a stage of the guard could not judge: those that left all the same, because the stage fails
    open, and those that were withheld, because it fails closed. Means are ResponseLength, in
    tokens, and, by the evaluator, RewardScore, in standard deviations, and KLToSFT, in nats per
    token."""
    categories: Annotated[tuple[Category, ...], Field(max_length=32)] = ()
    """Only these categories of unsafe output; all when empty. An answer counts once, in however
    many of them it is."""
    slower_than: SLOWER_THAN | None = None
    """Of SlowRatio: an answer that takes more seconds than this is slow. One of the bounds at
    which the guard counts."""

    @rule(
        "(self.type == 'SlowRatio') == has(self.slowerThan)", "slowerThan goes with SlowRatio alone"
    )
    def slowness_fits(self) -> bool:
        """Return whether it is said what is slow, where that is asked."""
        return (self.type == "SlowRatio") == (self.slower_than is not None)

    @property
    def is_rate(self) -> bool:
        """Return whether it is events per answer."""
        return self.type.endswith("Rate") or self.type == "SlowRatio"

    @rule(
        "!has(self.categories) || size(self.categories) == 0 || self.type.startsWith('Unsafe')",
        "categories go with the Unsafe… indicators only",
    )
    def categories_fit(self) -> bool:
        """Return whether the categories make sense."""
        return not self.categories or self.type.startswith("Unsafe")


MetricName = Annotated[str, Field(max_length=255, pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$")]


class LabelChoice(ApiType):
    """Which values of a label count."""

    label: Annotated[str, Field(max_length=63, pattern=r"^[a-zA-Z][a-zA-Z0-9_]*$")]
    """The label."""
    values: Annotated[
        tuple[Annotated[str, Field(max_length=63, pattern=r"^[a-zA-Z0-9_./: -]*$")], ...],
        Field(min_length=1, max_length=16),
    ]
    """The values."""

    @rule(
        "!(self.label in ['namespace', 'rlhf_model', 'rlhf_version', 'about_version'])",
        "the model and the version are chosen by the operator",
    )
    def is_not_a_target(self) -> bool:
        """Return whether the label is the team's own."""
        return self.label not in (*metrics.TARGET_LABELS, metrics.ABOUT_VERSION)


class TeamCounter(ApiType):
    """A counter of the team's own; its series carry namespace, rlhf_model and rlhf_version."""

    name: MetricName
    """The counter. It begins at 0, and every series is there before its first event."""
    where: Annotated[tuple[LabelChoice, ...], Field(max_length=4)] = ()
    """Only series with these values; all when empty."""


class Counters(ApiType):
    """Two counters that make up a rate: events per sample."""

    events: TeamCounter
    """What is counted."""
    samples: TeamCounter
    """Of how many."""


class Query(ApiType):
    """A measure of the team's own: a rate of two counters, or any expression in PromQL."""

    counters: Counters | None = None
    """A rate, judged by evidence as the built-in ones are."""
    prom_ql: Annotated[
        Annotated[str, Field(min_length=1, max_length=4096)] | None, Field(alias="promQL")
    ] = None
    """A static expression that keeps the labels namespace, rlhf_model and rlhf_version; its value
    is compared as a plain number."""
    samples: MetricName | None = None
    """With promQL: the counter whose increase says how many samples stand behind the value."""
    better_when: Literal["Lower", "Higher"]
    """Which direction is better."""

    @rule(
        "has(self.counters) != has(self.promQL)", "exactly one of counters and promQL must be set"
    )
    def one_kind(self) -> bool:
        """Return whether it is counted or asked."""
        return (self.counters is None) != (self.prom_ql is None)

    @rule("has(self.promQL) == has(self.samples)", "samples goes with promQL, and promQL with it")
    def samples_fit(self) -> bool:
        """Return whether it is known how many samples stand behind an expression."""
        return (self.prom_ql is None) == (self.samples is None)

    @property
    def text(self) -> str:
        """Return the expression; there is one where nothing is counted."""
        assert self.prom_ql is not None, "one_kind: it has counters"
        return self.prom_ql
