"""An API server, kubelet, gateway and metric source in memory, for passes without a cluster.

Each write can crash before it, crash after it, or lose its answer. What is promised here is
checked against the real API server in `e2e/test_api_server.py`.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from rlhf_operator.adapters.applied import Refusals
from rlhf_operator.api.errors import Transient
from rlhf_operator.api.evidence import (
    BaselineRecord,
    Checkpoint,
    DriftRecord,
    GoldenResult,
    SLOResult,
    Verdict,
)
from rlhf_operator.api.schema import format_time
from rlhf_operator.api.strategies import TEST_POLICY
from rlhf_operator.controller.store import MemoryStore
from rlhf_operator.core.observed import Key
from rlhf_operator.core.rendering import ServingDefaults
from rlhf_operator.core.rules_in_force import UNKNOWN, InForce
from rlhf_operator.core.subject import Subject
from rlhf_operator.reconcile.ports import Judged, Settings, World

Raw = Mapping[str, Any]


class Crash(BaseException):
    """The operator process dies here."""


@dataclass
class FakeCluster:
    """Writes go straight to the store, as the API server would answer them."""

    store: MemoryStore
    clock: Callable[[], datetime]
    crash: Callable[[int], str | None] = lambda _: None
    never_ready: set[str] = field(default_factory=set)
    never_renewed: set[str] = field(default_factory=set)
    """Versions whose pods of a new template never get ready; the old ones go on serving."""
    _ran: dict[str, str] = field(default_factory=dict)
    failures: dict[str, dict[str, Any]] = field(default_factory=dict)
    refuse_routes: bool = False
    refuses: set[str] = field(default_factory=set)
    """Kinds that the API server refuses, as an admission policy or a quota may."""
    refusals: Refusals = field(default_factory=Refusals)
    gateway_is_away: bool = False
    on_nodes: Sequence[Raw] | None = ()
    """Pods on nodes that ask for devices; None: they may not be read."""
    lists: int = 0
    writes: int = 0
    history: list[tuple[str, str, str]] = field(default_factory=list)
    events: list[tuple[str, str]] = field(default_factory=list)
    watch: Callable[[Raw | None, Raw | None, bool], None] = lambda *_: None
    """Told of every change before it is stored: before, after, and whether we wrote it."""
    written: Callable[[], None] = lambda: None
    """Called after each of our writes: here the process could die."""
    unwritable: frozenset[str] = frozenset()
    """Kinds whose writes the API server refuses now."""
    _counter: Any = field(default_factory=lambda: itertools.count(1))
    _ours: bool = False

    def _write(self, verb: str, raw: Raw, change: Callable[[], Any]) -> Any:
        self.writes += 1
        how = self.crash(self.writes)
        if how == "before":
            raise Crash
        if raw["kind"] in self.unwritable:
            raise Transient(f"{raw['kind']} cannot be written now")
        self._ours = True
        result = change()
        self._ours = False
        self.history.append((verb, raw["kind"], raw["metadata"]["name"]))
        self.written()
        if how == "after":
            raise Crash
        if how == "lost":
            raise Transient("the answer was lost")
        return result

    def keep(self, raw: dict[str, Any]) -> None:
        """Store an object with a new resourceVersion."""
        raw["metadata"]["resourceVersion"] = str(next(self._counter))
        raw["metadata"].setdefault("uid", uuid.uuid4().hex)
        raw["metadata"].setdefault("creationTimestamp", format_time(self.clock()))
        metadata = raw["metadata"]
        before = self.store.get(raw["kind"], metadata["namespace"], metadata["name"])
        self.watch(before, raw, self._ours)
        self.store.put(raw)

    async def create(self, manifest: Raw) -> bool:
        metadata = manifest["metadata"]
        if self.store.get(manifest["kind"], metadata["namespace"], metadata["name"]):
            return False

        def change() -> bool:
            raw = {**manifest, "metadata": {**metadata, "generation": 1}}
            if raw["kind"].startswith("RLHF"):
                raw["status"] = {"observedGeneration": -1}
            self.keep(raw)
            return True

        return bool(self._write("create", manifest, change))

    async def write_status(self, stored: Raw, status: Raw) -> None:
        metadata = stored["metadata"]
        now = self.store.get(stored["kind"], metadata["namespace"], metadata["name"])
        if now is None or now["metadata"]["resourceVersion"] != metadata["resourceVersion"]:
            raise Transient("it changed meanwhile")

        def change() -> None:
            # Stored objects are never changed in place, so that parts of them can be shared.
            self.keep({**now, "metadata": {**now["metadata"]}, "status": dict(status)})

        self._write("status", stored, change)

    def refusal(self, namespace: str, model: str) -> str | None:
        return self.refusals.of(namespace, model)

    async def apply(self, manifest: Raw) -> None:
        metadata = manifest["metadata"]
        if manifest["kind"] in self.refuses:
            self.refusals.note(manifest, "403: not here")
            raise Transient(f"{manifest['kind']} was not applied", 5.0)
        self.refusals.end(manifest)
        now = self.store.get(manifest["kind"], metadata["namespace"], metadata["name"])
        if now is not None and _content(now) == _content(manifest):
            return

        def change() -> None:
            before = now["metadata"] if now else {}
            raw = {**manifest, "metadata": {**metadata}}
            raw["metadata"]["generation"] = before.get("generation", 0) + 1
            raw["metadata"]["uid"] = before.get("uid", uuid.uuid4().hex)
            if now and "status" in now:
                raw["status"] = now["status"]
            self.keep(raw)

        self._write("apply", manifest, change)

    async def ensure(
        self, owner: tuple[str, str], token: str, make: Callable[[], Awaitable[Sequence[Raw]]]
    ) -> None:
        for manifest in await make():
            await self.apply(manifest)

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        if self.store.get(kind, namespace, name) is None:
            return
        raw = {"kind": kind, "metadata": {"name": name}}
        before = self.store.get(kind, namespace, name)

        def change() -> None:
            self.watch(before, None, self._ours)
            self.store.drop(kind, namespace, name)

        self._write("delete", raw, change)

    async def read(self, kind: str, namespace: str, name: str) -> Raw | None:
        return self.store.get(kind, namespace, name)

    async def pods(self, key: Key, version: str) -> Sequence[Raw]:
        failure = self.failures.get(version)
        return [failure] if failure else []

    async def pods_on_nodes(self) -> Sequence[Raw] | None:
        self.lists += 1
        return self.on_nodes

    async def ensure_signing_key(self, namespace: str, name: str) -> None:
        return

    async def tell(self, about: Raw, kind: str, reason: str, message: str) -> None:
        self.events.append((kind, reason))

    def settle(self) -> bool:
        """Let kubelet and gateway do their work; True when anything changed."""
        changed = False
        for raw in self.store.in_namespace("Deployment", None):
            changed |= self._run_pods(raw)
        for raw in self.store.in_namespace("HTTPRoute", None):
            changed |= self._accept(raw)
        return changed

    def _run_pods(self, raw: Raw) -> bool:
        version = raw["metadata"]["labels"]["rlhf.dev/version"]
        wanted = raw["spec"]["replicas"]
        ready = 0 if version in self.never_ready else wanted
        pin = raw["metadata"]["annotations"]["rlhf.dev/pinned-as"]
        old = self._ran.get(version, pin)
        renewed = version not in self.never_renewed or pin == old
        if renewed:
            self._ran[version] = pin
        status = {
            "observedGeneration": raw["metadata"]["generation"],
            "replicas": wanted,
            "updatedReplicas": wanted if renewed else 0,
            "readyReplicas": ready,
        }
        if raw.get("status") == status:
            return False
        self.keep({**raw, "metadata": {**raw["metadata"]}, "status": status})
        return True

    def _accept(self, raw: Raw) -> bool:
        if self.gateway_is_away:
            return False
        generation = raw["metadata"]["generation"]
        accepted = "False" if self.refuse_routes else "True"
        conditions = [
            {
                "type": kind,
                "status": accepted,
                "reason": "Test",
                "message": "as the test wants",
                "observedGeneration": generation,
            }
            for kind in ("Accepted", "ResolvedRefs")
        ]
        parents = [
            {"parentRef": ref, "controllerName": "test/gateway", "conditions": conditions}
            for ref in raw["spec"]["parentRefs"]
        ]
        if raw.get("status") == {"parents": parents}:
            return False
        self.keep({**raw, "metadata": {**raw["metadata"]}, "status": {"parents": parents}})
        return True


def _content(raw: Raw) -> tuple[Any, ...]:
    """Return what an apply can change: of a Deployment, annotations raise the generation too."""
    return raw.get("spec"), raw.get("data"), raw["metadata"].get("annotations") or {}


@dataclass
class FakeSLOs:
    """Judges by a script: (version, now) to a verdict."""

    script: Callable[[str, datetime], Verdict | None]
    clock: Callable[[], datetime]
    subjects: dict[Key, tuple[Subject, ...]] = field(default_factory=dict)
    errors: Verdict | None = None
    """What the Performance objective `errors` says of the version under judgement, if asked."""
    primary: Verdict = Verdict.INCONCLUSIVE
    """What the primary of a test says of the version under judgement, where there is one."""
    primaries: dict[str, tuple[Verdict, str]] = field(default_factory=dict)
    """What it says of single versions, and the ratio to stable, where there are several."""

    counted: Mapping[str, Any] | None = None
    """Counts of every version's `unsafe` since the last weight change, whatever the verdict."""
    answers: int = 5
    """How many answers a drill counts, where its record asks for them."""
    rules: InForce = UNKNOWN
    """Which rules the guards have."""
    baselines: tuple[BaselineRecord, ...] = ()
    """Baselines of means that a promoted version has shown by now."""
    drifts: tuple[DriftRecord, ...] | None = None
    """How far the watch over its means is."""

    def follow(self, first: Subject, *others: Subject) -> None:
        self.subjects[first.key] = (first, *others)

    def forget(self, key: Key) -> None:
        self.subjects.pop(key, None)

    def _of(self, key: Key, version: str | None) -> Subject | None:
        found = self.subjects.get(key, ())
        return next((each for each in found if version in (None, each.version)), None)

    def results(self, key: Key, version: str | None = None) -> Judged | None:
        subject = self._of(key, version)
        if subject is None:
            return None
        mine = self._result(subject, subject.version) + self._errors(subject.version)
        mine += self._answers(subject)
        mine += self._primary(subject)
        stable = self._result(subject, subject.stable) if subject.stable else ()
        return Judged(
            version=subject.version,
            since=subject.since,
            results=mine,
            stable_results=stable,
            baselines=self.baselines if subject.promoted else (),
            drifts=self.drifts if subject.promoted else None,
            rules=self.rules,
        )

    def _result(self, subject: Subject, version: str) -> tuple[SLOResult, ...]:
        verdict = self.script(version, self.clock())
        if verdict is None:
            return ()
        measured = verdict in (Verdict.SUCCESSFUL, Verdict.FAILED)
        few = 5 if verdict is Verdict.INCONCLUSIVE else None
        return (
            SLOResult(
                policy="safe",
                name="unsafe",
                class_="Safety",
                version=version,
                verdict=verdict,
                message=f"unsafe of {version}: {verdict}",
                **(self.counted or {"samples": 1000 if measured else few}),
            ),
        )

    def _answers(self, subject: Subject) -> tuple[SLOResult, ...]:
        asked = [slo.name for policy in subject.policies for slo in policy.slos]
        if "drill-answers" not in asked:
            return ()
        return (
            SLOResult(
                policy="safe",
                name="drill-answers",
                class_="Informational",
                version=subject.version,
                verdict=Verdict.SUCCESSFUL if self.answers else Verdict.INCONCLUSIVE,
                samples=self.answers,
            ),
        )

    def _errors(self, version: str) -> tuple[SLOResult, ...]:
        if self.errors is None:
            return ()
        return (
            SLOResult(
                policy="safe",
                name="errors",
                class_="Performance",
                version=version,
                verdict=self.errors,
                samples=1000,
                message=f"errors of {version}: {self.errors}",
            ),
        )

    def _primary(self, subject: Subject) -> tuple[SLOResult, ...]:
        slos = [slo for each in subject.policies if each.name == TEST_POLICY for slo in each.slos]
        verdict, ratio = self.primaries.get(subject.version, (self.primary, None))
        return tuple(
            SLOResult(
                policy=TEST_POLICY,
                name=slo.name,
                class_="Informational",
                version=subject.version,
                verdict=verdict,
                samples=1000,
                ratio=ratio,
                message=f"{slo.name} of {subject.version}: {verdict}",
            )
            for slo in slos
        )

    def checkpoint(self, key: Key, at: datetime, version: str | None = None) -> Checkpoint | None:
        subject = self._of(key, version)
        return Checkpoint(since=subject.since, at=at) if subject else None

    async def try_queries(self, *_: object) -> tuple[str, ...]:
        return ()


