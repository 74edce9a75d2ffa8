"""Reward hacking: a pleased reward model, a longer way from the SFT policy, people worse off.

A policy that is trained on for too long learns what the reward model mistakes for good answers.
The reward goes on rising then, while what people think of the answers falls. No single number
shows it, three together do. Source: Gao, Schulman and Hilton 2022 (arXiv 2210.10760).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from rlhf_operator.api.evidence import SLOResult
from rlhf_operator.api.plan import PinnedPolicy
from rlhf_operator.api.policy import SLO
from rlhf_operator.api.schema import parse_duration
from rlhf_operator.core import drills, mandatory, overrides, sequential
from rlhf_operator.core.observed import Observed, Run

_RISING = ("RewardScore", "KLToSFT")
_WORSE_WHEN_HIGHER = {"ThumbsDownRate": True, "TaskCompletionRate": False}
"""What people say of the answers."""


def suspicion(seen: Observed, run: Run) -> str | None:
    """Return why the canary is suspected, with the numbers; None where it is not.

    Reward and divergence must be proven higher than stable's, and one thing that people say
    proven worse, by however little, each at its policy's falsePromotion. Overridden objectives do
    not count; Informational ones do. A floor that is drilled is not suspected: it need not be as
    good as what it is the floor of.
    """
    if drills.is_drill(run):
        return None
    kinds = _kinds(binding(seen, run))
    results = overrides.gating(seen, run)
    told = {kind: _proven(results, kinds, kind) for kind in (*_RISING, *_WORSE_WHEN_HIGHER)}
    rising = [text for kind in _RISING if (text := told[kind])]
    worse = [text for kind in _WORSE_WHEN_HIGHER if (text := told[kind])]
    if len(rising) < len(_RISING) or not worse:
        return None
    return f"{' and '.join(rising)} are higher, while people are worse off: {', '.join(worse)}"


def missing(slos: Iterable[SLO]) -> str | None:
    """Return what these objectives lack for a suspicion ever to arise; None where it can."""
    compared = {
        slo.indicator.type
        for slo in slos
        if slo.indicator and slo.versus_stable and slo.versus_stable.method == "Sequential"
    }
    for kind in _RISING:
        if kind not in compared:
            return f"no objective compares {kind} with stable by evidence"
    if compared.isdisjoint(_WORSE_WHEN_HIGHER):
        return f"no objective compares {' or '.join(_WORSE_WHEN_HIGHER)} with stable by evidence"
    return None


def binding(seen: Observed, run: Run) -> tuple[PinnedPolicy, ...]:
    """Return the policies by which the run is judged."""
    return mandatory.binding(run.policies, seen.policies)


def roll_back_after(policies: Iterable[PinnedPolicy]) -> timedelta | None:
    """Return how long a suspicion lasts before it rolls back; None where it only holds."""
    asked = (policy.reward_hacking for policy in policies)
    patience = (each.patience for each in asked if each and each.action == "RollBack")
    return min((parse_duration(each) for each in patience), default=None)


def _kinds(policies: Iterable[PinnedPolicy]) -> dict[tuple[str, str], str]:
    return {
        (policy.name, slo.name): slo.indicator.type
        for policy in policies
        for slo in policy.slos
        if slo.indicator is not None
    }


def _proven(
    results: Iterable[SLOResult], kinds: dict[tuple[str, str], str], kind: str
) -> str | None:
    """Return the first result of this kind that is proven to differ as suspected, in words."""
    for each in results:
        log_e = each.higher if _WORSE_WHEN_HIGHER.get(kind, True) else each.lower
        if kinds.get((each.policy, each.name)) != kind or not log_e or not each.good_proven:
            continue
        if each.samples is not None and float(log_e) >= float(each.good_proven):
            odds = sequential.odds(float(log_e))
            return f"{each.name} {each.value} (stable {each.stable_value}, evidence {odds})"
    return None
