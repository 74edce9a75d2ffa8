"""Tries a team's query before the first weight, so that a run does not start blind."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from rlhf_operator.api.measure import Query
from rlhf_operator.api.measurements import Problem, Silence
from rlhf_operator.api.plan import PinnedPolicy
from rlhf_operator.api.policy import SLO
from rlhf_operator.controller.goal import Values
from rlhf_operator.controller.reader import Reader
from rlhf_operator.core.indicators import Counter, measure, range_query
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
            wrong = None if slo.query is None else await _problem(slo, slo.query, reader, who, now)
            if wrong is not None:
                found.append(f"{policy.name}/{slo.name}: {wrong}")
    return tuple(found)


async def _problem(slo: SLO, query: Query, reader: Reader, who: Who, now: datetime) -> str | None:
    refused = problem(query)
    if refused is not None:
        return f"query refused: {refused}"
    if query.counters is None:
        return await _wrong(query.text, reader, who, now) or await _missing(
            "samples", measure(slo).samples, reader, who, now
        )
    counted = measure(slo)
    assert counted.events is not None, "a rate has both"
    for role, counter in (("events", counted.events), ("samples", counted.samples)):
        wrong = await _missing(role, counter, reader, who, now)
        if wrong is not None:
            return wrong
    return None


async def _wrong(text: str, reader: Reader, who: Who, now: datetime) -> str | None:
    values = Values.of(await reader.ask(reader.source.expression, text, now))
    if values.silence is not None:
        return values.silence.message
    value = values.found.get(who)
    # NaN is what a query rightly yields without traffic; the verdict will say so if it stays.
    if value is None:
        return f"the query yields nothing for version {who[2]}"
    if value is Problem.SEVERAL_SERIES:
        return f"the query yields several series for version {who[2]}; it must yield one"
    return None


async def _missing(
    role: str, counter: Counter, reader: Reader, who: Who, now: datetime
) -> str | None:
    asked = range_query(counter.name, reader.settle)
    answer = await reader.ask(reader.source.range_vector, asked, now)
    if isinstance(answer, Silence):
        return answer.message
    for each in answer:
        if counter.chooses(each.labels) and Values.of((each,)).found.get(who) is not None:
            return None
    return f"{role}: no fresh series {counter} for version {who[2]}"
