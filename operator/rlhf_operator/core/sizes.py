"""Sizes: how many pods a weight takes, and how several versions share what a run may have."""

from __future__ import annotations

from collections.abc import Mapping

from rlhf_operator.core import contenders
from rlhf_operator.core.observed import Run


def pods_for(weight: int, replicas: int) -> int:
    """Return the pods that carry a percentage of the traffic: at least one, rounded up."""
    return max(1, -(-replicas * weight // 100))


def surge_pods(surge: str, replicas: int) -> int:
    """Return the pods that a run may take beyond `replicas`, for each version that it tests."""
    return {"None": 0, "One": 1, "Full": replicas}[surge]


def sized(
    run: Run, replicas: int, wanted: Mapping[str, int], routed: int, left: int
) -> tuple[int, dict[str, int]]:
    """Return the pods of the outgoing version, and of each incoming one.

    `routed` is the percent that the incoming ones have by now, and `left` the pods of what drains
    still: it is the outgoing version that waits for their place.
    """
    surge = surge_pods(run.plan.surge, replicas)
    match run.plan.surge:
        case "Full":
            out, into = replicas, dict(wanted)
        case "One":
            out = pods_for(100 - routed, replicas)
            into = _shared(wanted, replicas + len(wanted) - out)
        case "None":
            out = max(1, replicas - sum(wanted.values()))
            into = _shared(wanted, replicas - out - left)
    room = replicas + surge * len(contenders.tried(run)) - sum(into.values()) - left
    return max(1, min(out, room)), into


def _shared(wanted: Mapping[str, int], room: int) -> dict[str, int]:
    """Return the pods of each version, of so many in all: one for each, then in their order."""
    spare, into = room - len(wanted), {}
    for name, count in wanted.items():
        more = max(0, min(count - 1, spare))
        into[name], spare = 1 + more, spare - more
    return into
