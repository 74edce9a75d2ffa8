"""A stage on which a model lives through time: objects, a clock, and passes until all is quiet."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from rlhf_operator.api.errors import Transient
from rlhf_operator.api.evidence import Verdict
from rlhf_operator.api.rollout import RolloutStatus
from rlhf_operator.api.version import VersionSpec
from rlhf_operator.core.observed import Key, Run
from rlhf_operator.reconcile import objects
from rlhf_operator.reconcile.line import reconcile
from rlhf_operator.reconcile.ports import Settings, World
from tests import checks
from tests.reconcile import invariants
from tests.reconcile.fakes import SETTINGS, Crash, FakeCluster, FakeSLOs, Raw, make_world

START = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
KEY = Key(namespace="team", name="support")


MINUTE = timedelta(minutes=1)
MODEL_UID = "model-uid"
"""The model's turn for a drill: late in each hour, and five seconds before the end of a minute."""


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


def version(name: str, letter: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "rlhf.dev/v1alpha1", "kind": "RLHFModelVersion",
        "metadata": {"name": name, "namespace": KEY.namespace, "generation": 1},
        "spec": {
            "model": KEY.name, "stage": "RLHF",
            "artifact": {"uri": f"pvc://models/{name}", "digest": digest(letter)},
            "serving": {"gpu": {"count": 0}},
        } | spec,
    }  # fmt: skip


def identity_of(name: str, letter: str) -> str:
    """The identity of `version(name, letter)`, also before its status shows it."""
    return VersionSpec.model_validate(version(name, letter)["spec"]).identity()


POLICY = {
    "apiVersion": "rlhf.dev/v1alpha1", "kind": "AlignmentPolicy",
    "metadata": {"name": "safe", "namespace": KEY.namespace, "generation": 1},
    "spec": {"interval": "1s", "slos": [
        {"name": "unsafe", "class": "Safety", "indicator": {"type": "UnsafeServedRate"},
         "max": "0.02"},
    ]},
}  # fmt: skip


def model(target: str = "v1", **changes: Any) -> dict[str, Any]:
    rollout = {
        "strategy": "Canary",
        "coolDown": "1m",
        "readyTimeout": "5m",
        "canary": {"steps": [{"weight": 10, "hold": "1m"}, {"weight": 50, "hold": "1m"}]},
    } | changes.pop("rollout", {})
    return {
        "apiVersion": "rlhf.dev/v1alpha1", "kind": "RLHFModel",
        "metadata": {"name": KEY.name, "namespace": KEY.namespace, "generation": 1},
        "spec": {
            "version": target, "fallback": {"version": "sft"}, "policies": [{"name": "safe"}],
            "rollout": rollout,
            "serving": {"replicas": 2},
            "traffic": {"router": "GatewayAPI", "parentRefs": [{"name": "gw"}],
                        "hostnames": ["support.example"]},
        } | changes,
    }  # fmt: skip


def good(version: str, now: datetime) -> Verdict:
    return Verdict.SUCCESSFUL


