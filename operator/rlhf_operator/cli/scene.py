"""What a simulation starts from: a model, its versions and policies, and what is assumed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from rlhf_operator.api.common import Failure, VersionRef
from rlhf_operator.api.model import ModelSpec, RLHFModel
from rlhf_operator.api.policy import SLO
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import (
    Cause,
    Outcome,
    PinnedPolicy,
    RolloutSpec,
    RolloutStatus,
    RunType,
)
from rlhf_operator.cli.state import State
from rlhf_operator.core import freeze, plans
from rlhf_operator.core.indicators import Form
from rlhf_operator.core.objective import Objective, objectives
from rlhf_operator.core.observed import Key, Run
from rlhf_operator.core.routes import ratio

_LONG_AGO = timedelta(days=7)


class Unplayable(Exception):  # noqa: N818 - it is told to the user as it stands
    """Why these files cannot be simulated, in one line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """How often an answer counts as an event, by version."""

    canary: float
    stable: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Assumptions:
    """What the user says about the world that is not there."""

    traffic: float
    """Answers a second, of all versions together."""
    flags: Rates
    """The share of answers that the guard flags; they are the bad answers."""
    rates: Mapping[str, Rates]
    """The same for single objectives, by name."""
    start: datetime
    ready_after: timedelta = timedelta(minutes=1)
    """How long the canary's pods take to become ready."""
    lag: timedelta = timedelta(seconds=5)
    """From an answer to what the rules see of it, and to the router: scraping for the most part."""
    limit: timedelta = timedelta(days=3)
    """After this a run is left as it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Played:
    """One objective and where its events come from; without rates it is assumed to hold."""

    policy: PinnedPolicy
    slo: SLO
    goal: Objective
    rates: Rates | None
    is_of_flags: bool = False
    """Whether its events are the bad answers themselves."""
    assumed_because: str = ""

    @property
    def name(self) -> str:
        """Return policy/objective."""
        return self.goal.name


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """Everything that a simulated rollout starts from."""

    key: Key
    spec: ModelSpec
    stable: VersionRef
    canary: VersionRef
    fallback: VersionRef
    policies: tuple[PinnedPolicy, ...]
    objectives: tuple[Played, ...]
    assumed: Assumptions
    before: Run
    """The record that made the stable version what it is."""
    invalid: Failure | None
    notes: tuple[str, ...]


def scene(
    state: State, model: RLHFModel, assumed: Assumptions, *, from_: str | None = None
) -> Scene:
    """Return the scene of a model's next rollout; `from_` names what is stable before it."""
    spec, notes = model.spec, []
    if spec.rollout.strategy != "Canary":
        raise Unplayable(
            f"only the strategy Canary is played; {model.metadata.name} has {spec.rollout.strategy}"
        )
    names = (from_ or spec.fallback.version, spec.version, spec.fallback.version)
    refs = {name: _ref(state, name) for name in names}
    notes += [
        f"{name} is not in the files; it is taken for an artefact of its own"
        for name in dict.fromkeys(names)
        if state.version(name) is None
    ]
    if refs[names[0]].identity == refs[names[1]].identity:
        raise Unplayable(f"{names[1]} is what serves already; name what is stable with --from")
    policies = tuple(_policies(state, spec))
    key = Key(namespace=model.metadata.namespace or "default", name=model.metadata.name)
    return Scene(
        key=key,
        spec=spec,
        stable=refs[names[0]],
        canary=refs[names[1]],
        fallback=refs[names[2]],
        policies=policies,
        objectives=_objectives(policies, assumed),
        assumed=assumed,
        before=_before(key, spec, refs[names[0]], policies, assumed.start - _LONG_AGO),
        invalid=_invalid(spec, policies),
        notes=tuple(notes),
    )


def only_model(state: State, name: str | None) -> RLHFModel:
    """Return the model of these files, or the one that is named."""
    found = [each for each in state.models if name in (None, each.metadata.name)]
    if len(found) == 1:
        return found[0]
    known = ", ".join(each.metadata.name for each in state.models) or "none"
    if not found:
        raise Unplayable(f"no usable RLHFModel {name or ''} in the files ; there: {known}")
    raise Unplayable(f"the files have several models; choose with --model: {known}")


def _ref(state: State, name: str) -> VersionRef:
    version = state.version(name)
    if version is not None:
        return VersionRef(name=name, identity=version.spec.identity())
    return VersionRef(name=name, identity="sha256:" + hashlib.sha256(name.encode()).hexdigest())


def _policies(state: State, spec: ModelSpec) -> Iterable[PinnedPolicy]:
    known = {each.metadata.name: each.spec for each in state.policies}
    for wanted in spec.policies:
        if wanted.name not in known:
            raise Unplayable(
                f"AlignmentPolicy {wanted.name} is not in the files; name its file too"
            )
        yield plans.pin(wanted.name, known[wanted.name], mandatory=False)


def _objectives(policies: tuple[PinnedPolicy, ...], assumed: Assumptions) -> tuple[Played, ...]:
    found = tuple(_played(policy, goal, assumed) for policy, goal in objectives(policies))
    rated = {each.slo.name for each in found if each.rates is not None}
    for name in assumed.rates:
        if name not in rated:
            known = ", ".join(sorted({each.slo.name for each in found}))
            raise Unplayable(f"--rate {name}: no objective that can be played; there: {known}")
    return found


def _played(policy: PinnedPolicy, goal: Objective, assumed: Assumptions) -> Played:
    slo = goal.slo
    rates, why = assumed.rates.get(slo.name), ""
    is_of_flags = (
        rates is None
        and slo.indicator is not None
        and slo.indicator.type.startswith("Unsafe")
        and not slo.indicator.categories
    )
    if goal.measure.form in (Form.QUERY, Form.MEAN):
        rates, why = None, "an expression or a mean; not played"
    elif is_of_flags:
        rates = assumed.flags
    elif rates is None:
        why = f"no --rate {slo.name}=… was given"
    return Played(
        policy=policy,
        slo=slo,
        goal=goal,
        rates=rates,
        is_of_flags=is_of_flags,
        assumed_because=why,
    )


def _before(
    key: Key,
    spec: ModelSpec,
    stable: VersionRef,
    policies: tuple[PinnedPolicy, ...],
    at: datetime,
) -> Run:
    plan = plans.plan(spec)
    return Run(
        name=plans.run_name(key.name, 1),
        resource_version="1",
        uid="1",
        spec=RolloutSpec(
            model=key.name,
            revision=1,
            generation=1,
            type=RunType.INITIAL,
            to=stable,
            plan=plan,
            plan_digest=plans.digest(plan, policies),
            policies=policies,
            cause=Cause(reason=Reason.FIRST_DEPLOYMENT, message="it served before"),
        ),
        status=RolloutStatus(
            phase="Completed",
            outcome=Outcome.PROMOTED,
            stable=stable,
            started_at=at,
            declared_at=at,
            in_force_at=at,
            finished_at=at,
            settled_at=at,
        ),
    )


def _invalid(spec: ModelSpec, policies: tuple[PinnedPolicy, ...]) -> Failure | None:
    """Return why no run would start, as far as the files say."""
    zone = freeze.unknown_zone(spec.rollout.freeze_windows)
    if zone is not None:
        return Failure(reason=Reason.SPEC_INVALID, message=f"no time zone is called {zone}")
    if not policies:
        message = "a rollout needs at least one AlignmentPolicy: nothing else can say success"
        return Failure(reason=Reason.POLICY_NOT_FOUND, message=message)
    if spec.traffic.router != "Service":
        return None
    return next(iter(ratio.problems(spec.rollout, spec.serving.replicas)), None)
