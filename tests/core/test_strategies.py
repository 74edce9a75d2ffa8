"""What a strategy asks of pods and router, step by step, and how its plan is pinned."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from rlhf_operator.api.approval import Approval
from rlhf_operator.api.evidence import ArmCount, SLOResult, Verdict
from rlhf_operator.api.model import Rollout
from rlhf_operator.api.plan import PinnedPolicy, Plan
from rlhf_operator.api.policy import SLO
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import Outcome, RunType
from rlhf_operator.api.strategies import TEST_POLICY
from rlhf_operator.core import capacity, facts, plans, repins, summary, unjudged
from rlhf_operator.core.decision import hold
from rlhf_operator.core.mirrors import Mirror
from rlhf_operator.core.objective import objectives
from rlhf_operator.core.observed import Assessment, Observed, Route, Run, Workload
from rlhf_operator.core.sequential import proofs
from rlhf_operator.core.statistics import EVENLY, MOSTLY_TWO
from rlhf_operator.core.stretches import Stretch
from rlhf_operator.core.subject import subject
from tests import builders as make
from tests.builders import NOW, SFT, V1, ago

DRAIN = timedelta(seconds=30)
GATE = {"gate": "Enter", "count": 2}
TEST = {
    "weight": 50, "minimum": "1h", "duration": "24h", "error": "0.05",
    "primary": {"name": "thumbs", "indicator": {"type": "ThumbsDownRate"}},
}  # fmt: skip
SHADOW = {"strategy": "Shadow", "steps": [{"weight": 20, "hold": "1m"}]}
SWITCH = {"strategy": "BlueGreen", "surge": "Full", "steps": [{"weight": 100, "hold": "1m"}]}
AB_TEST = {"strategy": "ABTest", "abTest": TEST, "steps": [{"weight": 50, "hold": "1h"}]}
TENTH = Mirror(version="v1", percent=20)


def spec_of(strategy: str, **plan: Any) -> Any:
    field = {"ABTest": "abTest", "Shadow": "shadow", "BlueGreen": "blueGreen"}[strategy]
    surge = "Full" if strategy == "BlueGreen" else "One"
    return make.model_spec(
        rollout={"strategy": strategy, "canary": None, field: plan, "surge": surge}
    )


@pytest.mark.parametrize(
    ("strategy", "plan", "step"),
    [
        pytest.param("Shadow", {"percent": 10, "hold": "30m"}, (10, "30m", None),
                     id="a shadow is one step with the percent that is copied"),
        pytest.param("BlueGreen", {"hold": "10m", "approval": GATE}, (100, "10m", GATE),
                     id="all at once is one step with everything"),
        pytest.param("ABTest", TEST | {"approval": GATE}, (50, "1h", GATE),
                     id="a test is one step that lasts its minimum"),
    ],
)  # fmt: skip
def test_a_strategy_is_one_step(strategy: str, plan: Any, step: Any) -> None:
    weight, length, gate = step
    found = plans.plan(spec_of(strategy, **plan))
    (only,) = found.steps
    approval = Approval.model_validate(gate) if gate else None
    assert (found.strategy, only.weight, only.hold, only.approval) == (
        strategy, weight, length, approval,
    )  # fmt: skip
    assert (found.ab_test is not None) == (strategy == "ABTest")


def test_a_plan_of_an_earlier_operator_is_a_canary() -> None:
    old = make.make_run().plan.dump()
    del old["strategy"]
    assert Plan.model_validate(old).strategy == "Canary"


def test_only_where_chance_divides_users_are_they_compared() -> None:
    sticky = {"router": "GatewayAPI", "parentRefs": [{"name": "gw"}],
              "stickiness": {"mode": "Arm"}}  # fmt: skip

    def pinned(strategy: str, **plan: Any) -> str | None:
        spec = spec_of(strategy, **plan)
        return plans.plan(spec.model_validate(spec.dump() | {"traffic": sticky})).stickiness

    assert pinned("ABTest", **TEST) == "Arm"
    assert pinned("Shadow", percent=10, hold="1m") is None
    assert pinned("BlueGreen", hold="1m") is None


def test_a_canary_has_the_digest_that_it_had_before_there_were_strategies() -> None:
    plan = make.make_run().plan
    old = {name: value for name, value in plan.dump().items() if name != "strategy"}
    text = json.dumps({"plan": old, "policies": []}, sort_keys=True, separators=(",", ":"))
    assert plans.digest(plan, ()) == "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def test_a_test_is_judged_beside_the_objectives_with_half_its_error_each_way() -> None:
    run = make.make_run(plan=AB_TEST)
    *others, asked = plans.asked(run.plan, run.policies)
    assert tuple(others) == run.policies
    (primary,) = asked.slos
    assert (asked.name, primary.name, primary.class_) == ("ab-test", "thumbs", "Informational")
    assert primary.versus_stable is not None and primary.versus_stable.ratio == "1"
    assert float(asked.false_rollback) == float(asked.false_promotion) == 0.025
    canary = make.make_run()
    assert plans.asked(canary.plan, canary.policies) == canary.policies


def shadow(**changes: Any) -> Run:
    return make.make_run(**{"plan": SHADOW, "weight": 20} | changes)


def switched(**changes: Any) -> Run:
    return make.make_run(**{"plan": SWITCH, "weight": 100} | changes)


def picture(run: Run, *, ready: int, route: Route, replicas: int = 4) -> Observed:
    spec = make.model_spec(
        serving={"replicas": replicas}, fallback={"version": "floor", "replicas": 0},
        standby={"replicas": 0},
    )  # fmt: skip
    pods = {"sft": Workload(wanted=4, ready=4), "v1": Workload(wanted=ready, ready=ready)}
    return make.make_observed(run=run, spec=spec, workloads=pods, route=route)


ALL_ON_STABLE = Route(weights={"sft": 100}, accepted=True)
COPIED = Route(weights={"sft": 100}, mirror=TENTH, accepted=True)
ALL_ON_CANARY = Route(weights={"v1": 100}, accepted=True)
PREPARING = {"weight": 0, "step": -1, "phase": "Preparing"}
BACK = {
    "outcome": Outcome.ROLLED_BACK, "canary": None, "weight": 0, "phase": "Settling",
    "in_force_at": None, "finished_at": NOW,
}  # fmt: skip
PROMOTED = BACK | {"outcome": Outcome.PROMOTED, "stable": V1}
FULL = {"plan": SHADOW | {"surge": "Full", "steps": [{"weight": 60, "hold": "1m"}]}, "weight": 60}


@pytest.mark.parametrize(
    ("run", "ready", "route", "pods", "weights", "mirror"),
    [
        pytest.param(shadow(**PREPARING), 0, ALL_ON_STABLE, {"sft": 4, "v1": 1}, {"sft": 100},
                     None, id="a shadow comes up beside all of stable's pods"),
        pytest.param(shadow(), 1, ALL_ON_STABLE, {"sft": 4, "v1": 1}, {"sft": 100}, TENTH,
                     id="requests are copied when its pod is ready"),
        pytest.param(shadow(), 0, ALL_ON_STABLE, {"sft": 4, "v1": 1}, {"sft": 100}, None,
                     id="and not before"),
        pytest.param(shadow(**FULL), 2, ALL_ON_STABLE, {"sft": 4, "v1": 3}, {"sft": 100}, None,
                     id="with a larger share not before all its pods are"),
        pytest.param(shadow(**FULL), 2,
                     Route(weights={"sft": 100}, mirror=Mirror(version="v1", percent=60),
                           accepted=True),
                     {"sft": 4, "v1": 3}, {"sft": 100}, Mirror(version="v1", percent=60),
                     id="a pod that is lost takes no copies away"),
        pytest.param(shadow(**BACK), 1, COPIED, {"sft": 4, "v1": 1}, {"sft": 100}, None,
                     id="a rollback ends the copies at once and keeps the pod while it drains"),
        pytest.param(shadow(**PREPARING | {"phase": "Parked", "in_force_at": None}), 1, COPIED,
                     {"sft": 4, "v1": 1}, {"sft": 100}, None, id="so does parking"),
        pytest.param(shadow(**PROMOTED), 1, COPIED, {"sft": 4, "v1": 1}, {"v1": 25, "sft": 75},
                     None, id="a promotion moves users as pods get ready, and copies nothing"),
        pytest.param(switched(**PREPARING), 1, ALL_ON_STABLE, {"sft": 4, "v1": 4}, {"sft": 100},
                     None, id="before the switch all pods of both come up"),
        pytest.param(switched(), 4, ALL_ON_STABLE, {"sft": 4, "v1": 4}, {"v1": 100}, None,
                     id="all traffic moves at once"),
        pytest.param(switched(), 3, ALL_ON_STABLE, {"sft": 4, "v1": 4}, {"sft": 100}, None,
                     id="and not in part while a pod is missing"),
        pytest.param(switched(), 3, ALL_ON_CANARY, {"sft": 4, "v1": 4}, {"v1": 100}, None,
                     id="a pod that is lost later moves nothing back"),
        pytest.param(switched(in_force_at=ago(60)), 4, ALL_ON_CANARY, {"sft": 4, "v1": 4},
                     {"v1": 100}, None, id="stable keeps its pods however long it is judged"),
        pytest.param(switched(**BACK), 4, ALL_ON_CANARY, {"sft": 4, "v1": 4}, {"sft": 100}, None,
                     id="a rollback is one write of the route"),
        pytest.param(switched(**PROMOTED), 4, ALL_ON_CANARY, {"sft": 4, "v1": 4}, {"v1": 100},
                     None, id="after promotion stable drains first"),
        pytest.param(switched(**PROMOTED | {"in_force_at": ago(2)}), 4, ALL_ON_CANARY, {"v1": 4},
                     {"v1": 100}, None, id="and goes then"),
    ],
)  # fmt: skip
def test_what_is_laid_out(
    run: Run, ready: int, route: Route, pods: Any, weights: Any, mirror: Mirror | None
) -> None:
    found = capacity.layout(picture(run, ready=ready, route=route), DRAIN)
    floorless = {name: count for name, count in found.pods.items() if count}
    assert (floorless, dict(found.weights), found.mirror) == (pods, weights, mirror)


@pytest.mark.parametrize(
    ("run", "route", "holds"),
    [
        pytest.param(shadow(), COPIED, True, id="copies as declared"),
        pytest.param(shadow(), ALL_ON_STABLE, False, id="copies that are not made yet"),
        pytest.param(shadow(**BACK), COPIED, False, id="copies that should have ended"),
        pytest.param(switched(), ALL_ON_CANARY, True, id="everything on the canary"),
        pytest.param(make.ended(), Route(weights={"v1": 100}, mirror=TENTH, accepted=True), False,
                     id="a copy that nobody declared"),
    ],
)  # fmt: skip
def test_copies_are_part_of_what_is_in_force(run: Run, route: Route, holds: bool) -> None:
    seen = make.make_observed(run=run, route=route)
    assert capacity.is_in_force(seen, run) is holds


@pytest.mark.parametrize(
    ("percent", "surge", "fits"),
    [
        pytest.param(25, "One", True, id="one pod of four carries a quarter"),
        pytest.param(26, "One", False, id="and not more"),
        pytest.param(100, "Full", True, id="a full set carries everything"),
    ],
)
def test_a_shadow_gets_the_pods_its_share_takes(percent: int, surge: str, fits: bool) -> None:
    rollout = Rollout.model_validate(
        {"strategy": "Shadow", "shadow": {"percent": percent, "hold": "1m"}, "surge": surge}
    )
    problem = capacity.too_small(rollout, 4)
    assert (problem is None) is fits
    if problem is not None:
        assert "copy 25% at most" in problem.message


@pytest.mark.parametrize(
    ("run", "told"),
    [
        pytest.param(shadow(), (0, 20, {"sft": 100, "v1": 0}), id="a shadow answers no user"),
        pytest.param(switched(), (100, None, {"sft": 0, "v1": 100}), id="all at once"),
        pytest.param(make.make_run(), (10, None, {"sft": 90, "v1": 10}), id="a canary"),
    ],
)
def test_the_model_tells_users_shares(run: Run, told: Any) -> None:
    seen = make.make_observed(run=run)
    status = summary.model_status(seen, hold(Reason.HOLDING, "held"), run, None)
    shares = {each.name: each.weight for each in status.versions}
    assert (status.weight, status.copied, shares) == told
    version = summary.version_status(seen, run, V1, None, 1)
    assert version.weight == told[2]["v1"]


COUNTED = SLOResult(
    policy="safe", name="unsafe", class_="Safety", version="sft", verdict=Verdict.SUCCESSFUL,
    events=3, samples=500, message="fine",
)  # fmt: skip
KEPT = (ArmCount(slo="safe/unsafe", version="sft", events=3, samples=500),)


@pytest.mark.parametrize(
    ("run", "weight", "kept"),
    [
        pytest.param(switched(**PREPARING), 100, KEPT, id="at the switch"),
        pytest.param(switched(), 0, (), id="not when it is parked"),
        pytest.param(shadow(**PREPARING), 100, (), id="not for a shadow of everything"),
        pytest.param(make.preparing(), 10, (), id="not for a canary"),
    ],
)
def test_what_stable_showed_is_kept(run: Run, weight: int, kept: Any) -> None:
    seen = make.make_observed(run=run, stable=Assessment(results=(COUNTED,)))
    assert facts.before_switch(seen, run, weight) == kept


def test_what_is_judged_by_strategy() -> None:
    asked = subject(make.make_observed(), shadow())
    assert asked is not None
    assert (asked.version, asked.stable, asked.before_switch) == ("v1", "sft", None)
    asked = subject(make.make_observed(), switched(before_switch=KEPT))
    assert asked is not None and asked.before_switch == KEPT
    asked = subject(make.make_observed(), make.make_run(plan=AB_TEST, weight=50))
    assert asked is not None and asked.policies[-1].name == TEST_POLICY
    waiting = switched(**PREPARING | {"in_force_at": ago(17)})
    asked = subject(make.make_observed(), waiting)
    assert asked is not None
    assert (asked.version, asked.since) == ("sft", ago(17)), "counted since the run began"


def test_a_switch_without_its_first_approval_spares_it() -> None:
    """A gate after the switch is no substitute for one before it."""
    enter = {"steps": [{"weight": 100, "hold": "1m", "approval": {"gate": "Enter"}}]}
    leave = {"steps": [{"weight": 100, "hold": "1m", "approval": {"gate": "Leave"}}]}
    run = switched(**PREPARING, plan=SWITCH | enter)
    other = switched(**PREPARING, plan=SWITCH | leave)
    assert repins.lost_approval(run, other.plan, -1) is not None
    assert repins.lost_approval(other, run.plan, -1) is None


def test_a_flight_is_a_flight_whatever_the_strategy() -> None:
    """What a rollback pins of today's strategy does not slow it down."""
    for plan in (SHADOW, SWITCH, AB_TEST):
        run = make.ended(type=RunType.FALLBACK, from_=V1, to=SFT, stable=SFT, in_force_at=None,
                         plan=plan)  # fmt: skip
        found = capacity.layout(picture(run, ready=4, route=ALL_ON_CANARY), DRAIN)
        assert (dict(found.weights), found.mirror) == ({"sft": 100}, None)


