"""Tells whether a promoted version turned bad beside its control arm, whenever that began.

With the other version it is compared since the promotion. Against its absolute bound a test is
begun anew with every stretch (`RateChange`), as in the windows of a version that serves alone:
else long innocence would hide new harm for as long as the control arm lasts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from math import log

from rlhf_operator.core.sequential import Proof, Rate
from rlhf_operator.core.statistics import Count, RateChange
from rlhf_operator.core.stretches import Past, Stretch
from rlhf_operator.core.windows import WINDOW

_STARTS = log(timedelta(days=30) / WINDOW)
"""What it costs not to know in which stretch of thirty days harm began, in ln E."""


def change(asked: Rate | None, closed: Iterable[Stretch]) -> RateChange | None:
    """Return the detector after these stretches; None where a rate has no absolute bound."""
    if asked is None or asked.ceiling is None:
        return None
    found = RateChange(ceiling=asked.ceiling)
    for stretch in closed:
        found = found.update(_bad(asked, stretch))
    return found


def of_stable(stretch: Stretch) -> Stretch:
    """Return what a stretch shows of stable alone."""
    return Stretch(
        events=stretch.stable_events,
        samples=stretch.stable_samples,
        firsts=of_stable(stretch.firsts) if stretch.firsts is not None else None,
    )


def closed(past: Past, asked: Rate | None, newest: Stretch) -> Past:
    """Return a past with one more stretch that has ended."""
    found = past.change
    if found is not None and asked is not None:
        found = found.update(_bad(asked, newest))
    return replace(past, closed=(*past.closed, newest), change=found)


def renewed(
    proofs: tuple[Proof, ...], asked: Rate, past: Past, newest: Stretch
) -> tuple[Proof, ...]:
    """Return proofs with the harm that began in any stretch, in place of that since the first.

    The detector's level over the number of stretches in thirty days is the mean over all their
    starts, so it is evidence as any other is: P(ever 1/alpha within that time) ≤ alpha.
    """
    if past.change is None:
        return proofs
    harm = past.change.level(_bad(asked, newest)) - _STARTS - asked.levels.price
    return tuple(
        proof if proof.bound == "versusStable" else replace(proof, harm=harm) for proof in proofs
    )


def _bad(asked: Rate, stretch: Stretch) -> Count:
    counted = stretch.unit
    seen = min(counted.events, counted.samples)
    events = seen if asked.lower_is_better else counted.samples - seen
    return Count(events=events, samples=counted.samples)
