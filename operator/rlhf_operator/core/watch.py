"""What a promoted version's rates are tested against for as long as it serves, and the numbers.

A rate keeps two kinds of bound: `max` or `min`, and `versusStable.ratio` against what the version
itself showed as a canary, frozen at its promotion. Each is a change detector over windows
(`RateChange`). The page rules of burn rates are asked beside them, also where plain numbers are
compared; the ticket rules only tell.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from math import log

from rlhf_operator.api.evidence import BaselineRecord
from rlhf_operator.api.plan import PinnedPolicy
from rlhf_operator.api.policy import SLO
from rlhf_operator.core import sequential, statistics
from rlhf_operator.core.indicators import Better, Form, Measure, measure
from rlhf_operator.core.sequential import Proof, Rate
from rlhf_operator.core.statistics import Burn, Count, RateChange, Urgency
from rlhf_operator.core.windows import WINDOW, slot

_BASELINE_ERROR = 0.05
_NOTHING = Count(events=0, samples=0)
_TICKET_PROOF = log(20)
"""A ticket costs a look and no rollback, so it takes less proof than a page: 20 to 1."""
_RULES = statistics.BURN_RULES
SPANS = tuple(sorted({span // WINDOW for rule in _RULES for span in (rule.long, rule.short)}))
"""How many finished windows the rules look back, each: 1, 6, 12, 24, 72, 288 and 864."""
HOUR = timedelta(hours=1) // WINDOW
"""So many finished windows are told of; beside them the one that goes on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bound:
    """One bound, as the highest tolerated rate of what is bad."""

    name: str
    """max, min or versusStable."""
    ceiling: float
    first: int = 0
    """The number of the first window that is tested (`core/windows`)."""

    @property
    def compares(self) -> bool:
        """Whether it rests on a baseline, which holds for the rules by which that was counted."""
        return self.name == "versusStable"

    def tests(self, number: int, *, doubtful: bool) -> bool:
        """Return whether a window is tested; one is doubtful while guards take new rules."""
        return number >= self.first and not (self.compares and doubtful)