@pytest.mark.parametrize(
    ("strategy", "slo", "said"),
    [
        pytest.param("Shadow", {"indicator": {"type": "ThumbsDownRate"}, "max": "0.1"},
                     "nobody votes", id="nobody votes on a shadow"),
        pytest.param("Canary", {"indicator": {"type": "ThumbsDownRate"}, "max": "0.1"}, None,
                     id="but on a canary"),
        pytest.param("Shadow", {"indicator": {"type": "ThumbsDownRate"}, "max": "0.1",
                                "class": "Informational"}, None,
                     id="what decides nothing may stay unknown"),
        pytest.param("Shadow", {"indicator": {"type": "RefusalRate"}, "max": "0.1",
                                "versusStable": {"ratio": "1.5"}}, None,
                     id="a shadow's own answers are counted"),
        pytest.param("BlueGreen", {"indicator": {"type": "RefusalRate"},
                                   "versusStable": {"ratio": "1.5"}}, None,
                     id="a ratio is compared with what was before"),
        pytest.param("BlueGreen", {"indicator": {"type": "RefusalRate"},
                                   "versusStable": {"ratio": "1.5", "method": "Threshold"}},
                     "use max or min", id="two numbers at one time are not"),
        pytest.param("BlueGreen", {"indicator": {"type": "ResponseLength"},
                                   "versusStable": {"difference": "5", "method": "Threshold"}},
                     "use max or min", id="nor two means"),
        pytest.param("BlueGreen", {"indicator": {"type": "ResponseLength"}, "max": "500"}, None,
                     id="a bound of its own is judged as ever"),
    ],
)  # fmt: skip
def test_what_a_strategy_could_never_judge(strategy: Any, slo: Any, said: str | None) -> None:
    found = unjudged.why(strategy, SLO.model_validate({"name": "x", "class": "Quality"} | slo))
    assert (found is None) == (said is None)
    assert said is None or said in str(found)


