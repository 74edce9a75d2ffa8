"""Which pods share the traffic where nothing but their number can split it.

A Service gives every ready pod the same share. Any subset of the pods may stand behind it, so
the question is how many of each arm give the wanted percentages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rlhf_operator.api.common import Failure
from rlhf_operator.api.model import ModelSpec, Rollout
from rlhf_operator.api.reasons import Reason
from rlhf_operator.core import plans

TOLERANCE = 1
"""Percentage points that a share may be off. With one more, a step of 1 could be served as 3,
and with none, only few numbers of replicas could give any plan."""


def choose(weights: Sequence[int], ready: Sequence[int]) -> tuple[int, ...] | None:
    """Return how many pods of each arm to use: as many as keep every share within tolerance."""
    for total in range(sum(ready), 0, -1):
        counts = _apportion(weights, total)
        fits = all(count <= most for count, most in zip(counts, ready, strict=True))
        if fits and _is_within(weights, counts, total):
            return counts
    return None


def problems(rollout: Rollout, replicas: int) -> tuple[Failure, ...]:
    """Return one failure for each step that the ratio of pods cannot give."""
    if rollout.strategy == "Shadow":
        why = "router Service cannot copy requests: use GatewayAPI or Istio, or another strategy"
        return (Failure(reason=Reason.CANNOT_MIRROR, message=why),)
    found = []
    others = [each.weight for each in rollout.ab_test.others] if rollout.ab_test else []
    for step in plans.steps(rollout):
        tested = (step.weight, *others)
        stable, *pods = _pods(tested, replicas, rollout.surge)
        if step.weight == 0 or choose(_all(tested), (stable, *pods)) is not None:
            continue
        nearest = (f"{100 * count / (stable + sum(pods)):.1f}%" for count in pods)
        found.append(
            Failure(
                reason=Reason.STEPS_UNREACHABLE,
                message=f"{stable} stable and {_listed(pods)} canary pods give "
                f"{_listed(nearest)}, not {_listed(f'{each}%' for each in tested)}: raise "
                f"serving.replicas to {_enough(tested, rollout)}, change the step, or use a "
                "router with weights",
            )
        )
    return tuple(found)


def _all(tested: Sequence[int]) -> tuple[int, ...]:
    return (100 - sum(tested), *tested)


def _listed(parts: Iterable[object]) -> str:
    return ", ".join(map(str, parts))


def unreachable(spec: ModelSpec) -> tuple[Failure, ...]:
    """Return one failure for each share that a model asks for and the ratio cannot give."""
    return (*problems(spec.rollout, spec.serving.replicas), *shares(spec))


def shares(spec: ModelSpec) -> Iterator[Failure]:
    """Yield what the shares beside a serving version ask for in vain."""
    shadow = spec.rollout.shadow is not None
    last = 0 if shadow else plans.steps(spec.rollout)[-1].weight
    held = min(spec.standby.holdback, 100 - last)
    asked = [("standby.holdback", held, spec.standby.replicas)]
    if spec.rollback_drill is not None:
        percent = spec.rollback_drill.percent
        asked.append(("rollbackDrill.percent", percent, spec.fallback.replicas))
    for field, weight, kept in asked:
        stable = spec.serving.replicas
        pods = max(kept, max(1, -(-stable * weight // 100)))
        if weight == 0 or choose((100 - weight, weight), (stable, pods)) is not None:
            continue
        yield Failure(
            reason=Reason.STEPS_UNREACHABLE,
            message=f"{stable} stable pods and {pods} more cannot give the {weight}% of {field}: "
            "raise serving.replicas, change it, or use a router with weights",
        )


def _apportion(weights: Sequence[int], total: int) -> tuple[int, ...]:
    """Return `total` pods shared out by weight, by largest remainder."""
    counts = [weight * total // 100 for weight in weights]
    order = sorted(range(len(weights)), key=lambda i: (-(weights[i] * total % 100), i))
    for index in order[: total - sum(counts)]:
        counts[index] += 1
    return tuple(counts)


def _is_within(weights: Sequence[int], counts: Sequence[int], total: int) -> bool:
    # Whole numbers only: 100 * count / total - weight, times total. An arm that should get
    # traffic gets some: without a pod it could never be judged.
    return all(
        abs(100 * count - weight * total) <= TOLERANCE * total and (count > 0) == (weight > 0)
        for weight, count in zip(weights, counts, strict=True)
    )


def _pods(tested: Sequence[int], replicas: int, surge: str) -> tuple[int, ...]:
    """Return the pods of stable and of each tested version once the step has come to rest."""
    pods = [max(1, -(-replicas * weight // 100)) for weight in tested]
    match surge:
        case "Full":
            return (replicas, *pods)
        case "One":
            return (max(1, -(-replicas * (100 - sum(tested)) // 100)), *pods)
        case _:
            most = max(1, replicas - len(pods))
            return (max(1, replicas - sum(pods)), *(min(count, most) for count in pods))


def _enough(tested: Sequence[int], rollout: Rollout) -> int:
    """Return the smallest number of replicas that gives a step."""
    # 100 always does: every percent is then a pod.
    return next(
        replicas
        for replicas in range(1, 101)
        if choose(_all(tested), _pods(tested, replicas, rollout.surge)) is not None
    )
