"""Verdicts on the rates of a promoted version: the same objectives, for as long as it serves.

Harm is proven when a change detector alarms or a page rule of burn rates fires; the verdict is
Failed while it stands. There is no run any more in which a weight could rise, so Successful says
only that the last hour proves the rate to be within its bounds.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from math import exp

from rlhf_operator.api.evidence import BaselineRecord, Verdict
from rlhf_operator.api.plan import PinnedPolicy
from rlhf_operator.api.policy import SLO
from rlhf_operator.core import sequential
from rlhf_operator.core.drift import BASELINE, Drift, compares, drift_test, measured_by
from rlhf_operator.core.indicators import measure
from rlhf_operator.core.moments import NO_VALUES, decimal_text
from rlhf_operator.core.objective import (
    Evidence,
    Judgement,
    Objective,
    Reading,
    amount,
    objectives,
    short,
)
from rlhf_operator.core.sequential import Levels, Rate
from rlhf_operator.core.statistics import Burn
from rlhf_operator.core.stretches import Stretch
from rlhf_operator.core.watch import HOUR, Found, Watch, tests, watch
from rlhf_operator.core.windows import WINDOW, FirstHour


@lru_cache(maxsize=64)
def watched(
    policies: tuple[PinnedPolicy, ...],
    baselines: tuple[BaselineRecord, ...],
    *,
    renewed: bool = False,
) -> tuple[tuple[PinnedPolicy, Objective], ...]:
    """Return every SLO of a promoted version, each beside its policy, with its tests.

    `renewed` says that the guards' rules have changed since the promotion.
    """
    known = {each.slo: each for each in baselines}
    count = sum(_tests(slo) for policy in policies for slo in policy.slos)
    found = []
    for policy, goal in objectives(policies):
        before = known.get(goal.name)
        asked = watch(policy, goal.slo, goal.rate, count, before, renewed=renewed)
        rate = goal.rate
        if asked is not None and rate is not None:
            levels = Levels(harm=asked.proven, good=rate.levels.good)
            rate = replace(rate, levels=levels)
        drift = drift_test(policy, goal.slo, count, before)
        found.append((policy, replace(goal, watch=asked, rate=rate, drift=drift)))
    return tuple(found)


def _tests(slo: SLO) -> int:
    found = measure(slo)
    drifts = compares(slo, found) and slo.class_ != "Informational"
    return max(tests(slo, found), int(drifts))


def judge(goal: Objective, rate: Rate, asked: Watch, reading: Reading, found: Found) -> Judgement:
    """Return the verdict on a rate that is judged by evidence.

    Proof of harm stands also where nothing new can be seen.
    """
    hour = _of_the_hour(reading, found)
    verdict, message = _concluded(goal, rate, asked, hour, found)
    if reading.problem is None:
        reading = hour
    evidence = Evidence(
        stretches=(Stretch(events=found.events, samples=found.samples),),
        proofs=found.proofs,
        seconds=(HOUR * WINDOW).total_seconds(),
    )
    failures = 1 if verdict is Verdict.FAILED else 0
    return Judgement(
        verdict=verdict,
        failures=failures,
        message=message,
        reading=reading,
        evidence=evidence,
        slow_burn=_ticket(found),
    )


def burnt(goal: Objective, judged: Judgement, found: Found) -> Judgement:
    """Return a verdict on plain numbers, or Failed where a page rule fires."""
    judged = replace(judged, slow_burn=_ticket(found))
    if not found.burning or judged.verdict is Verdict.FAILED:
        return judged
    shown = f"{goal.slo.name} {amount(goal, _of_the_hour(judged.reading, found))}"
    return replace(
        judged,
        verdict=Verdict.FAILED,
        failures=max(1, judged.failures),
        message=f"{shown} {_told(found.burning)}",
    )


def drifted(
    goal: Objective, judged: Judgement, drift: Drift, *, doubtful: bool = False
) -> Judgement:
    """Return a verdict on a mean, or Failed where it has moved since its baseline.

    doubtful: whether guards take new rules, so that what is counted now is compared with nothing.
    """
    detector, baseline = drift.detector(), drift.baseline
    name = goal.slo.name
    if detector is None or baseline is None:
        fallen = _fallen(goal, judged, drift, doubtful=doubtful)
        if fallen is not None:
            return fallen
        if judged.verdict is not Verdict.INCONCLUSIVE or not goal.only_compares:
            return judged
        told = f"{name}: {drift.windows} of {BASELINE} windows of its baseline"
        if drift.test.known is not None and drift.known is None:
            told += f"; {drift.scorer} scores it now, and another made the one before"
        return replace(judged, message=told) if judged.measured else judged
    than = f"its first hour's {short(baseline[0])}"
    if detector.alarmed:
        value = amount(goal, judged.reading) if judged.measured else ""
        return replace(
            judged,
            verdict=Verdict.FAILED,
            failures=max(1, judged.failures),
            message=f"{name} {value} has moved from {than}, where {goal.bound} is allowed: "
            f"level {short(detector.level)}, {short(detector.threshold)} is an alarm",
        )
    if judged.verdict is Verdict.INCONCLUSIVE and goal.only_compares and judged.measured:
        return replace(judged, message=f"{name} {amount(goal, judged.reading)}: as {than}, so far")
    return judged


def _fallen(
    goal: Objective, judged: Judgement, drift: Drift, *, doubtful: bool
) -> Judgement | None:
    """Return Failed where its first hour is proven to be worse than its own run."""
    before, reading = drift.own_run(), judged.reading
    usable = judged.measured and reading.moments is not None and not doubtful
    samples, moments = reading.samples or 0, reading.moments or NO_VALUES
    proof = drift.fall(samples, moments) if usable else drift.fall()
    if before is None or proof < drift.test.proven:
        return None
    value = amount(goal, reading) if judged.measured else ""
    return replace(
        judged,
        verdict=Verdict.FAILED,
        failures=max(1, judged.failures),
        message=f"{goal.slo.name} {value} has moved from the {short(before.mean)} "
        f"(of {before.n}) of its own run, where {goal.bound} is allowed: evidence "
        f"{sequential.odds(proof)}, {sequential.odds(drift.test.proven)} is proof",
    )


def frozen(goal: Objective, drift: Drift) -> BaselineRecord | None:
    """Return the baseline of a mean that should go on record now, if there is one."""
    known, baseline = drift.known, drift.baseline
    if baseline is None or (known is not None and known.mean is not None):
        return None
    mean, deviation = baseline
    return BaselineRecord(
        slo=goal.name,
        measure=measured_by(goal.slo, goal.measure),
        scorer=drift.scorer,
        samples=known.samples if known else None,
        sums=known.sums if known else None,
        mean=decimal_text(mean),
        deviation=decimal_text(deviation),
    )


def frozen_rate(goal: Objective, hour: FirstHour | None) -> BaselineRecord | None:
    """Return the baseline of a rate under new rules that should go on record now, if any."""
    if hour is None or goal.watch is None or not goal.watch.lacks_baseline:
        return None
    return BaselineRecord(
        slo=goal.name,
        measure=str(goal.measure),
        since=hour.until,
        events=hour.events,
        samples=hour.samples,
    )


def _of_the_hour(reading: Reading, found: Found) -> Reading:
    value = found.events / found.samples if found.samples else None
    return replace(reading, events=found.events, samples=found.samples, value=value)


def _concluded(
    goal: Objective, rate: Rate, asked: Watch, reading: Reading, found: Found
) -> tuple[Verdict, str]:
    slo = goal.slo
    counts = amount(goal, reading) if found.samples else "(0 of 0)"
    shown = f"{slo.name} {counts}"
    for bound, proof in zip(asked.bounds, found.proofs, strict=True):
        if proof.harm >= asked.proven:
            return Verdict.FAILED, (
                f"{shown} {_broken(goal, asked, bound.name, bound.ceiling)}: evidence "
                f"{sequential.odds(proof.harm)}, {sequential.odds(asked.proven)} is proof"
                + (f"; {_told(found.burning)}" if found.burning else "")
            )
    if found.burning:
        return Verdict.FAILED, f"{shown} {_told(found.burning)}"
    if reading.problem is not None:
        verdict = Verdict.ERROR if reading.problem.is_error else Verdict.INCONCLUSIVE
        return verdict, f"{slo.name}: {reading.message}"
    if not found.proofs:
        return Verdict.INCONCLUSIVE, f"{shown}: {asked.missing}"
    note = f"; {asked.missing}" if asked.missing else ""
    if found.samples < slo.min_samples:
        return Verdict.INCONCLUSIVE, f"{shown}: {found.samples} of {slo.min_samples} samples{note}"
    weakest = min(found.proofs, key=lambda proof: proof.good)
    if weakest.good >= rate.levels.good:
        good = sequential.odds(weakest.good)
        return Verdict.SUCCESSFUL, f"{shown} within {_bounds(asked)} (evidence {good}){note}"
    return Verdict.INCONCLUSIVE, (
        f"{shown}: evidence for {weakest.bound} is {sequential.odds(weakest.good)}, "
        f"{exp(rate.levels.good):.0f} to 1 is needed{note}"
    )


def _broken(goal: Objective, asked: Watch, bound: str, ceiling: float) -> str:
    if bound == "max":
        return f"> {goal.slo.max}"
    if bound == "min":
        return f"< {goal.slo.min}"
    sign, limit = (">", ceiling) if asked.lower_is_better else ("<", 1 - ceiling)
    return f"{sign} {short(limit)}, what its own run and versusStable allow"


def _bounds(asked: Watch) -> str:
    return ", ".join(
        f"{bound.name} {short(bound.ceiling if asked.lower_is_better else 1 - bound.ceiling)}"
        for bound in asked.bounds
    )


def _told(burning: tuple[Burn, ...]) -> str:
    """Return how fast the budget is spent, by the rule that is the most urgent."""
    burn = burning[0]
    times = min(burn.long or 0.0, burn.short or 0.0)
    return (
        f"spends its budget {times:.0f} times as fast as allowed over {_length(burn.rule.long)} "
        f"and over {_length(burn.rule.short)}"
    )


def _ticket(found: Found) -> str | None:
    """Return how fast the budget is spent by a ticket rule; it says the same while that lasts."""
    if not found.slow:
        return None
    rule = found.slow[0].rule
    times = f"more than {rule.factor:.0f} times as fast as" if rule.factor > 1 else "faster than"
    return (
        f"spends its budget {times} allowed over {_length(rule.long)} and over "
        f"{_length(rule.short)}"
    )


def _length(span: timedelta) -> str:
    minutes = span // timedelta(minutes=1)
    return f"{minutes // 60} h" if minutes >= 60 else f"{minutes} min"
