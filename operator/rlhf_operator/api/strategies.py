"""Strategies: the ways in which a new version may come to serve. A model names exactly one."""

from __future__ import annotations

import itertools
from typing import Annotated, Literal

from pydantic import Field

from rlhf_operator.api.approval import Approval
from rlhf_operator.api.measure import Indicator
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

StrategyName = Literal["Canary", "ABTest", "Shadow", "BlueGreen"]
TEST_POLICY = "ab-test"
"""The policy under which a test's primary is judged and recorded; no other may be called so."""


class Step(ApiType):
    """One weight of the plan and how long it must hold."""

    weight: Annotated[int, Field(ge=1, le=100)]
    """Percent of the traffic that the canary gets; without traffic nothing could be judged."""
    hold: Duration
    """How long the weight must be in force before the next one."""
    approval: Approval | None = None
    """People who must agree before the run enters or leaves this step."""


class Canary(ApiType):
    """A stepwise rise of the canary's weight; promotion is the implied last step."""

    steps: Annotated[tuple[Step, ...], Field(min_length=1, max_length=32)]
    """The weights, strictly increasing, below 100."""

    @rule(
        "self.steps.all(i, self.steps.filter(j, j.weight == i.weight).size() == 1) && "
        "self.steps.map(s, s.weight).isSorted()",
        "the weights of the steps must increase strictly",
    )
    def weights_increase(self) -> bool:
        """Return whether each step gives more traffic than the one before."""
        weights = [step.weight for step in self.steps]
        return all(low < high for low, high in itertools.pairwise(weights))

    @rule(
        "self.steps.all(s, s.weight < 100)",
        "the weights of the steps must lie below 100: promotion is the implied last step",
    )
    def stable_keeps_some(self) -> bool:
        """Return whether there is always a stable version to compare with."""
        return all(step.weight < 100 for step in self.steps)


class Shadow(ApiType):
    """Requests are copied to the new version; users get the stable version's answers alone."""

    percent: Annotated[int, Field(ge=1, le=100)]
    """Percent of the requests that are copied."""
    hold: Duration
    """How long the copies must have been judged before the version may be promoted."""
    approval: Approval | None = None
    """People who must agree before the copying begins, or before the promotion."""


class BlueGreen(ApiType):
    """All traffic moves at once; the stable version keeps all its pods for the way back."""

    hold: Duration
    """How long the new version must have served all traffic before it is promoted."""
    approval: Approval | None = None
    """People who must agree before the switch, or before the promotion."""


class Primary(ApiType):
    """What decides a test: the version that is better at this wins."""

    name: Name
    """A name for messages and records."""
    indicator: Indicator
    """A built-in …Rate; which direction is better is the indicator's own."""

    @rule("self.indicator.type.endsWith('Rate')", "the primary must be a …Rate indicator")
    def is_a_rate(self) -> bool:
        """Return whether it can be tested by evidence."""
        return self.indicator.type.endswith("Rate")


class OtherArm(ApiType):
    """One more version of a test."""

    version: Name
    """A version of this model; neither the one that the spec asks for nor the one that serves."""
    weight: Annotated[int, Field(ge=1, le=98)]
    """Percent of the traffic that it gets."""


class ABTest(ApiType):
    """Versions at fixed weights, until one is shown to be better or time is over.

    The stable version is the control; the version that the spec asks for, and each of `others`,
    is compared with it. The policies are the guardrails and are judged as in every run.
    """

    weight: Annotated[int, Field(ge=1, le=99)] = 50
    """Percent of the traffic that the version gets which the spec asks for."""
    others: Annotated[tuple[OtherArm, ...], Keyed("version", 6)] = ()
    """Further versions to test at the same time, each at its own weight."""
    minimum: Duration = "1h"
    """How long the test lasts at least before a tested version may win."""
    duration: Duration = "24h"
    """How long it lasts at most; without a winner by then the stable version stays."""
    error: DecimalText = "0.05"
    """The probability that any difference is found where all versions are equal; shared over all
    tested versions, and over better and worse."""
    primary: Primary
    """What decides the test."""
    approval: Approval | None = None
    """People who must agree before the test begins, or before its winner is promoted."""

    @rule(
        "!has(self.error) || (double(self.error) >= 0.0001 && double(self.error) <= 0.5)",
        "error must lie between 0.0001 and 0.5",
    )
    def error_is_a_probability(self) -> bool:
        """Return whether the error rate can be held."""
        return decimal("0.0001") <= decimal(self.error) <= decimal("0.5")

    @rule(
        "duration(has(self.minimum) ? self.minimum : '1h') <= "
        "duration(has(self.duration) ? self.duration : '24h')",
        "minimum must not be above duration",
    )
    def lengths_in_order(self) -> bool:
        """Return whether the test can have a winner in time."""
        return parse_duration(self.minimum) <= parse_duration(self.duration)

    @rule(
        "(has(self.weight) ? self.weight : 50) + "
        "(has(self.others) ? self.others.map(o, o.weight).sum() : 0) <= 99",
        "the weights of all tested versions together must leave the stable version 1 at least",
    )
    def stable_keeps_some(self) -> bool:
        """Return whether there is a control to compare with."""
        return self.weight + sum(each.weight for each in self.others) <= 99
