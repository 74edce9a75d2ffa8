"""What people change of the course of a run: an objective that does not count, another plan."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from rlhf_operator.api.evidence import Verdict
from rlhf_operator.api.model import ModelSpec
from rlhf_operator.api.plan import PinnedPolicy
from rlhf_operator.api.reasons import Reason
from rlhf_operator.core import plans, record, repins, rollout
from rlhf_operator.core.decision import Action
from rlhf_operator.core.observed import Assessment, Run
from tests import builders as make
from tests.builders import BAD, GONE, GOOD, NOW, SLOW, V2, act, ago
from tests.core.rule_rows import check, row

LATER = NOW + timedelta(hours=1)


def objective(name: str, class_: str) -> dict[str, Any]:
    return {"name": name, "class": class_, "indicator": {"type": "ErrorRate"}, "max": "0.1"}


def policy(*slos: dict[str, Any], **changes: Any) -> PinnedPolicy:
    return PinnedPolicy.model_validate(make.POLICY.dump() | {"slos": slos} | changes)


UNSAFE, LATENCY = objective("unsafe", "Safety"), objective("latency", "Performance")
SHOWN = objective("length", "Informational")
WHOLE = policy(UNSAFE, LATENCY, SHOWN)


def overridden(slo: str = "latency", until: Any = LATER, **changes: Any) -> Run:
    said = {"name": "skip", "action": "Override", "author": "ann", "reason": "a known fault",
            "slo": slo, "until": until, "at": ago(1)}  # fmt: skip
    return make.make_run(**{"policies": (WHOLE,), "decisions": [said]} | changes)


def both(*parts: Assessment) -> Assessment:
    return Assessment(results=tuple(one for part in parts for one in part.results))


def skip(slo: str, **changes: Any) -> Any:
    return act("Override", slo=slo, **{"expires_at": LATER} | changes)


UNSURE = make.judged(Verdict.INCONCLUSIVE, "Performance", name="latency")
RUN = make.make_run(policies=(WHOLE,))

OVERRIDES = [
    row("an override is recorded", "person_decided", Action.HOLD, Reason.OVERRIDDEN, run=RUN,
        acts=(skip("latency"),)),
    row("it comes before the failure that it is about", "person_decided", Action.HOLD,
        Reason.OVERRIDDEN, run=RUN, acts=(skip("latency"),), canary=both(GOOD, SLOW)),
    row("an objective that is overridden does not roll back", "step_passed", Action.ADVANCE,
        Reason.ADVANCED, run=overridden(), canary=both(GOOD, SLOW)),
    row("nor does it hold", "step_passed", Action.ADVANCE, Reason.ADVANCED, run=overridden(),
        canary=both(GOOD, UNSURE)),
    row("it rolls back again once the override has ended", "canary_failed", Action.ROLL_BACK,
        Reason.SLO_FAILED, run=overridden(until=NOW), canary=both(GOOD, SLOW)),
    row("another objective rolls back", "canary_failed", Action.ROLL_BACK, Reason.SLO_FAILED,
        run=overridden("thumbs"), canary=both(GOOD, SLOW)),
    row("Safety rolls back whatever the record says", "canary_unsafe", Action.ROLL_BACK,
        Reason.SAFETY_FAILED, run=overridden("unsafe"), canary=BAD),
    row("and Safety holds whatever the record says", "inconclusive", Action.HOLD,
        Reason.INCONCLUSIVE, run=overridden("unsafe"), canary=make.SILENT),
    *(row(f"an override is refused {how}", "person_refused", Action.KEEP, reason,
          **{"run": RUN, "acts": (skip("latency"),)} | changes) for how, reason, changes in [
        ("without a run", Reason.NOT_APPLICABLE, {"run": make.ended()}),
        ("of Safety", Reason.NOT_APPLICABLE, {"acts": (skip("unsafe"),)}),
        ("of a name that is Safety in any policy", Reason.NOT_APPLICABLE,
         {"run": make.make_run(policies=(
             WHOLE, policy(objective("latency", "Safety"), name="other")))}),
        ("of a name that today's mandatory policy makes Safety", Reason.NOT_APPLICABLE,
         {"policies": (policy(objective("latency", "Safety"), name="house", mandatory=True),)}),
        ("of what is not there", Reason.NOT_APPLICABLE, {"acts": (skip("thumbs"),)}),
        ("of what is only shown", Reason.NOT_APPLICABLE, {"acts": (skip("length"),)}),
        ("of the last that can say success", Reason.NOT_APPLICABLE,
         {"run": make.make_run(policies=(policy(LATENCY, SHOWN),))}),
        ("after its end", Reason.EXPIRED, {"acts": (skip("latency", expires_at=ago(1)),)}),
    ]),
]  # fmt: skip

REPIN = (act("Repin"),)
GATE = {"gate": "Leave", "count": 2}


def spec(*steps: tuple[int, Any], **rollout: Any) -> ModelSpec:
    """Today's spec, with these weights and what approval each asks for."""
    made = [
        {"weight": weight, "hold": "5m"} | ({"approval": asked} if asked is not None else {})
        for weight, asked in steps
    ]
    return make.model_spec(rollout={"canary": {"steps": made}} | rollout)


