"""Judging by evidence how far a mean differs from stable's (`core/statistics/means.py`).

Two tests, as for a rate's ratio: one proves harm, the other refutes it. They are asymptotic, so
nothing is said before each version has shown `LEAST` values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rlhf_operator.api.policy import SLO
from rlhf_operator.core import statistics
from rlhf_operator.core.indicators import Better, Measure
from rlhf_operator.core.sequential import Levels, Proof
from rlhf_operator.core.stretches import Stretch, total

TUNED_FOR = 1000
"""The number of values at which the tests are sharpest: bad canaries show early, or hardly."""
LEAST = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Mean:
    """The sequential tests of one SLO."""

    margin: float
    """How far the canary's mean may be from stable's, in the worse direction."""
    lower_is_better: bool
    is_safety: bool
    levels: Levels

    @property
    def harm_difference(self) -> float:
        """Return the difference beyond which harm is proven: any at all for Safety."""
        return 0.0 if self.is_safety else self.margin


def mean(slo: SLO, measure: Measure, wanted: Levels) -> Mean:
    """Return the tests of an SLO that is judged by evidence."""
    assert slo.versus_stable is not None and slo.versus_stable.difference is not None
    return Mean(
        margin=float(slo.versus_stable.difference),
        lower_is_better=measure.better is Better.LOWER,
        is_safety=slo.class_ == "Safety",
        levels=wanted,
    )


def strata_of(parts: Iterable[Stretch]) -> tuple[statistics.MeanStratum, ...]:
    """Return the stretches for the comparison; those with too few values are left out there."""
    return tuple(
        statistics.MeanStratum(
            canary=part.moments.of(part.samples),
            stable=part.stable_moments.of(part.stable_samples),
        )
        for part in parts
        if part.samples and part.stable_samples
    )


def proofs(asked: Mean, parts: Sequence[Stretch], *, compares: bool) -> tuple[Proof, ...]:
    """Return the evidence on the difference; without `compares` there is no stable beside it."""
    if not compares:
        return ()
    strata, worse = strata_of(parts), asked.lower_is_better
    side = 1 if worse else -1
    proof = Proof(
        bound="versusStable",
        harm=_log_e(strata, side * asked.harm_difference, above=worse),
        good=_log_e(strata, side * asked.margin, above=not worse),
    )
    return (proof,)


def directions(parts: Sequence[Stretch]) -> tuple[float, float]:
    """Return the evidence that the canary's mean is higher than stable's, and that it is lower."""
    strata = strata_of(parts)
    return _log_e(strata, 0, above=True), _log_e(strata, 0, above=False)


def _log_e(strata: Sequence[statistics.MeanStratum], margin: float, *, above: bool) -> float:
    return statistics.log_e_mean_difference(
        strata, margin, harm=above, tuned_for=TUNED_FOR, least=LEAST
    )


def difference(parts: Sequence[Stretch], alpha: float) -> statistics.Interval:
    """Return the confidence sequence of the canary's mean minus stable's."""
    return statistics.mean_difference(strata_of(parts), alpha, tuned_for=TUNED_FOR, least=LEAST)


def too_few(parts: Sequence[Stretch]) -> str | None:
    """Return how many values are missing before anything is said."""
    seen = total(part for part in parts if min(part.samples, part.stable_samples) >= _USEFUL)
    if min(seen.samples, seen.stable_samples) >= LEAST:
        return None
    return f"{seen.samples} values, and {seen.stable_samples} of stable; {LEAST} of each are needed"


_USEFUL = 2
"""One value tells nothing of its spread."""


def needed(asked: Mean, parts: Sequence[Stretch], proof: Proof) -> int | None:
    """Return about how many answers of both arms are still needed to refute harm.

    Supposing that both means are equal from now on; None where that never leads there.
    """
    counted, last = total(parts), parts[-1]
    both = last.samples + last.stable_samples
    pooled = (counted.moments + counted.stable_moments).of(counted.samples + counted.stable_samples)
    if proof.good >= asked.levels.good or not last.samples or not last.stable_samples:
        return None
    side = 1 if asked.lower_is_better else -1
    need = statistics.difference_need(
        strata_of(parts),
        margin=side * asked.margin,
        harm=not asked.lower_is_better,
        threshold=asked.levels.good,
        share=last.samples / both,
        variance=pooled.variance,
        tuned_for=TUNED_FOR,
        least=LEAST,
    )
    return None if need is None else need.responses
