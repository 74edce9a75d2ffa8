"""After a flight that helped nothing: no second automatic move, and a person is told."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf_operator.api.evidence import SLOResult, Verdict
from rlhf_operator.api.reasons import ConditionType, Reason
from rlhf_operator.api.rollout import PinnedPolicy, RunType
from rlhf_operator.core import record, rollout, summary
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
MARKED = SAME | {"run": fled(shown("unsafe", 80, 1000), not_the_model="v1 fails like v2")}
BY_PERSON = {"reason": "RolledBackByPerson", "message": "ann", "author": "ann"}

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
    assert decision.stalled is (rule == "not_the_model")


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


def test_a_flight_carries_its_evidence() -> None:
    left = shown("unsafe", 80, 1000)
    seen = make.make_observed(
        run=make.ended(standby=make.standby()), stable=left, policies=(POLICY,)
    )
    decision = rollout.decide(seen)
    assert decision.start is not None and decision.start.cause.evidence == left.results
    assert decision.start.cause.author is None