def test_what_decides_a_test_bets_evenly_and_what_guards_it_mostly_on_two() -> None:
    plan = Plan.model_validate(make.make_run().plan.dump() | {"abTest": TEST})
    guard = PinnedPolicy.model_validate(
        make.POLICY.dump() | {"slos": [{"name": "g", "class": "Safety", "max": "0.1",
                                        "indicator": {"type": "UnsafeServedRate"}}]}
    )  # fmt: skip
    *others, (_, primary) = objectives(plans.asked(plan, (guard,)))
    assert primary.rate is not None and primary.rate.bets == EVENLY
    assert [goal.rate.bets for _, goal in others if goal.rate is not None] == [MOSTLY_TWO]


def test_equal_versions_seldom_have_a_winner() -> None:
    """The error is shared over both directions and holds however often one looks."""
    plan = Plan.model_validate(make.make_run().plan.dump() | {"abTest": TEST | {"error": "0.2"}})
    *_, (_, goal) = objectives(plans.asked(plan, (make.POLICY,)))
    assert goal.rate is not None
    chance, rounds, won = Random(3), 300, 0
    for _ in range(rounds):
        mine = other = 0
        for answers in range(50, 1501, 50):
            mine += sum(chance.random() < 0.1 for _ in range(50))
            other += sum(chance.random() < 0.1 for _ in range(50))
            seen = Stretch(events=mine, samples=answers, stable_events=other,
                           stable_samples=answers)  # fmt: skip
            (proof,) = proofs(goal.rate, (seen,), compares=True)
            if proof.good >= goal.rate.levels.good or proof.harm >= goal.rate.levels.harm:
                won += 1
                break
    assert won <= 0.2 * rounds
