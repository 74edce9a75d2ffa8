"""After a flight that helped nothing: no second automatic move, and a person is told."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf_operator.api.evidence import SLOResult, Verdict
from rlhf_operator.api.plan import PinnedPolicy
from rlhf_operator.api.reasons import ConditionType, Reason
from rlhf_operator.api.rollout import RunType
from rlhf_operator.core import mandatory, record, rollout, summary
from rlhf_operator.core.decision import Action
from rlhf_operator.core.observed import Assessment, Run
from tests import builders as make
from tests.builders import GOOD, SFT, V1, V2, act, ago
from tests.core.rule_rows import check, row

POLICY = PinnedPolicy.model_validate(
    make.POLICY.dump()
    | {
        "slos": [
            *make.POLICY.dump()["slos"],
            {"name": "csae", "class": "Safety", "maxCount": 0,
             "indicator": {"type": "UnsafeServedCount", "categories": ["csae"]}},
            {"name": "done", "class": "Quality", "min": "0.9",
             "indicator": {"type": "TaskCompletionRate"}},
            {"name": "slow", "class": "Performance", "max": "2", "query": {
                "promQL": "sum by (namespace, rlhf_model, rlhf_version) (rate(d[1m]))",
                "samples": "n_total", "betterWhen": "Lower"}},
        ]
    }
)  # fmt: skip
CLASSES = {"unsafe": "Safety", "csae": "Safety", "done": "Quality", "slow": "Performance"}


def shown(name: str, events: int | None, samples: int, value: str | None = None) -> Assessment:
    """A failed objective with its counts."""
    result = SLOResult.model_validate({
        "policy": "safe", "name": name, "class": CLASSES[name], "version": "v1",
        "verdict": Verdict.FAILED, "events": events, "samples": samples, "value": value,
        "message": f"{name} is bad",
    })  # fmt: skip
    return Assessment(results=(result,))


IMPOSED = POLICY.model_copy(update={"mandatory": True})
BESIDE = next(
    each.name
    for each in mandatory.binding((), (IMPOSED,))
    if "unsafe" in {slo.name for slo in each.slos}
)


def beside(left: Assessment) -> Assessment:
    """As it was called in a run that had pinned another measure under its name."""
    return Assessment(
        results=tuple(each.model_copy(update={"policy": BESIDE}) for each in left.results)
    )


def fled(left: Assessment, **changes: Any) -> Run:
    """A flight from v2 to v1 two minutes ago."""
    cause = {"reason": "SafetyFailed", "message": "v2: bad", "evidence": left.results}
    return make.ended(
        **{"type": RunType.ROLLBACK, "from_": V2, "to": V1, "cause": cause, "in_force_at": ago(2),
           "finished_at": ago(3), "settled_at": None}
        | changes
    )  # fmt: skip


def picture(left: Assessment, now: Assessment, **changes: Any) -> dict[str, Any]:
    return {
        "run": fled(left), "stable": now, "target": V2, "policies": (POLICY,),
        "quarantines": make.quarantine(V2), "workloads": make.pods(v2=make.SERVING),
    } | changes  # fmt: skip


SAME = picture(shown("unsafe", 80, 1000), shown("unsafe", 30, 400))
DOUBT = {"not_the_model": "v1 fails like v2", "alike": ("safe/unsafe",)}
MARKED = SAME | {"run": fled(shown("unsafe", 80, 1000), **DOUBT)}
BY_PERSON = {"reason": "RolledBackByPerson", "message": "ann", "author": "ann"}

FOR_SPEED = {
    "reason": "SLOFailed",
    "message": "v2: slow",
    "evidence": shown("slow", None, 10, "3.5").results,
}
V3 = make.ref("v3", "3")
ON_FLOOR = SAME | {
    "run": fled(shown("unsafe", 80, 1000), to=SFT, stable=SFT, type=RunType.FALLBACK, **DOUBT)
}
CURE = SAME | {
    "run": make.make_run(from_=V1, to=V3, stable=V1, canary=V3, **DOUBT),
    "target": V3,
    "workloads": make.pods(v3=make.SERVING),
    "canary": GOOD,
}
RENEWED = SAME | {
    "run": make.make_run(
        type=RunType.RESTART, from_=V1, to=V1, stable=V1, canary=None, weight=0, **DOUBT
    ),
    "workloads": make.pods(v1=make.GONE),
}

ALIKE = [
    row("a rate that is no lower is not the model's", "not_the_model", Action.KEEP,
        Reason.NOT_THE_MODEL, **SAME),
    row("a higher rate neither", "not_the_model", Action.KEEP, Reason.NOT_THE_MODEL,
        **picture(shown("unsafe", 80, 1000), shown("unsafe", 200, 400))),
    row("a count neither: one event was too many again", "not_the_model", Action.KEEP,
        Reason.NOT_THE_MODEL, **picture(shown("csae", 1, 1000), shown("csae", 1, 50000))),
    row("nor a rate that should be high and is no higher", "not_the_model", Action.KEEP,
        Reason.NOT_THE_MODEL, **picture(shown("done", 400, 1000), shown("done", 150, 400))),
    row("nor an expression's value that is no lower", "not_the_model", Action.KEEP,
        Reason.NOT_THE_MODEL,
        **picture(shown("slow", None, 10, "3.5"), shown("slow", None, 10, "3.5"))),
    row("also what stood beside a run's objectives under another name", "not_the_model",
        Action.KEEP, Reason.NOT_THE_MODEL,
        **picture(beside(shown("unsafe", 80, 1000)), shown("unsafe", 30, 400),
                  policies=(IMPOSED,))),
    row("it stays so long after", "not_the_model", Action.KEEP, Reason.NOT_THE_MODEL,
        **MARKED | {"now": ago(-60)}),
    row("also where nothing fails for the moment", "not_the_model", Action.KEEP,
        Reason.NOT_THE_MODEL, **MARKED | {"stable": GOOD}),
]  # fmt: skip

ON = [
    row("a rate that is clearly lower and still bad is fled from again", "stable_unsafe",
        Action.START, Reason.SAFETY_FAILED,
        **picture(shown("unsafe", 400, 1000), shown("unsafe", 30, 400))),
    row("so is what fails later than a window after", "stable_unsafe", Action.START,
        Reason.SAFETY_FAILED,
        **SAME | {"run": fled(shown("unsafe", 80, 1000), in_force_at=ago(5.1))}),
    row("so is what fails another objective", "stable_unsafe", Action.START, Reason.SAFETY_FAILED,
        **picture(shown("unsafe", 80, 1000), shown("csae", 1, 400))),
    row("so is what a person chose", "stable_unsafe", Action.START, Reason.SAFETY_FAILED,
        **SAME | {"run": fled(shown("unsafe", 80, 1000), cause=BY_PERSON)}),
    row("a value that got better is judged by itself", "settling", Action.HOLD, Reason.SETTLING,
        **picture(shown("slow", None, 10, "3.5"), shown("slow", None, 10, "2.5"))),
    row("what a person forbids is left still", "stable_vetoed", Action.START, Reason.VETOED,
        **MARKED | {"quarantines": make.quarantine(V2) | make.vetoed(V1)}),
    row("a person's word comes first", "person_stopped", Action.START,
        Reason.ROLLED_BACK_BY_PERSON, **MARKED | {"acts": (act("RollBackTo", version=SFT),)}),
    row("a version that may be the cure gets its run", "target_differs", Action.START,
        Reason.STARTED, **MARKED | {"target": make.ref("v3", "3"), "generation": 2,
        "run": fled(shown("unsafe", 80, 1000), not_the_model="alike", settled_at=ago(1),
                    finished_at=ago(60))}),
    row("what is unsafe by another objective is fled from still", "stable_unsafe", Action.START,
        Reason.SAFETY_FAILED, **MARKED | {"stable": shown("csae", 1, 400)}),
    row("slowness that is not the model's keeps nobody from fleeing what is unsafe",
        "stable_unsafe", Action.START, Reason.SAFETY_FAILED,
        **picture(shown("slow", None, 10, "3.5"), shown("unsafe", 30, 400),
                  run=fled(shown("slow", None, 10, "3.5"), cause=FOR_SPEED, alike=("safe/slow",),
                           not_the_model="v1 fails like v2"))),
    row("a floor that fails alike blocks: that is no move", "stable_unsafe", Action.BLOCK,
        Reason.NOTHING_SAFE, **ON_FLOOR),
    row("or refuses", "stable_unsafe", Action.REFUSE, Reason.REFUSING,
        **ON_FLOOR | {"spec": make.model_spec(rollout={"whenNothingIsSafe": "Refuse"})}),
    row("the cure's run goes on while what serves fails alike", "step_passed", Action.ADVANCE,
        Reason.ADVANCED, **CURE),
    row("and ends where it fails otherwise", "stable_unsafe", Action.START,
        Reason.SAFETY_FAILED, **CURE | {"stable": shown("csae", 1, 400)}),
    row("renewed pods are waited for while what serves fails alike", "first_not_serving",
        Action.HOLD, Reason.PREPARING, **RENEWED),
    row("what was fled to is well, and asked for now", "target_serving", Action.KEEP,
        Reason.SERVING, **MARKED | {"stable": GOOD, "target": V1,
        "run": fled(shown("unsafe", 80, 1000), not_the_model="alike", settled_at=ago(1))}),
]  # fmt: skip

ROWS = [*ALIKE, *ON]


@pytest.mark.parametrize(("rule", "action", "reason", "changes"), ROWS)
def test_a_flight_that_did_not_help(
    rule: str, action: Action, reason: Reason, changes: dict[str, Any]
) -> None:
    decision = check(rule, action, reason, changes)
    restrains = action in (Action.BLOCK, Action.REFUSE)
    assert decision.stalled is (rule == "not_the_model" or restrains)


def test_it_is_written_into_the_record_once_and_shown() -> None:
    seen = make.make_observed(**SAME)
    decision = rollout.decide(seen)
    status = record.next_status(seen, decision, epoch=1, drain=make.MINUTE)
    assert status is not None and status.not_the_model == decision.message
    assert "v1 fails like v2: unsafe is bad" in decision.message
    run = make.replace_status(seen.run, status)
    again = make.make_observed(**SAME | {"run": run, "stable": GOOD})
    assert record.next_status(again, rollout.decide(again), epoch=1, drain=make.MINUTE) is None
    told = summary.model_status(again, rollout.decide(again), run, None)
    (condition,) = (each for each in told.conditions if each.type == ConditionType.NOT_THE_MODEL)
    assert (condition.status, condition.message) == ("True", decision.message)


def test_it_says_of_which_objectives() -> None:
    left = Assessment(results=shown("unsafe", 80, 1000).results + shown("csae", 1, 1000).results)
    found = Assessment(results=shown("unsafe", 30, 400).results + shown("done", 9, 400).results)
    seen = make.make_observed(**picture(left, found))
    status = record.next_status(seen, rollout.decide(seen), epoch=1, drain=make.MINUTE)
    assert status is not None and status.alike == ("safe/unsafe",)


@pytest.mark.parametrize(
    ("kind", "to"),
    [
        pytest.param(RunType.ROLLOUT, V3, id="the run of what may be the cure"),
        pytest.param(RunType.RESTART, V1, id="the renewal of what serves"),
    ],
)
def test_a_try_takes_it_over_and_a_success_ends_it(kind: RunType, to: Any) -> None:
    before = fled(shown("unsafe", 80, 1000), settled_at=ago(1), **DOUBT)
    blank = {"started_at": None, "stable": None, "canary": None, "weight": 0, "step": -1}
    run = make.make_run(revision=3, type=kind, from_=V1, to=to, **blank)
    seen = make.make_observed(run=run, previous=before)
    opened = record.next_status(seen, rollout.decide(seen), epoch=1, drain=make.MINUTE)
    assert opened is not None and (opened.not_the_model, opened.alike) == tuple(DOUBT.values())
    last = {} if kind is RunType.RESTART else {"canary": to, "weight": 50, "step": 1}
    going = make.replace_status(
        run, opened.model_copy(update=last | {"in_force_at": ago(2), "phase": "Progressing"})
    )
    weights = {"v1": 50, "v3": 50} if last else {"v1": 100}
    seen = make.make_observed(
        run=going, previous=before, target=to, canary=GOOD if last else None,
        workloads=make.pods(v3=make.SERVING), route=make.Route(weights=weights, accepted=True),
    )  # fmt: skip
    decision = rollout.decide(seen)
    assert decision.action is Action.PROMOTE, decision
    done = record.next_status(seen, decision, epoch=1, drain=make.MINUTE)
    assert done is not None and (done.not_the_model, done.alike) == (None, ())


def test_a_flight_carries_its_evidence() -> None:
    left = shown("unsafe", 80, 1000)
    seen = make.make_observed(
        run=make.ended(standby=make.standby()), stable=left, policies=(POLICY,)
    )
    decision = rollout.decide(seen)
    assert decision.start is not None and decision.start.cause.evidence == left.results
    assert decision.start.cause.author is None
