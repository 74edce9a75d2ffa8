"""`AlignmentPolicy`: the service level objectives that a model must keep."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rlhf_operator.api.common import Condition, Object
from rlhf_operator.api.measure import MEANS, Indicator, Query
from rlhf_operator.api.schema import (
    ApiType,
    DecimalText,
    Duration,
    Keyed,
    Name,
    decimal,
    parse_duration,
    rule,
)

SLOClass = Literal["Safety", "Quality", "Performance", "Informational"]


class VersusStable(ApiType):
    """How much worse than the stable version the canary may be, at the same time."""

    ratio: DecimalText | None = None
    """For rates: at most this many times stable's rate."""
    difference: DecimalText | None = None
    """For means: at most this much away from stable's mean, in the worse direction."""
    method: Literal["Sequential", "Threshold"] = "Sequential"
    """Sequential, the default, weighs the evidence of all answers since the run began, and may be
    looked at always; it goes with the ratio of a rate (built in, or of a query's counters) and
    with the difference of a built-in mean. Threshold compares two numbers."""

    @rule(
        "has(self.ratio) != has(self.difference)", "exactly one of ratio and difference must be set"
    )
    def one_margin(self) -> bool:
        """Return whether exactly one margin is given."""
        return (self.ratio is None) != (self.difference is None)

    @rule("!has(self.ratio) || double(self.ratio) >= 1.0", "ratio must be at least 1")
    def ratio_allows_equal(self) -> bool:
        """Return whether an equal canary may pass."""
        return self.ratio is None or decimal(self.ratio) >= 1

    @rule(
        "!has(self.difference) || double(self.difference) >= 0.0", "difference must not be negative"
    )
    def difference_allows_equal(self) -> bool:
        """Return whether an equal canary may pass."""
        return self.difference is None or decimal(self.difference) >= 0


class SLO(ApiType):
    """One objective: a measure, its bounds, and what its violation means."""

    name: Name
    """A name, unique within the policy."""
    class_: Annotated[SLOClass, Field(alias="class")]
    """Safety rolls back at once; Quality and Performance roll back; Informational is shown."""
    indicator: Indicator | None = None
    """A built-in measure."""
    query: Query | None = None
    """A measure of the team's own."""
    max: DecimalText | None = None
    """The measure must not be above this. In a run in which users stay with their version, a
    built-in rate that is judged by evidence counts each user once; else every answer counts."""
    min: DecimalText | None = None
    """The measure must not be below this; counted as for max."""
    max_count: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """For counts: more events than this violate the objective."""
    min_samples: Annotated[int, Field(ge=1, le=100_000_000)] = 1
    """With fewer samples since the last weight change the verdict is Inconclusive."""
    versus_stable: VersusStable | None = None
    """How much worse than stable the canary may be."""
    failure_limit: Annotated[int, Field(ge=1, le=100)] | None = None
    """How many measurements in a row must be out of bounds before the SLO fails. Where it is set,
    bounds are compared as plain numbers; where not, a rate is judged by evidence, and so is how
    far a built-in mean may differ from stable's."""

    @rule(
        "!has(self.versusStable) || "
        "(has(self.versusStable.method) && self.versusStable.method == 'Threshold') || "
        "(!has(self.failureLimit) && has(self.versusStable.ratio) && "
        "((has(self.indicator) && "
        "(self.indicator.type.endsWith('Rate') || self.indicator.type == 'SlowRatio')) || "
        "(has(self.query) && has(self.query.counters)))) || "
        "(!has(self.failureLimit) && has(self.versusStable.difference) && has(self.indicator) && "
        "self.indicator.type in ['ResponseLength', 'RewardScore', 'KLToSFT'])",
        "method Sequential, the default, goes with the ratio of a built-in rate or of counters, or "
        "with the difference of ResponseLength, RewardScore or KLToSFT, and without "
        "failureLimit; else set method: Threshold",
    )
    def method_fits(self) -> bool:
        """Return whether the comparison with stable can be made in the way that is asked for."""
        margin = self.versus_stable
        if margin is None or margin.method == "Threshold":
            return True
        if self.failure_limit is not None:
            return False
        if margin.ratio is not None:
            by_counters = self.query is not None and self.query.counters is not None
            return by_counters or (self.indicator is not None and self.indicator.is_rate)
        return self.indicator is not None and self.indicator.type in MEANS

    @rule(
        "has(self.indicator) != has(self.query)", "exactly one of indicator and query must be set"
    )
    def one_measure(self) -> bool:
        """Return whether exactly one measure is given."""
        return (self.indicator is None) != (self.query is None)

    @rule(
        "has(self.max) || has(self.min) || has(self.maxCount) || has(self.versusStable)",
        "a bound is needed: max, min, maxCount or versusStable",
    )
    def has_bound(self) -> bool:
        """Return whether there is anything to judge by."""
        bounds = (self.max, self.min, self.max_count, self.versus_stable)
        return any(bound is not None for bound in bounds)

    @rule(
        "!has(self.maxCount) || (has(self.indicator) && self.indicator.type.endsWith('Count'))",
        "maxCount goes with a …Count indicator",
    )
    def count_bound_fits(self) -> bool:
        """Return whether maxCount bounds a count."""
        return self.max_count is None or (
            self.indicator is not None and self.indicator.type.endswith("Count")
        )

    @rule(
        "!has(self.indicator) || !self.indicator.type.endsWith('Count') || "
        "(has(self.maxCount) && !has(self.max) && !has(self.min) && !has(self.versusStable))",
        "a …Count indicator is bounded by maxCount alone",
    )
    def count_has_only_its_bound(self) -> bool:
        """Return whether a count is bounded as a count."""
        if self.indicator is None or not self.indicator.type.endswith("Count"):
            return True
        others = (self.max, self.min, self.versus_stable)
        return self.max_count is not None and all(bound is None for bound in others)

    @rule(
        "!has(self.max) || !has(self.min) || double(self.min) <= double(self.max)",
        "min must not be above max",
    )
    def bounds_in_order(self) -> bool:
        """Return whether any value can satisfy the bounds."""
        if self.max is None or self.min is None:
            return True
        return decimal(self.min) <= decimal(self.max)