@dataclass
class Stage:
    """One model, its world and its clock."""

    script: Callable[[str, datetime], Verdict | None] = good
    settings: Settings = SETTINGS
    now: datetime = START
    world: World = field(init=False)
    cluster: FakeCluster = field(init=False)
    slos: FakeSLOs = field(init=False)
    seen: list[RolloutStatus] = field(default_factory=list)
    crashes: int = 0
    broken: list[str] = field(default_factory=list)
    """What broke an invariant or the contract of statuses."""

    def __post_init__(self) -> None:
        self.world, self.cluster, self.slos = make_world(
            lambda: self.now, lambda name, now: self.script(name, now), self.settings
        )
        self.cluster.watch = self._watch
        first = model()
        first["metadata"]["uid"] = MODEL_UID
        for raw in (version("sft", "0"), version("v1", "1"), version("v2", "2"), POLICY, first):
            self.put(raw)

    def _watch(self, before: Raw | None, after: Raw | None, ours: bool) -> None:
        change = invariants.Change(
            store=self.world.store, before=before, after=after, ours=ours, now=self.now, key=KEY,
            drain=self.settings.drain,
        )  # fmt: skip
        self.broken += invariants.violations(change)
        if ours and after is not None and "status" in after and after["kind"].startswith("RLHF"):
            self.broken += checks.lint(before, after)

    def put(self, raw: dict[str, Any]) -> None:
        self.cluster.keep({**raw, "metadata": {**raw["metadata"]}})

    def edit(self, by: str | None = None, **changes: Any) -> None:
        """Change the model's spec, as a commit would; `by` says who did."""
        raw = dict(self.world.store.get("RLHFModel", KEY.namespace, KEY.name) or {})
        metadata = raw["metadata"] | {"generation": raw["metadata"]["generation"] + 1}
        if by is not None:
            metadata |= {"annotations": {"rlhf.dev/changed-by": by}}
        self.cluster.keep(raw | {"spec": raw["spec"] | changes, "metadata": metadata})

    def say(self, action: str, name: str = "say", **spec: Any) -> None:
        """Make a human decision."""
        self.put({
            "apiVersion": "rlhf.dev/v1alpha1", "kind": "RLHFDecision",
            "metadata": {"name": name, "namespace": KEY.namespace, "generation": 1},
            "spec": {"action": action, "model": KEY.name, "author": "ann", "reason": "because"}
            | spec,
        })  # fmt: skip

    def run(self, length: timedelta = timedelta(minutes=10), *, most: int = 400) -> None:
        """Let time pass: a pass whenever one is due or something changed."""
        end = self.now + length
        for _ in range(most):
            wake = self._pass()
            if self.cluster.settle():
                continue
            if wake is None or wake > end:
                self.now = end
                assert self.broken == []
                return
            self.now = max(wake, self.now)
            if wake <= self.now and self.quiet:
                self.now += timedelta(milliseconds=100)
        raise AssertionError("the stage does not come to rest")

    quiet: bool = False

    def _pass(self) -> datetime | None:
        writes = self.cluster.writes
        try:
            wake = asyncio_run(reconcile(KEY, self.world, self.now))
        except Crash:
            self.crashes += 1
            self._restart()
            return self.now
        except Transient as error:
            wake = self.now + timedelta(seconds=error.retry_after)
        self.quiet = self.cluster.writes == writes
        return wake

    def _restart(self) -> None:
        """Forget everything that lives in process memory."""
        self.slos.subjects.clear()

    def said(self, name: str) -> bool:
        """Whether a human decision of this name exists."""
        return self.world.store.get("RLHFDecision", KEY.namespace, name) is not None

    @property
    def model(self) -> Raw:
        """The model as it is stored."""
        return self.world.store.get("RLHFModel", KEY.namespace, KEY.name) or {}

    def identity(self, name: str) -> str:
        """The identity that a version's status shows."""
        raw = self.world.store.get("RLHFModelVersion", KEY.namespace, name) or {}
        return str(raw["status"]["identity"])

    def fate(self, name: str) -> str | None:
        """What became of a human decision."""
        raw = self.world.store.get("RLHFDecision", KEY.namespace, name) or {}
        return (raw.get("status") or {}).get("phase")

    # -- what is live ---------------------------------------------------------------------------

    @property
    def runs(self) -> list[Run]:
        raws = self.world.store.of_model("RLHFRollout", KEY)
        found = [run for run in (objects.run_of(raw) for raw in raws) if run]
        return sorted(found, key=lambda run: run.spec.revision)

    @property
    def weights(self) -> dict[str, int]:
        route = self.world.store.get("HTTPRoute", KEY.namespace, KEY.name)
        if route is None:
            return {}
        refs = route["spec"]["rules"][-1]["backendRefs"]
        return {ref["name"].removesuffix("-serving"): ref["weight"] for ref in refs}

    @property
    def pods(self) -> dict[str, int]:
        return {
            raw["metadata"]["labels"]["rlhf.dev/version"]: raw["spec"]["replicas"]
            for raw in self.world.store.of_model("Deployment", KEY)
        }

    @property
    def status(self) -> dict[str, Any]:
        raw = self.world.store.get("RLHFModel", KEY.namespace, KEY.name) or {}
        return dict(raw.get("status") or {})

    def condition(self, kind: str) -> tuple[str, str] | None:
        for condition in self.status.get("conditions", []):
            if condition["type"] == kind:
                return condition["status"], condition["reason"]
        return None

    def message(self, kind: str) -> str:
        """Return what a condition says; nothing where it is not there."""
        found = (each for each in self.status.get("conditions", []) if each["type"] == kind)
        return str(next(found, {"message": ""})["message"])


def asyncio_run(coroutine: Any) -> Any:
    """Drive a coroutine that never really waits; faster than an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    return asyncio.run(_never())


async def _never() -> None:
    raise AssertionError("a fake waited")


def with_settings(**changes: Any) -> Settings:
    return dataclasses.replace(SETTINGS, **changes)
