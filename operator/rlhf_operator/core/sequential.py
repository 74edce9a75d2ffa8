"""Judging a rate by evidence that may be looked at always (`core/statistics`).

Each bound of a rate is two tests. One proves harm: it rolls back, and a crossing is final. The
other refutes harm: only when it has crossed for every bound may a weight rise. Between the two
lies silence, which is neither. Safety is proven harmful against stable itself, other classes
against their margin.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import exp, log

from rlhf_operator.api.plan import PinnedPolicy
from rlhf_operator.api.policy import SLO
from rlhf_operator.core import statistics
from rlhf_operator.core.indicators import Better, Form, Measure
from rlhf_operator.core.stretches import NOTHING, Stretch, by_unit, total

_LARGEST = 25.0
"""ln E beyond which a number is only "more than 10^10"."""

_PART_OF_A_BOUND = 0.25
"""Of the error of a comparison. What breaks a bound is mostly far above it, and soon shown at any
error, while a comparison decides how many bad answers a bad version serves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shared:
    """The tests of harm that share a run's `falseRollback`."""

    comparisons: int = 1
    """With stable; each has one part."""
    bounds: int = 0
    """Absolute bounds of the canary, and those of Safety of stable: each has a quarter of one.
    Where nothing is compared, each has a whole one."""

    @property
    def parts(self) -> float:
        """Return into how many parts the error is divided."""
        return max(1.0, self.comparisons + self.bounds * self._part)

    @property
    def price(self) -> float:
        """Return by how much less ln E of a bound counts, so that one threshold does for all."""
        return -log(self._part)

    @property
    def _part(self) -> float:
        return _PART_OF_A_BOUND if self.comparisons else 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Levels:
    """How much evidence a run asks for, as ln E; fixed at its start."""

    harm: float
    """Harm is proven from here on: the run's `falseRollback`, shared over all its harm tests,
    those of stable's own bounds among them."""
    good: float
    """Harm is refuted from here on: `falsePromotion`, in full for every test."""
    price: float = 0.0
    """What is taken from the evidence that a bound is broken, for its part of `falseRollback`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """The sequential tests of one SLO."""

    ceiling: float | None
    """The highest tolerated rate of what is bad."""
    margin: float | None
    """How many times stable's rate the canary's may be; less than 1 where higher is better."""
    lower_is_better: bool
    is_safety: bool
    levels: Levels
    bets: statistics.Bets = statistics.MOSTLY_TWO
    """On how far a version may be from what it is tested against."""

    @property
    def harm_ratio(self) -> float:
        """Return the ratio beyond which harm is proven: any at all for Safety."""
        assert self.margin is not None
        return 1.0 if self.is_safety else self.margin


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """The evidence on one bound, as ln E."""

    bound: str
    harm: float
    good: float


def strata_of(parts: Iterable[Stretch]) -> tuple[statistics.Stratum, ...]:
    """Return the stretches in which both versions answered, for the comparison."""
    return tuple(found for part in parts if (found := part.stratum()) is not None)


def is_sequential(slo: SLO, measure: Measure) -> bool:
    """Return whether an SLO is judged by evidence: rates are, unless plain numbers are asked for.

    `failureLimit` asks for plain numbers: a sequential crossing needs no second one. Of a mean it
    is the difference from stable's that is judged; its max and min are plain numbers.
    """
    if measure.form is Form.MEAN:
        return measure.squares is not None
    if measure.form is not Form.RATE or slo.failure_limit is not None:
        return False
    if slo.versus_stable is not None and slo.versus_stable.method == "Threshold":
        return False
    if slo.versus_stable is not None and slo.versus_stable.difference is not None:
        return False
    bound, other = (slo.max, slo.min) if measure.better is Better.LOWER else (slo.min, slo.max)
    return other is None and (bound is None or 0 < float(bound) < 1)


def shared(every: Iterable[tuple[SLO, Measure]]) -> Shared:
    """Return the tests of harm that a run makes of all its SLOs, those of stable among them."""
    comparisons, made = 0, 0
    for slo, measure in every:
        of_canary = tests(slo, measure)
        compares = slo.versus_stable is not None or measure.form is Form.MEAN
        comparisons += min(of_canary, int(compares))
        made += of_canary + stable_tests(slo, measure)
    return Shared(comparisons=comparisons, bounds=made - comparisons)


def tests(slo: SLO, measure: Measure) -> int:
    """Return how many tests of harm an SLO makes; those that only inform make none."""
    if slo.class_ == "Informational" or not is_sequential(slo, measure):
        return 0
    if measure.form is Form.MEAN:
        return 1
    bounds = (slo.max, slo.min, slo.versus_stable)
    return sum(bound is not None for bound in bounds)


def stable_tests(slo: SLO, measure: Measure) -> int:
    """Return how many tests of harm an SLO makes of stable beside a canary: Safety's own bound."""
    if slo.class_ != "Safety" or measure.form is not Form.RATE:
        return 0
    return int(is_sequential(slo, measure) and (slo.max or slo.min) is not None)


def levels(policy: PinnedPolicy, among: Shared) -> Levels:
    """Return how much evidence a run asks for that makes such tests."""
    return Levels(
        harm=statistics.rollback_threshold(float(policy.false_rollback), among.parts),
        good=statistics.advance_threshold(float(policy.false_promotion)),
        price=among.price,
    )


