"""Evidence: what objectives and golden prompts showed, step by step, as a record keeps it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from rlhf_operator.api.policy import SLOClass
from rlhf_operator.api.schema import ApiType, DecimalText, Name, Percent, Text, Time

Count = Annotated[int, Field(ge=0, le=2**53)]
ReasonWord = Annotated[str, Field(max_length=64)]
Message = Annotated[str, Field(max_length=4096)]


class Verdict(StrEnum):
    """What the measurements say, from best to worst; the worst one wins."""

    SUCCESSFUL = "Successful"
    INCONCLUSIVE = "Inconclusive"
    ERROR = "Error"
    FAILED = "Failed"

    @property
    def badness(self) -> int:
        """Return the place in the order from best (0) to worst (3)."""
        return list(Verdict).index(self)


class FirstCounts(ApiType):
    """Each user's first event alone, and the samples of users who had none before.

    So rates are judged where users stay with their version; the guards of both tell it.
    """

    events: Count
    """The version's events."""
    samples: Count
    """What they are counted among."""
    stable_events: Count
    """Stable's events."""
    stable_samples: Count
    """What they are counted among."""


class Sums(ApiType):
    """What is kept of measured values: with their number, it gives mean and variance."""

    total: DecimalText
    """Their sum."""
    squares: DecimalText
    """The sum of their squares; 0 where only the mean is asked for."""


class SLOResult(ApiType):
    """What one objective showed for one version at one time."""

    policy: Name
    """The policy's name."""
    name: Name
    """The objective's name."""
    class_: Annotated[SLOClass, Field(alias="class")]
    """The objective's class."""
    version: Name
    """The version that was judged."""
    verdict: Verdict
    """What the measurement says."""
    value: DecimalText | None = None
    """The measured value; of a rate that of `firsts`, where each user counts once."""
    stable_value: DecimalText | None = None
    """The stable version's value at the same time."""
    events: Count | None = None
    """Counted events since the last weight change; after promotion, of the last hour or window."""
    samples: Count | None = None
    """Samples since the last weight change; after promotion, of the last hour or window."""
    stable_events: Count | None = None
    """The stable version's events in the same time."""
    stable_samples: Count | None = None
    """The stable version's samples in the same time."""
    firsts: FirstCounts | None = None
    """Both versions' counts in that time with each user once, by which the rate is judged then."""
    sums: Sums | None = None
    """Of a mean: its values since the last weight change."""
    stable_sums: Sums | None = None
    """The stable version's values in the same time."""
    low: DecimalText | None = None
    """Lower end of the 95 % confidence sequence of the value, over the whole run."""
    high: DecimalText | None = None
    """Upper end of it."""
    ratio: DecimalText | None = None
    """The most likely ratio of the value to stable's, over the whole run."""
    ratio_low: DecimalText | None = None
    """Lower end of the 95 % confidence sequence of that ratio."""
    ratio_high: DecimalText | None = None
    """Upper end of it; unset where nothing bounds it yet."""
    difference: DecimalText | None = None
    """Of a mean: the value minus stable's, over the whole run."""
    difference_low: DecimalText | None = None
    """Lower end of the 95 % confidence sequence of that difference."""
    difference_high: DecimalText | None = None
    """Upper end of it."""
    harm: DecimalText | None = None
    """Evidence of harm as a natural logarithm; the objective fails at `harmProven`. That of a max
    or min is less by ln 4 where the run compares as well, for its smaller part of the error."""
    harm_proven: DecimalText | None = None
    """From where on harm is proven."""
    good: DecimalText | None = None
    """Evidence against harm; the least of all bounds. The objective passes at `goodProven`."""
    good_proven: DecimalText | None = None
    """From where on harm is refuted."""
    higher: DecimalText | None = None
    """Evidence that the value is higher than stable's, by however little; a natural logarithm."""
    lower: DecimalText | None = None
    """Evidence that it is lower."""
    needs: Count | None = None
    """About how many answers of both versions a decision still takes, if rates stay."""
    bound: Annotated[str, Field(max_length=128)] | None = None
    """The bound that was compared."""
    query: Annotated[str, Field(max_length=4096)] | None = None
    """What was asked of Prometheus."""
    failures: Annotated[int, Field(ge=0, le=100000)] = 0
    """Measurements out of bounds in a row."""
    slow_burn: Annotated[str, Field(max_length=256)] | None = None
    """How fast a promoted version has spent its budget for long, where a person should look."""
    message: Message = ""
    """A sentence with numbers."""