@dataclass(frozen=True, kw_only=True, slots=True)
class Watch:
    """The tests of one rate of a promoted version."""

    bounds: tuple[Bound, ...]
    """Tested by change detectors; none where plain numbers are compared."""
    budget: float | None
    """The rate of what is bad that burn rates are counted in; None without an absolute bound."""
    proven: float
    """ln A: harm is proven from here on."""
    lower_is_better: bool
    missing: str = ""
    """Why the comparison that is asked for is not made, if so."""
    lacks_baseline: bool = False
    """Whether that is because there is nothing yet to compare with."""

    def bad(self, events: int, samples: int) -> Count:
        """Return what is bad among the answers; an event may be seen before its answer."""
        seen = min(events, samples)
        return Count(events=seen if self.lower_is_better else samples - seen, samples=samples)

    def changes(
        self,
        windows: Iterable[tuple[int, int]] = (),
        oldest: int = 0,
        doubtful: Container[int] = frozenset(),
    ) -> tuple[RateChange, ...]:
        """Return the detector of each bound after these windows of events and samples.

        oldest: the number of the first of them; doubtful: those in which guards took new rules.
        """
        found = tuple(RateChange(ceiling=bound.ceiling) for bound in self.bounds)
        for number, window in enumerate(windows, oldest):
            found = self.after(found, *window, number, doubtful=number in doubtful)
        return found

    def after(
        self,
        changes: tuple[RateChange, ...],
        events: int,
        samples: int,
        number: int,
        *,
        doubtful: bool = False,
    ) -> tuple[RateChange, ...]:
        """Return the detectors after one more window."""
        count = self.bad(events, samples)
        return tuple(
            change.update(count) if bound.tests(number, doubtful=doubtful) else change
            for bound, change in zip(self.bounds, changes, strict=True)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What a promoted version shows of one rate now."""

    events: int
    """Of the last hour."""
    samples: int
    proofs: tuple[Proof, ...]
    """Harm over all windows since promotion, safety over the last hour."""
    burning: tuple[Burn, ...]
    """The page rules that fire."""
    slow: tuple[Burn, ...] = ()
    """The ticket rules that fire."""


def tests(slo: SLO, found: Measure) -> int:
    """Return how many tests of harm an SLO makes after promotion; what only informs makes none."""
    if slo.class_ == "Informational":
        return 0
    return sequential.tests(slo, found) or int(_budget(slo, found) is not None)


def watch(
    policy: PinnedPolicy,
    slo: SLO,
    rate: Rate | None,
    count: int,
    baseline: BaselineRecord | None,
    *,
    renewed: bool = False,
) -> Watch | None:
    """Return the tests of one SLO; None where it is no rate, or is only told.

    `count` tests share the false rollbacks of thirty days; `rate` is None where plain numbers
    are compared. `renewed` says that the guards' rules have changed since the promotion.
    """
    found = measure(slo)
    budget = _budget(slo, found)
    if found.form is not Form.RATE or (rate is None and budget is None):
        return None
    bounds, missing, lacks = [], "", False
    if rate is not None and rate.ceiling is not None:
        name = "max" if rate.lower_is_better else "min"
        bounds.append(Bound(name=name, ceiling=rate.ceiling))
    if rate is not None and rate.margin is not None:
        if baseline is not None and baseline.measure != str(found):
            baseline = None
        ceiling = _compared(rate, rate.margin, baseline)
        if ceiling is not None:
            since = baseline.since if baseline is not None else None
            first = 0 if since is None else slot(since)
            bounds.append(Bound(name="versusStable", ceiling=ceiling, first=first))
        elif baseline is None:
            why = "this version has no baseline" + (" under its guards' new rules" * renewed)
            missing, lacks = f"versusStable is not judged, for {why}", True
        else:
            missing = "versusStable is not judged, for its baseline bounds nothing"
    return Watch(
        bounds=tuple(bounds),
        budget=budget,
        proven=statistics.change_threshold(float(policy.false_rollback), max(1, count), WINDOW),
        lower_is_better=found.better is Better.LOWER,
        missing=missing,
        lacks_baseline=lacks,
    )


def _budget(slo: SLO, found: Measure) -> float | None:
    """Return the rate of what is bad that an absolute bound allows, if there is one."""
    if found.form is not Form.RATE:
        return None
    lower = found.better is Better.LOWER
    bound = slo.max if lower else slo.min
    allowed = None if bound is None else float(bound) if lower else 1 - float(bound)
    return allowed if allowed is not None and 0 < allowed < 1 else None


def _compared(rate: Rate, margin: float, baseline: BaselineRecord | None) -> float | None:
    """Return the ceiling that a baseline and the margin make; None where they bound nothing.

    The baseline's rate is not known, only the end of its interval that is the worse one.
    """
    if baseline is None or not baseline.samples or baseline.events is None:
        return None
    seen = min(baseline.events, baseline.samples)
    interval = statistics.rate_interval(seen, baseline.samples, _BASELINE_ERROR)
    ceiling = margin * interval.high if rate.lower_is_better else 1 - margin * interval.low
    return ceiling if 0 < ceiling < 1 else None


def find(
    asked: Watch,
    changes: tuple[RateChange, ...],
    spans: Mapping[int, tuple[int, int]],
    events: int,
    samples: int,
    *,
    doubtful: bool = False,
) -> Found:
    """Return what the finished windows and the counts of the one that goes on show together.

    spans: events and samples of the newest finished windows, by how many (`SPANS`); doubtful:
    whether guards take new rules in the one that goes on.
    """
    counts = {
        number: asked.bad(before[0] + events, before[1] + samples)
        for number, before in spans.items()
    }
    hour, now = counts[HOUR], asked.bad(events, samples)
    proofs = tuple(
        Proof(
            bound=bound.name,
            harm=change.level(_NOTHING if doubtful and bound.compares else now),
            good=statistics.log_e_ceiling(hour.events, hour.samples, bound.ceiling, exceeds=False),
        )
        for bound, change in zip(asked.bounds, changes, strict=True)
    )
    return Found(
        events=spans[HOUR][0] + events,
        samples=spans[HOUR][1] + samples,
        proofs=proofs,
        burning=_burning(asked, counts, Urgency.PAGE, asked.proven),
        slow=_burning(asked, counts, Urgency.TICKET, _TICKET_PROOF),
    )


def _may_burn(budget: float, counts: Mapping[int, Count], urgency: Urgency) -> bool:
    """Return whether a short window burns fast enough for any such rule; mostly none does."""
    return any(
        counts[rule.short // WINDOW].events
        > counts[rule.short // WINDOW].samples * budget * rule.factor
        for rule in _RULES
        if rule.urgency is urgency
    )


def _burning(
    asked: Watch, counts: Mapping[int, Count], urgency: Urgency, proven: float
) -> tuple[Burn, ...]:
    """Return the rules of this urgency that fire on more than chance.

    One bad answer among ten burns a budget of 1 % ten times too fast, and proves nothing. So the
    long window must prove harm as well, or thirty days would hold more false alarms than agreed.
    """
    if asked.budget is None or not _may_burn(asked.budget, counts, urgency):
        return ()
    by_length = {number * WINDOW: count for number, count in counts.items()}
    found = []
    for burn in statistics.burns(by_length, asked.budget):
        if burn.rule.urgency is urgency and burn.alerts:
            long = by_length[burn.rule.long]
            proof = statistics.log_e_ceiling(long.events, long.samples, asked.budget, exceeds=True)
            if proof >= proven:
                found.append(burn)
    return tuple(found)
