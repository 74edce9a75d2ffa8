"""What must always hold of a live model, as far as it can be seen from outside.

A table of pure functions over a `State`; each yields one sentence for each thing that is broken.
What needs a history of every write (order of writes, drain times) is checked by the operator's
own tests, not here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from rlhf_operator.api.evidence import Verdict
from rlhf_operator.api.model import RLHFModel
from rlhf_operator.api.quarantine import QuarantineRecord
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import Outcome, RLHFRollout
from rlhf_operator.cli.state import State, plan_of, status_of, users_shares
from rlhf_operator.core import contenders, history, verdicts


def weights_sum_to_100(state: State, model: RLHFModel) -> Iterator[str]:
    """The weights of the route are whole numbers that sum to 100."""
    route = state.route(model.metadata.name)
    if route is None or not route.weights:
        return
    total = sum(weight for _, weight in route.weights)
    if total != 100 or any(not 0 <= weight <= 100 for _, weight in route.weights):
        yield f"{route.kind}: the weights are {dict(route.weights)}, their sum is {total}"


def canary_gets_what_was_declared(state: State, model: RLHFModel) -> Iterator[str]:
    """The router gives a tested version never more than the record declared."""
    route, record = state.route(model.metadata.name), state.newest(model.metadata.name)
    if route is None or record is None:
        return
    status = status_of(record)
    if status.outcome is not None or status.canary is None:
        return
    for name, declared in users_shares(record).items():
        seen = dict(route.weights).get(name, 0)
        if seen > declared:
            yield f"{name} gets {seen} %, declared are {declared} %"


def copies_are_declared(state: State, model: RLHFModel) -> Iterator[str]:
    """The router copies requests only to a shadow, and no more than the record declared."""
    route, record = state.route(model.metadata.name), state.newest(model.metadata.name)
    if route is None or record is None or route.copies is None:
        return
    status = status_of(record)
    if status.in_force_at is None and status.outcome is not None:
        return  # what was decided is on its way to the router
    shadow = plan_of(record).strategy == "Shadow" and status.canary is not None
    most = status.weight if shadow else 0
    if route.copies[1] > most:
        yield f"{route.copies[0]} gets {route.copies[1]} % copied, declared are {most} %"


def weight_has_pods(state: State, model: RLHFModel) -> Iterator[str]:
    """A version with weight has a ready pod."""
    route = state.route(model.metadata.name)
    for version, weight in route.weights if route else ():
        ready = sum(pod.is_ready for pod in _pods(state, model, version))
        if weight > 0 and ready == 0:
            yield f"{version} gets {weight} % and has no ready pod"


def way_back_is_there(state: State, model: RLHFModel) -> Iterator[str]:
    """While a canary has weight, the stable version keeps pods to go back to."""
    record = state.newest(model.metadata.name)
    if record is None:
        return
    status = status_of(record)
    if status.outcome is not None or status.weight == 0 or status.stable is None:
        return
    wanted = [
        each.wanted
        for each in state.deployments
        if (each.model, each.version) == (model.metadata.name, status.stable.name)
    ]
    if sum(wanted) == 0:
        yield f"stable {status.stable.name} has no pods while the canary has {status.weight} %"


def quarantined_has_no_weight(state: State, model: RLHFModel) -> Iterator[str]:
    """A quarantined identity has weight 0, under every name, until a person lifts that."""
    record, route = state.newest(model.metadata.name), state.route(model.metadata.name)
    if record is None:
        return
    status = status_of(record)
    banned = {each.identity: each for each in _quarantines(state)}
    identities = {each.metadata.name: each.spec.identity() for each in state.versions}
    routed = {name: weight for name, weight in (route.weights if route else ()) if weight > 0}
    if status.in_force_at is None:
        routed = {}  # what was decided is on its way to the router
    declared = {name: part for name, part in contenders.shares(status).items() if part > 0}
    for name in sorted(routed.keys() | declared.keys()):
        found = banned.get(identities.get(name, ""))
        if found is not None and not (status.force_block or status.refuse):
            weight = routed.get(name, declared.get(name, 0))
            as_ = f" as {found.version}" if found.version else ""
            yield f"{name} gets {weight} % though quarantined{as_}: {found.message}"


def blame_is_kept(state: State, model: RLHFModel) -> Iterator[str]:
    """A run that failed an objective keeps the identity in quarantine on its record."""
    blamed = (Reason.SAFETY_FAILED, Reason.SLO_FAILED)
    for record in state.records(model.metadata.name):
        status = status_of(record)
        failed = any(
            each.verdict is Verdict.FAILED and each.version == record.spec.to.name
            for step in status.steps[-1:]
            for each in verdicts.gating(step.slos)
        )
        rolled_back = status.outcome is Outcome.ROLLED_BACK and status.reason in blamed
        if rolled_back and failed and status.quarantine is None:
            yield f"{record.metadata.name} was rolled back for {status.reason} without a quarantine"


def weight_rose_on_evidence(state: State, model: RLHFModel) -> Iterator[str]:
    """A weight rose only on an explicit success of all that no person had overridden."""
    for record in state.records(model.metadata.name):
        for before, after in itertools.pairwise(status_of(record).steps):
            if after.weight <= before.weight or before.weight == 0:
                continue
            out = _overridden(record, after.declared_at)
            judged = [each for each in verdicts.gating(before.slos) if each.name not in out]
            unsure = [each.name for each in judged if each.verdict is not Verdict.SUCCESSFUL]
            if unsure or not judged:
                what = ", ".join(unsure) or "nothing was judged"
                yield f"{record.metadata.name}: {before.weight} % → {after.weight} % on: {what}"


def weights_are_planned(state: State, model: RLHFModel) -> Iterator[str]:
    """A run gives no weight that its plan does not have."""
    for record in state.records(model.metadata.name):
        plans = (record.spec.plan, plan_of(record))  # a person may have had it pinned anew
        planned = {0, *(step.weight for plan in plans for step in plan.steps)}
        most = sum(each.weight for plan in plans if plan.ab_test for each in plan.ab_test.others)
        for step in status_of(record).steps:
            if step.weight not in planned and (not most or step.weight > max(planned) + most):
                yield f"{record.metadata.name}: {step.weight} % is not in its plan"


def one_run_at_a_time(state: State, model: RLHFModel) -> Iterator[str]:
    """Only the newest record of a model is unsettled."""
    for record in state.records(model.metadata.name)[:-1]:
        if status_of(record).settled_at is None and _is_of(record, model):
            yield f"{record.metadata.name} is not settled, though newer records exist"


def revisions_are_unique(state: State, model: RLHFModel) -> Iterator[str]:
    """No two records of a model have the same revision."""
    revisions = [each.spec.revision for each in state.records(model.metadata.name)]
    for revision in sorted({each for each in revisions if revisions.count(each) > 1}):
        yield f"revision {revision} stands {revisions.count(revision)} times"


def epochs_never_fall(state: State, model: RLHFModel) -> Iterator[str]:
    """A record is never written under an older leadership than the record before it."""
    records = [each for each in state.records(model.metadata.name) if status_of(each).started_at]
    for before, after in itertools.pairwise(records):
        if status_of(after).epoch < status_of(before).epoch:
            yield (
                f"{after.metadata.name} has epoch {status_of(after).epoch}, "
                f"{before.metadata.name} before it {status_of(before).epoch}"
            )


def generations_are_not_ahead(state: State, model: RLHFModel) -> Iterator[str]:
    """No status speaks of a generation that does not exist yet."""
    for kind, each in _stored(state, model):
        status, generation = each.status, each.metadata.generation
        if status is not None and status.observed_generation > generation:
            yield (
                f"{kind} {each.metadata.name}: observedGeneration {status.observed_generation} "
                f"is ahead of generation {generation}"
            )


def conditions_agree(state: State, model: RLHFModel) -> Iterator[str]:
    """Reconciling and Stalled stand only while True, never together, never beside a true Ready."""
    for kind, each in _stored(state, model):
        found = {one.type: one.status for one in each.status.conditions} if each.status else {}
        present = [name for name in ("Reconciling", "Stalled") if name in found]
        about = f"{kind} {each.metadata.name}"
        if any(found[name] != "True" for name in present):
            yield f"{about}: {present[0]} stands without being True"
        if len(present) > 1:
            yield f"{about}: Reconciling and Stalled stand together"
        if present and found.get("Ready") == "True":
            yield f"{about}: Ready is True beside {present[0]}"


def what_serves_is_what_was_declared(state: State, model: RLHFModel) -> Iterator[str]:
    """The digest that a pod verified is the one that its version declares."""
    declared = {each.metadata.name: each.spec.artifact.digest for each in state.versions}
    for pod in state.pods:
        if pod.model != model.metadata.name or pod.verified_digest is None:
            continue
        wanted = declared.get(pod.version)
        if wanted is not None and wanted != pod.verified_digest:
            yield f"pod {pod.name} verified {pod.verified_digest}, {pod.version} declares {wanted}"


def ready_pods_are_verified(state: State, model: RLHFModel) -> Iterator[str]:
    """A pod that is ready has verified its artefact's digest before."""
    for pod in state.pods:
        if pod.model == model.metadata.name and pod.is_ready and pod.verified_digest is None:
            yield f"pod {pod.name} of {pod.version} is ready and says no verified digest"


