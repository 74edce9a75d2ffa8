"""Whether a plan leaves its objectives time: how long a version that equals stable would take.

The evidence is followed along its expected path, step by step (`core/statistics`,
`ratio_need` and `ceiling_need`). It adds up over the steps, so the first is the slowest mostly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from math import inf, isfinite, sqrt

from rlhf_operator.api.schema import format_duration, parse_duration
from rlhf_operator.api.strategies import Step
from rlhf_operator.core import statistics
from rlhf_operator.core.objective import Objective, roughly
from rlhf_operator.core.sequential import Rate

_REMEDIES = {
    "versusStable": "raise maxHold, the ratio, falsePromotion or the step's weight",
    "max": "raise maxHold, max, falsePromotion or the step's weight",
    "min": "raise maxHold, falsePromotion or the step's weight, or lower min",
    "minSamples": "raise maxHold or the step's weight, or lower minSamples",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """What is known of an objective's counts where nothing is wrong."""

    low: float
    """Events per sample are no fewer, as far as is known."""
    high: float
    """And no more."""
    per_second: float
    """Samples of both versions together; above 0."""
    said: str = ""
    """The counts behind the rate, for people."""


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


def doubt(
    goal: Objective,
    known: Pace,
    steps: Sequence[Step],
    max_hold: timedelta,
    *,
    present: int = 0,
    slack: float = 1.0,
) -> Doubt | None:
    """Return the first step from `present` on that is too short for an objective; None if none is.

    Each step has its hold and `max_hold`, times `slack`, until there must be a decision.
    Objectives that are not judged by evidence are never doubted.
    """
    if goal.rate is None:
        return None
    times = tuple((step.weight / 100, parse_duration(step.hold).total_seconds()) for step in steps)
    late = _first_late(
        goal.rate, (known.low, known.high), known.per_second, goal.slo.min_samples, times,
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
        f"maxHold: {_REMEDIES[late.bound]}",
        excess=late.seconds / has.total_seconds() if has else inf,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Late:
    step: int
    bound: str
    seconds: float
    """How long the bound takes there; without end where such rates never lead to a decision."""


@lru_cache(maxsize=4096)
def _first_late(
    asked: Rate,
    rates: tuple[float, float],
    per_second: float,
    least: int,
    steps: tuple[tuple[float, float], ...],
    max_hold: float,
    present: int,
    slack: float,
) -> _Late | None:
    """Return the first step that takes too long; steps are (share, seconds of hold)."""
    strata: tuple[statistics.Stratum, ...] = ()
    answers = 0.0  # the canary's up to here
    for place, (share, hold) in enumerate(steps):
        needs = _needs(asked, rates, strata, answers, share) | {"minSamples": least / share}
        bound = max(needs, key=lambda name: needs[name])
        seconds = needs[bound] / per_second
        if place >= present and seconds > (hold + max_hold) * slack:
            return _Late(step=place, bound=bound, seconds=seconds)
        lasts = max(hold, seconds if isfinite(seconds) else hold + max_hold)
        here = lasts * per_second
        answers += here * share
        events = here * rates[1]
        strata += (
            statistics.Stratum(share=share, canary=events * share, stable=events * (1 - share)),
        )
    return None


def _needs(
    asked: Rate,
    rates: tuple[float, float],
    strata: tuple[statistics.Stratum, ...],
    answers: float,
    share: float,
) -> dict[str, float]:
    """Return how many answers of both versions each bound still needs: the fewest they may be.

    A comparison is the faster the more events there are, a bound the faster the fewer are bad.
    """
    low, high = rates
    found = {}
    if asked.margin is not None:
        need = statistics.ratio_need(
            strata,
            ratio=asked.margin,
            harm=not asked.lower_is_better,
            threshold=asked.levels.good,
            share=share,
            canary_rate=high,
            stable_rate=high,
        )
        found["versusStable"] = need.responses if need else inf
    if asked.ceiling is not None:
        bad = low if asked.lower_is_better else 1 - high
        need = statistics.ceiling_need(
            statistics.Count(events=answers * bad, samples=answers),
            ceiling=asked.ceiling,
            exceeds=False,
            threshold=asked.levels.good,
            rate=bad,
        )
        name = "max" if asked.lower_is_better else "min"
        found[name] = need.responses / share if need else inf
    return found


def _numbers(goal: Objective, known: Pace, late: _Late) -> str:
    slo, lasts = goal.slo, late.seconds
    what = {
        "versusStable": f"versusStable ratio {slo.versus_stable and slo.versus_stable.ratio}",
        "max": f"max {slo.max}",
        "min": f"min {slo.min}",
        "minSamples": f"minSamples {slo.min_samples}",
    }[late.bound]
    is_upper = (late.bound == "versusStable") or late.bound == "min"
    rate = known.high if is_upper else known.low
    sign = "" if known.low == known.high else "at most " if is_upper else "at least "
    at = f"at {known.per_second:g} samples/s"
    if late.bound != "minSamples":
        at += f" and a rate of {sign}{100 * rate:.3g} %{known.said}"
    if not isfinite(lasts):
        return f"{at} a version that equals stable never passes {what}"
    return f"{at} a version that equals stable passes {what} after about {_time(lasts)}"


def _time(seconds: float) -> str:
    return "centuries" if seconds > 1e10 else roughly(timedelta(seconds=seconds))


def _coarse(value: float) -> float:
    """Return a number to two digits: what is told must not change with every answer."""
    return float(f"{value:.2g}")