def rate(
    slo: SLO, measure: Measure, wanted: Levels, bets: statistics.Bets = statistics.MOSTLY_TWO
) -> Rate:
    """Return the tests of an SLO that is judged by evidence."""
    lower = measure.better is Better.LOWER
    ceiling = None
    if lower and slo.max is not None:
        ceiling = float(slo.max)
    elif slo.min is not None:
        ceiling = 1 - float(slo.min)
    margin = None
    if slo.versus_stable is not None and slo.versus_stable.ratio is not None:
        margin = float(slo.versus_stable.ratio)
    return Rate(
        ceiling=ceiling,
        margin=margin if lower or margin is None else 1 / margin,
        lower_is_better=lower,
        is_safety=slo.class_ == "Safety",
        levels=wanted,
        bets=bets,
    )


def proofs(asked: Rate, parts: Sequence[Stretch], *, compares: bool) -> tuple[Proof, ...]:
    """Return the evidence on each bound, all of one unit.

    Without `compares` there is no stable beside it.
    """
    found, parts, bets = [], by_unit(parts), asked.bets
    if asked.ceiling is not None:
        counted = total(parts)
        seen = min(counted.events, counted.samples)
        bad = seen if asked.lower_is_better else counted.samples - seen
        harm, good = (
            statistics.log_e_ceiling(
                bad, counted.samples, asked.ceiling, exceeds=exceeds, bets=bets
            )
            for exceeds in (True, False)
        )
        name = "max" if asked.lower_is_better else "min"
        found.append(Proof(bound=name, harm=harm - asked.levels.price, good=good))
    if asked.margin is not None and compares:
        strata = strata_of(parts)
        worse = asked.lower_is_better
        found.append(
            Proof(
                bound="versusStable",
                harm=statistics.log_e_ratio(strata, asked.harm_ratio, harm=worse, bets=bets),
                good=statistics.log_e_ratio(strata, asked.margin, harm=not worse, bets=bets),
            )
        )
    return tuple(found)


def directions(strata: Sequence[statistics.Stratum]) -> tuple[float, float]:
    """Return the evidence that the canary's rate is higher than stable's, and that it is lower."""
    return (
        statistics.log_e_ratio(strata, 1, harm=True),
        statistics.log_e_ratio(strata, 1, harm=False),
    )


def odds(log_e: float) -> str:
    """Return evidence as people read it: so many to 1."""
    if log_e >= _LARGEST:
        return "more than 10^10 to 1"
    value = exp(log_e)
    return f"{value:.0f} to 1" if value >= 10 else f"{value:.2g} to 1"


def needed(
    asked: Rate, parts: Sequence[Stretch], proof: Proof, per_second: float
) -> tuple[int, timedelta | None] | None:
    """Return about how many answers of both arms a bound still needs, and how long they take.

    Supposing that the rates stay as they are; None where such rates never lead there. The parts
    are those that are judged, and so is the pace.
    """
    counted, last = total(parts), parts[-1] if parts else NOTHING
    if not counted.samples or proof.good >= asked.levels.good:
        return None
    bad = min(counted.events, counted.samples)
    if proof.bound != "versusStable":
        assert asked.ceiling is not None
        bad = bad if asked.lower_is_better else counted.samples - bad
        count = statistics.Count(events=bad, samples=counted.samples)
        need = statistics.ceiling_need(
            count,
            ceiling=asked.ceiling,
            exceeds=False,
            threshold=asked.levels.good,
            rate=bad / counted.samples,
            bets=asked.bets,
        )
        both = last.samples + last.stable_samples
        share = last.samples / both if both else 1.0
        if need is None or not share:
            return None
        answers = round(need.responses / share)
    else:
        stratum = last.stratum()
        need = _comparison_need(asked, parts, stratum.share) if stratum is not None else None
        if need is None:
            return None
        answers = need.responses
    lasts = timedelta(seconds=answers / per_second) if per_second > 0 else None
    return answers, lasts


def _comparison_need(asked: Rate, parts: Sequence[Stretch], share: float) -> statistics.Need | None:
    """Return what the comparison with stable still needs, at such a share of the canary.

    Both versions are supposed to have one rate. Where it is asked which of the two is better, at
    ratio 1, that would never tell: each is supposed to go on as it shows itself.
    """
    if asked.margin is None:
        return None
    counted = total(parts)
    mine = min(1.0, counted.events / max(1, counted.samples))
    theirs = min(1.0, counted.stable_events / max(1, counted.stable_samples))
    decides = asked.margin == 1
    if not decides:
        events = counted.events + counted.stable_events
        mine = theirs = min(1.0, events / max(1, counted.samples + counted.stable_samples))
    loses = decides and mine != theirs and (mine > theirs) is asked.lower_is_better
    return statistics.ratio_need(
        strata_of(parts),
        ratio=asked.harm_ratio if loses else asked.margin,
        harm=asked.lower_is_better is loses,
        threshold=asked.levels.harm if loses else asked.levels.good,
        share=share,
        canary_rate=mine,
        stable_rate=theirs,
        bets=asked.bets,
    )
