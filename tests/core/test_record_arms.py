"""What the record keeps of several versions that are tested at once."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

from rlhf_operator.api.evidence import Checkpoint, GoldenResult, SLOResult, Verdict
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import RolloutStatus
from rlhf_operator.core import plans, record, rollout
from rlhf_operator.core.decision import Decision
from rlhf_operator.core.observed import ArmSeen, Assessment, Observed
from rlhf_operator.core.subject import subjects
from tests import builders as make
from tests.builders import BAD, NOW, PASSED, V2, ago
from tests.core.test_rules_arms import (
    BETTER,
    UNDECIDED,
    V3,
    alone,
    arm,
    dropped,
    says,
    several,
    trial,
)

DRAIN = timedelta(seconds=30)


def counted(version: str, events: int, verdict: Verdict = Verdict.SUCCESSFUL) -> Assessment:
    """What a rate showed of a version since the last weight change."""
    result = SLOResult(
        policy="safe", name="unsafe", class_="Safety", version=version, verdict=verdict,
        events=events, samples=100, stable_events=5, stable_samples=200, harm="0", good="4",
        message=f"unsafe of {version}",
    )  # fmt: skip
    return Assessment(results=(result,))


def written(seen: Observed, decision: Decision | None = None, **more: Any) -> RolloutStatus:
    decided = decision or rollout.decide(seen)
    status = record.next_status(seen, decided, epoch=1, drain=DRAIN, **more)
    assert status is not None
    return status


def shown(status: RolloutStatus) -> dict[str, list[int]]:
    """The events of each tested version in the strata that are on record."""
    strata = {arm.version: arm.strata for arm in status.arms}
    if status.canary is not None:
        strata[status.canary.name] = status.strata
    return {name: [each.events for each in found] for name, found in strata.items()}


def test_when_one_is_dropped_the_others_keep_what_they_showed() -> None:
    seen = make.make_observed(
        **trial(counted("v1", 1), counted("v2", 2), counted("v3", 70, Verdict.FAILED))
    )
    status = written(seen)
    assert shown(status) == {"v1": [1], "v2": [2], "v3": []}
    assert (status.canary, status.weight, status.reason) == (make.V1, 30, "SafetyFailed")
    (gone,) = (each for each in status.arms if each.version == "v3")
    assert (gone.state, gone.weight) == ("Dropped", 0)
    assert [each.events for each in gone.slos] == [70], "what it was dropped for stays"
    assert [each.version for each in status.quarantines] == ["v3"]
    assert status.quarantine is None, "the run is not over"
    assert status.in_force_at is None
    assert status.step_since == seen.run.status.in_force_at if seen.run else None
    last, new = status.steps[-2:] if len(status.steps) > 1 else (None, status.steps[-1])
    assert new.weight == 50, "what is tested still, all together"
    assert last is None or {each.version for each in last.slos} == {"v1", "v2", "v3"}


def test_when_the_first_is_dropped_the_next_takes_its_place_with_all_that_is_its_own() -> None:
    golden = GoldenResult(at=ago(90), passed=True)
    run = several(arms=(arm(V2, 20, golden=golden), arm(V3, 10)), golden=PASSED)
    seen = make.make_observed(
        **trial(counted("v1", 70, Verdict.FAILED), counted("v2", 2), counted("v3", 3), run)
    )
    status = written(seen)
    assert (status.canary, status.weight, status.golden) == (V2, 20, golden)
    assert shown(status) == {"v2": [2], "v1": [], "v3": [3]}
    assert {each.version: each.state for each in status.arms} == {
        "v1": "Dropped", "v3": "Testing",
    }  # fmt: skip


def test_counts_go_on_record_for_each_version() -> None:
    seen = make.make_observed(**trial(counted("v1", 1), counted("v2", 2), counted("v3", 3)))
    assert seen.run is not None and seen.run.status.in_force_at is not None
    points = {
        name: Checkpoint(since=seen.run.status.in_force_at, at=NOW - number * DRAIN)
        for number, name in enumerate(("v1", "v2", "v3"))
    }
    status = written(seen, checkpoint=points["v1"], checkpoints=points)
    kept = {each.version: each.checkpoint for each in status.arms}
    assert (status.checkpoint, kept) == (points["v1"], {"v2": points["v2"], "v3": points["v3"]})
    after = replace(seen, run=make.replace_status(seen.run, status))
    asked = subjects(after, after.run)
    assert [(each.version, each.stable, each.tested) for each in asked] == [
        ("v1", "sft", 3), ("v2", "sft", 3), ("v3", "sft", 3),
    ]  # fmt: skip
    assert [each.checkpoint for each in asked] == list(points.values())


def test_each_is_asked_with_its_part_of_the_errors() -> None:
    seen = make.make_observed(**trial(UNDECIDED, UNDECIDED, UNDECIDED))
    *guards, test = subjects(seen, seen.run)[1].policies
    assert [each.false_rollback for each in guards] == ["0.003333333"]
    assert (test.false_rollback, test.false_promotion) == ("0.008333333", "0.008333333")
    assert [each.false_promotion for each in guards] == ["0.05"], "each guardrail in full"


def test_before_the_first_weight_stable_is_judged_once() -> None:
    run = several(weight=0, step=-1, phase="Preparing", arms=(arm(V2), arm(V3)))
    seen = make.make_observed(**trial(UNDECIDED, UNDECIDED, UNDECIDED, run))
    assert [each.version for each in subjects(seen, run)] == ["sft"]


def test_the_winner_stays_alone_with_its_evidence() -> None:
    seen = make.make_observed(**trial(says(Verdict.SUCCESSFUL, "0.8"), BETTER, UNDECIDED,
                                      several(24 * 60.0)))  # fmt: skip
    status = written(seen)
    assert (status.canary, status.weight) == (V2, 20)
    assert {each.version: each.reason for each in status.arms} == {
        "v1": "OtherWon", "v3": "OtherWon",
    }  # fmt: skip
    assert status.quarantines == ()


def test_what_is_promoted_leaves_no_arm_behind() -> None:
    seen = make.make_observed(**alone(workloads=make.pods()))
    status = written(seen)
    assert status.stable == make.V1
    assert {each.state for each in status.arms} == {"Dropped"}


def test_a_run_that_ends_drops_all_that_it_tested() -> None:
    ended = rollout.decide(
        make.make_observed(**trial(UNDECIDED, UNDECIDED, UNDECIDED, acts=(make.act("Abort"),)))
    )
    status = written(make.make_observed(**trial(UNDECIDED, UNDECIDED, UNDECIDED)), ended)
    assert [(each.version, each.state, each.reason) for each in status.arms] == [
        ("v2", "Dropped", "Aborted"), ("v3", "Dropped", "Aborted"),
    ]  # fmt: skip


def test_a_dropped_version_stays_as_it_is_when_the_next_one_goes() -> None:
    run = several(arms=(dropped(V2, "LostABTest"), arm(V3, 10)))
    seen = make.make_observed(**trial(BAD, UNDECIDED, UNDECIDED, run))
    before = run.status.arms[0]
    status = written(seen)
    assert status.canary == V3
    assert status.arms[0] == before


def test_a_plan_without_others_has_the_digest_that_it_had() -> None:
    plan = several().plan
    assert plan.ab_test is not None
    alone_ = plan.model_copy(update={"ab_test": plan.ab_test.model_copy(update={"others": ()})})
    data = {"plan": alone_.dump(), "policies": []}
    assert data["plan"]["abTest"].pop("others") == []
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    assert plans.digest(alone_, ()) == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    assert plans.digest(alone_, ()) != plans.digest(plan, ())


def test_what_the_golden_prompts_showed_of_each_goes_on_record() -> None:
    run = several(weight=0, step=-1, phase="Preparing", arms=(arm(V2), arm(V3)), golden=None)
    seen = make.make_observed(
        **trial(UNDECIDED, UNDECIDED, UNDECIDED, run, canary=None, golden=PASSED, arms={
            "v2": ArmSeen(golden=PASSED), "v3": ArmSeen(golden=None)})
    )  # fmt: skip
    decision = rollout.decide(seen)
    assert decision.reason is Reason.GOLDEN_PENDING
    status = written(seen, decision)
    assert (status.golden, [each.golden for each in status.arms]) == (PASSED, [PASSED, None])
