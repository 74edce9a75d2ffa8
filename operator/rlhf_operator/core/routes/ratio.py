"""Which pods share the traffic where nothing but their number can split it.

A Service gives every ready pod the same share. Any subset of the pods may stand behind it, so
the question is how many of each arm give the wanted percentages.
"""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_operator.api.common import Failure
from rlhf_operator.api.model import Rollout
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
    for step in plans.steps(rollout):
        stable, canary = _pods(step.weight, replicas, rollout.surge)
        weights = (100 - step.weight, step.weight)
        if step.weight == 0 or choose(weights, (stable, canary)) is not None:
            continue
        nearest = 100 * canary / (stable + canary)
        found.append(
            Failure(
                reason=Reason.STEPS_UNREACHABLE,
                message=f"{stable} stable and {canary} canary pods give {nearest:.1f}%, not "
                f"{step.weight}%: raise serving.replicas to {_enough(step.weight, rollout)}, "
                "change the step, or use a router with weights",
            )
        )
    return tuple(found)


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


def _pods(weight: int, replicas: int, surge: str) -> tuple[int, int]:
    """Return the pods of stable and canary once the step has come to rest."""
    canary = max(1, -(-replicas * weight // 100))
    match surge:
        case "Full":
            return replicas, canary
        case "One":
            return max(1, -(-replicas * (100 - weight) // 100)), canary
        case _:
            return max(1, replicas - canary), min(canary, max(1, replicas - 1))


def _enough(weight: int, rollout: Rollout) -> int:
    """Return the smallest number of replicas that gives a step."""
    # 100 always does: every percent is then a pod.
    return next(
        replicas
        for replicas in range(1, 101)
        if choose((100 - weight, weight), _pods(weight, replicas, rollout.surge)) is not None
    )
