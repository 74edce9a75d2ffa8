"""What was judged of an objective, as the result that a rollout records, and back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from rlhf_operator.api.evidence import SLOResult, Verdict
from rlhf_operator.core import mean, objective, sequential, statistics
from rlhf_operator.core.moments import decimal_text, sums_of
from rlhf_operator.core.objective import Evidence, Judgement, Objective, Reading
from rlhf_operator.core.sequential import Rate
from rlhf_operator.core.stretches import by_unit, firsts_of, total


def result(goal: Objective, version: str, found: Judgement) -> SLOResult:
    """Return a judgement as the record that goes into a rollout's status."""
    reading, stable, slo = found.reading, found.stable, goal.slo
    usable = found.measured
    compared = stable if stable is not None and stable.problem is None else None
    needs = _needed(goal, found)
    return SLOResult.model_construct(
        policy=goal.policy,
        name=slo.name,
        class_=slo.class_,
        version=version,
        verdict=found.verdict,
        value=decimal_text(reading.value) if usable else None,
        stable_value=decimal_text(compared.value) if compared else None,
        events=reading.events,
        samples=(reading.samples or 0) if usable else None,
        stable_events=compared.events if compared else None,
        stable_samples=(compared.samples or 0) if compared else None,
        firsts=firsts_of(objective.counted(reading, compared)),
        sums=sums_of(reading.moments),
        stable_sums=sums_of(compared.moments) if compared else None,
        **_shown(goal, found.evidence),
        bound=goal.bound[:128],
        query=objective.asked(slo, goal.measure),
        failures=found.failures,
        slow_burn=found.slow_burn,
        needs=needs[0] if needs else None,
        message=(found.message + (needs[1] if needs else ""))[:4096],
    )


def _shown(goal: Objective, evidence: Evidence | None) -> dict[str, Any]:
    """Return the fields of a result that tell of evidence."""
    if goal.tests is None or evidence is None or not evidence.proofs:
        return {}
    shown: dict[str, Any] = {
        "harm": decimal_text(evidence.strongest.harm),
        "harm_proven": decimal_text(goal.tests.levels.harm),
        "good": decimal_text(evidence.weakest.good),
        "good_proven": decimal_text(goal.tests.levels.good),
    }
    if goal.rate is None:
        return shown | _shown_difference(evidence)
    return shown | _shown_ratio(goal.rate, evidence)


def _shown_difference(evidence: Evidence) -> dict[str, Any]:
    interval = mean.difference(evidence.stretches, _REPORTED)
    return {
        "difference": decimal_text(interval.estimate),
        "difference_low": decimal_text(interval.low),
        "difference_high": decimal_text(interval.high),
    } | _shown_directions(*mean.directions(evidence.stretches))


def _shown_directions(higher: float, lower: float) -> dict[str, Any]:
    return {"higher": decimal_text(higher), "lower": decimal_text(lower)}


def _shown_ratio(rate: Rate, evidence: Evidence) -> dict[str, Any]:
    parts = by_unit(evidence.stretches)
    counted = total(parts)
    shown: dict[str, Any] = {}
    if counted.samples:
        seen = min(counted.events, counted.samples)
        interval = statistics.rate_interval(seen, counted.samples, _REPORTED)
        shown = {"low": decimal_text(interval.low), "high": decimal_text(interval.high)}
    strata = sequential.strata_of(parts)
    if rate.margin is not None and strata:
        interval = statistics.ratio_interval(strata, _REPORTED)
        shown |= {
            "ratio": decimal_text(interval.estimate),
            "ratio_low": decimal_text(interval.low),
            "ratio_high": decimal_text(interval.high),
        }
        shown |= _shown_directions(*sequential.directions(strata))
    return shown


_REPORTED = 0.05


def _needed(goal: Objective, found: Judgement) -> tuple[int, str] | None:
    """Return how many answers an undecided objective still needs, as a number and in words.

    Reckoned for reports alone: it costs more than the judging.
    """
    evidence = found.evidence
    if goal.tests is None or evidence is None or found.verdict is not Verdict.INCONCLUSIVE:
        return None
    if not evidence.proofs or not found.measured or goal.watch is not None:
        return None
    parts = by_unit(evidence.stretches)
    newest = parts[-1]
    both = newest.samples + newest.stable_samples
    pace = both / evidence.seconds if evidence.seconds > 0 else 0.0
    if goal.rate is not None:
        need = sequential.needed(goal.rate, parts, evidence.weakest, pace)
        if need is None:
            return None
        answers, lasts = need
    else:
        assert goal.mean is not None
        found_need = mean.needed(goal.mean, evidence.stretches, evidence.weakest)
        if found_need is None:
            return None
        answers, lasts = found_need, timedelta(seconds=found_need / pace) if pace else None
    when = f", in about {roughly(lasts)}" if lasts is not None else ""
    return answers, f"; about {answers} more answers{when}"


def roughly(length: timedelta) -> str:
    """Return an estimated length as people say it."""
    seconds = length.total_seconds()
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"


def remembered(recorded: SLOResult) -> Judgement:
    """Return what is needed of a recorded result to go on counting failures."""
    value = None if recorded.value is None else float(recorded.value)
    return Judgement(
        verdict=recorded.verdict,
        failures=recorded.failures,
        message=recorded.message,
        reading=Reading(events=recorded.events, samples=recorded.samples, value=value),
    )
