"""Baselines on record: what a promoted version is compared with for as long as it serves."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from rlhf_operator.api.evidence import (
    ArmCount,
    BaselineRecord,
    SLOResult,
    StratumRecord,
)
from rlhf_operator.core.moments import NO_VALUES
from rlhf_operator.core.stretches import stretches, total

_MOST = 128


def of_run(
    results: tuple[SLOResult, ...],
    strata: tuple[StratumRecord, ...],
    counts: Iterable[ArmCount],
) -> tuple[BaselineRecord, ...]:
    """Return what the canary of a run showed: of each rate in all its strata, of each mean last.

    counts: what was counted of it at the last weight. A stratum does not say what scored it, so
    values of earlier weights may be another reward model's.
    """
    values = {each.slo: each for each in counts}
    found = []
    for each in results:
        if each.harm is None or each.query is None:
            continue
        name = f"{each.policy}/{each.name}"
        counted = total(stretches(strata, name))
        if counted.moments == NO_VALUES:
            shown = BaselineRecord(
                slo=name, measure=each.query, events=counted.events, samples=counted.samples
            )
            found.append(shown)
        elif name in values and (mean := _of_mean(each.query, values[name])) is not None:
            found.append(mean)
    return tuple(found)


def _of_mean(measure: str, count: ArmCount) -> BaselineRecord | None:
    """Return what was counted of a mean; None where several scored it, or nobody."""
    if count.sums is None or not count.samples or "," in (count.scorer or ""):
        return None
    return BaselineRecord(
        slo=count.slo,
        measure=measure,
        scorer=count.scorer,
        samples=count.samples,
        sums=count.sums,
    )


def merged(
    known: tuple[BaselineRecord, ...], fresh: tuple[BaselineRecord, ...]
) -> tuple[BaselineRecord, ...]:
    """Return the baselines on record and the fresh ones; what is frozen never changes.

    What the run showed of a mean alone is not all of it: the first hour is still to come.
    """
    frozen = {
        (each.slo, each.measure, each.scorer)
        for each in known
        if each.sums is None or each.mean is not None
    }
    found = [each for each in fresh if (each.slo, each.measure, each.scorer) not in frozen]
    replaced = {each.slo for each in found}
    return (*(each for each in known if each.slo not in replaced), *found)[-_MOST:]


def none(now: datetime) -> dict[str, Any]:
    """Return that nothing that was counted up to now is a baseline for what comes."""
    return {"baseline": (), "drifts": (), "drifts_at": None, "rules_since": now}
