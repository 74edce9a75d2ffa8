"""Who may use a host name: the model that claimed it first.

Gateways merge the routes of two models with the same host name, and one of the two would
silently get the other's traffic.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from rlhf_operator.api.common import Failure
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.traffic import ParentRef, Traffic


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What one model wants to be reached by."""

    namespace: str
    model: str
    created: datetime
    traffic: Traffic

    @property
    def age(self) -> tuple[datetime, str, str]:
        """Return what orders claims; the name decides between two of one second."""
        return (self.created, self.namespace, self.model)


def conflict(mine: Claim, others: Iterable[Claim]) -> Failure | None:
    """Return the oldest claim that stands against this one, as a failure."""
    for other in sorted(others, key=lambda claim: claim.age):
        if other.age < mine.age and _meet(mine, other):
            shared = sorted(_hosts(mine.traffic) & _hosts(other.traffic))
            return Failure(
                reason=Reason.HOST_CONFLICT,
                message=f"{', '.join(shared)} belongs to the older model "
                f"{other.namespace}/{other.model} on the same gateway: "
                "use another host name, or another gateway or listener"[:1024],
            )
    return None


def _meet(mine: Claim, other: Claim) -> bool:
    if mine.traffic.router != other.traffic.router or mine.traffic.router == "Service":
        return False
    if not _hosts(mine.traffic) & _hosts(other.traffic):
        return False
    if not mine.traffic.parent_refs and not other.traffic.parent_refs:
        return True  # both in Istio's mesh
    return any(
        _same_listener(one, mine.namespace, two, other.namespace)
        for one in mine.traffic.parent_refs
        for two in other.traffic.parent_refs
    )


def _hosts(traffic: Traffic) -> set[str]:
    # A route without host names takes every request that no other route names, so two of them
    # meet. A wildcard and a name below it do not: gateways prefer the longer name.
    return set(traffic.hostnames) or {"every host name"}


def _same_listener(one: ParentRef, here: str, two: ParentRef, there: str) -> bool:
    same_gateway = (one.namespace or here, one.name) == (two.namespace or there, two.name)
    sections = {one.section_name, two.section_name}
    return same_gateway and (len(sections) == 1 or None in sections)
