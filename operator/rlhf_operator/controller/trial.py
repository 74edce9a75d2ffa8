"""Tries a team's query before the first weight, so that a run does not start blind."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from rlhf_operator.api.measurements import Problem, Silence
from rlhf_operator.api.policy import Query
from rlhf_operator.api.rollout import PinnedPolicy
from rlhf_operator.controller.goal import Values
from rlhf_operator.controller.reader import Reader
from rlhf_operator.core.indicators import range_query
from rlhf_operator.core.queries import problem

Who = tuple[str, str, str]


async def problems(
    policies: tuple[PinnedPolicy, ...], readers: Mapping[str, Reader], who: Who, now: datetime
) -> tuple[str, ...]:
    """Return a sentence for each query that cannot be used for one version."""
    found = []
    for policy in policies:
        reader = readers.get(policy.metric_source)
        if reader is None:
            found.append(f"{policy.name}: metric source {policy.metric_source} is not configured")
            continue
        for slo in policy.slos:
            wrong = None if slo.query is None else await _wrong(slo.query, reader, who, now)
            if wrong is not None:
                found.append(f"{policy.name}/{slo.name}: {wrong}")
    return tuple(found)


async def _wrong(query: Query, reader: Reader, who: Who, now: datetime) -> str | None:
    refused = problem(query)
    if refused is not None:
        return f"query refused: {refused}"
    values = Values.of(await reader.ask(reader.source.expression, query.prom_ql, now))
    if values.silence is not None:
        return values.silence.message
    value = values.found.get(who)
    # NaN is what a query rightly yields without traffic; the verdict will say so if it stays.
    if value is None:
        return f"the query yields nothing for version {who[2]}"
    if value is Problem.SEVERAL_SERIES:
        return f"the query yields several series for version {who[2]}; it must yield one"
    counter = range_query(query.samples, reader.settle)
    samples = await reader.ask(reader.source.range_vector, counter, now)
    if isinstance(samples, Silence):
        return samples.message
    if not any(Values.of((each,)).found.get(who) is not None for each in samples):
        return f"samples: no fresh series {query.samples} for version {who[2]}"
    return None
