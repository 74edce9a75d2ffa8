"""`lint`: what is wrong with files, or with what is stored, in sentences.

Errors are what the API server or the operator would refuse. Advice is what would work and
surprise. The operator's own configuration is not known here, so what it may allow is advice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError
from rich.console import Group, RenderableType
from rich.text import Text

from rlhf_operator.api.guard import compile_problems
from rlhf_operator.api.kinds import KINDS
from rlhf_operator.api.model import ModelSpec, RLHFModel
from rlhf_operator.api.policy import PolicySpec
from rlhf_operator.api.schema import API_VERSION, GROUP
from rlhf_operator.api.version import RLHFModelVersion, VersionSpec
from rlhf_operator.cli import sentences
from rlhf_operator.cli.state import Raw, State
from rlhf_operator.core import capacity, freeze, plans, queries, rendering, reward_hacking
from rlhf_operator.core.indicators import measure
from rlhf_operator.core.rendering import ServingDefaults
from rlhf_operator.core.routes import ratio

_TYPES = {kind.kind: kind.type for kind in KINDS}
DEFAULTS = ServingDefaults(
    triton_image="triton", guard_image="guard", artifacts_image="artifacts",
    signing_secret="signing", allow_code=True,  # noqa: S106 - the name of a Secret
)  # fmt: skip
"""What the operator's configuration may say; here it allows everything."""
_CARRIES_CODE = ("tensorrtllm", "repository")
Gravity = Literal["error", "advice"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is wrong."""

    gravity: Gravity
    about: str
    """Kind and name."""
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One file, or a live model, and what was found in it."""

    name: str
    objects: int
    queries: int
    """Teams' own queries among them."""
    tried: int
    """Queries that were really asked of Prometheus."""
    findings: tuple[Finding, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """All that was looked at."""

    sources: tuple[Source, ...]

    @property
    def errors(self) -> int:
        """Return how many errors there are."""
        return sum(finding.gravity == "error" for each in self.sources for finding in each.findings)


def of_object(raw: Any) -> Iterator[Finding]:
    """Yield what is wrong with one object, whatever it is."""
    if not isinstance(raw, dict) or not isinstance(raw.get("metadata", {}), dict):
        yield Finding(gravity="error", about="?", message="this is no Kubernetes object")
        return
    kind, about = str(raw.get("kind")), _about(raw)
    if not str(raw.get("apiVersion", "")).startswith(f"{GROUP}/"):
        return  # not ours
    if raw["apiVersion"] != API_VERSION:
        message = f"apiVersion {raw['apiVersion']} is not known; write {API_VERSION}"
        yield Finding(gravity="error", about=about, message=message)
        return
    if kind not in _TYPES:
        message = f"kind {kind} is not known; there are {', '.join(_TYPES)}"
        yield Finding(gravity="error", about=about, message=message)
        return
    if not (raw["metadata"].get("name") or raw["metadata"].get("generateName")):
        yield Finding(gravity="error", about=about, message="metadata.name is missing")
    try:
        parsed = _TYPES[kind].model_validate(raw)
    except ValidationError as error:
        for fault in sentences.faults(error):
            yield Finding(gravity="error", about=about, message=fault)
        return
    yield from of_parsed(about, parsed)


def _about(raw: Raw) -> str:
    metadata = raw.get("metadata", {})
    return f"{raw.get('kind')} {metadata.get('name') or metadata.get('generateName') or '?'}"


def of_parsed(about: str, parsed: Any) -> Iterator[Finding]:
    """Yield what is wrong with an object that the types accept."""
    if isinstance(parsed.spec, ModelSpec):
        found = _of_model(parsed.spec)
    elif isinstance(parsed.spec, VersionSpec):
        found = _of_version(parsed.spec)
    elif isinstance(parsed.spec, PolicySpec):
        found = _of_policy(parsed.spec)
    else:
        return
    for gravity, message in found:
        yield Finding(gravity=gravity, about=about, message=message)


def _of_model(spec: ModelSpec) -> Iterator[tuple[Gravity, str]]:
    zone = freeze.unknown_zone(spec.rollout.freeze_windows)
    if zone is not None:
        yield "error", f"rollout.freezeWindows: no time zone is called {zone}"
    if spec.traffic.router == "Service":
        for failure in ratio.problems(spec.rollout, spec.serving.replicas):
            yield "error", f"rollout.{PLANS[spec.rollout.strategy]}: {failure.message}"
        for failure in ratio.shares(spec):
            yield "error", failure.message
    crowded = capacity.too_small(spec.rollout, spec.serving.replicas)
    if crowded is not None:
        yield "error", f"rollout.shadow.percent: {crowded.message}"
    if spec.rollout.strategy == "ABTest" and spec.traffic.stickiness.mode == "None":
        yield "advice", "traffic.stickiness: None lets users change arms within a test; set Arm"
    for problem in compile_problems(spec.guard):
        yield "error", f"guard: {problem}"
    if not spec.policies and spec.version != spec.fallback.version:
        yield "error", "policies: a rollout needs at least one: nothing else can say success"
    least = 1 + plans.tested(plans.plan(spec))
    if spec.rollout.surge == "None" and spec.serving.replicas < least:
        said = f"None takes the canary's GPUs from stable: {least} replicas or more"
        yield "error", f"rollout.surge: {said}"
    if spec.fallback.replicas == 0:
        yield "advice", "fallback.replicas: 0 is cold; going back to it takes a model load"
    if spec.suspend:
        yield "advice", "suspend: no weight is raised and no run starts until this is false"


PLANS = {
    "Canary": "canary.steps",
    "ABTest": "abTest",
    "Shadow": "shadow",
    "BlueGreen": "blueGreen",
}
"""Where the plan of a strategy stands."""


def others(spec: ModelSpec) -> tuple[str, ...]:
    """Return the versions that are tested beside the one that is asked for, by name."""
    test = spec.rollout.ab_test
    return tuple(each.version for each in test.others) if test is not None else ()


def _of_version(spec: VersionSpec) -> Iterator[tuple[Gravity, str]]:
    refused = rendering.refusal_of_version(spec, DEFAULTS)
    if refused is not None:
        yield "error", refused.message
    if spec.serving.backend in _CARRIES_CODE:
        backend = spec.serving.backend
        yield "advice", f"serving.backend: {backend} runs code from the artefact; needs allowCode"
    if spec.stage == "RLHF" and spec.lineage is None:
        yield "advice", "lineage: nothing says where this version comes from"


def _of_policy(spec: PolicySpec) -> Iterator[tuple[Gravity, str]]:
    for slo in spec.slos:
        refused = queries.problem(slo.query) if slo.query else None
        if refused is not None:
            yield "error", f"slos.{slo.name}.query: {refused}"
        counts = slo.indicator is not None and slo.indicator.type.endswith("Count")
        if slo.min_samples == 1 and not counts and slo.class_ != "Informational":
            yield "advice", f"slos.{slo.name}: minSamples is 1, so one answer may decide"
    missing = reward_hacking.missing(spec.slos) if spec.reward_hacking else None
    if missing is not None:
        yield "advice", f"rewardHacking: {missing}, so another policy must have it"
    if all(slo.class_ != "Safety" for slo in spec.slos):
        yield "advice", "slos: none is of class Safety, so nothing here rolls back at once"


def of_live(state: State, model: RLHFModel) -> Iterator[Finding]:
    """Yield what a stored model's own conditions complain of, and those of what it names."""
    spec = model.spec
    named = {spec.version, spec.fallback.version, *others(spec)}
    policies = {each.name for each in spec.policies}
    stored: list[Any] = [model]
    stored += [each for each in state.versions if each.metadata.name in named]
    stored += [each for each in state.policies if each.metadata.name in policies]
    kinds = {RLHFModel: "RLHFModel", RLHFModelVersion: "RLHFModelVersion"}
    for each in stored:
        about = f"{kinds.get(type(each), 'AlignmentPolicy')} {each.metadata.name}"
        for condition in each.status.conditions if each.status else ():
            bad = (condition.type, condition.status) in (("Stalled", "True"), ("Ready", "False"))
            if condition.type not in ("Ready", "Stalled", "Reconciling", "Verified"):
                bad = condition.status == "True" and condition.type != "Accepted"
            if bad and condition.type != "Ready":
                said = f"{condition.type}: {condition.reason}: {condition.message}"
                gravity: Gravity = "error" if condition.type == "Stalled" else "advice"
                yield Finding(gravity=gravity, about=about, message=said)


def texts(state: State) -> Iterable[tuple[str, str, str]]:
    """Yield policy, objective and text of every query that the rules accept."""
    for policy in state.policies:
        for slo in policy.spec.slos:
            if slo.query is None or queries.problem(slo.query) is not None:
                continue
            if slo.query.prom_ql is not None:
                yield policy.metadata.name, slo.name, slo.query.prom_ql
            for counter in measure(slo).counters:
                yield policy.metadata.name, slo.name, str(counter)


def render(report: Report) -> RenderableType:
    """Return what was found, file by file."""
    parts: list[Text] = []
    for source in report.sources:
        wrong = sum(each.gravity == "error" for each in source.findings)
        head = Text.assemble((source.name, "name"), f": {_looked(source)}, ")
        head.append("fine" if not wrong else sentences.count(wrong, "error"), _style(wrong))
        parts.append(head)
        for each in source.findings:
            style = "bad" if each.gravity == "error" else "wait"
            parts.append(
                Text.assemble("  ", (each.gravity, style), f": {each.about}: {each.message}")
            )
    return Group(*parts)


def _looked(source: Source) -> str:
    said = sentences.count(source.objects, "object")
    if source.queries:
        tried = f"{source.tried} tried" if source.tried else "none tried (--prometheus)"
        amount = "1 query" if source.queries == 1 else f"{source.queries} queries"
        said += f", {amount}, {tried}"
    return said


def _style(wrong: int) -> str:
    return "bad" if wrong else "good"
