"""Reads the windows of promoted versions that ended before this process followed them.

One subquery a counter, for all models at once: after a restart, and never again.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rlhf_operator.api.measurements import Silence
from rlhf_operator.controller.reader import FEW, Reader
from rlhf_operator.controller.vigil import Vigil
from rlhf_operator.core.indicators import Counter, Measure
from rlhf_operator.core.windows import Who, grown, start_of, subquery


@dataclass(frozen=True, slots=True)
class Gap:
    """What one SLO of one version lacks."""

    who: Who
    measure: Measure
    vigil: Vigil


async def recall(reader: Reader, gaps: Sequence[Gap], now: datetime) -> None:
    """Fill the gaps; where the source is silent they are tried again when a window is over."""
    if not gaps:
        return
    first = min(gap.vigil.lacking.start for gap in gaps)
    span = range(first, max(gap.vigil.lacking.stop for gap in gaps))
    counters = {counter for gap in gaps for counter in gap.measure.counters}
    models = sorted({gap.who[1] for gap in gaps})
    matchers = f'{{rlhf_model=~"{"|".join(models)}"}}' if len(models) <= FEW else ""
    counts: dict[Counter, Mapping[Who, array[int]]] = {}
    for name in sorted({counter.name for counter in counters}):
        query = subquery(name, len(span), matchers)
        end = datetime.fromtimestamp(start_of(span.stop), UTC)
        answer = await reader.ask(reader.source.range_vector, query, end)
        if isinstance(answer, Silence):
            break
        for counter in counters:
            if counter.name == name:
                counts[counter] = grown(answer, counter, first, len(span))
    for gap in gaps:
        _fill(gap, counts, span, now)


def _fill(
    gap: Gap, counts: Mapping[Counter, Mapping[Who, array[int]]], span: range, now: datetime
) -> None:
    vigil, measure = gap.vigil, gap.measure
    if not vigil.lacking:
        return  # it was filled while this was being read
    if any(counter not in counts for counter in measure.counters):
        vigil.postpone(now)
        return
    nothing = array("q", [0] * len(span))
    lacked = slice(vigil.lacking.start - span.start, vigil.lacking.stop - span.start)

    def of(counter: Counter) -> array[int]:
        return counts[counter].get(gap.who, nothing)[lacked]

    samples = of(measure.samples)
    events = of(measure.events) if measure.events else samples
    if measure.less is not None:
        left = zip(events, of(measure.less), strict=True)
        events = array("q", [max(0, grown - less) for grown, less in left])
    vigil.recall(events, samples)
