"""Drills: when one begins, what ends it at once, and what it proves."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_operator.api.evidence import SLOResult, Verdict
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import FallbackProof, Outcome, RunType
from rlhf_operator.core import drills
from rlhf_operator.core.decision import Action
from rlhf_operator.core.observed import Assessment, Route
from tests import builders as make
from tests.builders import BAD, DULL, GONE, GOOD, NOW, PASSED, SFT, SILENT, SLOW, V1, V2, act, ago
from tests.core.rule_rows import check, row

SPEC = make.model_spec(rollbackDrill={"every": "1h", "percent": 1, "hold": "1m"})
ROUTED = Route(weights={"v1": 99, "sft": 1}, accepted=True)
DRILL: dict[str, Any] = {"run": make.drill(), "spec": SPEC, "route": ROUTED}
HOUR = timedelta(hours=1)
TURN = drills.turn("", NOW - HOUR, HOUR)
"""The last turn of the model for a drill."""
MINUTE = timedelta(minutes=1)
DUE: dict[str, Any] = {"run": make.ended(unproven_since=TURN - MINUTE), "spec": SPEC}
LATE = {"ready_since": ago(31), "in_force_at": None}


def answered(count: int | None, *more: Assessment) -> Assessment:
    """What a drill has counted, beside what objectives say."""
    verdict = Verdict.SUCCESSFUL if count else Verdict.INCONCLUSIVE
    counted = SLOResult(policy="safe", name=drills.ANSWERS.name, class_="Informational",
                        version="sft", verdict=verdict, samples=count)  # fmt: skip
    return Assessment(results=(counted, *(each for one in more for each in one.results)))


def proof(at: datetime, *, proven: bool = True, version: Any = SFT) -> FallbackProof:
    return FallbackProof(version=version, proven=proven, at=at, message="as it was")


BEGINS = [
    row("a drill begins at the first turn since there has been something to prove", "drill_due",
        Action.START, Reason.DRILL, **DUE),
    row("a record that does not say since when counts from its end", "drill_due", Action.START,
        Reason.DRILL, **DUE | {"run": make.ended(finished_at=TURN - MINUTE)}),
    row("not before", "target_serving", Action.KEEP, Reason.SERVING,
        **DUE | {"run": make.ended(unproven_since=TURN)}),
    row("a drill begins at the first turn after the last proof", "drill_due", Action.START,
        Reason.DRILL,
        **DUE | {"run": make.ended(unproven_since=ago(999), proof=proof(TURN - MINUTE))}),
    row("not while it is good", "target_serving", Action.KEEP, Reason.SERVING,
        **DUE | {"run": make.ended(unproven_since=ago(999), proof=proof(TURN))}),
    row("what proved nothing is not tried again before its time", "target_serving", Action.KEEP,
        Reason.SERVING,
        **DUE | {"run": make.ended(unproven_since=ago(999), proof=proof(TURN, proven=False))}),
    row("a proof of another fallback proves nothing of this one", "drill_due", Action.START,
        Reason.DRILL,
        **DUE | {"run": make.ended(unproven_since=ago(61), proof=proof(TURN, version=V2))}),
    row("a drill that a person ended is not begun again at once", "target_serving", Action.KEEP,
        Reason.SERVING, **DUE | {"run": make.ended(Outcome.ABORTED, type=RunType.DRILL, to=SFT,
            stable=V1, finished_at=TURN, unproven_since=ago(999))}),
    row("one that something else was put before is", "drill_due", Action.START, Reason.DRILL,
        **DUE | {"run": make.ended(Outcome.SUPERSEDED, type=RunType.DRILL, to=SFT, stable=V1,
            finished_at=TURN, unproven_since=ago(999))}),
    row("nobody who does not ask for drills gets one", "target_serving", Action.KEEP,
        Reason.SERVING, **DUE | {"spec": make.model_spec()}),
    row("where the fallback serves there is nothing to prove", "target_serving", Action.KEEP,
        Reason.SERVING, **DUE | {"target": SFT,
            "run": make.ended(to=SFT, stable=SFT, unproven_since=ago(999))}),
    row("not while suspended", "target_serving", Action.KEEP, Reason.SERVING,
        **DUE | {"spec": SPEC.model_copy(update={"suspend": True})}),
    row("not in a freeze window", "target_serving", Action.KEEP, Reason.SERVING,
        **DUE | {"frozen": "weekend"}),
    row("not before the last change settled", "settling", Action.HOLD, Reason.SETTLING,
        **DUE | {"run": make.ended(settled_at=None, unproven_since=ago(999))}),
    row("not while it cools down", "target_serving", Action.KEEP, Reason.SERVING,
        **DUE | {"run": make.ended(Outcome.ROLLED_BACK, to=V2, stable=V1, finished_at=ago(2),
                                   unproven_since=ago(999))}),
    row("not beside a control arm", "target_serving", Action.KEEP, Reason.SERVING,
        **DUE | {"spec": make.model_spec(standby={"holdback": 2},
                                         rollbackDrill={"every": "1h"}),
                 "run": make.ended(unproven_since=ago(999), standby=make.standby(weight=2))}),
    row("not where another version is asked for", "target_differs", Action.START, Reason.STARTED,
        **DUE | {"target": V2}),
    row("not where a person's decision is to be carried out", "person_decided", Action.START,
        Reason.STARTED, **DUE | {"acts": (act("Restart"),)}),
    row("also where an approval waits for a version that nobody ships", "drill_due", Action.START,
        Reason.DRILL, **DUE | {"acts": (act("Approve", identity=V2.identity),)}),
    row("not with what is quarantined", "target_serving", Action.KEEP, Reason.SERVING,
        **DUE | {"quarantines": make.quarantine(SFT)}),
    row("not where the limit of rollouts is reached", "target_serving", Action.KEEP,
        Reason.SERVING, **DUE | {"place_free": False}),
    row("not where the limit of drills is reached", "target_serving", Action.KEEP,
        Reason.SERVING, **DUE | {"drill_place_free": False}),
    row("not where what serves has no pod", "target_serving", Action.HOLD,
        Reason.STABLE_NOT_SERVING, **DUE | {"workloads": make.pods(v1=GONE)}),
]  # fmt: skip

ENDS = [
    row("one answer is a proof", "drill_held", Action.CONCLUDE, Reason.PROVEN,
        **DRILL | {"canary": answered(1, SILENT)}),
    row("silence is waited out", "drill_held", Action.HOLD, Reason.INCONCLUSIVE,
        **DRILL | {"canary": answered(0, SILENT)}),
    row("no measurement is silence too", "drill_held", Action.HOLD, Reason.INCONCLUSIVE,
        **DRILL | {"canary": None}),
    row("samples of another objective are no answers", "drill_held", Action.HOLD,
        Reason.INCONCLUSIVE, **DRILL | {"canary": GOOD}),
    row("silence proves nothing", "drill_held", Action.CONCLUDE, Reason.UNPROVEN,
        **DRILL | {"run": make.drill(in_force_at=ago(31)), "canary": answered(0, SILENT)}),
    row("a drill is held for its time", "holding", Action.HOLD, Reason.HOLDING,
        **DRILL | {"run": make.drill(in_force_at=ago(0.5)), "canary": answered(7, GOOD)}),
    row("safety unseen for long parks no drill", "drill_held", Action.HOLD, Reason.INCONCLUSIVE,
        **DRILL | {"run": make.drill(blind_since=ago(40)), "canary": answered(0, SILENT)}),
    row("an unsafe fallback ends it at once", "canary_unsafe", Action.ROLL_BACK,
        Reason.SAFETY_FAILED, **DRILL | {"canary": BAD}),
    row("a slow one does not", "drill_held", Action.CONCLUDE, Reason.PROVEN,
        **DRILL | {"canary": answered(3, SLOW)}),
    row("one of poor quality does not", "drill_held", Action.CONCLUDE, Reason.PROVEN,
        **DRILL | {"canary": answered(3, DULL)}),
    row("a fallback that lost its pods ends it", "canary_not_serving", Action.ROLL_BACK,
        Reason.NOT_READY, **DRILL | {"workloads": make.pods(sft=GONE)}),
    row("a fallback whose weight never comes in force ends it", "drill_late", Action.CONCLUDE,
        Reason.UNPROVEN, **DRILL | {"run": make.drill(**LATE), "canary": None}),
    row("a fallback that waits for metrics for too long ends it", "drill_late", Action.CONCLUDE,
        Reason.UNPROVEN, **DRILL | {"run": make.drill(weight=0, step=-1, golden=PASSED, **LATE),
                                    "canary": None, "query_problems": ("no series",)}),
]  # fmt: skip

SUPERSEDED = [
    row("another version is asked for", "drill_superseded", Action.CONCLUDE, Reason.SUPERSEDED,
        **DRILL | {"target": V2}),
    row("another fallback is named", "drill_superseded", Action.CONCLUDE, Reason.SUPERSEDED,
        **DRILL | {"fallback": V2}),
    row("no drill is asked for any more", "drill_superseded", Action.CONCLUDE, Reason.SUPERSEDED,
        **DRILL | {"spec": make.model_spec()}),
    row("the spec cannot be read", "drill_superseded", Action.CONCLUDE, Reason.SUPERSEDED,
        **DRILL | {"spec": None, "target": None}),
    row("the model is suspended", "drill_superseded", Action.CONCLUDE, Reason.SUPERSEDED,
        **DRILL | {"spec": SPEC.model_copy(update={"suspend": True})}),
    row("a freeze window opens", "drill_superseded", Action.CONCLUDE, Reason.SUPERSEDED,
        **DRILL | {"frozen": "weekend"}),
    row("a person restarts the pods", "drill_superseded", Action.CONCLUDE, Reason.SUPERSEDED,
        **DRILL | {"acts": (act("Restart"),)}),
    row("an approval that waits for another version ends no drill", "drill_held", Action.CONCLUDE,
        Reason.PROVEN, **DRILL | {"acts": (act("Approve", identity=V2.identity),),
                                  "canary": answered(1, GOOD)}),
    row("a person aborts it", "person_stopped", Action.ROLL_BACK, Reason.ABORTED,
        **DRILL | {"acts": (act("Abort"),)}),
    row("an unsafe stable version is left without a detour", "drill_superseded", Action.START,
        Reason.SAFETY_FAILED, **DRILL | {"stable": BAD}),
    row("a forbidden stable version too", "drill_superseded", Action.START,
        Reason.VETOED, **DRILL | {"quarantines": make.vetoed(V1)}),
]  # fmt: skip

ROWS = [*BEGINS, *ENDS, *SUPERSEDED]


@pytest.mark.parametrize(("rule", "action", "reason", "changes"), ROWS)
def test_a_drill(rule: str, action: Action, reason: Reason, changes: dict[str, Any]) -> None:
    decision = check(rule, action, reason, changes)
    if action is Action.CONCLUDE:
        assert (decision.weight, decision.quarantine) == (0, False)


def test_a_drill_is_a_run_of_one_step_that_takes_nothing_from_stable() -> None:
    start = check("drill_due", Action.START, Reason.DRILL, DUE).start
    assert start is not None
    assert (start.type, start.from_, start.to) == (RunType.DRILL, V1, SFT)
    assert [(step.weight, step.hold) for step in start.plan.steps] == [(1, "1m")]
    assert start.plan.surge == "Full"
    assert [slo.name for slo in start.policies[0].slos] == ["unsafe", "drill-answers"]


def test_the_next_pass_is_made_at_the_next_turn() -> None:
    changes = DUE | {"run": make.ended(unproven_since=TURN)}
    decision = check("target_serving", Action.KEEP, Reason.SERVING, changes)
    assert decision.wake == TURN + HOUR


@given(uid=st.text(max_size=40), minutes=st.integers(1, 10_000), late=st.floats(0, 10_000))
def test_a_model_has_one_turn_in_each_interval(uid: str, minutes: int, late: float) -> None:
    every = minutes * MINUTE
    first = drills.turn(uid, NOW, every)
    after = NOW + late * MINUTE
    assert NOW < first <= NOW + every
    assert after < drills.turn(uid, after, every) <= after + every
    assert (drills.turn(uid, after, every) - first) % every == timedelta()


def test_the_turns_of_many_models_are_spread_over_the_interval() -> None:
    turns = sorted(drills.turn(f"{uid:032x}", NOW, HOUR) - NOW for uid in range(1000))
    minutes = Counter(each // MINUTE for each in turns)
    assert set(minutes) == set(range(60)) and max(minutes.values()) < 40
