"""From the evidence on every SLO to one conclusion, with all false alarms accounted for.

Rolling back needs only one of many tests to cross, so they share one error probability.
Advancing needs all of them, so each may use its own in full (an intersection-union test;
Schultzberg, Ankargren and Frånberg 2024, arXiv 2402.11609).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from math import isnan, log

from rlhf_operator.core.statistics.numerics import checked, checked_level


class Conclusion(StrEnum):
    """What the evidence says. Only the second one may raise a weight."""

    HARMFUL = "Harmful"
    NON_INFERIOR = "NonInferior"
    UNDECIDED = "Undecided"


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """ln E of the two tests of one bound of one SLO; ValueError for a NaN."""

    harm: float
    """Against "not worse": the largest so far, since a crossing is final."""
    non_inferior: float
    """Against "worse than the margin": as it is now."""
    required: bool = True
    """False where the SLO is only shown; then it decides nothing."""

    def __post_init__(self) -> None:
        if isnan(self.harm) or isnan(self.non_inferior):
            raise ValueError("evidence is not a number")

    def update(self, harm: float, non_inferior: float) -> Evidence:
        """Return the evidence after another look."""
        seen = Evidence(harm=harm, non_inferior=non_inferior)
        return replace(self, harm=max(self.harm, seen.harm), non_inferior=seen.non_inferior)


def rollback_threshold(false_rollback: float, tests: float) -> float:
    """Return the ln E at which harm is proven: ln(tests / false_rollback).

    tests: how many harm tests the run makes, over all SLOs and bounds, fixed at its start. One
    may count as a part of a test; it must then reach -ln(part) more.
    The probability that a harmless canary is ever rolled back is then at most false_rollback,
    whatever the tests have in common (Bonferroni, which holds for suprema of e-processes).
    """
    return log(checked(tests, "the number of tests", 1) / checked_level(false_rollback))


def advance_threshold(false_promotion: float) -> float:
    """Return the ln E at which inferiority is refuted: ln(1 / false_promotion).

    The probability that a canary that violates some margin is found non-inferior on all of
    them is at most false_promotion, without any correction for their number.
    """
    return -log(checked_level(false_promotion))


def conclude(
    evidence: Iterable[Evidence], *, false_rollback: float, false_promotion: float
) -> Conclusion:
    """Return what all the evidence says together.

    evidence: one for each bound of each SLO from the start of the run, those without data
    included (0 and 0), for their number fixes the threshold of harm. Harm on any SLO outweighs
    everything. Non-inferior takes every required one. All else, and no evidence at all, is
    undecided: silence is never success.
    """
    required = tuple(each for each in evidence if each.required)
    if not required:
        return Conclusion.UNDECIDED
    harmful = rollback_threshold(false_rollback, len(required))
    good = advance_threshold(false_promotion)
    if any(each.harm >= harmful for each in required):
        return Conclusion.HARMFUL
    if all(each.non_inferior >= good for each in required):
        return Conclusion.NON_INFERIOR
    return Conclusion.UNDECIDED
