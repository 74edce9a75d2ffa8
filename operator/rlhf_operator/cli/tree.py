"""`tree`: a model, its versions, the newest rollout and the pods behind them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rich.text import Text
from rich.tree import Tree

from rlhf_operator.api.common import Condition
from rlhf_operator.api.model import RLHFModel
from rlhf_operator.api.rollout import RLHFRollout
from rlhf_operator.api.version import RLHFModelVersion
from rlhf_operator.cli import listing, marks, sentences
from rlhf_operator.cli.pods import ServingPod
from rlhf_operator.cli.state import RouteSeen, State, plan_of, status_of, tried
from rlhf_operator.core import contenders


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionNode:
    """One version of the model and its pods."""

    name: str
    stage: str
    role: str
    weight: int
    """Percent in the router."""
    identity: str
    quarantine: str | None
    verified: datetime | None
    pods: tuple[ServingPod, ...]
    exists: bool = True
    """False where its object was deleted and its pods serve on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutNode:
    """The newest record."""

    name: str
    type: str
    from_: str | None
    to: str
    outcome: str | None
    weight: int
    share: str
    """The weight as people read it; a shadow's requests are copied."""
    step: int
    steps: int
    reason: str | None
    message: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelTree:
    """A model with all that hangs on it."""

    name: str
    wanted: str
    phase: str | None
    ready: str | None
    reason: str | None
    message: str | None
    way_back: str | None
    """What the last drill of the way back showed."""
    is_proven: bool
    route: RouteSeen | None
    versions: tuple[VersionNode, ...]
    rollout: RolloutNode | None


def tree(state: State, model: RLHFModel) -> ModelTree:
    """Return a model's tree: versions that serve first, the others after them."""
    name, status = model.metadata.name, model.status
    route, newest = state.route(name), state.newest(name)
    ready = listing.condition(status.conditions, "Ready") if status else None
    drilled = listing.condition(status.conditions, "FallbackProven") if status else None
    roles = {each.name: each.role for each in status.versions} if status else {}
    weights = dict(route.weights) if route else {}
    mine = {each.metadata.name: each for each in state.versions if each.spec.model == name}
    podded = {pod.version for pod in state.pods if pod.model == name}
    every = mine.keys() | podded
    order = sorted(every, key=lambda each: (-weights.get(each, 0), each not in roles, each))
    return ModelTree(
        name=name,
        wanted=model.spec.version,
        phase=status.phase if status else None,
        ready=ready.status if ready else None,
        reason=ready.reason if ready else None,
        message=status.message if status else None,
        way_back=_way_back(model.spec.fallback.version, drilled) if drilled else None,
        is_proven=drilled is not None and drilled.status == "True",
        route=route,
        versions=tuple(
            _version(state, name, each, mine.get(each), roles.get(each), weights.get(each, 0))
            for each in order
        ),
        rollout=_rollout(newest) if newest else None,
    )


def _way_back(fallback: str, drilled: Condition) -> str:
    found = {"True": "proven", "False": "not proven"}.get(drilled.status, "not known")
    return f"fallback {fallback} {found}: {drilled.message}"


def _version(
    state: State,
    model: str,
    name: str,
    version: RLHFModelVersion | None,
    role: str | None,
    weight: int,
) -> VersionNode:
    status = version.status if version else None
    quarantine = status.quarantine if status else None
    pods = [pod for pod in state.pods if (pod.model, pod.version) == (model, name)]
    return VersionNode(
        name=name,
        stage=version.spec.stage if version else "",
        role=role or (status.phase if status and status.phase else "Available"),
        weight=weight,
        identity=version.spec.identity() if version else "",
        quarantine=f"{quarantine.reason} ({quarantine.rollout})" if quarantine else None,
        verified=status.digest_verified if status else None,
        pods=tuple(sorted(pods, key=lambda pod: pod.name)),
        exists=version is not None,
    )


def _rollout(record: RLHFRollout) -> RolloutNode:
    spec, status = record.spec, status_of(record)
    return RolloutNode(
        name=record.metadata.name,
        type=spec.type,
        from_=spec.from_.name if spec.from_ else None,
        to=tried(record),
        outcome=status.outcome,
        weight=status.weight,
        share=sentences.shares(contenders.shares(status))
        if status.testing
        else plan_of(record).told(status.weight, " %"),
        step=status.step,
        steps=len(plan_of(record).steps),
        reason=status.reason,
        message=status.message,
    )


def render(found: ModelTree) -> Tree:
    """Return the tree as text."""
    head = Text.assemble((found.name, "name"), f"  {found.phase or 'not looked at yet'}  Ready ")
    head.append_text(marks.truth(found.ready))
    if found.reason and found.ready != "True":
        head.append(f" ({found.reason})")
    top = Tree(head, guide_style="faint")
    if found.message:
        top.add(Text(found.message))
    if found.way_back:
        top.add(Text(found.way_back, "good" if found.is_proven else "wait"))
    if found.route is not None:
        top.add(_route(found.route))
    for version in found.versions:
        branch = top.add(_head(version, found.wanted))
        if version.quarantine:
            branch.add(Text(f"quarantined: {version.quarantine}", "bad"))
        for pod in version.pods:
            branch.add(_pod(pod))
    if found.rollout is not None:
        top.add(_rollout_line(found.rollout)).add(Text(_why(found.rollout)))
    return top


def _route(route: RouteSeen) -> Text:
    parts = "  ".join(f"{name} {weight} %" for name, weight in route.weights) or "no weights"
    line = Text(f"{route.kind}: {parts}")
    if route.copies is not None:
        line.append(f"  {route.copies[0]} {route.copies[1]} % copied")
    if not route.accepted:
        line.append(f"  not in force: {route.message}", "wait")
    return line


def _head(version: VersionNode, wanted: str) -> Text:
    line = Text.assemble((version.name, "name"), f"  {version.role}")
    if version.stage:
        line.append(f"  {version.stage}")
    if version.weight:
        line.append_text(Text.assemble("  ", marks.bar(version.weight / 100, 10)))
        line.append(f" {version.weight} %")
    if version.name == wanted:
        line.append("  ← spec.version", "faint")
    if version.verified:
        line.append(f"  verified {sentences.clock(version.verified)}", "faint")
    if not version.exists:
        line.append("  its RLHFModelVersion was deleted; it serves on", "wait")
    return line


def _pod(pod: ServingPod) -> Text:
    style = "good" if pod.is_ready else "wait"
    line = Text.assemble(
        f"pod {pod.name}  ", (f"{pod.containers_ready}/{pod.containers} {pod.phase}", style)
    )
    if pod.restarts:
        line.append(f"  {sentences.count(pod.restarts, 'restart')}", "wait")
    if pod.trouble:
        line.append(f"  {pod.trouble}", "bad")
    return line


def _rollout_line(rollout: RolloutNode) -> Text:
    way = f"{rollout.from_} → {rollout.to}" if rollout.from_ else rollout.to
    line = Text.assemble((rollout.name, "name"), f"  {rollout.type}  {way}  ")
    if rollout.outcome is None:
        line.append(f"step {rollout.step + 1}/{rollout.steps}, {rollout.share}", "wait")
    else:
        line.append(rollout.outcome, "good" if rollout.outcome in ("Promoted", "Proven") else "bad")
    return line


def _why(rollout: RolloutNode) -> str:
    return ": ".join(filter(None, (rollout.reason, rollout.message))) or "not begun yet"
