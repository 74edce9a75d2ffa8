"""Whether a plan leaves its objectives time: how long a version that equals stable would take.

The evidence is followed along its expected path, step by step (`core/prospect`). It adds up over
the steps, so the first is the slowest mostly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from math import inf, isfinite, sqrt

from rlhf_operator.api.arms import most_of_each
from rlhf_operator.api.schema import format_duration, parse_duration
from rlhf_operator.api.strategies import Step, StrategyName
from rlhf_operator.core import statistics
from rlhf_operator.core.indicators import Better
from rlhf_operator.core.mean import Mean
from rlhf_operator.core.objective import Objective
from rlhf_operator.core.prospect import Answers, MeanPace, Pace, needs
from rlhf_operator.core.results import roughly
from rlhf_operator.core.sequential import Rate
from rlhf_operator.core.subject import GATHERING

_SHARE: dict[StrategyName, tuple[str, ...]] = {
    "Canary": ("the step's weight",),
    "ABTest": ("the test's weight",),
    "Shadow": ("percent",),
    "BlueGreen": (),
}
"""What gives the canary more of what is counted, by strategy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Doubt:
    """A step that an equal version is not to be expected to pass in its time."""

    objective: str
    """The objective's name within its policy."""
    numbers: str
    """What was reckoned; it changes with the traffic."""
    remedy: str
    """What the plan allows and what would help; it changes with plan and policy alone."""
    excess: float
    """How many times too long it takes."""

    @property
    def message(self) -> str:
        """Return the whole sentence."""
        return f"{self.objective}: {self.numbers}; {self.remedy}"


def pace(events: int, samples: int, per_second: float) -> Pace:
    """Return what counts tell of a rate, to two digits; with few of them the range is wide.

    The range is Wilson's score interval at one standard error (Wilson 1927): five times in six
    the rate lies above its lower end, and as often below its upper one. `samples` is above 0.
    """
    part = min(events, samples) / samples
    middle = part + 1 / (2 * samples)
    spread = sqrt(part * (1 - part) / samples + 1 / (4 * samples**2))
    low, high = ((middle + sign * spread) / (1 + 1 / samples) for sign in (-1, 1))
    return Pace(
        low=_coarse(max(0.0, low)),
        high=_coarse(min(1.0, high)),
        per_second=_coarse(per_second),
        said=f" ({events} of {samples})",
    )


def mean_pace(values: statistics.Sums, per_second: float, sampled: float | None) -> MeanPace | None:
    """Return what stable's values tell, to two digits; None where they do not vary.

    The deviation is taken a standard error lower than it was seen, as that of normal values is
    known (its square by 2/n of itself): smaller ones decide sooner.
    """
    if values.n < 2 or not values.variance:
        return None
    known = sqrt(values.variance / (1 + sqrt(2 / values.n)))
    return MeanPace(
        deviation=_coarse(known),
        per_second=_coarse(per_second),
        sampled=None if sampled is None else _coarse(sampled),
        said=f" (of {values.n:.0f} values)",
    )


def share(strategy: StrategyName, weight: int) -> float:
    """Return the canary's share of what is counted; a shadow's copies come on top of the rest."""
    return weight / (100 + weight if strategy == "Shadow" else 100)


def canary_part(known: Pace | MeanPace, strategy: StrategyName, weight: int) -> float:
    """Return the canary's share of what counts at a weight, scored or not."""
    if known.sampled is None:
        return (isinstance(known, Pace) and known.share) or share(strategy, weight)
    canary = weight / 100
    arms = (canary, 1.0 if strategy == "Shadow" else 1 - canary)
    mine, stable = (min(each, most_of_each(known.sampled, arms)) for each in arms)
    return mine / (mine + stable)


def scored_share(part: float, strategy: StrategyName, weight: int) -> float:
    """Return which share of all answers is scored, where the canary's are such a part of these.

    An arm that gives less than half gives all that it has. Where both give half nothing tells how
    much more they could give: then it is the most of which they can.
    """
    canary = weight / 100
    stable = 1.0 if strategy == "Shadow" else 1 - canary
    return min(1.0, canary / min(part, 0.5), stable / min(1 - part, 0.5))