def names_mean_one_artefact(state: State, model: RLHFModel) -> Iterator[str]:
    """What a record calls by a name is what that version's spec says today."""
    record = state.newest(model.metadata.name)
    identities = {each.metadata.name: each.spec.identity() for each in state.versions}
    status = status_of(record) if record else None
    tested = [arm.ref for arm in status.testing] if status else []
    for ref in (status.stable, status.canary, *tested) if status else ():
        if ref is not None and identities.get(ref.name, ref.identity) != ref.identity:
            yield f"{ref.name} serves as {ref.identity}, its spec is {identities[ref.name]}"


def summary_mirrors_record(state: State, model: RLHFModel) -> Iterator[str]:
    """The model's status names what the newest record says is stable and under test."""
    record, status = state.newest(model.metadata.name), model.status
    if record is None or status is None or status.rollout != record.metadata.name:
        return  # the summary is written after the record; it may be a moment behind
    wanted = status_of(record)
    if wanted.stable is not None and status.stable != wanted.stable:
        said = status.stable.name if status.stable else "nothing"
        yield f"status.stable is {said}, {record.metadata.name} says {wanted.stable.name}"


def pods_have_a_model(state: State, model: RLHFModel) -> Iterator[str]:
    """Every Deployment of the model belongs to the model that exists now."""
    for each in state.deployments:
        if each.model == model.metadata.name and each.owner_uid != model.metadata.uid:
            yield f"Deployment {each.name} belongs to another object than this model"


