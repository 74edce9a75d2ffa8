"""Does the router split the traffic as declared? By the answers that were counted of both versions.

Evidence rests on counted shares, so a router that gives 7 % for 5 % breaks no decision. A version
of which answers are missing is another matter: what nobody counted, nobody judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from rlhf_operator.api import metrics
from rlhf_operator.api.evidence import SLOResult
from rlhf_operator.core import contenders, drills, sequential, statistics
from rlhf_operator.core.observed import Observed, Run
from rlhf_operator.core.statistics import Split

_TOLERATED = 0.1
"""The odds may be off by this part: requests that are tried again, or counted by one side."""
_LAG = timedelta(minutes=5)
"""So much of a step may be counted of one version alone, at most: each is scraped at its own
moments, a pod that goes takes its last counts along, and a gateway takes new weights worker by
worker. Before so long nothing is said."""
_ANSWERS = tuple(
    metric.name
    for metric in (
        metrics.GUARD_REQUESTS,
        metrics.GUARD_RESPONSES,
        metrics.GUARD_GENERATED_RESPONSES,
    )
)
"""Counters that count all traffic of a version, the best first."""
_ROUTED = ("GatewayAPI", "Istio")
"""Routers that have weights; the ratio of replicas is only near what is declared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mismatch:
    """A split that is proven to be another than was declared."""

    missing: bool
    """Whether the tested version has too few answers."""
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Step:
    """What was counted at one weight."""

    share: float
    """The tested version's part of its own and stable's traffic, as declared."""
    canary: int
    stable: int
    lasted: timedelta

    @property
    def tolerated(self) -> Split:
        """Return the counts beside the nearest share that is no mismatch."""
        slack = 1 + _TOLERATED + _LAG / self.lasted
        declared = self.share / (1 - self.share)
        seen = self.canary / self.stable if self.stable else float("inf")
        odds = min(max(seen, declared / slack), declared * slack)
        return Split(share=odds / (1 + odds), canary=self.canary, stable=self.stable)

    @property
    def counted(self) -> float:
        return self.canary / (self.canary + self.stable)


def of_run(seen: Observed, run: Run) -> Mismatch | None:
    """Return what all weights of a run show together."""
    return _found(run, (*_earlier(seen, run), *_present(seen, run)))


def of_step(seen: Observed, run: Run) -> Mismatch | None:
    """Return what the present weight shows alone: what was mended before it holds nothing up."""
    return _found(run, _present(seen, run))


def is_known(seen: Observed) -> bool:
    """Return whether something was judged at the present weight; not so after a restart."""
    return seen.canary is not None


def _found(run: Run, steps: Iterable[_Step]) -> Mismatch | None:
    """Return the mismatch that is proven against every split that would be tolerated."""
    every = tuple(steps)
    log_e = statistics.log_e_split([step.tolerated for step in every])
    if log_e < statistics.MISMATCH or run.status.canary is None:
        return None
    worst = max(every, key=lambda step: statistics.log_e_split([step.tolerated]))
    less = worst.counted < worst.share
    why = "answers of it are missing, and nobody judged them" if less else (
        "the evidence goes by what was counted, so it holds"
    )  # fmt: skip
    return Mismatch(
        missing=less,
        message=f"{run.status.canary.name} answered {worst.counted:.1%} of what it and stable "
        f"answered, where {worst.share:.1%} is declared (evidence {sequential.odds(log_e)}): {why}",
    )


def _applies(seen: Observed, run: Run) -> bool:
    """Return whether each request is a draw of its own, with the weights as odds."""
    traffic = seen.traffic
    routed = traffic is not None and traffic.router in _ROUTED
    drawn = run.plan.stickiness is None and not run.is_shadow
    return routed and drawn and not drills.is_drill(run)


def _present(seen: Observed, run: Run) -> Iterator[_Step]:
    status = run.status
    if not _applies(seen, run) or seen.canary is None or status.in_force_at is None:
        return
    stable = 100 - sum(contenders.shares(status).values())
    if status.weight > 0 and stable > 0:
        share = status.weight / (status.weight + stable)
        yield from _step(run, seen.canary.results, share, status.in_force_at, seen.now)


def _earlier(seen: Observed, run: Run) -> Iterator[_Step]:
    """Yield the weights that ended; those of several versions are on record only together."""
    for step in run.status.steps if _applies(seen, run) and not run.spec.others else ():
        if step.in_force_at is not None and step.ended_at is not None and 0 < step.weight < 100:
            yield from _step(run, step.slos, step.weight / 100, step.in_force_at, step.ended_at)


def _step(
    run: Run, results: Iterable[SLOResult], share: float, since: datetime, until: datetime
) -> Iterator[_Step]:
    name = run.status.canary.name if run.status.canary else None
    known = {
        counter: each
        for each in results
        if (counter := (each.query or "").rpartition(" / ")[2]) in _ANSWERS
        and each.version == name
        and each.samples is not None
        and each.stable_samples is not None
        and each.samples + each.stable_samples > 0
    }
    best = next((known[counter] for counter in _ANSWERS if counter in known), None)
    if best is not None and until >= since + _LAG:
        yield _Step(
            share=share,
            canary=best.samples or 0,
            stable=best.stable_samples or 0,
            lasted=until - since,
        )
