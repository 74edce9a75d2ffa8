"""The control arm: what takes its traffic away."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf_operator.api.reasons import Reason
from rlhf_operator.core.decision import Action
from tests import builders as make
from tests.builders import BAD, GONE, GOOD, NOW, SFT, V2
from tests.core.rule_rows import check, row

ARM = make.standby(SFT, weight=5)
HELD: dict[str, Any] = {
    "run": make.ended(standby=ARM),
    "control": GOOD,
    "spec": make.model_spec(standby={"holdback": 5}),
}
ELSEWHERE = {"run": make.ended(to=V2, stable=V2, standby=make.standby(make.V1, weight=5)),
             "target": V2, "workloads": make.pods(v2=make.SERVING)}  # fmt: skip
LATE = make.ended(standby=ARM.model_copy(update={"until": NOW}))

ROWS = [
    row("a good version beside a good control arm rests", "target_serving", Action.KEEP,
        Reason.SERVING, **HELD),
    row("an unsafe control arm loses its traffic at once", "control_unsafe", Action.RELEASE,
        Reason.SAFETY_FAILED, **HELD | {"control": BAD}),
    row("also while suspended", "control_unsafe", Action.RELEASE, Reason.SAFETY_FAILED,
        **HELD | {"control": BAD, "spec": make.model_spec(suspend=True)}),
    row("it does so before stable flees to it", "control_unsafe", Action.RELEASE,
        Reason.SAFETY_FAILED, **HELD | {"control": BAD, "stable": BAD}),
    row("a version that is worse than its control arm is left for it", "stable_unsafe",
        Action.START, Reason.SAFETY_FAILED, **HELD | ELSEWHERE | {"stable": BAD}),
    row("a control arm that a person forbade loses its traffic", "control_over", Action.RELEASE,
        Reason.QUARANTINED, **HELD | {"quarantines": make.vetoed(SFT)}),
    row("a control arm that serves no more loses its traffic", "control_over", Action.RELEASE,
        Reason.NOT_READY, **HELD | {"workloads": make.pods(sft=GONE)}),
    row("its time ends", "control_over", Action.RELEASE, Reason.RELEASED, **HELD | {"run": LATE}),
    row("its time ends also before the promotion settled", "control_over", Action.RELEASE,
        Reason.RELEASED, **HELD | {"run": make.ended(
            standby=ARM.model_copy(update={"until": NOW}), settled_at=None)}),
    row("but not before the promotion is in force: all of it would come at once", "settling",
        Action.HOLD, Reason.SETTLING, **HELD | {"run": make.ended(
            standby=ARM.model_copy(update={"until": NOW}), settled_at=None, in_force_at=None)}),
    row("what is unsafe does not wait for that", "control_unsafe", Action.RELEASE,
        Reason.SAFETY_FAILED, **HELD | {"control": BAD, "run": make.ended(
            standby=ARM, settled_at=None, in_force_at=None)}),
    row("nor what has no pod", "control_over", Action.RELEASE, Reason.NOT_READY,
        **HELD | {"workloads": make.pods(sft=GONE), "run": make.ended(
            standby=ARM, settled_at=None, in_force_at=None)}),
    row("what a person forbade leaves also where nothing is safe and all goes on", "control_over",
        Action.RELEASE, Reason.QUARANTINED, **HELD | {"stable": BAD, "spec": make.model_spec(
            standby={"holdback": 5}, rollout={"whenNothingIsSafe": "KeepServing"}),
            "quarantines": make.vetoed(SFT)}),
    row("an edit ends it", "control_over", Action.RELEASE, Reason.RELEASED,
        **HELD | {"spec": make.model_spec()}),
    row("a spec that cannot be read does not", "nothing_to_do", Action.KEEP, Reason.SERVING,
        **HELD | {"spec": None, "target": None}),
    row("what is kept warm without traffic is no control arm", "target_serving", Action.KEEP,
        Reason.SERVING, **HELD | {"run": make.ended(standby=make.standby()), "control": None}),
    row("a new version starts while there is one", "target_differs", Action.START,
        Reason.STARTED, **HELD | {"target": V2}),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "action", "reason", "changes"), ROWS)
def test_the_control_arm(
    rule: str, action: Action, reason: Reason, changes: dict[str, Any]
) -> None:
    decision = check(rule, action, reason, changes)
    assert decision.quarantine is (rule == "control_unsafe")


def test_what_serves_tells_of_its_control_arm() -> None:
    decision = check("target_serving", Action.KEEP, Reason.SERVING, HELD)
    assert decision.message == "v1 serves 95%; sft keeps 5% as control arm until 05 13:00"