def doubt(
    goal: Objective,
    known: Pace | MeanPace,
    steps: Sequence[Step],
    max_hold: timedelta,
    *,
    strategy: StrategyName = "Canary",
    present: int = 0,
    slack: float = 1.0,
) -> Doubt | None:
    """Return the first step from `present` on that is too short for an objective; None if none is.

    Each step has its hold and `max_hold`, times `slack`, until there must be a decision.
    Objectives that are not judged by evidence are never doubted.
    """
    if goal.tests is None or isinstance(known, MeanPace) is not isinstance(goal.tests, Mean):
        return None
    switch = _no_switch(goal, known, slack)
    if switch is not None:
        return switch
    times = tuple(
        (canary_part(known, strategy, step.weight), parse_duration(step.hold).total_seconds())
        for step in steps
    )
    late = _first_late(
        goal.tests, replace(known, said=""), goal.slo.min_samples, times,
        max_hold.total_seconds(), present, slack,
    )  # fmt: skip
    if late is None:
        return None
    step = steps[late.step]
    has = parse_duration(step.hold) + max_hold
    return Doubt(
        objective=goal.slo.name,
        numbers=_numbers(goal, known, late),
        remedy=f"step {late.step + 1} ({step.weight} %) has {format_duration(has)} of hold and "
        f"maxHold: {_remedy(goal, known, late.bound, strategy)}",
        excess=late.seconds / has.total_seconds() if has else inf,
    )


def _no_switch(goal: Objective, known: Pace | MeanPace, slack: float) -> Doubt | None:
    """Return why the switch never comes: stable is counted for an hour, and then anew."""
    least = goal.slo.min_samples
    before = known.before if isinstance(known, Pace) else None
    if before is None or not before.is_awaited or goal.slo.versus_stable is None:
        return None
    shows = known.per_second * GATHERING.total_seconds()
    if shows * slack >= least:
        return None
    return Doubt(
        objective=goal.slo.name,
        numbers=f"at {known.per_second:g} samples/s stable shows about {shows:.0f} in an hour",
        remedy=f"the switch waits until it has shown {least} in one: lower minSamples",
        excess=least / shows,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Late:
    step: int
    bound: str
    seconds: float
    """How long the bound takes there; without end where such rates never lead to a decision."""


@lru_cache(maxsize=4096)
def _first_late(
    asked: Rate | Mean,
    known: Pace | MeanPace,
    least: int,
    steps: tuple[tuple[float, float], ...],
    max_hold: float,
    present: int,
    slack: float,
) -> _Late | None:
    """Return the first step that takes too long; steps are (share, seconds of hold)."""
    earlier: tuple[Answers, ...] = ()
    for place, (part, hold) in enumerate(steps):
        wanted = needs(asked, known, earlier, part) | {"minSamples": least / part}
        bound = max(wanted, key=lambda name: wanted[name])
        seconds = wanted[bound] / known.per_second
        if place >= present and seconds > (hold + max_hold) * slack:
            return _Late(step=place, bound=bound, seconds=seconds)
        lasts = max(hold, seconds if isfinite(seconds) else hold + max_hold)
        earlier += (Answers(share=part, number=lasts * known.per_second),)
    return None


def _remedy(goal: Objective, known: Pace | MeanPace, bound: str, strategy: StrategyName) -> str:
    """Return what would help, as the fields of plan and policy."""
    weight, lower = _SHARE[strategy], ""
    match bound:
        case "versusStable":
            compared = isinstance(known, Pace) and known.before is not None
            first = ("minSamples",) if compared else ()
            kind = "the ratio" if goal.ratio is not None else "the difference"
            raised = (*first, "maxHold", kind, "falsePromotion", *weight)
        case "max":
            raised = ("maxHold", "max", "falsePromotion", *weight)
        case "min":
            raised, lower = ("maxHold", "falsePromotion", *weight), ", or lower min"
        case _:
            raised, lower = ("maxHold", *weight), ", or lower minSamples"
    *others, last = raised
    return f"raise {', '.join(others)}{' or ' if others else ''}{last}{lower}"


def _numbers(goal: Objective, known: Pace | MeanPace, late: _Late) -> str:
    slo, lasts, margin = goal.slo, late.seconds, goal.slo.versus_stable
    kind = "ratio" if margin and margin.ratio is not None else "difference"
    what = {
        "versusStable": f"versusStable {kind} {margin and (margin.ratio or margin.difference)}",
        "max": f"max {slo.max}",
        "min": f"min {slo.min}",
        "minSamples": f"minSamples {slo.min_samples}",
    }[late.bound]
    at = f"at {known.per_second:g} samples/s"
    if late.bound != "minSamples":
        lower = goal.measure.better is Better.LOWER
        at += f" and {known.told(late.bound, lower_is_better=lower)}"
    if not isfinite(lasts):
        return f"{at} a version that equals stable never passes {what}"
    return f"{at} a version that equals stable passes {what} after about {_time(lasts)}"


def _time(seconds: float) -> str:
    return "centuries" if seconds > 1e10 else roughly(timedelta(seconds=seconds))


def _coarse(value: float) -> float:
    """Return a number to two digits: what is told must not change with every answer."""
    return float(f"{value:.2g}")
