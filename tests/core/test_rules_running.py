"""A run in progress, from what stops it to what lets it go on."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf_operator.api.evidence import GoldenResult, Verdict
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import Outcome, RunType
from rlhf_operator.core import rollout
from rlhf_operator.core.decision import Action
from rlhf_operator.core.observed import Assessment, Route, Workload
from rlhf_operator.core.rules_in_force import InForce
from tests import builders as make
from tests.builders import (
    GONE,
    GOOD,
    NOW,
    PASSED,
    SFT,
    SILENT,
    UNANSWERED,
    V1,
    V2,
    ago,
)  # fmt: skip
from tests.core.rule_rows import check, row

READY = {"run": make.preparing(golden=PASSED)}
FAILED_GOLDEN = GoldenResult(at=NOW, passed=False, failures=("hello: wrong",))
ROUTED = Route(weights={"sft": 100}, accepted=True)
LESS = Route(weights={"sft": 99, "v1": 1}, accepted=True)
BEFORE_THE_STEP = Route(weights={"sft": 100}, accepted=True)
REFUSED = Route(weights={"sft": 100}, failure=make.failure(Reason.ROUTE_NOT_ACCEPTED))
DARK = make.judged(Verdict.ERROR, blind=("unsafe",))
RESTART = make.make_run(
    type=RunType.RESTART, from_=SFT, to=SFT, canary=None, weight=0, step=-1, in_force_at=None
)
RENEWED_FOR_LONG = make.make_run(
    type=RunType.RESTART, from_=SFT, to=SFT, canary=None, weight=0, step=-1, in_force_at=None,
    ready_since=ago(31),
)  # fmt: skip

NEW = InForce(digests=frozenset({"new"}))
MIXED = InForce(digests=frozenset({"old", "new"}))

FIRST = [
    row("the first version is waited for", "first_not_serving", Action.HOLD, Reason.PREPARING,
        run=make.initial(), workloads={"sft": GONE}),
    row("the first version serves when a pod is ready and the route is in force",
        "first_not_serving", Action.PROMOTE, Reason.SERVING, run=make.initial()),
    row("a pod without its route does not serve",
        "first_not_serving", Action.HOLD, Reason.PREPARING, run=make.initial(), route=Route()),
    row("a refused route is a matter for a person",
        "first_not_serving", Action.HOLD, Reason.ROUTE_NOT_ACCEPTED,
        run=make.initial(), route=REFUSED),
    row("the first version's pods say why they are not ready",
        "first_not_serving", Action.HOLD, Reason.IMAGE_NOT_PULLED, run=make.initial(),
        workloads={"sft": Workload(wanted=2, failure=make.failure(Reason.IMAGE_NOT_PULLED))}),
    row("renewed pods are waited for", "first_not_serving", Action.HOLD, Reason.PREPARING,
        run=RESTART, workloads=make.pods(sft=Workload(wanted=2, ready=2, is_current=False))),
    row("pods that are renewed for too long are given up", "first_not_serving", Action.ROLL_BACK,
        Reason.NOT_READY, run=RENEWED_FOR_LONG,
        workloads=make.pods(sft=Workload(wanted=2, ready=2, is_current=False))),
    row("renewed pods serve", "first_not_serving", Action.PROMOTE, Reason.SERVING, run=RESTART),
]  # fmt: skip

BEFORE = [
    row("another version is asked for", "superseded", Action.ROLL_BACK, Reason.SUPERSEDED,
        target=V2),
    row("stable is asked for again", "superseded", Action.ROLL_BACK, Reason.SUPERSEDED,
        target=SFT),
    row("another version is asked for while suspended",
        "superseded", Action.ROLL_BACK, Reason.SUPERSEDED,
        target=V2, spec=make.model_spec(suspend=True)),
    row("the same artefact under another name goes on", "step_passed", Action.ADVANCE,
        Reason.ADVANCED, target=make.V1_COPY),
    row("a new spec that is invalid changes nothing", "step_passed", Action.ADVANCE,
        Reason.ADVANCED, target=V2, invalid=make.failure(Reason.VERSION_NOT_FOUND)),
    row("a new spec that is understood in part changes nothing", "step_passed", Action.ADVANCE,
        Reason.ADVANCED, target=V2, partly_understood=True,
        invalid=make.failure(Reason.SPEC_INVALID)),
    row("by a new spec that cannot be read nothing is raised", "spec_unreadable", Action.HOLD,
        Reason.SPEC_INVALID, target=None, spec=None, invalid=make.failure(Reason.SPEC_INVALID)),
    row("a new spec that names what is missing changes nothing", "step_passed", Action.ADVANCE,
        Reason.ADVANCED, target=None, invalid=make.failure(Reason.VERSION_NOT_FOUND)),
    row("suspend holds", "suspended", Action.HOLD, Reason.SUSPENDED,
        spec=make.model_spec(suspend=True)),
    row("a pause holds", "suspended", Action.HOLD, Reason.PAUSED,
        run=make.make_run(paused=True)),
    row("a freeze window holds", "suspended", Action.HOLD, Reason.FROZEN, frozen="weekend"),
    row("suspend holds also before the first weight", "suspended", Action.HOLD, Reason.SUSPENDED,
        **READY, spec=make.model_spec(suspend=True)),
    row("unseen safety parks after maxBlind", "blind", Action.PARK, Reason.PARKED,
        run=make.make_run(blind_since=ago(31)), canary=DARK),
    row("unseen safety parks also while suspended: weight only falls", "blind", Action.PARK,
        Reason.PARKED, run=make.make_run(blind_since=ago(31)), canary=DARK,
        spec=make.model_spec(suspend=True)),
    row("unseen safety holds until maxBlind", "inconclusive", Action.HOLD,
        Reason.METRICS_UNAVAILABLE, run=make.make_run(blind_since=ago(29)), canary=DARK),
    row("a parked run waits for data", "parked", Action.HOLD, Reason.PARKED,
        run=make.parked(), stable=Assessment(blind=("unsafe",))),
    row("a parked run waits where nothing was measured", "parked", Action.HOLD, Reason.PARKED,
        run=make.parked(), stable=None),
    row("a parked run goes back to its first step when data is back",
        "preparing", Action.ADVANCE, Reason.ADVANCED, run=make.parked()),
    row("a parked run does not resume on a canary without pods",
        "preparing", Action.HOLD, Reason.PREPARING, run=make.parked(),
        workloads=make.pods(v1=GONE)),
    row("a parked run does not resume while suspended", "suspended", Action.HOLD,
        Reason.SUSPENDED, run=make.parked(), spec=make.model_spec(suspend=True)),
]  # fmt: skip

PREPARING = [
    row("the first weight comes when all is prepared", "preparing", Action.ADVANCE,
        Reason.ADVANCED, **READY),
    row("pods come first", "preparing", Action.HOLD, Reason.PREPARING,
        **READY, workloads=make.pods(v1=GONE)),
    row("pods of an older template do not count", "preparing", Action.HOLD, Reason.PREPARING,
        **READY, workloads=make.pods(v1=Workload(wanted=1, ready=1, is_current=False))),
    row("old pods are not waited for without end", "preparing", Action.ROLL_BACK, Reason.NOT_READY,
        run=make.preparing(golden=PASSED, ready_since=ago(31)),
        workloads=make.pods(v1=Workload(wanted=1, ready=1, is_current=False))),
    row("a canary without a Deployment is waited for", "preparing", Action.HOLD,
        Reason.PREPARING, **READY, workloads={"sft": make.SERVING}),
    row("then golden prompts", "preparing", Action.HOLD, Reason.GOLDEN_PENDING,
        run=make.preparing()),
    row("golden prompts that were answered a moment ago count", "preparing", Action.ADVANCE,
        Reason.ADVANCED, run=make.preparing(), golden=PASSED),
    row("a wrong golden answer ends the run", "preparing", Action.ROLL_BACK,
        Reason.GOLDEN_FAILED, run=make.preparing(golden=FAILED_GOLDEN)),
    row("then a route that sends all to stable", "preparing", Action.HOLD,
        Reason.WEIGHT_NOT_IN_FORCE, run=make.preparing(golden=PASSED, in_force_at=None)),
    row("a router that fails is no model that fails", "preparing", Action.HOLD,
        Reason.ROUTE_NOT_ACCEPTED, run=make.preparing(golden=PASSED, in_force_at=None),
        route=REFUSED),
    row("a route that is refused since it was in force gives no first weight", "preparing",
        Action.HOLD, Reason.ROUTE_NOT_ACCEPTED, **READY, route=REFUSED),
    row("then every query", "preparing", Action.HOLD, Reason.METRICS_UNAVAILABLE,
        **READY, query_problems=("latency: no series",)),
]  # fmt: skip

STEPS = [
    row("a weight that is not in force is waited for", "weight_not_in_force", Action.HOLD,
        Reason.WEIGHT_NOT_IN_FORCE, run=make.make_run(in_force_at=None), canary=None,
        route=BEFORE_THE_STEP),
    row("its time begins when the router does it", "weight_not_in_force", Action.HOLD,
        Reason.HOLDING, run=make.make_run(in_force_at=None), canary=None),
    row("a refused route holds and says why", "weight_not_in_force", Action.HOLD,
        Reason.ROUTE_NOT_ACCEPTED, run=make.make_run(in_force_at=None), canary=None,
        route=REFUSED),
    row("a route that is refused in mid-step raises nothing", "weight_not_in_force",
        Action.HOLD, Reason.ROUTE_NOT_ACCEPTED, route=REFUSED),
    row("a route that is refused in mid-step ends nothing, also with a pod lost",
        "weight_not_in_force", Action.HOLD, Reason.ROUTE_NOT_ACCEPTED, route=REFUSED,
        run=make.make_run(ready_since=ago(31)),
        workloads=make.pods(v1=Workload(wanted=2, ready=1))),
    row("pods that never come for a weight end the run", "weight_not_in_force",
        Action.ROLL_BACK, Reason.NOT_READY, canary=None,
        run=make.make_run(in_force_at=None, ready_since=ago(31)),
        workloads=make.pods(v1=Workload(wanted=2, ready=1))),
    row("a late router alone ends nothing", "weight_not_in_force", Action.HOLD,
        Reason.WEIGHT_NOT_IN_FORCE, canary=None,
        run=make.make_run(in_force_at=None, ready_since=ago(31)), route=BEFORE_THE_STEP),
    row("a canary that has traffic, and never what was declared, is parked unseen", "blind",
        Action.PARK, Reason.PARKED, canary=None, route=LESS,
        run=make.make_run(in_force_at=None, declared_at=ago(61), ready_since=ago(61))),
    row("but not before readyTimeout and maxBlind are over", "weight_not_in_force", Action.HOLD,
        Reason.WEIGHT_NOT_IN_FORCE, canary=None, route=LESS,
        run=make.make_run(in_force_at=None, declared_at=ago(59), ready_since=ago(59))),
    row("nor where it has what was declared since nobody looked", "weight_not_in_force",
        Action.HOLD, Reason.HOLDING, canary=None,
        run=make.make_run(in_force_at=None, declared_at=ago(600), ready_since=ago(600))),
    row("while guards take new rules nothing is raised", "rules_differ", Action.HOLD,
        Reason.RULES_DIFFER, rules=MIXED),
    row("guards that never agree end the run after maxHold", "rules_differ", Action.ROLL_BACK,
        Reason.MAX_HOLD_EXCEEDED, rules=MIXED, run=make.make_run(in_force_at=ago(25 * 60))),
    row("or hold it where the plan says so", "rules_differ", Action.HOLD, Reason.RULES_DIFFER,
        rules=MIXED,
        run=make.make_run(in_force_at=ago(25 * 60), plan={"onInconclusive": "Hold"})),
    row("with new rules the step begins anew", "rules_differ", Action.RECOUNT,
        Reason.RULES_CHANGED, rules=NEW, run=make.make_run(rules_digest="old")),
    row("with the same rules it goes on", "step_passed", Action.ADVANCE, Reason.ADVANCED,
        rules=NEW, run=make.make_run(rules_digest="new")),
    row("the first rules that are seen change nothing", "step_passed", Action.ADVANCE,
        Reason.ADVANCED, rules=NEW),
    row("a weight is held for its time", "holding", Action.HOLD, Reason.HOLDING,
        run=make.make_run(in_force_at=ago(0.5))),
    row("silence holds", "inconclusive", Action.HOLD, Reason.INCONCLUSIVE, canary=SILENT),
    row("a source that does not answer holds", "inconclusive", Action.HOLD,
        Reason.METRICS_UNAVAILABLE, canary=UNANSWERED),
    row("nothing measured holds", "inconclusive", Action.HOLD, Reason.INCONCLUSIVE, canary=None),
    row("objectives that only inform are no success", "inconclusive", Action.HOLD,
        Reason.INCONCLUSIVE, canary=make.judged(Verdict.SUCCESSFUL, "Informational")),
    row("objectives that only inform do no harm", "inconclusive", Action.HOLD,
        Reason.INCONCLUSIVE, canary=make.judged(Verdict.FAILED, "Informational")),
    row("silence beyond maxHold ends the run", "inconclusive", Action.ROLL_BACK,
        Reason.MAX_HOLD_EXCEEDED, canary=SILENT, run=make.make_run(in_force_at=ago(25 * 60))),
    row("nobody ends a run that was not looked at since the operator came back", "inconclusive",
        Action.HOLD, Reason.INCONCLUSIVE, canary=None, run=make.make_run(in_force_at=ago(25 * 60))),
    row("where no policy asks anything, that is all there will be", "inconclusive",
        Action.ROLL_BACK, Reason.MAX_HOLD_EXCEEDED, canary=None,
        run=make.make_run(in_force_at=ago(25 * 60), policies=())),
    row("silence beyond maxHold holds where the plan says so", "inconclusive", Action.HOLD,
        Reason.INCONCLUSIVE, canary=SILENT,
        run=make.make_run(in_force_at=ago(25 * 60), plan={"onInconclusive": "Hold"})),
    row("time under suspension does not count against maxHold", "inconclusive", Action.HOLD,
        Reason.INCONCLUSIVE, canary=SILENT,
        run=make.make_run(in_force_at=ago(25 * 60), held_for="2h")),
    row("nor does the suspension that ends at this moment", "inconclusive", Action.HOLD,
        Reason.INCONCLUSIVE, canary=SILENT,
        run=make.make_run(in_force_at=ago(25 * 60), not_holding_since=ago(120))),
    row("a held and successful step gives way to the next", "step_passed", Action.ADVANCE,
        Reason.ADVANCED),
    row("the last step gives way to promotion", "steps_complete", Action.PROMOTE,
        Reason.PROMOTED, run=make.make_run(step=1, weight=50)),
    row("the last step is held too", "holding", Action.HOLD, Reason.HOLDING,
        run=make.make_run(step=1, weight=50, in_force_at=ago(0.5))),
    row("the last step needs success too", "inconclusive", Action.HOLD, Reason.INCONCLUSIVE,
        run=make.make_run(step=1, weight=50), canary=SILENT),
]  # fmt: skip

ROWS = [*FIRST, *BEFORE, *PREPARING, *STEPS]


@pytest.mark.parametrize(("rule", "action", "reason", "changes"), ROWS)
def test_a_run_in_progress(
    rule: str, action: Action, reason: Reason, changes: dict[str, Any]
) -> None:
    decision = check(rule, action, reason, changes)
    seen = make.make_observed(**changes)
    assert seen.run is not None
    if action is Action.ADVANCE:
        step = 0 if seen.run.status.step < 0 else seen.run.status.step + 1
        assert (decision.step, decision.weight) == (step, seen.run.spec.plan.steps[step].weight)
    if action is Action.PARK:
        assert (decision.step, decision.weight, decision.quarantine) == (-1, 0, False)
    if reason is Reason.SUPERSEDED:
        assert decision.outcome is Outcome.SUPERSEDED and not decision.quarantine


def test_a_hold_names_its_end() -> None:
    decision = rollout.decide(make.make_observed(run=make.make_run(in_force_at=ago(0.5))))
    assert decision.wake == ago(-0.5)
    begins = rollout.decide(make.make_observed(run=make.make_run(in_force_at=None)))
    assert begins.wake == ago(-1)


def test_a_weight_that_is_not_in_force_is_told_in_the_words_of_the_router() -> None:
    route = Route(weights={"sft": 90, "v1": 10}, note="gateway gw has not looked yet")
    seen = make.make_observed(run=make.make_run(in_force_at=None), canary=None, route=route)
    assert rollout.decide(seen).message == (
        "declared sft 90% v1 10%; the router has sft 90% v1 10%: gateway gw has not looked yet"
    )


def test_the_evidence_of_an_advance_is_told() -> None:
    assert "unsafe Successful" in rollout.decide(make.make_observed()).message
    assert GOOD.results[0].message in rollout.decide(make.make_observed()).message
    assert make.make_observed().target == V1
