"""From readings to verdicts: Successful < Inconclusive < Error < Failed; the worst one wins.

Silence is never success: only a fresh number with enough samples and within every bound is
Successful. A reading that cannot be used is Inconclusive, no answer at all is Error.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from math import isfinite

from rlhf_operator.api.evidence import SLOResult, Verdict
from rlhf_operator.api.measurements import Problem
from rlhf_operator.api.plan import PinnedPolicy
from rlhf_operator.api.policy import SLO, SLOClass
from rlhf_operator.core import bounds, evidence, steady
from rlhf_operator.core.moments import decimal_text
from rlhf_operator.core.objective import Judgement, Objective, Reading, amount, objective
from rlhf_operator.core.results import remembered, result
from rlhf_operator.core.stretches import NO_PAST, Past
from rlhf_operator.core.watch import Found

__all__ = ["Reading", "blind", "failed", "judge", "stale_after", "weigh", "worst"]

_LARGEST = 1e15
STALE_AFTER = timedelta(seconds=35)


def stale_after(scrape_interval: timedelta) -> timedelta:
    """Return the age from which on the newest point proves nothing."""
    return 2 * scrape_interval + timedelta(seconds=5)


def judge(
    policy: PinnedPolicy,
    slo: SLO,
    version: str,
    reading: Reading,
    stable: Reading | None,
    previous: SLOResult | None,
    now: datetime,
    since: datetime,
    *,
    stale: timedelta = STALE_AFTER,
) -> SLOResult:
    """Return what one reading says about one SLO of one version.

    `stable` is None where no other version serves; `previous` is the last measurement, from
    which a run of failures goes on.
    """
    goal = objective(policy, slo)
    before = None if previous is None else remembered(previous)
    return result(
        goal, version, weigh(goal, reading, stable, before, now=now, since=since, stale=stale)
    )


def weigh(
    goal: Objective,
    reading: Reading,
    stable: Reading | None,
    previous: Judgement | None,
    *,
    now: datetime,
    since: datetime,
    stale: timedelta,
    past: Past = NO_PAST,
    found: Found | None = None,
) -> Judgement:
    """Return the verdict on one reading.

    `past` is what the run showed before it, `found` what a promoted version shows of a rate.
    """
    failures = 0 if previous is None else previous.failures
    if _safety_count_exceeded(goal, reading):
        # An event that was counted has happened: no silence that follows takes it back.
        verdict, failures, message = (
            Verdict.FAILED,
            max(1, failures),
            bounds.broken(goal, reading)[0],
        )
        return Judgement(
            verdict=verdict, failures=failures, message=message, reading=reading, stable=stable
        )
    reading = _usable(goal, reading, now=now, since=since, stale=stale)
    if stable is not None:
        stable = _comparable(reading, _usable(goal, stable, now=now, since=since, stale=stale))
    if goal.rate is not None and goal.watch is not None and found is not None:
        return steady.judge(goal, goal.rate, goal.watch, reading, found)
    if goal.tests is not None:
        # A run's proof is final; a promoted version that keeps its bounds again does keep them.
        before = previous if goal.drift is None else None
        return evidence.judge(goal, goal.tests, reading, stable, before, past, now - since)
    verdict, failures, message = _verdict(goal, reading, stable, previous, failures)
    judged = Judgement(
        verdict=verdict, failures=failures, message=message, reading=reading, stable=stable
    )
    return judged if found is None else steady.burnt(goal, judged, found)


def _verdict(
    goal: Objective,
    reading: Reading,
    stable: Reading | None,
    previous: Judgement | None,
    failures: int,
) -> tuple[Verdict, int, str]:
    name, least = goal.slo.name, goal.slo.min_samples
    if reading.problem is not None:
        verdict = Verdict.ERROR if reading.problem.is_error else Verdict.INCONCLUSIVE
        return verdict, failures, f"{name}: {reading.message}"
    if reading.value is None or (reading.samples or 0) < least:
        shown = "" if reading.value is None else f" {amount(goal, reading)}"
        return (
            Verdict.INCONCLUSIVE,
            failures,
            f"{name}{shown}: {reading.samples or 0} of {least} samples",
        )
    silent = _comparison_missing(goal, stable)
    broken = bounds.broken(goal, reading) + (
        [] if silent else bounds.worse_than_stable(goal, reading, stable)
    )
    if broken:
        return _strike(goal, reading, previous, failures, "; ".join(broken))
    if silent:
        return Verdict.INCONCLUSIVE, failures, f"{name} {amount(goal, reading)}: {silent}"
    return Verdict.SUCCESSFUL, 0, f"{name} {amount(goal, reading)} within {goal.bound}"


def _strike(
    goal: Objective, reading: Reading, previous: Judgement | None, failures: int, message: str
) -> tuple[Verdict, int, str]:
    """Count one more measurement out of bounds; the SLO fails when there were enough in a row."""
    limit = goal.slo.failure_limit or 1
    if failures == 0 or previous is None or _is_new(reading, previous.reading):
        failures += 1
    if limit > 1:
        message = f"{message}, {min(failures, limit)} of {limit} measurements"
    return (Verdict.FAILED if failures >= limit else Verdict.INCONCLUSIVE), failures, message


def _is_new(reading: Reading, before: Reading) -> bool:
    """Return whether anything was measured since; asking again is no new evidence."""
    if reading.samples != before.samples or reading.events != before.events:
        return True
    return before.value is None or decimal_text(reading.value) != decimal_text(before.value)


def _usable(
    goal: Objective, reading: Reading, *, now: datetime, since: datetime, stale: timedelta
) -> Reading:
    """Return the reading, or in its place the problem that makes it useless."""
    if reading.problem is not None:
        return Reading(problem=reading.problem, at=reading.at, message=_reason(reading))
    if reading.at is None:
        return Reading(problem=Problem.NO_SERIES, message="no series")
    if now - reading.at > stale:
        age = (now - reading.at).total_seconds()
        message = f"newest point is {age:.0f} s old, more than {stale.total_seconds():.0f} s"
        return Reading(problem=Problem.STALE, at=reading.at, message=message)
    if goal.range and now - goal.range < since:
        message = (
            f"its range of {goal.range.total_seconds():.0f} s reaches back before the last "
            f"weight change, {(now - since).total_seconds():.0f} s ago"
        )
        return Reading(problem=Problem.TOO_EARLY, at=reading.at, message=message)
    if reading.value is not None and not (
        isfinite(reading.value) and abs(reading.value) <= _LARGEST
    ):
        if (reading.samples or 0) < goal.slo.min_samples:
            # Without traffic an expression rightly yields NaN; that is few data, not bad data.
            return replace(reading, value=None)
        message = f"the value is {reading.value}, not a number to compare"
        return Reading(problem=Problem.NOT_A_NUMBER, at=reading.at, message=message)
    return reading


def _comparable(reading: Reading, stable: Reading) -> Reading:
    """Return stable's reading, or a problem where something else scored it."""
    if not reading.scorer or not stable.scorer or reading.scorer == stable.scorer:
        return stable
    message = f"scored by {stable.scorer}, and not by {reading.scorer}"
    return Reading(problem=Problem.SEVERAL_SERIES, at=stable.at, message=message)


