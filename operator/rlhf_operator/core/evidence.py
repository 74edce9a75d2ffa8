"""Verdicts on rates that are judged by evidence: proven harm, refuted harm, or neither yet."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from math import exp

from rlhf_operator.api.evidence import Verdict
from rlhf_operator.core import earlier, sequential
from rlhf_operator.core.objective import (
    Evidence,
    Judgement,
    Objective,
    Reading,
    amount,
    counted,
    short,
)
from rlhf_operator.core.sequential import Past, Proof, Rate, Stretch


def judge(
    goal: Objective,
    rate: Rate,
    reading: Reading,
    stable: Reading | None,
    previous: Judgement | None,
    past: Past,
    lasted: timedelta,
) -> Judgement:
    """Return the verdict on what a run has shown of a rate so far.

    Readings are usable ones, or tell why not. A crossing is final: whatever comes after, seen
    or unseen, the verdict stays Failed.
    """
    if previous is not None and previous.verdict is Verdict.FAILED:
        return replace(previous, reading=reading, stable=stable)
    if reading.problem is not None:
        verdict = Verdict.ERROR if reading.problem.is_error else Verdict.INCONCLUSIVE
        message = f"{goal.slo.name}: {reading.message}"
        return Judgement(
            verdict=verdict,
            failures=0,
            message=message,
            reading=reading,
            stable=stable,
            evidence=previous.evidence if previous is not None else None,
        )
    stretches = past.until(counted(reading, stable))
    compares = stable is not None or bool(past.before)
    found = Evidence(
        stretches=stretches,
        proofs=_proofs(rate, stretches, past, compares=compares),
        seconds=lasted.total_seconds(),
    )
    verdict, message = _concluded(goal, rate, reading, stable, found, past.stable_before)
    unknown = reading.users_unknown or (stable is not None and stable.users_unknown)
    if unknown or sequential.mixes_units(stretches):
        message += "; answers are compared, for users are not told apart here"
    return Judgement(
        verdict=verdict,
        failures=1 if verdict is Verdict.FAILED else 0,
        message=message,
        reading=reading,
        stable=stable,
        evidence=found,
    )


def _proofs(
    rate: Rate, stretches: tuple[Stretch, ...], past: Past, *, compares: bool
) -> tuple[Proof, ...]:
    """Return the evidence on each bound, on live answers of stable or on those of before."""
    before = past.stable_before
    if rate.margin is None or before is None:
        return sequential.proofs(rate, stretches, compares=compares)
    alone = sequential.proofs(rate, stretches, compares=False)
    return (*alone, earlier.proof(rate, sequential.total(stretches), before))


def _concluded(
    goal: Objective,
    rate: Rate,
    reading: Reading,
    stable: Reading | None,
    found: Evidence,
    before: Stretch | None,
) -> tuple[Verdict, str]:
    shown = f"{goal.slo.name} {_amount(goal, reading)}"
    for proof in found.proofs:
        if proof.harm >= rate.levels.harm:
            return Verdict.FAILED, (
                f"{shown} {_broken(goal, rate, proof, found, before)}: evidence "
                f"{sequential.odds(proof.harm)}, {sequential.odds(rate.levels.harm)} is proof"
            )
    missing = _comparison_missing(goal, rate, stable, before)
    if missing is not None:
        return Verdict.INCONCLUSIVE, f"{shown}: {missing}"
    least = goal.slo.min_samples
    if (reading.samples or 0) < least:
        return Verdict.INCONCLUSIVE, f"{shown}: {reading.samples or 0} of {least} samples"
    weakest = found.weakest
    if weakest.good >= rate.levels.good:
        return Verdict.SUCCESSFUL, (
            f"{shown} within {goal.bound} (evidence {sequential.odds(weakest.good)})"
        )
    bound = goal.bound if weakest.bound != "versusStable" else "versusStable"
    return Verdict.INCONCLUSIVE, (
        f"{shown}: evidence for {bound} is {sequential.odds(weakest.good)}, "
        f"{exp(rate.levels.good):.0f} to 1 is needed"
    )


def _comparison_missing(
    goal: Objective, rate: Rate, stable: Reading | None, before: Stretch | None
) -> str | None:
    if rate.margin is None:
        return None
    if before is not None:
        return None if before.samples else "stable showed nothing before all its traffic went"
    if stable is None:
        return "no other version to compare with" if goal.only_compares else None
    return f"stable: {stable.message}" if stable.problem is not None else None


def _amount(goal: Objective, reading: Reading) -> str:
    return amount(goal, reading) if reading.value is not None else "(0 of 0)"


def _broken(
    goal: Objective, rate: Rate, proof: Proof, found: Evidence, before: Stretch | None
) -> str:
    if proof.bound == "max":
        return f"> {goal.slo.max}"
    if proof.bound == "min":
        return f"< {goal.slo.min}"
    shown = sequential.compared(found.stretches)
    counts, is_by_user = sequential.total(shown), shown is not found.stretches
    events, samples = counts.stable_events, counts.stable_samples
    if before is not None:
        events, samples, is_by_user = before.events, before.samples, False
    part = events / samples if samples else 0.0
    sign, times = (">", "") if rate.lower_is_better else ("<", "")
    if rate.harm_ratio != 1:
        times = f"{short(rate.harm_ratio)} times "
    how = ", each user once" if is_by_user else ""
    when = " before" if before is not None else ""
    return f"{sign} {times}stable's {short(part)} ({events} of {samples}{how}){when}"
