"""What does not fit together among objects of one set: a model, its versions and its policies."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from math import isfinite

from rlhf_operator.api.model import ModelSpec, RLHFModel
from rlhf_operator.api.policy import AlignmentPolicy
from rlhf_operator.api.schema import parse_duration
from rlhf_operator.api.strategies import TEST_POLICY
from rlhf_operator.cli.findings import DEFAULTS, PLANS, Finding, Gravity, others
from rlhf_operator.cli.state import State
from rlhf_operator.core import earlier, plans, rendering, unjudged, unseen
from rlhf_operator.core.objective import objectives
from rlhf_operator.core.sequential import Rate
from rlhf_operator.core.statistics import Count


def together(state: State) -> Iterator[Finding]:
    """Yield what does not fit together among objects of one set."""
    for model in state.models:
        about = f"RLHFModel {model.metadata.name}"
        for gravity, message in _of_set(model, state):
            yield Finding(gravity=gravity, about=about, message=message)


def _of_set(model: RLHFModel, state: State) -> Iterator[tuple[Gravity, str]]:
    spec = model.spec
    wanted_versions = [("version", spec.version), ("fallback.version", spec.fallback.version)]
    wanted_versions += [("rollout.abTest.others", name) for name in others(spec)]
    for field, name in wanted_versions:
        version = state.version(name)
        if version is None:
            yield "advice", f"{field}: RLHFModelVersion {name} is not among these objects"
            continue
        if version.spec.model != model.metadata.name:
            yield "error", f"{field}: {name} is a version of {version.spec.model}"
        # Faults of the version alone are told where it stands; here only what both make together.
        if rendering.refusal_of_version(version.spec, DEFAULTS) is None:
            refused = rendering.refusal(spec, version.spec, DEFAULTS)
            if refused is not None:
                yield "error", f"with {name}: {refused.message}"
    policies = {each.metadata.name: each for each in state.policies}
    for wanted in spec.policies:
        if wanted.name not in policies:
            yield "advice", f"policies: AlignmentPolicy {wanted.name} is not among these objects"
        else:
            yield from _timing(spec, policies[wanted.name])
            yield from _judging(spec, policies[wanted.name])
            yield from _comparing(spec, policies[wanted.name])


def _judging(spec: ModelSpec, policy: AlignmentPolicy) -> Iterator[tuple[Gravity, str]]:
    strategy = spec.rollout.strategy
    for slo in policy.spec.slos:
        never = unjudged.why(strategy, slo)
        if never is not None:
            yield "error", f"{strategy} cannot judge {policy.metadata.name}/{slo.name}: {never}"
        blind = unseen.why(spec.guard, slo.indicator) if slo.indicator is not None else None
        if blind is not None:
            about = f"{policy.metadata.name}/{slo.name}"
            yield "advice", f"{about} stays Inconclusive, which is never success: {blind}"
    if strategy == "ABTest" and policy.metadata.name == TEST_POLICY:
        yield "error", f"policies: with ABTest none may be called {TEST_POLICY}"


def _comparing(spec: ModelSpec, policy: AlignmentPolicy) -> Iterator[tuple[Gravity, str]]:
    """Advise where what a switch waits for is too little to compare any version with."""
    if spec.rollout.strategy != "BlueGreen":
        return
    pinned = plans.pin(policy.metadata.name, policy.spec, mandatory=False)
    for _, goal in objectives((pinned,)):
        asked, least = goal.rate, goal.slo.min_samples
        if asked is None or asked.margin is None or goal.slo.class_ == "Informational":
            continue
        # Where higher is better rates are high, and high ones are soon known well.
        highest = asked.ceiling or _HIGHEST
        if not asked.lower_is_better or _suffices(asked, least, highest):
            continue
        yield (
            "advice",
            f"BlueGreen with {goal.name}: the switch waits for minSamples {least} of stable, with "
            f"which no version can be shown to be within ratio {goal.ratio:g} of it; that takes "
            f"{_least(asked, highest)}, {_least(asked, highest / 4)}: raise minSamples, or bound "
            "it without versusStable",
        )


_HIGHEST = 0.1
"""Up to which rate a comparison is looked at that has no absolute bound beside it."""
_MOST = 1e8


def _suffices(asked: Rate, shown: float, rate: float) -> bool:
    """Return whether an equal version can pass, after so many answers of stable at a rate."""
    stable = Count(events=shown * rate, samples=shown)
    return isfinite(earlier.needed(asked, stable, rate))


def _least(asked: Rate, rate: float) -> str:
    """Return about how many answers of stable an equal version needs to be able to pass."""
    low = high = 1.0
    while high < _MOST and not _suffices(asked, high, rate):
        low, high = high, 2 * high
    if high >= _MOST:
        return f"too many at a rate of {100 * rate:g} %"
    while high > 1.01 * low:
        middle = (low + high) / 2
        low, high = (low, middle) if _suffices(asked, middle, rate) else (middle, high)
    return f"{float(f'{high:.2g}'):.0f} at a rate of {100 * rate:g} %"


def _timing(spec: ModelSpec, policy: AlignmentPolicy) -> Iterator[tuple[Gravity, str]]:
    steps, plan = plans.steps(spec.rollout), PLANS[spec.rollout.strategy]
    shortest = min((parse_duration(step.hold) for step in steps), default=timedelta())
    if parse_duration(policy.spec.interval) > shortest:
        yield (
            "advice",
            f"rollout.{plan}: the shortest hold is less than the interval of "
            f"{policy.metadata.name} ({policy.spec.interval}); a step cannot be judged so soon",
        )
