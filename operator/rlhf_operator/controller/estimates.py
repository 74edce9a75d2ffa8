"""Live estimates: what is known of the runs that go on, reckoned when somebody asks.

Nothing is kept of them, so they cost nothing between two scrapes and are gone with their run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from rlhf_operator.api import operator_metrics as names
from rlhf_operator.api.evidence import Verdict
from rlhf_operator.api.metrics import Metric
from rlhf_operator.controller.followed import Followed
from rlhf_operator.controller.goal import Goal
from rlhf_operator.core.objective import Judgement
from rlhf_operator.core.observed import Key

Shares = tuple[tuple[str, int], ...]
"""The weight of each version of a run, in percent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What is judged of one objective of one version at this moment."""

    key: Key
    version: str
    policy: str
    objective: str
    verdict: Verdict
    value: float | None
    harm: float | None
    """Evidence of harm as a part of what proves it; None without a sequential test."""
    good: float | None
    """Evidence against harm as a part of what is enough."""


def estimates(followed: Iterable[Followed], now: datetime) -> Iterator[Estimate]:
    """Yield what is judged of the versions that a model's run tests, and of stable's Safety."""
    told: set[tuple[str, str]] = set()
    for each in followed:
        subject = each.subject
        if not subject.is_tested:
            continue
        for goal in each.goals:
            for version, last in (
                (subject.version, goal.canary.last),
                (subject.stable or "", goal.stable.last),
            ):
                # All that are tested are compared with the same stable version.
                if last is not None and (version, goal.objective.name) not in told:
                    told.add((version, goal.objective.name))
                    yield _estimate(subject.key, version, goal, each.as_of(now, goal, last))


def _estimate(key: Key, version: str, goal: Goal, found: Judgement) -> Estimate:
    tests, evidence = goal.objective.tests, found.evidence
    proofs = evidence if tests is not None and evidence is not None and evidence.proofs else None
    return Estimate(
        key=key,
        version=version,
        policy=goal.objective.policy,
        objective=goal.objective.slo.name,
        verdict=found.verdict,
        value=found.reading.value if found.measured else None,
        harm=proofs.strongest.harm / tests.levels.harm if proofs and tests else None,
        good=proofs.weakest.good / tests.levels.good if proofs and tests else None,
    )


class Estimates:
    """Writes estimates and weights for Prometheus, as they are when it asks.

    By its own hand, as a library's objects would hold up the loop for a third of a second where a
    thousand runs go on, and in turns, so that nobody waits for the last.
    """

    def __init__(
        self, live: Callable[[], Iterable[Estimate]], shares: Mapping[Key, Shares]
    ) -> None:
        self._live = live
        self._shares = shares

    async def text(self) -> str:
        """Return the families in Prometheus' text format, each with its samples."""
        families = {each.name: [_head(each)] for each in _FAMILIES}
        weight, verdict, value, harm, good = families.values()
        for key, shares in list(self._shares.items()):
            weight += (
                _line(names.RUN_WEIGHT, _about(key, version), share) for version, share in shares
            )
        for place, each in enumerate(self._live()):
            if place % _TURN == _TURN - 1:
                await asyncio.sleep(0)
            about = _about(each.key, each.version)
            about += f',policy="{each.policy}",objective="{each.objective}"'
            verdict.append(_line(names.VERDICT, about, each.verdict.badness))
            if each.value is not None:
                value.append(_line(names.VALUE, about, each.value))
            if each.harm is not None and each.good is not None:
                harm.append(_line(names.HARM, about, each.harm))
                good.append(_line(names.GOOD, about, each.good))
        return "".join(line for family in families.values() for line in family)


_FAMILIES = (names.RUN_WEIGHT, names.VERDICT, names.VALUE, names.HARM, names.GOOD)
_TURN = 100
"""Estimates between two turns of the loop; a millisecond's work."""


def _head(metric: Metric) -> str:
    return f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.type}\n"


def _about(key: Key, version: str) -> str:
    """Return the labels that say of what is spoken; names of objects need no escaping."""
    return f'about_namespace="{key.namespace}",about_model="{key.name}",about_version="{version}"'


def _line(metric: Metric, labels: str, value: float) -> str:
    return f"{metric.name}{{{labels}}} {value!r}\n"
