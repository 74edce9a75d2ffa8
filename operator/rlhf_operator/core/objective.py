"""One SLO with its bounds as numbers, what it read, and what was judged of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache

from rlhf_operator.api.evidence import Verdict
from rlhf_operator.api.measurements import Problem
from rlhf_operator.api.plan import PinnedPolicy
from rlhf_operator.api.policy import SLO
from rlhf_operator.api.strategies import TEST_POLICY
from rlhf_operator.core import mean, sequential, statistics
from rlhf_operator.core.drift import DriftTest
from rlhf_operator.core.indicators import Form, Measure, measure
from rlhf_operator.core.mean import Mean
from rlhf_operator.core.moments import NO_VALUES, Moments, decimal_text
from rlhf_operator.core.queries import longest_range
from rlhf_operator.core.sequential import Proof, Rate, Shared
from rlhf_operator.core.stretches import Stretch
from rlhf_operator.core.watch import Watch


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What one SLO measured on one version since the last weight change."""

    events: int | None = None
    samples: int | None = None
    value: float | None = None
    moments: Moments | None = None
    """Of a mean: the sums behind the value, in place of events."""
    scorer: str | None = None
    """What scored the values, where something did."""
    at: datetime | None = None
    problem: Problem | None = None
    message: str = ""
    first_events: int | None = None
    """Each user's first event alone, where users count and the guard tells them."""
    first_samples: int | None = None
    """What these are counted among; where it is known, the value of a rate is theirs."""
    users_unknown: bool = False
    """Whether users should count and cannot be told apart."""

    def by_answer(self) -> Reading:
        """Return it counted by answers, since users cannot be told apart everywhere."""
        value = self.value
        if self.first_samples is not None:
            value = (self.events or 0) / self.samples if self.samples else None
        return replace(self, value=value, first_events=None, first_samples=None, users_unknown=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """All that a run has shown of one rate or mean, and what it proves so far."""

    stretches: tuple[Stretch, ...]
    """The newest one last; it is still going on."""
    proofs: tuple[Proof, ...]
    seconds: float
    """How long the newest stretch has gone on."""

    @property
    def weakest(self) -> Proof:
        """Return the bound that is furthest from being passed."""
        return min(self.proofs, key=lambda proof: proof.good)

    @property
    def strongest(self) -> Proof:
        """Return the bound with the most evidence of harm."""
        return max(self.proofs, key=lambda proof: proof.harm)


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """A verdict with its numbers; cheaper than the SLOResult that it can become."""

    verdict: Verdict
    failures: int
    message: str
    reading: Reading
    stable: Reading | None = None
    evidence: Evidence | None = None
    """What sequential tests rest on, where the SLO is judged by evidence."""
    slow_burn: str | None = None
    """How fast the budget has been spent for long, where that calls for a person's look."""

    @property
    def measured(self) -> bool:
        """Return whether there was usable data, be it little."""
        return self.reading.problem is None


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """One SLO of one pinned policy, with its bounds as numbers."""

    policy: str
    slo: SLO
    measure: Measure
    maximum: float | None
    minimum: float | None
    ratio: float | None
    difference: float | None
    range: timedelta
    rate: Rate | None = None
    """Its sequential tests, if it is a rate; None where bounds are compared as plain numbers."""
    mean: Mean | None = None
    """Its sequential tests, if it is a mean."""
    watch: Watch | None = None
    """The tests of a rate after promotion; None while it is a run's."""
    drift: DriftTest | None = None
    """The test of a mean after promotion."""

    @property
    def tests(self) -> Rate | Mean | None:
        """Return its sequential tests, whatever it is."""
        return self.rate or self.mean

    @property
    def name(self) -> str:
        """Return policy/objective, the key of its counts in a checkpoint."""
        return f"{self.policy}/{self.slo.name}"

    @property
    def only_compares(self) -> bool:
        """Return whether there is no bound but the comparison with stable."""
        bounds = (self.slo.max, self.slo.min, self.slo.max_count)
        return all(bound is None for bound in bounds)

    @property
    def bound(self) -> str:
        """Return all bounds as one text."""
        slo, texts = self.slo, []
        if slo.max is not None:
            texts.append(f"max {slo.max}")
        if slo.min is not None:
            texts.append(f"min {slo.min}")
        if slo.max_count is not None:
            texts.append(f"maxCount {slo.max_count}")
        if slo.versus_stable is not None:
            margin = slo.versus_stable
            kind = "ratio" if margin.ratio is not None else "difference"
            texts.append(f"versusStable {kind} {margin.ratio or margin.difference}")
        return ", ".join(texts)


_ALONE = Shared()


def objective(policy: PinnedPolicy, slo: SLO, among: Shared = _ALONE) -> Objective:
    """Return an SLO with its bounds as numbers; its tests are among those that share the error."""
    margin = slo.versus_stable
    found = measure(slo)
    wanted = sequential.levels(policy, among)
    # Which of two versions people prefer seldom is a matter of twice.
    bets = statistics.EVENLY if policy.name == TEST_POLICY else statistics.MOSTLY_TWO
    by_evidence, is_mean = sequential.is_sequential(slo, found), found.form is Form.MEAN
    return Objective(
        policy=policy.name,
        slo=slo,
        measure=found,
        rate=sequential.rate(slo, found, wanted, bets) if by_evidence and not is_mean else None,
        mean=mean.mean(slo, found, wanted) if by_evidence and is_mean else None,
        maximum=_number(slo.max),
        minimum=_number(slo.min),
        ratio=_number(margin.ratio) if margin else None,
        difference=_number(margin.difference) if margin else None,
        range=longest_range(asked(slo, found)) if found.form is Form.QUERY else timedelta(0),
    )


@lru_cache(maxsize=64)
def objectives(policies: tuple[PinnedPolicy, ...]) -> tuple[tuple[PinnedPolicy, Objective], ...]:
    """Return every SLO of a run, each beside its policy; all share the false rollbacks.

    So do the tests of stable's own Safety bounds, by which traffic may flee from stable in a run.
    What decides a test has an error of its own, and no part of this one.
    """
    every = [(policy, slo) for policy in policies for slo in policy.slos]
    among = sequential.shared(
        (slo, measure(slo)) for policy, slo in every if policy.name != TEST_POLICY
    )
    return tuple(
        (policy, objective(policy, slo, _ALONE if policy.name == TEST_POLICY else among))
        for policy, slo in every
    )


def asked(slo: SLO, counted: Measure) -> str:
    """Return what Prometheus is asked, as a formula."""
    return slo.query.text if slo.query and counted.form is Form.QUERY else str(counted)


def amount(goal: Objective, reading: Reading) -> str:
    """Return the number with the counts behind it."""
    if reading.value is None:
        return "?"
    match goal.measure.form:
        case Form.RATE if reading.first_samples is not None:
            counts = f"{reading.first_events} of {reading.first_samples}, each user once"
            return f"{short(reading.value)} ({counts})"
        case Form.RATE:
            return f"{short(reading.value)} ({reading.events} of {reading.samples})"
        case Form.COUNT:
            return f"{reading.events} in {reading.samples}"
        case Form.MEAN | Form.QUERY:
            return f"{short(reading.value)} (of {reading.samples})"


def short(value: float) -> str:
    """Return a number to four digits."""
    return decimal_text(float(f"{value:.4g}")) or "0"


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)


def counted(reading: Reading, stable: Reading | None) -> Stretch:
    """Return the counts of both arms since the last weight change."""
    other = stable if stable is not None and stable.problem is None else None
    firsts = None
    if reading.first_samples is not None and not (other and other.first_samples is None):
        firsts = Stretch(
            events=reading.first_events or 0,
            samples=reading.first_samples,
            stable_events=(other.first_events or 0) if other else 0,
            stable_samples=(other.first_samples or 0) if other else 0,
        )
    return Stretch(
        events=reading.events or 0,
        samples=reading.samples or 0,
        stable_events=(other.events or 0) if other else 0,
        stable_samples=(other.samples or 0) if other else 0,
        firsts=firsts,
        moments=reading.moments or NO_VALUES,
        stable_moments=(other.moments or NO_VALUES) if other else NO_VALUES,
    )
