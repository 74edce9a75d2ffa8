"""The joint rule: reward up and divergence up, while people are worse off."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from math import log
from typing import Any

import pytest

from rlhf_operator.api.evidence import SLOResult, Verdict
from rlhf_operator.api.plan import PinnedPolicy
from rlhf_operator.api.reasons import ConditionType, Reason
from rlhf_operator.api.rollout import RolloutStatus
from rlhf_operator.core import mandatory, record, reward_hacking, rollout, summary
from rlhf_operator.core.decision import Action
from rlhf_operator.core.observed import Assessment, Observed
from tests import builders as make
from tests.builders import NOW, act, ago
from tests.core.rule_rows import row

PROOF = f"{log(20):.9f}"
KINDS = {
    "reward": ("RewardScore", {"versusStable": {"difference": "0.1"}}),
    "kl": ("KLToSFT", {"versusStable": {"difference": "9"}}),
    "thumbs": ("ThumbsDownRate", {"versusStable": {"ratio": "2"}}),
    "tasks": ("TaskCompletionRate", {"versusStable": {"ratio": "2"}}),
}


def policy(class_: str = "Quality", **more: Any) -> PinnedPolicy:
    slos = [
        {"name": name, "class": class_, "indicator": {"type": kind}} | bound
        for name, (kind, bound) in KINDS.items()
    ]
    slos += [slo.dump() for slo in make.POLICY.slos]
    body = {"name": "safe", "metricSource": "default", "interval": "1s", "slos": slos}
    return PinnedPolicy.model_validate(body | more)


def shown(name: str, **found: Any) -> SLOResult:
    body = {
        "policy": "safe", "name": name, "class_": "Quality", "version": "v1", "samples": 900,
        "verdict": Verdict.SUCCESSFUL, "value": "0.4", "stable_value": "0.2",
        "higher": "0", "lower": "0", "good_proven": PROOF, "message": f"{name} is fine",
    }  # fmt: skip
    return SLOResult.model_validate(body | found)


UP, DOWN = {"higher": "5.3"}, {"lower": "5.3"}
HACKED = {"reward": UP, "kl": UP, "thumbs": UP}


def picture(
    found: dict[str, dict[str, Any]], *, asked: PinnedPolicy | None = None, **changes: Any
) -> Observed:
    """A canary at 10 %, held long enough, whose objectives all pass and show this beside."""
    return make.make_observed(**parts(found, asked=asked, **changes))


def parts(
    found: dict[str, dict[str, Any]], *, asked: PinnedPolicy | None = None, **changes: Any
) -> dict[str, Any]:
    """What such a picture differs in from the plain one."""
    asked = asked or policy()
    run = {"policies": (asked,)} | changes.pop("run", {})
    results = (*make.GOOD.results, *(shown(name, **found.get(name, {})) for name in KINDS))
    return {
        "run": make.make_run(**run),
        "policies": (asked,),
        "canary": Assessment(results=results),
        **changes,
    }


ROWS = [
    row("a pleased reward model is no pleased user", "reward_hacking", Action.HOLD,
        Reason.REWARD_HACKING_SUSPECTED, **parts(HACKED)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("found", "suspected"),
    [
        pytest.param(HACKED, True, id="reward and divergence rise, and more thumbs are down"),
        pytest.param({"reward": UP, "kl": UP, "tasks": DOWN}, True, id="or fewer tasks are done"),
        pytest.param({"reward": UP, "kl": UP}, False, id="people see no difference"),
        pytest.param({"reward": UP, "kl": UP, "thumbs": DOWN}, False, id="people are better off"),
        pytest.param({"reward": UP, "kl": UP, "tasks": UP}, False, id="more tasks are done"),
        pytest.param({"reward": UP, "thumbs": UP}, False, id="it is as near to the SFT policy"),
        pytest.param({"kl": UP, "thumbs": UP}, False, id="the reward does not rise"),
        pytest.param({"reward": DOWN, "kl": UP, "thumbs": UP}, False, id="the reward falls"),
        pytest.param(HACKED | {"reward": {"higher": "2.99"}}, False, id="19 to 1 is no proof"),
        pytest.param(HACKED | {"reward": {"higher": "3.01"}}, True, id="20 to 1 is"),
        pytest.param(HACKED | {"kl": UP | {"samples": None}}, False, id="nor does what is unseen"),
        pytest.param(HACKED | {"kl": {"higher": None}}, False, id="nor what is not compared"),
        pytest.param({name: {} for name in KINDS}, False, id="nothing differs"),
    ],
)
def test_suspicion(found: dict[str, dict[str, Any]], suspected: bool) -> None:
    seen = picture(found)
    assert seen.run is not None
    told = reward_hacking.suspicion(seen, seen.run)
    assert (told is not None) is suspected, told
    decision = rollout.decide(seen)
    wanted = (Action.HOLD, "reward_hacking") if suspected else (Action.ADVANCE, "step_passed")
    assert (decision.action, decision.rule) == wanted, decision.message


def test_the_message_has_the_numbers() -> None:
    decision = rollout.decide(picture(HACKED))
    assert decision.reason is Reason.REWARD_HACKING_SUSPECTED and decision.stalled
    for part in ("reward 0.4 (stable 0.2, evidence 200 to 1)", "kl 0.4", "thumbs 0.4"):
        assert part in decision.message


def test_objectives_that_only_inform_tell_of_it_too() -> None:
    assert rollout.decide(picture(HACKED, asked=policy("Informational"))).rule == "reward_hacking"


ROLLS_BACK = {"rewardHacking": {"action": "RollBack", "after": "30m"}}
SINCE = {"reward_hacking_since": ago(31)}


@pytest.mark.parametrize(
    ("asked", "run", "action", "reason"),
    [
        pytest.param({}, SINCE, Action.HOLD, "RewardHackingSuspected", id="it holds by itself"),
        pytest.param(ROLLS_BACK, SINCE, Action.ROLL_BACK, "RewardHackingSuspected",
                     id="it rolls back where the policy says so"),
        pytest.param(ROLLS_BACK, {"reward_hacking_since": ago(29)}, Action.HOLD,
                     "RewardHackingSuspected", id="but not before its time"),
        pytest.param(ROLLS_BACK, {}, Action.HOLD, "RewardHackingSuspected",
                     id="its time begins when it was first suspected"),
        pytest.param({"rewardHacking": {"action": "RollBack"}}, SINCE, Action.HOLD,
                     "RewardHackingSuspected", id="an hour when nothing is said"),
        pytest.param({}, {"in_force_at": ago(25 * 60)}, Action.ROLL_BACK, "MaxHoldExceeded",
                     id="nothing holds for longer than maxHold"),
        pytest.param({}, {"in_force_at": ago(25 * 60), "plan": {"onInconclusive": "Hold"}},
                     Action.HOLD, "RewardHackingSuspected", id="unless the plan says so"),
        pytest.param({}, {"in_force_at": ago(0.5)}, Action.HOLD, "RewardHackingSuspected",
                     id="it is told while the step is held"),
    ],
)  # fmt: skip
def test_what_follows(
    asked: dict[str, Any], run: dict[str, Any], action: Action, reason: str
) -> None:
    decision = rollout.decide(picture(HACKED, asked=policy(**asked), run=run))
    assert (decision.action, decision.reason) == (action, reason), decision.message
    assert decision.quarantine is (reason == "RewardHackingSuspected" and action != Action.HOLD)
    assert decision.wake is None or decision.wake > NOW


@pytest.mark.parametrize(
    ("person", "action"),
    [
        pytest.param(act("Promote"), Action.PROMOTE, id="promote"),
        pytest.param(act("Override", slo="thumbs", expires_at=NOW + timedelta(hours=1)),
                     Action.HOLD, id="override"),
    ],
)  # fmt: skip
def test_a_person_may_know_better(person: Any, action: Action) -> None:
    decision = rollout.decide(picture(HACKED, acts=(person,)))
    assert (decision.rule, decision.action, decision.refused) == ("person_decided", action, None)


@pytest.mark.parametrize(
    ("there", "said"),
    [
        pytest.param(["reward", "kl", "thumbs"], None, id="three are enough"),
        pytest.param(["reward", "kl", "tasks"], None, id="votes or tasks"),
        pytest.param(["reward", "kl"], "ThumbsDownRate or TaskCompletionRate", id="people"),
        pytest.param(["reward", "thumbs"], "KLToSFT", id="the divergence"),
        pytest.param(["kl", "thumbs"], "RewardScore", id="the reward"),
    ],
)
def test_what_is_missing(there: list[str], said: str | None) -> None:
    found = reward_hacking.missing(slo for slo in policy().slos if slo.name in there)
    assert found is None if said is None else said in (found or "")


@pytest.mark.parametrize("class_", ["Quality", "Informational"])
def test_an_override_ends_the_suspicion(class_: str) -> None:
    until = NOW + timedelta(hours=1)
    entry = {
        "name": "o", "action": "Override", "slo": "thumbs", "until": until, "author": "ann",
        "reason": "a prank", "at": ago(1),
    }  # fmt: skip
    asked = policy(class_)
    seen = picture(HACKED, asked=asked, run={"decisions": [entry], **SINCE})
    assert rollout.decide(seen).rule == "step_passed"


def after(seen: Observed) -> RolloutStatus:
    decision = rollout.decide(seen)
    assert seen.run is not None
    found = record.next_status(seen, decision, epoch=1, drain=timedelta(0))
    return found or seen.run.status


def test_since_when_is_on_record_until_it_no_longer_holds() -> None:
    began = after(picture(HACKED))
    assert began.reward_hacking_since == NOW
    kept = after(picture(HACKED, run=SINCE))
    assert kept.reward_hacking_since == ago(31)
    held = {"in_force_at": ago(0.5), **SINCE}
    assert after(picture({}, run=held)).reward_hacking_since is None
    unseen = make.make_observed(run=make.make_run(policies=(policy(),), **held), canary=None)
    assert after(unseen).reward_hacking_since == ago(31), "what was not judged changes nothing"


def test_the_version_that_is_rolled_back_is_quarantined() -> None:
    ended = after(picture(HACKED, asked=policy(**ROLLS_BACK), run=SINCE))
    assert ended.outcome == "RolledBack" and ended.quarantine is not None
    assert ended.quarantine.identity == make.V1.identity
    assert "people are worse off" in ended.quarantine.message


def test_the_model_says_so_as_long_as_it_is_suspected() -> None:
    for found, told in ((HACKED, True), ({}, False)):
        seen = picture(found)
        status = summary.model_status(seen, rollout.decide(seen), seen.run, None)
        said = {each.type: each for each in status.conditions}
        assert (ConditionType.REWARD_HACKING_SUSPECTED in said) is told
    events = summary.events(rollout.decide(picture(HACKED)), None)
    assert [(each.type, each.reason) for each in events] == [("Warning", "RewardHackingSuspected")]


@pytest.mark.parametrize(
    ("pinned", "current", "wanted"),
    [
        pytest.param({}, ROLLS_BACK, "30m", id="a mandatory policy may ask for a rollback"),
        pytest.param(ROLLS_BACK, {}, "30m", id="and not take one back"),
        pytest.param(ROLLS_BACK, {"rewardHacking": {"action": "RollBack"}}, "30m",
                     id="nor give it more time"),
        pytest.param({"rewardHacking": {"action": "RollBack"}}, ROLLS_BACK, "30m",
                     id="but less"),
    ],
)  # fmt: skip
def test_a_mandatory_policy_only_tightens(
    pinned: dict[str, Any], current: dict[str, Any], wanted: str
) -> None:
    before, now = (policy(mandatory=True, **each) for each in (pinned, current))
    (bound,) = mandatory.binding((before,), (now,))
    assert bound.reward_hacking is not None and bound.reward_hacking.patience == wanted


def test_a_drill_blames_no_floor_for_it() -> None:
    asked = policy(**ROLLS_BACK)
    going = make.drill(policies=(asked,), **SINCE)
    seen = picture(HACKED, asked=asked, spec=make.model_spec(rollbackDrill={"every": "1h"}))
    route = make.Route(weights={"v1": 99, "sft": 1}, accepted=True)
    seen = replace(seen, run=going, route=route)
    decision = rollout.decide(seen)
    assert decision.rule == "drill_held" and not decision.quarantine
    assert reward_hacking.suspicion(seen, going) is None
