"""Pictures for decisions, with defaults: a test states only what matters to it.

The plain picture is a canary at its first step, held long enough and judged successful.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from rlhf_operator.api.common import Failure, VersionRef
from rlhf_operator.api.decision import DecisionAction
from rlhf_operator.api.evidence import GoldenResult, SLOResult, Verdict
from rlhf_operator.api.model import ModelSpec
from rlhf_operator.api.plan import PinnedPolicy
from rlhf_operator.api.policy import SLOClass
from rlhf_operator.api.quarantine import QuarantineRecord
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import Outcome, RolloutSpec, RolloutStatus, RunType
from rlhf_operator.api.standby import StandbyRecord
from rlhf_operator.core.observed import Act, Assessment, Key, Observed, Route, Run, Workload

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
KEY = Key(namespace="team", name="support")
POLICY = PinnedPolicy.model_validate(
    {
        "name": "safe",
        "metricSource": "default",
        "interval": "1s",
        "slos": [
            {
                "name": "unsafe",
                "class": "Safety",
                "indicator": {"type": "UnsafeServedRate"},
                "max": "0.02",
            }
        ],
    }
)


def ref(name: str, letter: str) -> VersionRef:
    return VersionRef(name=name, identity="sha256:" + letter * 64)


SFT, V1, V2 = ref("sft", "0"), ref("v1", "1"), ref("v2", "2")
V1_COPY = ref("v1-copy", "1")


def ago(minutes: float) -> datetime:
    return NOW - minutes * MINUTE


def model_spec(**changes: Any) -> ModelSpec:
    """A model with two steps of one minute; keywords go to the spec, `rollout` is merged."""
    rollout = {
        "strategy": "Canary",
        "canary": {"steps": [{"weight": 10, "hold": "1m"}, {"weight": 50, "hold": "1m"}]},
    } | changes.pop("rollout", {})
    return ModelSpec.model_validate(
        {
            "version": "v1",
            "fallback": {"version": "sft"},
            "policies": [{"name": "safe"}],
            "serving": {"replicas": 2},
            "rollout": rollout,
            **changes,
        }
    )


def make_run(**changes: Any) -> Run:
    """A canary run of v1 against sft at its first step; `plan` and other keywords change it."""
    plan = {
        "steps": [{"weight": 10, "hold": "1m"}, {"weight": 50, "hold": "1m"}],
        "surge": "One",
        "readyTimeout": "30m",
        "maxHold": "24h",
        "maxBlind": "30m",
        "onInconclusive": "RollBack",
    } | changes.pop("plan", {})
    spec: dict[str, Any] = {
        "model": KEY.name,
        "revision": 2,
        "generation": 1,
        "type": RunType.ROLLOUT,
        "from_": SFT,
        "to": V1,
        "plan": plan,
        "plan_digest": "sha256:" + "d" * 64,
        "policies": (POLICY,),
        "cause": {"reason": "Started", "message": "sft to v1"},
    }
    spec |= {name: changes.pop(name) for name in list(changes) if name in RolloutSpec.model_fields}
    status: dict[str, Any] = {
        "phase": "Progressing",
        "stable": SFT,
        "canary": V1,
        "weight": 10,
        "step": 0,
        "started_at": ago(10),
        "ready_since": ago(3),
        "declared_at": ago(3),
        "in_force_at": ago(2),
    } | changes
    return Run(
        name=f"{KEY.name}-{spec['revision']}",
        resource_version="7",
        uid="u",
        spec=RolloutSpec.model_validate(spec),
        status=RolloutStatus.model_validate(status),
    )


def replace_status(run: Run | None, status: RolloutStatus) -> Run:
    """The record as it stands after a write."""
    assert run is not None
    return replace(run, status=status)


def preparing(**changes: Any) -> Run:
    """A canary run before its first weight."""
    return make_run(**{"weight": 0, "step": -1, "phase": "Preparing"} | changes)


def parked(**changes: Any) -> Run:
    return preparing(**{"phase": "Parked", "golden": PASSED} | changes)


def ended(outcome: Outcome = Outcome.PROMOTED, **changes: Any) -> Run:
    """A run that is over and settled: v1 promoted, or sft stable again."""
    stable = V1 if outcome is Outcome.PROMOTED else SFT
    defaults = {
        "outcome": outcome,
        "stable": stable,
        "canary": None,
        "weight": 0,
        "phase": "Completed",
        "finished_at": ago(60),
        "settled_at": ago(59),
        "message": "as it was",
    }
    return make_run(**defaults | changes)


def initial(**changes: Any) -> Run:
    """The first record: the floor is brought up."""
    defaults = {
        "revision": 1,
        "type": RunType.INITIAL,
        "from_": None,
        "to": SFT,
        "canary": None,
        "weight": 0,
        "step": -1,
        "phase": "Preparing",
        "in_force_at": None,
    }
    return make_run(**defaults | changes)


def drill(**changes: Any) -> Run:
    """A drill: sft gets 1 % beside v1 that serves, held long enough."""
    defaults: dict[str, Any] = {
        "revision": 3,
        "type": RunType.DRILL,
        "from_": V1,
        "to": SFT,
        "stable": V1,
        "canary": SFT,
        "weight": 1,
        "plan": {"steps": [{"weight": 1, "hold": "1m"}], "surge": "Full"},
    }
    return make_run(**defaults | changes)


PASSED = GoldenResult(at=NOW, passed=True)


def judged(
    verdict: Verdict = Verdict.SUCCESSFUL,
    class_: SLOClass = "Safety",
    *,
    name: str = "unsafe",
    blind: tuple[str, ...] = (),
) -> Assessment:
    """What one objective says."""
    result = SLOResult(
        policy="safe", name=name, class_=class_, version="v1", verdict=verdict,
        message=f"{name} {verdict}",
    )  # fmt: skip
    return Assessment(results=(result,), blind=blind)


GOOD, BAD = judged(), judged(Verdict.FAILED)
SLOW = judged(Verdict.FAILED, "Performance", name="latency")
DULL = judged(Verdict.FAILED, "Quality", name="thumbs")
SILENT = judged(Verdict.INCONCLUSIVE)
UNANSWERED = judged(Verdict.ERROR)


def act(action: DecisionAction, **changes: Any) -> Act:
    return replace(Act(name="say", action=action, author="ann", reason="because"), **changes)


def quarantine(*versions: VersionRef) -> dict[str, QuarantineRecord]:
    return {
        each.identity: QuarantineRecord(
            identity=each.identity, version=each.name, message="unsafe 0.3 > 0.02", at=ago(100)
        )
        for each in versions
    }


def vetoed(*versions: VersionRef, decision: str = "no") -> dict[str, QuarantineRecord]:
    return {
        identity: record.model_copy(
            update={"author": "ann", "decision": decision, "message": "vetoed by ann: rude"}
        )
        for identity, record in quarantine(*versions).items()
    }


def failure(reason: Reason) -> Failure:
    return Failure(reason=str(reason), message="the pod says why")


def standby(version: VersionRef = SFT, weight: int = 0) -> StandbyRecord:
    return StandbyRecord(version=version, until=NOW + 60 * MINUTE, weight=weight)


SERVING = Workload(wanted=2, ready=2)
GONE = Workload(wanted=2, ready=0)


def make_observed(**changes: Any) -> Observed:
    """A canary at 10 %, held long enough and judged successful; keywords replace fields."""
    run: Run | None = changes.get("run", make_run())
    route = {"sft": 90, "v1": 10}
    if run is not None and run.status.stable is not None and run.status.canary is None:
        route = {run.status.stable.name: 100}
    seen = Observed(
        now=NOW,
        key=KEY,
        spec=model_spec(),
        target=V1,
        fallback=SFT,
        policies=(POLICY,),
        run=run,
        last_revision=run.spec.revision if run is not None else 0,
        workloads=MappingProxyType({"sft": SERVING, "v1": SERVING}),
        route=Route(weights=route, accepted=True),
        canary=GOOD if run is not None and run.status.weight > 0 else None,
        stable=GOOD,
    )
    return replace(seen, **changes)


def pods(**workloads: Workload) -> dict[str, Workload]:
    """Workloads by version; sft and v1 serve unless said otherwise."""
    return {"sft": SERVING, "v1": SERVING} | workloads