def gated(*steps: tuple[int, Any], **changes: Any) -> Run:
    return make.make_run(plan={"steps": spec(*steps).rollout.canary.steps}, **changes)  # type: ignore[union-attr]


GATED = gated((10, None), (50, GATE))

REPINS = [
    row("a plan is pinned anew", "person_decided", Action.REPIN, Reason.REPINNED, acts=REPIN,
        spec=spec((10, None), (20, None), (50, None))),
    row("also before the first weight", "person_decided", Action.REPIN, Reason.REPINNED,
        acts=REPIN, run=make.preparing(), spec=spec((40, None))),
    row("also with an approval more", "person_decided", Action.REPIN, Reason.REPINNED,
        acts=REPIN, run=GATED, spec=spec((10, GATE), (50, GATE))),
    row("also with an approval that stands earlier and asks for more", "person_decided",
        Action.REPIN, Reason.REPINNED, acts=REPIN, run=GATED,
        spec=spec((10, {"gate": "Leave", "count": 3}), (50, None))),
    row("also without an approval that was passed", "person_decided", Action.REPIN,
        Reason.REPINNED, acts=REPIN, run=gated((5, GATE), (10, None), step=1),
        spec=spec((10, None), (50, None))),
    *(row(f"a plan is not pinned anew {how}", "person_refused", Action.KEEP,
          Reason.NOT_APPLICABLE, **{"acts": REPIN} | changes) for how, changes in {
        "without a run": {"run": make.ended()},
        "that is the same": {"run": make.make_run(plan_digest=plans.digest(
            repins.repin(make.make_observed(), make.make_run()).plan, (make.POLICY,)))},
        "of which the first step would raise the weight": {"spec": spec((20, None))},
        "for another version": {"spec": spec((5, None)), "target": V2},
        "from half a spec": {"spec": spec((5, None)), "partly_understood": True},
        "from a spec whose names are not there": {
            "spec": spec((5, None)), "invalid": make.failure(Reason.POLICY_NOT_FOUND)},
        "without an approval that is ahead": {"run": GATED, "spec": spec((10, None), (50, None))},
        "with a smaller one": {"run": GATED, "spec": spec((50, {"count": 1}), (60, None))},
        "with a later one": {"run": gated((10, GATE), (50, None)),
                             "spec": spec((10, None), (50, GATE))},
        "with one in place of two": {"run": gated((10, GATE), (50, GATE)),
                                     "spec": spec((10, GATE), (50, None))},
        "that lets who made the change approve": {
            "run": gated((10, GATE | {"notAuthor": True}), changed_by="ann"),
            "spec": spec((10, GATE))},
        "that bars an author who is not known": {"spec": spec((10, {"notAuthor": True}))},
    }.items()),
    row("a plan is not pinned anew while stable has no pod", "stable_not_serving", Action.HOLD,
        Reason.STABLE_NOT_SERVING, acts=REPIN, spec=spec((5, None)),
        workloads=make.pods(sft=GONE)),
    row("the approval of another plan does not count", "awaiting_approval", Action.HOLD,
        Reason.AWAITING_APPROVAL, run=gated((10, {}), in_force_at=ago(9), decisions=[
            {"name": "yes", "action": "Approve", "author": "ann", "reason": "", "at": ago(1)},
            {"name": "new", "action": "Repin", "author": "bob", "reason": "", "at": ago(1)}])),
]  # fmt: skip

ROWS = [*OVERRIDES, *REPINS]


@pytest.mark.parametrize(
    ("weights", "weight", "step"),
    [
        pytest.param((10, 50), 10, 0, id="the step of the same weight"),
        pytest.param((5, 10, 20), 10, 1, id="also where its number differs"),
        pytest.param((5, 20), 10, 0, id="else the next lower one"),
        pytest.param((20, 50), 10, None, id="none where the first is higher"),
        pytest.param((20, 50), 0, -1, id="before the first weight it is before the first step"),
    ],
)
def test_where_a_run_goes_on(weights: tuple[int, ...], weight: int, step: int | None) -> None:
    plan = plans.plan(spec(*((each, None) for each in weights)))
    assert repins.place(plan, weight) == step


def test_a_new_plan_raises_no_weight_and_keeps_the_surge() -> None:
    seen = make.make_observed(acts=REPIN, spec=spec((5, None), (20, None), surge="Full"))
    decision = rollout.decide(seen)
    assert (decision.step, decision.weight) == (0, 5)
    assert decision.repin is not None and decision.repin.plan.surge == "One"
    status = record.next_status(seen, decision, epoch=1, drain=timedelta(seconds=10))
    assert status is not None and status.repin == decision.repin
    assert (status.weight, status.in_force_at, status.steps[-1].weight) == (5, None, 5)


@pytest.mark.parametrize(("rule", "action", "reason", "changes"), ROWS)
def test_what_people_change(
    rule: str, action: Action, reason: Reason, changes: dict[str, Any]
) -> None:
    check(rule, action, reason, changes)


def test_the_next_step_tells_what_did_not_count() -> None:
    decision = rollout.decide(make.make_observed(run=overridden(), canary=both(GOOD, SLOW)))
    assert decision.message == (
        "unsafe Successful; latency does not count until 2026-01-05 13:00 UTC, by ann"
    )