class RewardHacking(ApiType):
    """What follows where a version seems to please the reward model instead of people."""

    action: Literal["Hold", "RollBack"] = "Hold"
    """Hold raises no weight until a person decides, or `maxHold` is over. RollBack ends the run
    and quarantines the version when the suspicion has lasted for `after`."""
    after: Duration | None = None
    """How long that is; 1h when unset."""

    @rule("!has(self.after) || self.action == 'RollBack'", "after goes with action RollBack")
    def after_fits(self) -> bool:
        """Return whether there is anything to wait for."""
        return self.after is None or self.action == "RollBack"

    @property
    def patience(self) -> str:
        """Return how long a suspicion lasts before it rolls back."""
        return self.after or "1h"


class PolicySpec(ApiType):
    """Service level objectives that one or more models must keep."""

    metric_source: Annotated[str, Field(max_length=63)] = "default"
    """A metric source by its name in the operator's configuration; never an address."""
    interval: Duration = "10s"
    """How often the objectives are judged."""
    false_rollback: DecimalText = "0.01"
    """The probability that evidence ever makes a false move in a run: rolls a version back that is
    no worse, or leaves a stable one that keeps its Safety bounds. All objectives share it: each
    comparison with stable has one part, each absolute bound a quarter of one."""
    false_promotion: DecimalText = "0.05"
    """The probability that a version that is worse than an objective allows passes it."""
    reward_hacking: RewardHacking | None = None
    """What follows when RewardScore and KLToSFT are proven higher than stable's while
    ThumbsDownRate or TaskCompletionRate is proven worse; Hold when unset."""
    slos: Annotated[tuple[SLO, ...], Field(min_length=1), Keyed("name", 32)]
    """The objectives."""

    @rule(
        "double(self.falseRollback) > 0.0 && double(self.falseRollback) <= 0.5 && "
        "double(self.falsePromotion) > 0.0 && double(self.falsePromotion) <= 0.5",
        "falseRollback and falsePromotion must lie above 0 and not above 0.5",
    )
    def errors_are_probabilities(self) -> bool:
        """Return whether the error rates can be held."""
        return all(0 < decimal(each) <= 0.5 for each in (self.false_rollback, self.false_promotion))

    @rule("duration(self.interval) >= duration('500ms')", "interval must be at least 500ms")
    def interval_is_sane(self) -> bool:
        """Return whether the interval is long enough to measure anything."""
        return parse_duration(self.interval).total_seconds() >= 0.5


class PolicyStatus(ApiType):
    """Whether the policy can be used."""

    observed_generation: int = -1
    """The generation that this status speaks of."""
    conditions: Annotated[tuple[Condition, ...], Keyed("type", 16)] = ()
    """Observations in the standard form."""


AlignmentPolicy = Object[PolicySpec, PolicyStatus]
