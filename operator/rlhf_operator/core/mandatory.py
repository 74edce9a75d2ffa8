"""What binds a run: its pinned policies, and at once what today's mandatory ones ask beyond them.

Both bind, so a mandatory policy can tighten a run and never loosen it. Where both ask the same of
an objective, more or less strictly, the stricter stands in its place, and what was counted for it
goes on counting. Where they ask something else, as after another indicator, the two stand beside
each other: the new one in a policy that is named after its measure, so that no counts on record
are ever taken for those of another measure. All follows from the record and from today's policies
alone, so a restarted operator comes to the same.
"""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal

from rlhf_operator.api.plan import PinnedPolicy
from rlhf_operator.api.policy import SLO, RewardHacking, SLOClass, VersusStable
from rlhf_operator.api.schema import decimal, parse_duration
from rlhf_operator.core import sequential
from rlhf_operator.core.indicators import Form, measure

_RANKS: dict[SLOClass, int] = {"Informational": 0, "Performance": 1, "Quality": 1, "Safety": 2}
_LONGEST_NAME = 63
_DIGITS = 8
Number = Decimal | int | None


def binding(
    pinned: tuple[PinnedPolicy, ...], current: tuple[PinnedPolicy, ...]
) -> tuple[PinnedPolicy, ...]:
    """Return what binds a run: its pinned policies, tightened by today's mandatory ones."""
    today = {policy.name: policy for policy in current if policy.mandatory}
    found, beside = [], list[PinnedPolicy]()
    for policy in pinned:
        now = today.pop(policy.name, policy) if policy.mandatory else policy
        found.append(policy if now == policy else _tightened(policy, now, beside))
    for policy in today.values():
        for slo in policy.slos:
            _add(beside, policy, slo)
    return (*found, *beside)


def own_names(current: tuple[PinnedPolicy, ...]) -> dict[str, str]:
    """Return what today's mandatory objectives are called, by what they are called beside a run's.

    Both as policy/objective. After the run they are judged under their own names.
    """
    return {
        f"{_beside(policy, slo)}/{slo.name}": f"{policy.name}/{slo.name}"
        for policy in current
        if policy.mandatory
        for slo in policy.slos
    }


def _tightened(pinned: PinnedPolicy, now: PinnedPolicy, beside: list[PinnedPolicy]) -> PinnedPolicy:
    """Return a pinned policy with the stricter of each; what has no place in it goes beside it.

    More false rollbacks are the stricter: less proof takes traffic away from a version. Fewer
    false promotions are: more proof is needed before it gets any.
    """
    slos = {slo.name: slo for slo in pinned.slos}
    for slo in now.slos:
        before = slos.get(slo.name)
        both = None
        if before is not None and _measure(pinned, before) == _measure(now, slo):
            both = _stricter(before, slo)
        if both is None:
            _add(beside, now, slo)
        else:
            slos[slo.name] = both
    return pinned.model_copy(
        update={
            "slos": tuple(slos.values()),
            "interval": min(pinned.interval, now.interval, key=parse_duration),
            "false_rollback": max(pinned.false_rollback, now.false_rollback, key=decimal),
            "false_promotion": min(pinned.false_promotion, now.false_promotion, key=decimal),
            "reward_hacking": _sooner(pinned.reward_hacking, now.reward_hacking),
        }
    )


def _add(beside: list[PinnedPolicy], policy: PinnedPolicy, slo: SLO) -> None:
    """Add an objective in a policy that is named after its measure."""
    name = _beside(policy, slo)
    for place, each in enumerate(beside):
        if each.name == name:
            beside[place] = each.model_copy(update={"slos": (*each.slos, slo)})
            return
    beside.append(policy.model_copy(update={"name": name, "slos": (slo,)}))


def _beside(policy: PinnedPolicy, slo: SLO) -> str:
    """Return the policy in which an objective stands beside a run's: its own, and its measure."""
    asked = f"{policy.name} {_measure(policy, slo)}"
    digits = hashlib.sha256(asked.encode()).hexdigest()[:_DIGITS]
    return f"{policy.name[: _LONGEST_NAME - _DIGITS - 1]}-{digits}"


def _measure(policy: PinnedPolicy, slo: SLO) -> str:
    """Return where and what an objective counts; fields of a later release change nothing."""
    parts = (slo.indicator, slo.query)
    asked = [each and each.model_dump(mode="json", exclude_defaults=True) for each in parts]
    return json.dumps([policy.metric_source, *asked], sort_keys=True)


def _stricter(pinned: SLO, now: SLO) -> SLO | None:
    """Return one objective that asks for all that two of the same measure ask.

    None where no single one asks for exactly that, as of a bound for Safety and a stricter one
    for Quality.
    """
    if _manner(pinned) != _manner(now):
        return None
    limited = pinned.failure_limit is not None or now.failure_limit is not None
    both = pinned.model_copy(
        update={
            "max": _least(pinned.max, now.max),
            "min": _most(pinned.min, now.min),
            "max_count": _fewest(pinned.max_count, now.max_count),
            "min_samples": max(pinned.min_samples, now.min_samples),
            "versus_stable": _closer(pinned.versus_stable, now.versus_stable),
            "failure_limit": min(_limit(pinned), _limit(now)) if limited else None,
            "class_": max(pinned.class_, now.class_, key=lambda each: _RANKS[each]),
        }
    )
    same = _RANKS[pinned.class_] == _RANKS[now.class_] and _limit(pinned) == _limit(now)
    return both if same or _numbers(both) in (_numbers(pinned), _numbers(now)) else None


def _manner(slo: SLO) -> tuple[object, ...]:
    """Return what must be alike before the stricter of two numbers may stand for both.

    Evidence on a rate proves harm however few its samples are. Where plain numbers are compared,
    more samples come later to both verdicts: to ask for more is not the stricter.
    """
    counted = measure(slo)
    if counted.form is Form.RATE and sequential.is_sequential(slo, counted):
        return ("evidence",)
    margin = slo.versus_stable
    kind = (margin.method, margin.ratio is None) if margin is not None else None
    return ("numbers", slo.min_samples, kind)


def _numbers(slo: SLO) -> tuple[Number, ...]:
    """Return all that makes an objective strict."""
    margin = slo.versus_stable
    margins = (margin.ratio, margin.difference) if margin is not None else (None, None)
    bounds = [None if text is None else decimal(text) for text in (slo.max, slo.min, *margins)]
    return (*bounds, slo.max_count, slo.min_samples, _limit(slo), _RANKS[slo.class_])


def _limit(slo: SLO) -> int:
    return slo.failure_limit or 1


def _least(*texts: str | None) -> str | None:
    return min((text for text in texts if text is not None), key=decimal, default=None)


def _most(*texts: str | None) -> str | None:
    return max((text for text in texts if text is not None), key=decimal, default=None)


def _fewest(*counts: int | None) -> int | None:
    return min((count for count in counts if count is not None), default=None)


def _closer(pinned: VersusStable | None, now: VersusStable | None) -> VersusStable | None:
    """Return the margin that lets the canary be less far from stable; both are of one kind."""
    if pinned is None or now is None:
        return pinned or now
    ratio = _least(pinned.ratio, now.ratio)
    return pinned.model_copy(
        update={"ratio": ratio, "difference": _least(pinned.difference, now.difference)}
    )


def _sooner(pinned: RewardHacking | None, now: RewardHacking | None) -> RewardHacking | None:
    """Return what rolls back sooner."""
    given = [each for each in (pinned, now) if each is not None and each.action == "RollBack"]
    return min(given, key=lambda each: parse_duration(each.patience), default=pinned)