class StepRecord(ApiType):
    """One weight of the run: when it was declared, in force and left, and on what evidence."""

    index: Annotated[int, Field(ge=-1, le=64)]
    """The step's place in the plan, from 0; -1 is weight 0 outside the plan."""
    weight: Percent
    """Percent of the traffic; where several versions are tested, of all of them together."""
    declared_at: Time
    """When the weight was recorded as wanted."""
    in_force_at: Time | None = None
    """When the router was first seen doing it."""
    ended_at: Time | None = None
    """When the next decision replaced it."""
    rule: ReasonWord | None = None
    """The rule that ended the step."""
    message: Message | None = None
    """The rule's numbers."""
    slos: Annotated[tuple[SLOResult, ...], Field(max_length=896)] = ()
    """The evidence on which it ended."""


class GoldenResult(ApiType):
    """What the golden prompts showed before the first weight."""

    at: Time
    """When they were asked."""
    passed: bool
    """Whether all answers were right."""
    failures: Annotated[tuple[Text, ...], Field(max_length=32)] = ()
    """The prompts that failed, by name, and how."""


class ArmCount(ApiType):
    """Exact counts of one objective on one version."""

    slo: Annotated[str, Field(max_length=128)]
    """Policy and objective, as policy/objective."""
    version: Name
    """The version."""
    events: Count
    """Counted events; 0 where values are summed."""
    samples: Count
    """Samples."""
    first_events: Count | None = None
    """Each user's first event alone, where each counts once."""
    first_samples: Count | None = None
    """What they are counted among."""
    sums: Sums | None = None
    """Of a mean: its values."""
    scorer: Annotated[str, Field(max_length=1024)] | None = None
    """Of scored answers: what scored them; several are joined by commas."""


class StratumRecord(ApiType):
    """What both versions showed on one objective in a time in which no weight changed."""

    slo: Annotated[str, Field(max_length=128)]
    """Policy and objective, as policy/objective."""
    events: Count
    """The canary's events; 0 where values are summed."""
    samples: Count
    """The canary's samples."""
    stable_events: Count
    """Stable's events."""
    stable_samples: Count
    """Stable's samples."""
    firsts: FirstCounts | None = None
    """The same with each user once, where users stay with their version."""
    sums: Sums | None = None
    """Of a mean: the canary's values."""
    stable_sums: Sums | None = None
    """Stable's values."""


class BaselineRecord(ApiType):
    """What a version showed of one objective at first, frozen for as long as it serves.

    Of a rate: in its own run. Of a mean: in the first hour after its promotion, which is compared
    with what its own run showed. When the guards' rules change, of both: in the first hour under
    the new ones.
    """

    slo: Annotated[str, Field(max_length=128)]
    """Policy and objective, as policy/objective."""
    measure: Annotated[str, Field(max_length=4096)]
    """What was counted; where the objective counts something else now, this is not compared."""
    scorer: Annotated[str, Field(max_length=1024)] | None = None
    """Of scored answers: what scored them; what another scored is not compared with it."""
    since: Time | None = None
    """Of a rate: when the hour ended in which it was counted; what came before is not compared.
    Unset where it was the version's own run."""
    events: Count | None = None
    """Counted events of a rate."""
    samples: Count | None = None
    """Samples of a rate; of a mean, the values behind `sums`."""
    sums: Sums | None = None
    """Of a mean: the values at the last weight of its own run."""
    mean: DecimalText | None = None
    """The mean of the first windows' means."""
    deviation: DecimalText | None = None
    """Their standard deviation."""


class DriftRecord(ApiType):
    """How far the watch over one mean of a promoted version is, for a restarted operator."""

    slo: Annotated[str, Field(max_length=128)]
    """Policy and objective, as policy/objective."""
    measure: Annotated[str, Field(max_length=4096)]
    """What is counted."""
    scorer: Annotated[str, Field(max_length=1024)] | None = None
    """Of scored answers: what scores them."""
    windows: Annotated[int, Field(ge=0, le=12)] = 0
    """How many windows of the baseline are there, while it grows."""
    mean: DecimalText | None = None
    """The mean of their means."""
    deviation: DecimalText | None = None
    """Their standard deviation, by their number."""
    samples: Count | None = None
    """The values since the promotion, where they are compared with those of its own run."""
    sums: Sums | None = None
    """These values."""
    level: DecimalText | None = None
    """What later windows exceeded, in deviations."""


class Checkpoint(ApiType):
    """Counts up to an instant, from which a restarted operator counts on."""

    since: Time
    """Start of the stratum: the last weight change."""
    at: Time
    """The counts hold up to this instant."""
    counts: Annotated[tuple[ArmCount, ...], Field(max_length=256)] = ()
    """The counts."""
    strata: Annotated[tuple[StratumRecord, ...], Field(max_length=4096)] = ()
    """The finished parts of the stratum: one ends every five minutes."""
