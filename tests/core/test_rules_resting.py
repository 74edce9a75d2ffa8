"""A model without a run: may one start, and which."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import Cause, Outcome, RunType, VersionRef
from rlhf_operator.core import rollout
from rlhf_operator.core.decision import Action
from rlhf_operator.core.gpus import Room
from rlhf_operator.core.observed import Route, Workload
from tests import builders as make
from tests.builders import GONE, SFT, V1, V1_COPY, V2, ago
from tests.core.rule_rows import check, row

SERVES_V1 = {"run": make.ended()}
BACK_ON_SFT = {"run": make.ended(Outcome.ROLLED_BACK)}
NEW = {"run": make.ended(), "target": V2}
FLED = make.ended(type=RunType.FALLBACK, from_=V1, to=SFT, stable=SFT)
BY_PERSON = Cause(reason="RolledBackByPerson", message="ann: because", author="ann")
NOTHING = {"run": None, "workloads": {}, "route": Route()}

ROWS = [
    row("a new model brings up its floor", "nothing_live", Action.START,
        Reason.FIRST_DEPLOYMENT, **NOTHING),
    row("a new model that is suspended brings nothing up", "nothing_live", Action.KEEP,
        Reason.SUSPENDED, **NOTHING, spec=make.model_spec(suspend=True)),
    row("a floor that is quarantined is not brought up", "nothing_live", Action.KEEP,
        Reason.QUARANTINED, **NOTHING, quarantines=make.quarantine(SFT)),
    row("an invalid spec starts nothing", "spec_invalid", Action.KEEP, Reason.VERSION_NOT_FOUND,
        **NOTHING, invalid=make.failure(Reason.VERSION_NOT_FOUND)),
    row("an invalid spec keeps what serves", "spec_invalid", Action.KEEP, Reason.SPEC_INVALID,
        **SERVES_V1, spec=None, target=None, invalid=make.failure(Reason.SPEC_INVALID)),
    row("the last change settles first", "settling", Action.HOLD, Reason.SETTLING,
        run=make.ended(settled_at=None), target=V2),
    row("a router that fails keeps the last change from settling", "settling", Action.HOLD,
        Reason.ROUTE_NOT_ACCEPTED, run=make.ended(settled_at=None), target=V2,
        route=Route(failure=make.failure(Reason.ROUTE_NOT_ACCEPTED))),
    row("a refuge that is not there yet has no traffic yet", "settling", Action.HOLD,
        Reason.STABLE_NOT_SERVING, target=V1, workloads=make.pods(sft=GONE),
        run=make.ended(type=RunType.FALLBACK, from_=V1, to=SFT, stable=SFT, settled_at=None,
                       in_force_at=None)),
    row("all is well", "target_serving", Action.KEEP, Reason.SERVING, **SERVES_V1),
    row("all is well under another name", "target_serving", Action.KEEP, Reason.SERVING,
        **SERVES_V1, target=V1_COPY),
    row("what should serve has lost its pods", "target_serving", Action.HOLD,
        Reason.STABLE_NOT_SERVING, **SERVES_V1, workloads=make.pods(v1=GONE)),
    row("the lost pods say why", "target_serving", Action.HOLD, Reason.STABLE_NOT_SERVING,
        **SERVES_V1, workloads=make.pods(
            v1=Workload(wanted=2, failure=make.failure(Reason.UNSCHEDULABLE)))),
    row("what is quarantined is not tried", "target_quarantined", Action.KEEP,
        Reason.QUARANTINED, **BACK_ON_SFT, quarantines=make.quarantine(V1)),
    row("what is quarantined is not tried under another name", "target_quarantined",
        Action.KEEP, Reason.QUARANTINED, **BACK_ON_SFT, target=V1_COPY,
        quarantines=make.quarantine(V1)),
    row("what is quarantined is not tried after a new commit", "target_quarantined",
        Action.KEEP, Reason.QUARANTINED, **BACK_ON_SFT, generation=9,
        quarantines=make.quarantine(V1)),
    row("what was rolled back is not tried again by itself", "target_failed", Action.KEEP,
        Reason.ROLLED_BACK, **BACK_ON_SFT),
    row("what was aborted is not tried again by itself", "target_failed", Action.KEEP,
        Reason.ROLLED_BACK, run=make.ended(Outcome.ABORTED)),
    row("what was fled from is not tried again by itself", "target_failed", Action.KEEP,
        Reason.ROLLED_BACK, run=FLED),
    row("what was superseded is tried again", "target_differs", Action.START, Reason.STARTED,
        run=make.ended(Outcome.SUPERSEDED)),
    row("a new commit tries again what was rolled back", "target_differs", Action.START,
        Reason.STARTED, **BACK_ON_SFT, generation=2),
    row("a new version starts a run", "target_differs", Action.START, Reason.STARTED, **NEW),
    row("suspend starts nothing", "start_not_allowed", Action.KEEP, Reason.SUSPENDED,
        **NEW, spec=make.model_spec(suspend=True)),
    row("a freeze window starts nothing", "start_not_allowed", Action.KEEP, Reason.FROZEN,
        **NEW, frozen="weekend"),
    row("after a rollback it cools down", "start_not_allowed", Action.HOLD,
        Reason.COOLING_DOWN, target=V2, run=make.ended(Outcome.ROLLED_BACK, finished_at=ago(4))),
    row("then it starts", "target_differs", Action.START, Reason.STARTED, target=V2,
        run=make.ended(Outcome.ROLLED_BACK, finished_at=ago(6))),
    row("after an automatic flight it cools down", "start_not_allowed", Action.HOLD,
        Reason.COOLING_DOWN, target=V2, generation=2,
        run=make.ended(type=RunType.FALLBACK, to=SFT, stable=SFT, finished_at=ago(4))),
    row("after a person's rollback nothing cools down", "target_differs", Action.START,
        Reason.STARTED, target=V2, generation=2,
        run=make.ended(type=RunType.ROLLBACK, to=SFT, stable=SFT, finished_at=ago(4),
                       cause=BY_PERSON)),
    row("after an abort nothing cools down", "target_differs", Action.START, Reason.STARTED,
        target=V2, run=make.ended(Outcome.ABORTED, finished_at=ago(1))),
    row("the limit of concurrent rollouts queues", "start_not_allowed", Action.HOLD,
        Reason.QUEUED, **NEW, place_free=False),
    row("too few GPUs hold", "start_not_allowed", Action.HOLD, Reason.INSUFFICIENT_GPU,
        **NEW, gpus_per_pod=2, gpus=Room(free=1)),
    row("enough GPUs start", "target_differs", Action.START, Reason.STARTED,
        **NEW, gpus_per_pod=2, gpus=Room(free=2)),
    row("an unknown number of GPUs starts", "target_differs", Action.START, Reason.STARTED,
        **NEW, gpus_per_pod=2, gpus=None),
    row("surge None takes its GPUs from stable", "target_differs", Action.START,
        Reason.STARTED, **NEW, gpus_per_pod=2, gpus=Room(free=0),
        spec=make.model_spec(rollout={"surge": "None"})),
    row("surge None needs a replica to take them from", "start_not_allowed", Action.KEEP,
        Reason.SURGE_NONE_NEEDS_TWO_REPLICAS, **NEW,
        spec=make.model_spec(rollout={"surge": "None"}, serving={"replicas": 1})),
    row("a model whose fallback is unknown rests", "nothing_to_do", Action.KEEP,
        Reason.SERVING, **NOTHING, target=None, fallback=None, spec=None),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "action", "reason", "changes"), ROWS)
def test_a_model_without_a_run(
    rule: str, action: Action, reason: Reason, changes: dict[str, Any]
) -> None:
    decision = check(rule, action, reason, changes)
    assert (decision.start is not None) == (action is Action.START)


def test_a_run_is_pinned_when_it_starts() -> None:
    seen = make.make_observed(**NEW)
    start = rollout.decide(seen).start
    assert start is not None and seen.run is not None and seen.spec is not None
    assert start.revision == seen.run.spec.revision + 1
    assert (start.type, start.from_, start.to) == (RunType.ROLLOUT, V1, V2)
    assert start.policies == seen.policies
    assert seen.spec.rollout.canary is not None
    assert start.plan.steps == seen.spec.rollout.canary.steps


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({**BACK_ON_SFT}, id="a version that was rolled back"),
        pytest.param({**BACK_ON_SFT, "quarantines": make.quarantine(V1)}, id="a quarantine"),
        pytest.param({**NEW, "gpus_per_pod": 2, "gpus": Room(free=1)}, id="too few GPUs"),
        pytest.param({**SERVES_V1, "invalid": make.failure(Reason.SPEC_INVALID)}, id="a bad spec"),
    ],
)
def test_what_waits_for_a_person(changes: dict[str, Any]) -> None:
    assert rollout.decide(make.make_observed(**changes)).stalled


@pytest.mark.parametrize(
    ("target", "said", "sentence"),
    [
        pytest.param(V1, "v1 at 5%: unsafe 0.3 > 0.02", "v1 failed at 5%: unsafe 0.3 > 0.02",
                     id="its name is said once"),
        pytest.param(V1_COPY, "v1 at 5%: unsafe 0.3 > 0.02",
                     f"{V1_COPY.name} failed as v1 at 5%: unsafe 0.3 > 0.02",
                     id="the name under which it failed is told"),
        pytest.param(V1, "unsafe 0.3 > 0.02", "v1 failed: unsafe 0.3 > 0.02",
                     id="a message without a name"),
    ],
)  # fmt: skip
def test_a_quarantine_says_what_failed(target: VersionRef, said: str, sentence: str) -> None:
    records = {
        identity: record.model_copy(update={"message": said})
        for identity, record in make.quarantine(V1).items()
    }
    seen = make.make_observed(**BACK_ON_SFT, target=target, quarantines=records)
    assert rollout.decide(seen).message.startswith(f"{sentence}; a LiftQuarantine decision")