Check = Callable[[State, RLHFModel], Iterator[str]]
CHECKS: tuple[Check, ...] = (
    weights_sum_to_100,
    canary_gets_what_was_declared,
    copies_are_declared,
    weight_has_pods,
    way_back_is_there,
    quarantined_has_no_weight,
    blame_is_kept,
    weight_rose_on_evidence,
    weights_are_planned,
    one_run_at_a_time,
    revisions_are_unique,
    epochs_never_fall,
    generations_are_not_ahead,
    conditions_agree,
    what_serves_is_what_was_declared,
    ready_pods_are_verified,
    names_mean_one_artefact,
    summary_mirrors_record,
    pods_have_a_model,
)


def _quarantines(state: State) -> list[QuarantineRecord]:
    found = (each for record in state.rollouts for each in status_of(record).quarantines)
    return [each for each in found if each.lifted is None]


def _overridden(record: RLHFRollout, at: datetime) -> set[str]:
    """Return the objectives that people had taken out of a run's judgement at a time."""
    return {
        each.slo
        for each in status_of(record).decisions
        if each.slo is not None and each.until is not None and each.at <= at <= each.until
    }


def _pods(state: State, model: RLHFModel, version: str) -> list[Any]:
    mine = (model.metadata.name, version)
    return [pod for pod in state.pods if (pod.model, pod.version) == mine]


def _is_of(record: RLHFRollout, model: RLHFModel) -> bool:
    """Return whether a record is of this very model, not of an earlier one of its name."""
    return record.metadata.labels.get(history.MODEL_UID_LABEL) == model.metadata.uid


def _stored(state: State, model: RLHFModel) -> Iterator[tuple[str, Any]]:
    """Yield the model and what belongs to it, with the names of their kinds."""
    name = model.metadata.name
    yield "RLHFModel", model
    for version in state.versions:
        if version.spec.model == name:
            yield "RLHFModelVersion", version
    for record in state.records(name):
        yield "RLHFRollout", record
    for decision in state.decisions:
        if decision.spec.model == name:
            yield "RLHFDecision", decision
