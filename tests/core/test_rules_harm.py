"""What takes traffic away, whatever else is going on."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf_operator.api.evidence import Verdict
from rlhf_operator.api.policy import Indicator
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import Outcome, RunType
from rlhf_operator.core import record, rollout
from rlhf_operator.core.decision import Action
from rlhf_operator.core.observed import Assessment, Route, Workload
from tests import builders as make
from tests.builders import BAD, DULL, GONE, GOOD, SFT, SLOW, V1, V2, ago
from tests.core.rule_rows import check, row

FLEE = {"run": make.ended(standby=make.standby()), "stable": BAD}
NO_REFUGE = {"run": make.ended(), "stable": BAD, "quarantines": make.quarantine(SFT)}
REFUSE = make.model_spec(rollout={"whenNothingIsSafe": "Refuse"})
UNREADABLE = {"spec": None, "target": None, "invalid": make.failure(Reason.SPEC_INVALID)}
KEEP_SERVING = make.model_spec(rollout={"whenNothingIsSafe": "KeepServing"})

GENERATED = make.POLICY.model_copy(update={"slos": (make.POLICY.slos[0].model_copy(
    update={"indicator": Indicator(type="UnsafeGeneratedRate")}),)})  # fmt: skip

CANARY = [
    row("an unsafe canary is rolled back at once",
        "canary_unsafe", Action.ROLL_BACK, Reason.SAFETY_FAILED, canary=BAD),
    row("also while its step is held",
        "canary_unsafe", Action.ROLL_BACK, Reason.SAFETY_FAILED,
        canary=BAD, run=make.make_run(in_force_at=ago(0.1))),
    row("also while suspended",
        "canary_unsafe", Action.ROLL_BACK, Reason.SAFETY_FAILED,
        canary=BAD, spec=make.model_spec(suspend=True)),
    row("also while paused",
        "canary_unsafe", Action.ROLL_BACK, Reason.SAFETY_FAILED,
        canary=BAD, run=make.make_run(paused=True)),
    row("also in a freeze window",
        "canary_unsafe", Action.ROLL_BACK, Reason.SAFETY_FAILED, canary=BAD, frozen="weekend"),
    row("also while the new spec is invalid",
        "canary_unsafe", Action.ROLL_BACK, Reason.SAFETY_FAILED,
        canary=BAD, spec=None, invalid=make.failure(Reason.SPEC_INVALID)),
    row("also while the router fails",
        "canary_unsafe", Action.ROLL_BACK, Reason.SAFETY_FAILED,
        canary=BAD, route=Route(failure=make.failure(Reason.ROUTE_NOT_ACCEPTED))),
    row("also when a human decision is there that cannot be carried out",
        "canary_unsafe", Action.ROLL_BACK, Reason.SAFETY_FAILED,
        canary=BAD, acts=(make.act("LiftQuarantine", identity=V2.identity),)),
    row("a slow canary is rolled back",
        "canary_failed", Action.ROLL_BACK, Reason.SLO_FAILED, canary=SLOW),
    row("a canary of poor quality is rolled back",
        "canary_failed", Action.ROLL_BACK, Reason.SLO_FAILED, canary=DULL),
    row("a slow canary is rolled back also while suspended",
        "canary_failed", Action.ROLL_BACK, Reason.SLO_FAILED,
        canary=SLOW, spec=make.model_spec(suspend=True)),
    row("an artefact that is not what it should be ends the run",
        "canary_not_serving", Action.ROLL_BACK, Reason.ARTIFACT_MISMATCH,
        run=make.preparing(),
        workloads=make.pods(v1=Workload(wanted=1, failure=make.failure(Reason.ARTIFACT_MISMATCH)))),
    row("an image that cannot be pulled is waited for",
        "preparing", Action.HOLD, Reason.IMAGE_NOT_PULLED,
        run=make.preparing(),
        workloads=make.pods(v1=Workload(wanted=1, failure=make.failure(Reason.IMAGE_NOT_PULLED)))),
    row("a canary that never gets ready ends the run after readyTimeout",
        "canary_not_serving", Action.ROLL_BACK, Reason.NOT_READY,
        run=make.preparing(ready_since=ago(31)), workloads=make.pods(v1=GONE)),
    row("a canary that lost all pods under traffic ends the run",
        "canary_not_serving", Action.ROLL_BACK, Reason.NOT_READY, workloads=make.pods(v1=GONE)),
    row("a canary that is quarantined meanwhile ends the run",
        "canary_not_serving", Action.ROLL_BACK, Reason.QUARANTINED,
        quarantines=make.quarantine(V1)),
    row("a canary that is quarantined under another name ends the run",
        "canary_not_serving", Action.ROLL_BACK, Reason.QUARANTINED,
        quarantines=make.quarantine(make.V1_COPY)),
    row("stable without a ready pod holds the run",
        "stable_not_serving", Action.HOLD, Reason.STABLE_NOT_SERVING,
        workloads=make.pods(sft=GONE)),
]  # fmt: skip

STABLE = [
    row("an unsafe stable version is left at once, and with it the run against it",
        "stable_unsafe", Action.START, Reason.SAFETY_FAILED, stable=BAD,
        run=make.make_run(stable=V1, canary=V2, from_=V1, to=V2), target=V2),
    row("after promotion an unsafe version is left for the warm previous one",
        "stable_unsafe", Action.START, Reason.SAFETY_FAILED, **FLEE),
    row("it is left also while suspended",
        "stable_unsafe", Action.START, Reason.SAFETY_FAILED,
        **FLEE | {"spec": make.model_spec(suspend=True)}),
    row("it is left also before the last change settled",
        "stable_unsafe", Action.START, Reason.SAFETY_FAILED,
        **FLEE | {"run": make.ended(standby=make.standby(), settled_at=None)}),
    row("unsafe pods that are being renewed are left too",
        "stable_unsafe", Action.START, Reason.SAFETY_FAILED, stable=BAD,
        run=make.make_run(type=RunType.RESTART, from_=V1, to=V1, stable=V1, canary=None, weight=0)),
    row("where nothing is safe the floor serves, and every guard rule blocks",
        "stable_unsafe", Action.START, Reason.NOTHING_SAFE, **NO_REFUGE),
    row("where the floor itself serves every guard rule blocks",
        "stable_unsafe", Action.BLOCK, Reason.NOTHING_SAFE, stable=BAD, fallback=SFT,
        run=make.ended(stable=SFT, to=SFT), target=SFT),
    row("a version that may be the cure gets its run while everything blocks",
        "target_differs", Action.START, Reason.STARTED, stable=BAD, fallback=SFT,
        run=make.ended(stable=SFT, to=SFT, force_block=True), target=V2),
    row("with KeepServing too",
        "target_differs", Action.START, Reason.STARTED, stable=BAD, fallback=SFT,
        run=make.ended(stable=SFT, to=SFT), target=V2, spec=KEEP_SERVING),
    row("once everything blocks a person must act",
        "stable_unsafe", Action.KEEP, Reason.NOTHING_SAFE,
        **NO_REFUGE | {"run": make.ended(force_block=True)}),
    row("where nothing is safe KeepServing goes on",
        "stable_unsafe", Action.KEEP, Reason.NOTHING_SAFE, **NO_REFUGE | {"spec": KEEP_SERVING}),
    row("a floor that is restrained still is no place to flee to: it goes on so",
        "stable_unsafe", Action.START, Reason.NOTHING_SAFE,
        **FLEE | {"run": make.ended(standby=make.standby(), pins=[
            {"version": "sft", "revision": "r", "restrained": True}])}),
    row("a floor whose object was deleted is fled to by the pods that a record pins",
        "stable_unsafe", Action.START, Reason.SAFETY_FAILED, stable=BAD,
        deleted_versions=("sft",), run=make.ended(pins=[{"version": "sft", "revision": "r"}])),
    row("where nothing says what its pods would be every guard rule blocks",
        "stable_unsafe", Action.BLOCK, Reason.NOTHING_SAFE, stable=BAD,
        deleted_versions=("sft",), run=make.ended()),
    row("with Refuse every request is refused",
        "stable_unsafe", Action.START, Reason.REFUSING, **NO_REFUGE | {"spec": REFUSE}),
    row("with Refuse the floor itself refuses where it serves",
        "stable_unsafe", Action.REFUSE, Reason.REFUSING, stable=BAD, fallback=SFT, spec=REFUSE,
        run=make.ended(stable=SFT, to=SFT), target=SFT),
    row("it refuses too where every guard rule blocks already",
        "stable_unsafe", Action.REFUSE, Reason.REFUSING, stable=BAD, fallback=SFT, spec=REFUSE,
        run=make.ended(stable=SFT, to=SFT, force_block=True), target=SFT),
    row("what was made and blocked never leads to a refusal",
        "stable_unsafe", Action.START, Reason.NOTHING_SAFE,
        **NO_REFUGE | {"spec": REFUSE, "policies": (GENERATED,)}),
    row("what was made and blocked counts for nothing beside what reached users",
        "stable_unsafe", Action.START, Reason.REFUSING,
        **NO_REFUGE | {"spec": REFUSE, "policies": (GENERATED,), "stable": Assessment(
            results=(*BAD.results, *make.judged(Verdict.FAILED, name="csae").results))}),
    row("once everything is refused a person must act",
        "stable_unsafe", Action.KEEP, Reason.NOTHING_SAFE,
        **NO_REFUGE | {"spec": REFUSE, "run": make.ended(force_block=True, refuse=True)}),
    row("what is refused is told also where the floor is what is asked for",
        "target_serving", Action.KEEP, Reason.REFUSING, spec=REFUSE, target=SFT,
        run=make.ended(stable=SFT, to=SFT, force_block=True, refuse=True)),
    row("what blocks is told also where it does no harm any more", "target_serving", Action.KEEP,
        Reason.NOTHING_SAFE, target=SFT, run=make.ended(stable=SFT, to=SFT, force_block=True)),
    row("where nothing else may serve what a person forbade refuses",
        "stable_vetoed", Action.REFUSE, Reason.REFUSING, quarantines=make.vetoed(SFT),
        run=make.ended(stable=SFT, to=SFT), target=SFT, spec=REFUSE),
    row("a run against a floor that blocks goes on, for it may be the cure",
        "step_passed", Action.ADVANCE, Reason.ADVANCED, stable=BAD, fallback=SFT,
        run=make.make_run(force_block=True)),
    row("a floor that turns out to be unsafe in a run blocks at once, and the run goes on",
        "stable_unsafe", Action.BLOCK, Reason.NOTHING_SAFE, stable=BAD, fallback=SFT),
    row("or it refuses", "stable_unsafe", Action.REFUSE, Reason.REFUSING, stable=BAD,
        fallback=SFT, spec=REFUSE),
    row("where its pods are being renewed the renewal ends first", "stable_unsafe",
        Action.ROLL_BACK, Reason.NOTHING_SAFE, stable=BAD, fallback=SFT,
        run=make.make_run(type=RunType.RESTART, to=SFT, canary=None, weight=0)),
    row("without a spec that can be read it is left too, for the warm previous one",
        "stable_unsafe", Action.START, Reason.SAFETY_FAILED, **FLEE | UNREADABLE),
    row("or for the floor, whose pods a record pins",
        "stable_unsafe", Action.START, Reason.SAFETY_FAILED, stable=BAD, **UNREADABLE,
        run=make.ended(pins=[{"version": "sft", "revision": "r"}])),
    row("of poor quality it is left for the previous one as ever",
        "stable_failed", Action.START, Reason.SLO_FAILED, **UNREADABLE, stable=DULL,
        run=make.ended(to=V2, stable=V2, from_=V1, standby=make.standby(V1))),
    row("where no record tells what the pods of the floor would be it goes on",
        "stable_unsafe", Action.KEEP, Reason.NOTHING_SAFE, stable=BAD, run=make.ended(),
        **UNREADABLE),
]  # fmt: skip

PROMOTED = {
    "run": make.ended(to=V2, stable=V2, from_=V1, standby=make.standby(V1)),
    "target": V2,
    "workloads": make.pods(v2=make.SERVING),
}

STEADY = [
    row("after promotion a version of poor quality is left for the warm previous one",
        "stable_failed", Action.START, Reason.SLO_FAILED, **PROMOTED | {"stable": DULL}),
    row("so is a slow one, also while suspended", "stable_failed", Action.START, Reason.SLO_FAILED,
        **PROMOTED | {"stable": SLOW, "spec": make.model_spec(suspend=True)}),
    row("where the previous one is gone a person must act", "stable_failed", Action.KEEP,
        Reason.SLO_FAILED, **PROMOTED | {"stable": DULL, "workloads": make.pods(v1=GONE)}),
    row("where it is quarantined too", "stable_failed", Action.KEEP, Reason.SLO_FAILED,
        **PROMOTED | {"stable": DULL, "quarantines": make.quarantine(V1)}),
    row("quality and speed are no reason to serve the floor", "stable_failed", Action.KEEP,
        Reason.SLO_FAILED, stable=DULL, run=make.ended(standby=make.standby(SFT))),
    row("another version that is asked for gets its run", "target_differs", Action.START,
        Reason.STARTED, **PROMOTED | {"stable": DULL, "workloads": make.pods(v1=GONE),
                                      "target": make.ref("v3", "3")}),
    row("an objective that a person overrides is no reason", "target_serving", Action.KEEP,
        Reason.SERVING, **PROMOTED | {"stable": DULL, "run": make.ended(
            to=V2, stable=V2, from_=V1, standby=make.standby(V1), decisions=[
                {"name": "skip", "action": "Override", "author": "ann", "reason": "known",
                 "slo": "thumbs", "until": ago(-9), "at": ago(9)}])}),
    row("while a canary runs, stable's quality stops nothing", "step_passed", Action.ADVANCE,
        Reason.ADVANCED, stable=DULL),
    row("what does not help is not tried twice", "target_serving", Action.KEEP, Reason.SERVING,
        **PROMOTED | {"stable": GOOD, "run": make.ended(
            to=V2, stable=V2, from_=V1, standby=make.standby(V1), not_the_model="alike")}),
]  # fmt: skip

VETOED = {"run": make.ended(standby=make.standby()), "quarantines": make.vetoed(V1)}

PEOPLE = [
    row("what a person forbade is left for the warm previous version", "stable_vetoed",
        Action.START, Reason.VETOED, **VETOED),
    row("it is left also while suspended", "stable_vetoed", Action.START, Reason.VETOED,
        **VETOED | {"spec": make.model_spec(suspend=True)}),
    row("so it is with a run against it", "stable_vetoed",
        Action.START, Reason.VETOED, quarantines=make.vetoed(V1), target=V2,
        run=make.make_run(stable=V1, canary=V2, from_=V1, to=V2)),
    row("where nothing else may serve every guard rule blocks", "stable_vetoed", Action.BLOCK,
        Reason.NOTHING_SAFE, quarantines=make.vetoed(SFT), run=make.ended(stable=SFT, to=SFT),
        target=SFT),
    row("what another model's run blames goes on serving here", "target_serving", Action.KEEP,
        Reason.SERVING, run=make.ended(), quarantines=make.quarantine(V1)),
]  # fmt: skip

ROWS = [*CANARY, *STABLE, *STEADY, *PEOPLE]


@pytest.mark.parametrize("failing", [DULL, SLOW])
def test_poor_quality_is_quarantined_and_its_evidence_kept(failing: Any) -> None:
    decision = make_decision(PROMOTED | {"stable": failing})
    assert decision.start is not None
    spec = decision.start
    assert (spec.type, spec.from_, spec.to) == (RunType.ROLLBACK, V2, V1)
    assert spec.cause.evidence == failing.results
    changes = {"started_at": None, "outcome": None, "stable": None, "canary": None}
    run = make.make_run(type=spec.type, from_=V2, to=V1, cause=spec.cause, **changes)
    seen = make.make_observed(run=run)
    opened = record.next_status(seen, rollout.decide(seen), epoch=1, drain=make.MINUTE)
    assert opened is not None and opened.quarantine is not None
    assert opened.quarantine.identity == V2.identity


@pytest.mark.parametrize(("rule", "action", "reason", "changes"), ROWS)
def test_what_takes_traffic_away(
    rule: str, action: Action, reason: Reason, changes: dict[str, Any]
) -> None:
    decision = check(rule, action, reason, changes)
    if action is Action.ROLL_BACK:
        assert (decision.weight, decision.outcome) == (0, Outcome.ROLLED_BACK)


REFUGES = [
    pytest.param({}, RunType.FALLBACK, SFT,
                 id="the previous version is the fallback: that is the floor"),
    pytest.param({"run": make.ended(to=V2, stable=V2, standby=make.standby(V1)), "target": V2,
                  "fallback": SFT}, RunType.ROLLBACK, V1, id="a warm previous version comes first"),
    pytest.param({"run": make.ended(to=V2, stable=V2, standby=make.standby(V1)), "target": V2,
                  "workloads": make.pods(v1=GONE)}, RunType.FALLBACK, SFT,
                 id="a previous version without ready pods is no refuge"),
    pytest.param({"run": make.ended(to=V2, stable=V2, standby=make.standby(V1)), "target": V2,
                  "quarantines": make.quarantine(V1)}, RunType.FALLBACK, SFT,
                 id="a quarantined previous version is no refuge"),
    pytest.param({"run": make.ended(standby=None)}, RunType.FALLBACK, SFT,
                 id="without a previous version the floor serves"),
    pytest.param({"workloads": make.pods(sft=GONE)}, RunType.FALLBACK, SFT,
                 id="the floor is taken cold where nothing is warm"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "run_type", "version"), REFUGES)
def test_where_an_unsafe_version_is_left_for(
    changes: dict[str, Any], run_type: RunType, version: Any
) -> None:
    decision = check("stable_unsafe", Action.START, Reason.SAFETY_FAILED, FLEE | changes)
    assert decision.start is not None
    assert (decision.start.type, decision.start.to) == (run_type, version)
    assert decision.start.from_ == make.make_observed(**FLEE | changes).run.status.stable  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("changes", "quarantined"),
    [
        pytest.param({"canary": BAD}, True, id="an unsafe artefact may not serve again"),
        pytest.param({"canary": SLOW}, True, id="a slow one neither"),
        pytest.param({"workloads": make.pods(v1=GONE)}, False, id="one that was not ready may"),
        pytest.param({"target": V2}, False, id="one that was superseded may"),
        pytest.param({"acts": (make.act("Abort"),)}, False, id="one that was aborted may"),
    ],
)  # fmt: skip
def test_who_is_quarantined(changes: dict[str, Any], quarantined: bool) -> None:
    decision = make_decision(changes)
    assert decision.action is Action.ROLL_BACK
    assert decision.quarantine is quarantined


def make_decision(changes: dict[str, Any]) -> Any:
    return rollout.decide(make.make_observed(**changes))


def test_a_pinned_run_flees_to_the_present_floor() -> None:
    changes = {"run": make.ended(stable=V2, to=V2), "stable": BAD, "target": V2, "fallback": V1}
    decision = make_decision(changes)
    assert decision.start is not None and decision.start.to == V1