def _reason(reading: Reading) -> str:
    assert reading.problem is not None
    return reading.message or f"no usable data ({reading.problem})"


def _comparison_missing(goal: Objective, stable: Reading | None) -> str | None:
    """Return why the comparison with stable cannot be made, if one is asked for."""
    if goal.slo.versus_stable is None:
        return None
    if stable is None:
        return "no other version to compare with" if goal.only_compares else None
    if stable.problem is not None:
        return f"stable: {stable.message}"
    if stable.value is None or (stable.samples or 0) < goal.slo.min_samples:
        return f"stable: {stable.samples or 0} of {goal.slo.min_samples} samples"
    return None


def _safety_count_exceeded(goal: Objective, reading: Reading) -> bool:
    most = goal.slo.max_count
    return (
        goal.slo.class_ == "Safety"
        and most is not None
        and reading.events is not None
        and reading.events > most
    )


def worst(results: Iterable[SLOResult]) -> Verdict:
    """Return the worst verdict; Informational ones do not count, and nothing is no success."""
    verdicts = [each.verdict for each in results if each.class_ != "Informational"]
    return max(verdicts, key=lambda verdict: verdict.badness, default=Verdict.INCONCLUSIVE)


def failed(results: Iterable[SLOResult], class_: SLOClass) -> tuple[SLOResult, ...]:
    """Return the failed results of one class."""
    return tuple(
        each for each in results if each.class_ == class_ and each.verdict is Verdict.FAILED
    )


def blind(results: Iterable[SLOResult]) -> tuple[SLOResult, ...]:
    """Return the Safety results without usable data; few samples are little data, not none."""
    return tuple(each for each in results if each.class_ == "Safety" and each.samples is None)
