"""Verdicts by evidence, on rates and on differences of means: harm proven, refuted, or neither."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from math import exp

from rlhf_operator.api.evidence import Verdict
from rlhf_operator.core import bounds, earlier, mean, onset, sequential
from rlhf_operator.core.mean import Mean
from rlhf_operator.core.objective import (
    Evidence,
    Judgement,
    Objective,
    Reading,
    amount,
    counted,
    short,
)
from rlhf_operator.core.sequential import Proof, Rate
from rlhf_operator.core.stretches import Past, Stretch, by_unit, mixes_units, total


def judge(
    goal: Objective,
    tests: Rate | Mean,
    reading: Reading,
    stable: Reading | None,
    previous: Judgement | None,
    past: Past,
    lasted: timedelta,
) -> Judgement:
    """Return the verdict on what a run has shown of a rate or a mean so far.

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
    if _differ(reading, stable, stretches):
        reading, stable = reading.by_answer(), stable.by_answer() if stable is not None else None
        stretches = past.until(counted(reading, stable))
    compares = stable is not None or bool(past.before)
    # Most looks come between two scrapes: what was counted then still proves as much.
    proofs = _known(previous, stretches, stable)
    if proofs is None:
        proofs = _proofs(tests, stretches, past, compares=compares)
    found = Evidence(
        stretches=stretches,
        proofs=proofs,
        seconds=lasted.total_seconds(),
    )
    verdict, message = _concluded(goal, tests, reading, stable, found, past.stable_before)
    if reading.users_unknown:
        message += "; answers are counted, for users are not told apart here"
    return Judgement(
        verdict=verdict,
        failures=1 if verdict is Verdict.FAILED else 0,
        message=message,
        reading=reading,
        stable=stable,
        evidence=found,
    )


def _differ(reading: Reading, stable: Reading | None, stretches: tuple[Stretch, ...]) -> bool:
    """Return whether answers must be counted, since not all guards knew users all the time."""
    read = [each for each in (reading, stable) if each is not None and each.problem is None]
    return any(each.users_unknown for each in read) or mixes_units(stretches)


def _known(
    previous: Judgement | None, stretches: tuple[Stretch, ...], stable: Reading | None
) -> tuple[Proof, ...] | None:
    """Return the proofs of the look before, if it saw the same."""
    if previous is None or previous.evidence is None:
        return None
    same = (previous.stable is None) is (stable is None)
    return previous.evidence.proofs if same and previous.evidence.stretches == stretches else None


def _proofs(
    tests: Rate | Mean, stretches: tuple[Stretch, ...], past: Past, *, compares: bool
) -> tuple[Proof, ...]:
    """Return the evidence on each bound, on live answers of stable or on those of before."""
    before = past.stable_before
    if isinstance(tests, Mean):
        return mean.proofs(tests, stretches, compares=compares and before is None)
    if tests.margin is None or before is None:
        found = sequential.proofs(tests, stretches, compares=compares)
        return onset.renewed(found, tests, past, stretches[-1])
    alone = sequential.proofs(tests, stretches, compares=False)
    return (*alone, earlier.proof(tests, total(stretches), before))


def _concluded(
    goal: Objective,
    tests: Rate | Mean,
    reading: Reading,
    stable: Reading | None,
    found: Evidence,
    before: Stretch | None,
) -> tuple[Verdict, str]:
    shown = f"{goal.slo.name} {_amount(goal, reading)}"
    for proof in found.proofs:
        if proof.harm >= tests.levels.harm:
            return Verdict.FAILED, (
                f"{shown} {_broken(goal, tests, proof, found, before, reading)}: evidence "
                f"{sequential.odds(proof.harm)}, {sequential.odds(tests.levels.harm)} is proof"
            )
    least = goal.slo.min_samples
    enough = (reading.samples or 0) >= least
    plain = bounds.broken(goal, reading) if isinstance(tests, Mean) and enough else []
    if plain:
        return Verdict.FAILED, "; ".join(plain)
    missing = _comparison_missing(goal, tests, stable, found, before)
    if missing is not None:
        return Verdict.INCONCLUSIVE, f"{shown}: {missing}"
    if not enough:
        return Verdict.INCONCLUSIVE, f"{shown}: {reading.samples or 0} of {least} samples"
    if not found.proofs:  # a mean with nobody beside it: its plain bounds alone count
        return Verdict.SUCCESSFUL, f"{shown} within {goal.bound}"
    weakest = found.weakest
    if weakest.good >= tests.levels.good:
        return Verdict.SUCCESSFUL, (
            f"{shown} within {goal.bound} (evidence {sequential.odds(weakest.good)})"
        )
    bound = goal.bound if weakest.bound != "versusStable" else "versusStable"
    return Verdict.INCONCLUSIVE, (
        f"{shown}: evidence for {bound} is {sequential.odds(weakest.good)}, "
        f"{exp(tests.levels.good):.0f} to 1 is needed"
    )


def _comparison_missing(
    goal: Objective,
    tests: Rate | Mean,
    stable: Reading | None,
    found: Evidence,
    before: Stretch | None,
) -> str | None:
    if tests.margin is None:
        return None
    if before is not None and isinstance(tests, Mean):
        return "a mean is not compared with what stable showed before"
    if before is not None:
        return None if before.samples else "stable showed nothing before all its traffic went"
    if stable is None:
        return "no other version to compare with" if goal.only_compares else None
    if stable.problem is not None:
        return f"stable: {stable.message}"
    return mean.too_few(found.stretches) if isinstance(tests, Mean) else None


def _amount(goal: Objective, reading: Reading) -> str:
    return amount(goal, reading) if reading.value is not None else "(0 of 0)"


def _broken(
    goal: Objective,
    tests: Rate | Mean,
    proof: Proof,
    found: Evidence,
    before: Stretch | None,
    reading: Reading,
) -> str:
    if isinstance(tests, Mean):
        return _too_far(tests, found)
    if proof.bound in ("max", "min"):
        bound = f"> {goal.slo.max}" if proof.bound == "max" else f"< {goal.slo.min}"
        return bound if bounds.broken(goal, reading) else f"{bound} of late"
    counts = total(by_unit(found.stretches))
    events, samples = counts.stable_events, counts.stable_samples
    if before is not None:
        events, samples = before.events, before.samples
    part = events / samples if samples else 0.0
    sign, times = (">", "") if tests.lower_is_better else ("<", "")
    if tests.harm_ratio != 1:
        times = f"{short(tests.harm_ratio)} times "
    how = ", each user once" if reading.first_samples is not None and before is None else ""
    when = " before" if before is not None else ""
    return f"{sign} {times}stable's {short(part)} ({events} of {samples}{how}){when}"


def _too_far(tests: Mean, found: Evidence) -> str:
    counts = total(found.stretches)
    theirs = counts.stable_moments.total / max(1, counts.stable_samples)
    sign, side = (">", "above") if tests.lower_is_better else ("<", "below")
    far = f"{short(tests.harm_difference)} {side} " if tests.harm_difference else ""
    return f"{sign} {far}stable's {short(theirs)} (of {counts.stable_samples})"