@dataclass
class FakeProber:
    """Answers golden prompts at once."""

    clock: Callable[[], datetime]
    failing: set[str] = field(default_factory=set)

    def golden(self, key: Key, run: str, host: str) -> GoldenResult | None:
        bad = [version for version in self.failing if host.startswith(f"{version}-")]
        return GoldenResult(
            at=self.clock(), passed=not bad, failures=tuple(f"{each}: wrong" for each in bad)
        )


SETTINGS = Settings(
    serving=ServingDefaults(
        triton_image="triton",
        guard_image="guard",
        artifacts_image="artifacts",
        signing_secret="rlhf-guard-signing",
    ),
    drain=timedelta(seconds=10),
)


def make_world(
    clock: Callable[[], datetime],
    script: Callable[[str, datetime], Verdict | None],
    settings: Settings = SETTINGS,
) -> tuple[World, FakeCluster, FakeSLOs]:
    """Return a world of fakes around one empty store."""
    store = MemoryStore()
    cluster = FakeCluster(store=store, clock=clock)
    slos = FakeSLOs(script=script, clock=clock)
    world = World(
        store=store,
        cluster=cluster,
        slos=slos,
        prober=FakeProber(clock=clock),
        settings=settings,
        epoch=lambda: 1,
    )
    return world, cluster, slos
