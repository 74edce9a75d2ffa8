"""Baselines on record: what a promoted version is compared with for as long as it serves."""

from __future__ import annotations

from datetime import datetime

from rlhf_operator.api.evidence import BaselineRecord, SLOResult, StratumRecord
from rlhf_operator.core.moments import NO_VALUES
from rlhf_operator.core.stretches import stretches, total

_MOST = 128


def of_run(
    results: tuple[SLOResult, ...], strata: tuple[StratumRecord, ...]
) -> tuple[BaselineRecord, ...]:
    """Return what the canary of a run showed of each rate in all its strata.

    A mean is not among them: its baseline is the first hour after the promotion, and a record
    without a mean would stand in its place.
    """
    found = []
    for each in results:
        if each.harm is not None and each.query is not None:
            name = f"{each.policy}/{each.name}"
            counted = total(stretches(strata, name))
            if counted.moments != NO_VALUES:
                continue
            found.append(
                BaselineRecord(
                    slo=name, measure=each.query, events=counted.events, samples=counted.samples
                )
            )
    return tuple(found)


def merged(
    known: tuple[BaselineRecord, ...], fresh: tuple[BaselineRecord, ...]
) -> tuple[BaselineRecord, ...]:
    """Return the baselines on record and the fresh ones; what is frozen never changes."""
    frozen = {(each.slo, each.measure, each.scorer) for each in known}
    found = [each for each in fresh if (each.slo, each.measure, each.scorer) not in frozen]
    replaced = {each.slo for each in found}
    return (*(each for each in known if each.slo not in replaced), *found)[-_MOST:]


def none(now: datetime) -> dict[str, object]:
    """Return that nothing that was counted up to now is a baseline for what comes."""
    return {"baseline": (), "rules_since": now}
