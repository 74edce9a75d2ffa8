"""What a simulation starts from: a model, its versions and policies, and what is assumed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from rlhf_operator.api.approval import CHANGED_BY_ANNOTATION
from rlhf_operator.api.common import Failure, VersionRef
from rlhf_operator.api.model import ModelSpec, RLHFModel
from rlhf_operator.api.plan import PinnedPolicy
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import Cause, Outcome, RolloutSpec, RolloutStatus, RunType
from rlhf_operator.cli import consents
from rlhf_operator.cli.assumptions import Assumptions, Unplayable
from rlhf_operator.cli.duplicates import Repeated
from rlhf_operator.cli.played import Played, played, scored_share
from rlhf_operator.cli.state import State
from rlhf_operator.core import approvals, freeze, plans, unjudged
from rlhf_operator.core.observed import Key, Run
from rlhf_operator.core.routes import ratio

_LONG_AGO = timedelta(days=7)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """Everything that a simulated rollout starts from."""

    key: Key
    spec: ModelSpec
    stable: VersionRef
    canary: VersionRef
    others: tuple[VersionRef, ...]
    """Further versions that a test compares with stable at the same time."""
    fallback: VersionRef
    policies: tuple[PinnedPolicy, ...]
    objectives: tuple[Played, ...]
    assumed: Assumptions
    before: Run
    """The record that made the stable version what it is."""
    invalid: Failure | None
    changed_by: str
    """Who made the change; where some may not approve their own, they are not asked."""
    notes: tuple[str, ...]

    @property
    def tested(self) -> tuple[str, ...]:
        """Return the names of all versions that are compared with stable."""
        return (self.canary.name, *(each.name for each in self.others))

    @property
    def versions(self) -> tuple[str, ...]:
        """Return the names of all versions that answer, stable the last."""
        return (*self.tested, self.stable.name)


def scene(
    state: State, model: RLHFModel, assumed: Assumptions, *, from_: str | None = None
) -> Scene:
    """Return the scene of a model's next rollout; `from_` names what is stable before it."""
    spec, notes = model.spec, []
    test = spec.rollout.ab_test
    others = tuple(each.version for each in test.others) if test is not None else ()
    names = (from_ or spec.fallback.version, spec.version, spec.fallback.version, *others)
    refs = {name: _ref(state, name) for name in names}
    notes += [
        f"{name} is not in the files; it is taken for an artefact of its own"
        for name in dict.fromkeys(names)
        if state.version(name) is None
    ]
    if refs[names[0]].identity == refs[names[1]].identity:
        raise Unplayable(f"{names[1]} is what serves already; name what is stable with --from")
    _refuse_alike(refs, (names[0], names[1], *others))
    for version, option in assumed.versions():
        if version not in others:
            there = ", ".join(others) or "none"
            raise Unplayable(f"{option}: {version} is not in abTest.others; there: {there}")
    policies = tuple(_policies(state, spec))
    key = Key(namespace=model.metadata.namespace or "default", name=model.metadata.name)
    sampling, invalid = spec.guard.sampling, _invalid(spec, policies)
    changed_by = model.metadata.annotations.get(CHANGED_BY_ANNOTATION)
    if not changed_by and approvals.excludes_author(plans.steps(spec.rollout)):
        notes.append(
            f"no run starts without the model's annotation {CHANGED_BY_ANNOTATION}, because who "
            "made the change may not approve it; the annotation is supposed to be there"
        )
    if invalid is not None:
        notes.append(f"no run starts: {invalid.message}")
    return Scene(
        key=key,
        spec=spec,
        stable=refs[names[0]],
        canary=refs[names[1]],
        others=tuple(refs[name] for name in others),
        fallback=refs[names[2]],
        policies=policies,
        objectives=played(
            plans.plan(spec), policies, assumed, scored_share(sampling.share if sampling else None)
        ),
        assumed=assumed,
        before=_before(key, spec, refs[names[0]], policies, assumed.start - _LONG_AGO),
        invalid=invalid,
        changed_by=changed_by or consents.CHANGER,
        notes=tuple(notes),
    )


def _refuse_alike(refs: Mapping[str, VersionRef], compared: tuple[str, ...]) -> None:
    """Refuse a test of one artefact under two names, or of what serves already."""
    for place, name in enumerate(compared):
        for before in compared[:place]:
            if refs[before].identity == refs[name].identity:
                raise Unplayable(
                    f"a test compares different artefacts; {before} and {name} are one"
                )


def only_model(state: State, name: str | None, repeated: Iterable[Repeated] = ()) -> RLHFModel:
    """Return the model of these files, or the one that is named.

    `repeated` tells where the files define one name several times.
    """
    found = [each for each in state.models if name in (None, each.metadata.name)]
    if len(found) == 1:
        return found[0]
    known = ", ".join(dict.fromkeys(each.metadata.name for each in state.models)) or "none"
    if not found:
        wrong = [each for each in state.unreadable if each.startswith("RLHFModel ")]
        why = "; ".join(wrong) or f"there: {known}"
        raise Unplayable(
            " ".join(filter(None, ("no usable RLHFModel", name, f"in the files; {why}")))
        )
    wanted = found[0].metadata.name
    if all(each.metadata.name == wanted for each in found):
        where = [each.told for each in repeated if each.of.kind == "RLHFModel"
                 and each.of.name == wanted]  # fmt: skip
        told = "; ".join(where) or "there several times, in different namespaces"
        raise Unplayable(f"RLHFModel {wanted} is {told}; name one of these files, and what it uses")
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
    unreachable = ratio.unreachable(spec) if spec.traffic.router == "Service" else ()
    return next(iter(unreachable), None) or unjudged.unfit(
        spec.rollout, spec.serving.replicas, policies
    )
