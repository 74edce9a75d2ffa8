"""The objectives of a simulated rollout: what is assumed of each, and what is thrown for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from rlhf_operator.api import metrics
from rlhf_operator.api.arms import Arms
from rlhf_operator.api.plan import PinnedPolicy, Plan
from rlhf_operator.api.policy import SLO
from rlhf_operator.api.schema import decimal
from rlhf_operator.api.strategies import TEST_POLICY
from rlhf_operator.cli import dice
from rlhf_operator.cli.assumptions import Assumptions, Rates, Spread, Unplayable
from rlhf_operator.core import plans
from rlhf_operator.core.indicators import Form
from rlhf_operator.core.moments import NO_VALUES, Moments
from rlhf_operator.core.objective import Objective, objectives


@dataclass(frozen=True, kw_only=True, slots=True)
class Counted:
    """What one objective has counted of one version."""

    events: int = 0
    samples: int = 0
    moments: Moments = NO_VALUES

    def __add__(self, other: Counted) -> Counted:
        return Counted(
            events=self.events + other.events,
            samples=self.samples + other.samples,
            moments=self.moments + other.moments,
        )


NOTHING_COUNTED = Counted()


@dataclass(frozen=True, kw_only=True, slots=True)
class Played:
    """One objective and where its counts come from; without any it is assumed to hold."""

    policy: PinnedPolicy
    slo: SLO
    goal: Objective
    rates: Rates | None = None
    spread: Spread | None = None
    """Of a mean, in place of rates."""
    is_of_flags: bool = False
    """Whether its events are the bad answers themselves."""
    sampled: float = 1.0
    """The share of all answers that it counts."""
    note: str = ""
    """What else was assumed, for people."""

    @property
    def name(self) -> str:
        """Return policy/objective."""
        return self.goal.name

    @property
    def is_played(self) -> bool:
        """Return whether its counts are thrown."""
        return self.rates is not None or self.spread is not None

    def assumed(self, *, is_canary: bool, version: str = "") -> float | None:
        """Return a version's rate or mean, of a tested one by name; None where it is not played."""
        if self.spread is not None:
            return self.spread.mean_of(is_canary=is_canary, version=version)
        return None if self.rates is None else self.rates.of(is_canary=is_canary, version=version)

    @property
    def is_scored(self) -> bool:
        """Return whether each sample costs a score, so that the arms are sampled evenly."""
        return self.goal.measure.scorer is not None

    def share(self, arms: Arms | None, version: str) -> float:
        """Return the share of a version's answers that it counts; `arms` while two are judged."""
        if arms is None or not self.is_scored:
            return self.sampled
        return arms.probability(self.sampled, version)

    def thrown(
        self, answers: float, chance: Random, *, is_canary: bool, version: str = ""
    ) -> Counted:
        """Return what it counts where so many answers that it counts are expected."""
        rate = self.assumed(is_canary=is_canary, version=version)
        assert rate is not None, "only objectives that are played are thrown"
        if self.spread is not None:
            number = dice.poisson(answers, chance)
            moments = Moments(*dice.sums(number, rate, self.spread.deviation, chance))
            return Counted(samples=number, moments=moments)
        events = dice.poisson(answers * rate, chance)
        return Counted(events=events, samples=events + dice.poisson(answers * (1 - rate), chance))


def played(
    plan: Plan, policies: tuple[PinnedPolicy, ...], assumed: Assumptions, scored: float
) -> tuple[Played, ...]:
    """Return every objective of a run, and what decides its test.

    `scored` is the share of answers that the model's guards send to be scored.
    """
    asked = plans.asked(plan, policies)
    found = tuple(_played(policy, goal, assumed, scored) for policy, goal in objectives(asked))
    known = {each.slo.name: each for each in found}
    for name, option in assumed.named.items():
        if name not in known:
            names = ", ".join(sorted(known))
            raise Unplayable(f"{option} {name}: no such objective; there: {names}")
    _refuse_misfits(found, assumed)
    primary = next((each for each in found if each.policy.name == TEST_POLICY), None)
    if primary is not None and not primary.is_played:
        name = primary.slo.name
        raise Unplayable(
            f"the test is decided by {name}: say how often it counts with "
            f"--rate {name}=CANARY:STABLE"
        )
    return found


def _refuse_misfits(found: Iterable[Played], assumed: Assumptions) -> None:
    """Refuse an option that says of an objective what is not true of its kind."""
    for each in found:
        name, form = each.slo.name, each.goal.measure.form
        if name in assumed.rates and form is Form.MEAN:
            raise Unplayable(f"--rate {name}: it is a mean; say --mean {name}=MEAN:DEVIATION:SHIFT")
        if name in assumed.means and form is not Form.MEAN:
            raise Unplayable(f"--mean {name}: it is no mean; say --rate {name}=CANARY:STABLE")
        if form is Form.QUERY and name in assumed.named:
            raise Unplayable(f"{assumed.named[name]} {name}: an expression in PromQL is not played")
        if name in assumed.sampled and each.is_of_flags:
            raise Unplayable(f"--sampled {name}: the guard judges every answer")
        if name in assumed.sampled and not each.is_played:
            option = "--mean" if form is Form.MEAN else "--rate"
            raise Unplayable(f"--sampled {name}: say what it counts with {option} {name}=…, too")


def _played(policy: PinnedPolicy, goal: Objective, assumed: Assumptions, scored: float) -> Played:
    slo, form = goal.slo, goal.measure.form
    rates, spread = assumed.rates.get(slo.name), assumed.means.get(slo.name)
    is_of_flags = (
        rates is None
        and slo.indicator is not None
        and slo.indicator.type.startswith("Unsafe")
        and not slo.indicator.categories
    )
    sampled, of = _sampled(goal, assumed, scored)
    if form is Form.QUERY:
        rates, note = None, "an expression in PromQL; not played"
    elif form is Form.MEAN:
        missing = f"no --mean {slo.name}=… was given"
        rates, note = None, of if spread is not None else missing
    elif is_of_flags:
        rates, note = assumed.flags, "the flagged answers"
    else:
        note = of if rates is not None else f"no --rate {slo.name}=… was given"
    if policy.name == TEST_POLICY:
        note = ", ".join(filter(None, ("decides the test", note)))
    return Played(
        policy=policy,
        slo=slo,
        goal=goal,
        rates=rates,
        spread=spread if form is Form.MEAN else None,
        is_of_flags=is_of_flags,
        sampled=sampled,
        note=note,
    )


def _sampled(goal: Objective, assumed: Assumptions, scored: float) -> tuple[float, str]:
    """Return the share of answers that an objective counts, and how it is told."""
    share, name = assumed.sampled.get(goal.slo.name), goal.slo.name
    is_vote = goal.measure.samples.version_label == metrics.ABOUT_VERSION
    if share is None and goal.measure.scorer is not None:
        share = scored
    if share is not None:
        return share, f"{100 * share:g} % of the answers" if share < 1 else ""
    return 1.0, f"a vote on every answer, without --sampled {name}=…" if is_vote else ""


def scored_share(share: str | None) -> float:
    """Return the share of answers that guards send to be scored; all where they are not told."""
    return 1.0 if share is None else float(decimal(share))
