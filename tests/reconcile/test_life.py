"""The life of a model, told as what is live after a while. No cluster, no waiting."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from rlhf_operator.api.evidence import BaselineRecord, DriftRecord, Verdict
from rlhf_operator.api.rollout import Outcome
from rlhf_operator.core import names
from tests.reconcile.stage import KEY, Stage

MINUTE = timedelta(minutes=1)


def test_the_fallback_serves_first_and_the_target_is_promoted() -> None:
    stage = Stage()
    stage.run()
    assert [run.spec.type for run in stage.runs] == ["Initial", "Rollout"]
    assert stage.runs[-1].status.outcome is Outcome.PROMOTED
    assert [step.weight for step in stage.runs[-1].status.steps] == [0, 10, 50]
    assert stage.weights == {"v1": 100}
    assert stage.pods == {"v1": 2, "sft": 1}
    assert stage.condition("Ready") == ("True", "Serving")


def test_an_unsafe_canary_is_rolled_back_and_quarantined() -> None:
    stage = Stage(script=lambda name, _: Verdict.FAILED if name == "v1" else Verdict.SUCCESSFUL)
    stage.run()
    last = stage.runs[-1]
    assert (last.status.outcome, last.status.reason) == (Outcome.ROLLED_BACK, "SafetyFailed")
    assert last.status.quarantine is not None
    assert stage.weights == {"sft": 100}
    assert stage.pods == {"sft": 2}
    assert stage.condition("Stalled") == ("True", "Quarantined")
    assert len(stage.runs) == 2


def test_a_version_that_turns_bad_after_promotion_is_left() -> None:
    stage = Stage()
    stage.run()
    stage.script = lambda name, _: Verdict.FAILED if name == "v1" else Verdict.SUCCESSFUL
    stage.run()
    assert stage.runs[-1].spec.type in ("Fallback", "Rollback")
    assert stage.weights == {"sft": 100}
    assert stage.condition("Stalled") is not None


def promoted_twice() -> Stage:
    """v2 serves, and v1 is warm."""
    stage = Stage()
    stage.run()
    stage.edit(version="v2")
    stage.run()
    assert stage.weights == {"v2": 100} and stage.pods.keys() == {"sft", "v1", "v2"}
    return stage


def test_a_version_that_gets_slow_after_promotion_is_left_for_the_previous_one() -> None:
    stage = promoted_twice()
    stage.slos.errors = Verdict.FAILED
    stage.run()
    last = stage.runs[-1]
    assert (last.spec.type, last.spec.cause.reason) == ("Rollback", "SLOFailed")
    assert [each.name for each in last.spec.cause.evidence] == ["errors"]
    assert stage.weights == {"v1": 100}, "and no further, though v1 is slow too"
    assert last.status.quarantine is not None and last.status.quarantine.version == "v2"
    assert stage.condition("Stalled") == ("True", "Quarantined")


def test_a_slow_version_without_a_warm_one_before_it_goes_on_serving() -> None:
    stage = Stage()
    stage.run()
    records = len(stage.runs)
    stage.slos.errors = Verdict.FAILED
    stage.run()
    assert stage.weights == {"v1": 100} and len(stage.runs) == records
    assert stage.condition("Stalled") == ("True", "SLOFailed")
    stage.slos.errors = Verdict.SUCCESSFUL
    stage.run()
    assert stage.condition("Stalled") is None
    assert stage.condition("Ready") == ("True", "Serving")


def test_a_flight_that_does_not_help_is_the_last() -> None:
    stage = promoted_twice()
    records = len(stage.runs)
    stage.slos.counted = {"events": 90, "samples": 1000}
    stage.script = lambda *_: Verdict.FAILED
    stage.run(60 * MINUTE)
    assert len(stage.runs) == records + 1 and stage.weights == {"v1": 100}
    assert stage.condition("Stalled") == ("True", "NotTheModel")
    assert stage.condition("NotTheModel") == ("True", "RefugeFailsAlike")
    assert stage.cluster.events.count(("Warning", "NotTheModel")) == 1
    stage._restart()
    stage.run(60 * MINUTE)
    assert len(stage.runs) == records + 1, "also after a restart"
    stage.script = lambda *_: Verdict.SUCCESSFUL
    stage.edit(version="v1")
    stage.run()
    assert stage.condition("Ready") == ("True", "Serving")


def test_the_baseline_of_a_mean_is_written_once() -> None:
    stage = Stage()
    stage.run()
    record = BaselineRecord(slo="safe/long", measure="l", mean="800", deviation="10")
    stage.slos.baselines = (record,)
    stage.run()
    assert stage.runs[-1].status.baseline == (record,)
    writes = stage.cluster.writes
    stage.slos.baselines = (record.model_copy(update={"mean": "900"}),)
    stage.run(60 * MINUTE)
    assert stage.runs[-1].status.baseline == (record,), "what is frozen never changes"
    assert stage.cluster.writes == writes


def splits(canary: int, stable: int) -> dict[str, Any]:
    return {
        "samples": canary, "stable_samples": stable,
        "query": "rlhf_guard_unsafe_served_responses_total / rlhf_guard_responses_total",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("counted", "reason", "weights"),
    [
        pytest.param(splits(300, 9700), "AnswersMissing", {"sft": 90, "v1": 10}, id="missing"),
        pytest.param(splits(3000, 7000), "MoreThanDeclared", {"v1": 100}, id="more"),
    ],
)
def test_a_split_that_is_off_is_told_once_and_only_missing_answers_hold(
    counted: dict[str, Any], reason: str, weights: dict[str, int]
) -> None:
    stage = Stage(script=lambda *_: Verdict.INCONCLUSIVE)
    stage.edit(rollout=stage.model["spec"]["rollout"] | {"maxHold": "2h"})
    stage.slos.counted = splits(1000, 9000)
    stage.run(30 * MINUTE, most=2000)
    assert stage.condition("TrafficSplitMismatch") is None
    stage.slos.counted = counted
    stage.run(10 * MINUTE, most=2000)
    assert stage.condition("TrafficSplitMismatch") == ("True", reason)
    message = stage.message("TrafficSplitMismatch")
    stage.slos.counted = {each: 2 * value if value != counted["query"] else value
                          for each, value in counted.items()}  # fmt: skip
    stage.slos.subjects.clear()  # a restarted operator has judged nothing yet
    stage._pass()
    stage.run(10 * MINUTE, most=2000)
    assert stage.message("TrafficSplitMismatch") == message
    told = [event for event in stage.cluster.events if event[1] == "TrafficSplitMismatch"]
    assert told == [("Warning", "TrafficSplitMismatch")]
    stage.script = lambda *_: Verdict.SUCCESSFUL
    held = reason == "AnswersMissing"
    stage.run(30 * MINUTE if held else 4 * 60 * MINUTE, most=5000)
    assert stage.weights == weights
    assert stage.runs[-1].is_active is held
    if held:
        assert stage.condition("Stalled") == ("True", "TrafficSplitMismatch")
        assert "answers of it are missing" in (stage.runs[-1].status.message or "")
        stage.slos.counted = splits(1000, 9000)
        stage.run(most=2000)
        assert stage.weights == {"v1": 100}
    assert stage.condition("TrafficSplitMismatch") is None


def drift_of(windows: int, level: str | None = None) -> tuple[DriftRecord, ...]:
    return (DriftRecord(slo="safe/long", measure="l", windows=windows, level=level),)


def test_how_far_the_watch_over_means_is_goes_on_record_once_an_hour() -> None:
    """Every quarter of one while the baseline grows: few numbers, and few writes."""
    stage = Stage()
    stage.run()
    written: list[tuple[int, str | None]] = []
    for minute in range(0, 240, 5):
        windows = minute // 5
        stage.slos.drifts = drift_of(windows) if windows < 12 else drift_of(0, str(windows))
        stage.run(5 * MINUTE)
        for each in stage.runs[-1].status.drifts:
            if (each.windows, each.level) not in written:
                written.append((each.windows, each.level))
    assert [windows for windows, _ in written if windows] == [1, 4, 7, 10]
    assert 2 <= sum(level is not None for _, level in written) <= 4
    stage._restart()
    stage.slos.drifts = None  # nothing was judged yet
    stage.run(5 * MINUTE)
    (subject,) = stage.slos.subjects[KEY]
    assert subject.drifts == stage.runs[-1].status.drifts != ()
    stage.edit(version="v2")
    stage.run(timedelta(seconds=30))
    assert stage.runs[-1].status.drifts == subject.drifts, "of what is stable still"
    stage.run(60 * MINUTE)
    assert stage.weights == {"v2": 100} and stage.runs[-1].status.drifts == ()


def test_silence_holds_and_success_resumes() -> None:
    stage = Stage(script=lambda *_: Verdict.INCONCLUSIVE)
    stage.run()
    assert stage.weights == {"sft": 90, "v1": 10}
    assert stage.runs[-1].is_active
    stage.script = lambda *_: Verdict.SUCCESSFUL
    stage.run()
    assert stage.weights == {"v1": 100}


def test_blindness_parks_and_data_resumes_at_the_first_step() -> None:
    stage = Stage(script=lambda *_: Verdict.ERROR)
    stage.run(40 * MINUTE)
    assert stage.runs[-1].status.phase == "Parked"
    assert stage.weights == {"sft": 100}
    stage.script = lambda *_: Verdict.SUCCESSFUL
    stage.run()
    assert stage.weights == {"v1": 100}
    assert [step.weight for step in stage.runs[-1].status.steps] == [0, 10, 0, 10, 50]


def test_a_model_at_rest_is_looked_at_rarely() -> None:
    """Also when its standby is over and its version goes on as the fallback."""
    stage = Stage()
    stage.edit(standby={"replicas": 1, "keep": "1m"})
    stage.run()
    assert stage.runs[-1].status.standby is not None
    wake = stage._pass()
    assert wake is not None and wake - stage.now == 5 * MINUTE


def stored(stage: Stage, kind: str) -> dict[str, str]:
    """Names of the objects of a kind, with their versions."""
    return {
        raw["metadata"]["name"]: raw["metadata"]["labels"]["rlhf.dev/version"]
        for raw in stage.world.store.of_model(kind, KEY)
        if "rlhf.dev/version" in raw["metadata"]["labels"]
    }


def test_a_version_that_is_removed_leaves_no_object_but_its_pin() -> None:
    stage = Stage(script=lambda name, _: Verdict.FAILED if name == "v1" else Verdict.SUCCESSFUL)
    stage.run()
    assert stage.pods == {"sft": 2}
    for kind in ("Service", "NetworkPolicy", "ConfigMap"):
        assert set(stored(stage, kind).values()) == {"sft"}, kind
    assert stage.world.store.get("Service", KEY.namespace, names.peers(KEY.name)) is not None
    assert set(stored(stage, "ControllerRevision").values()) == {"sft", "v1"}


def test_config_maps_of_before_a_restart_go_with_their_version() -> None:
    stage = Stage()
    stage.run()
    stage.edit(guard={"refusalPatterns": ["never"]})
    stage.say("Restart")
    stage.run()
    assert list(stored(stage, "ConfigMap").values()).count("v1") == 2
    stage.edit(version="v2", standby={"keep": "0s"})
    stage.run()
    assert set(stored(stage, "ConfigMap").values()) == {"sft", "v2"}


@pytest.mark.parametrize("limit", [1, 3])
def test_pins_go_with_the_last_record_that_names_them(limit: int) -> None:
    stage = Stage()
    stage.edit(history={"limit": limit}, standby={"keep": "1m"})
    seen = set()
    for number in range(6):
        stage.edit(
            version=f"v{1 + number % 2}", serving={"replicas": 2, "images": {"guard": f"g{number}"}}
        )
        stage.run()
        seen |= stored(stage, "ControllerRevision").keys()
    pinned = {pin.revision for run in stage.runs for pin in run.status.pins}
    assert stored(stage, "ControllerRevision").keys() == pinned < seen
    assert set(stored(stage, "ConfigMap").values()) == set(stage.pods)


def test_a_record_with_the_pin_label_outlives_the_limit_of_the_history() -> None:
    stage = Stage()
    stage.edit(history={"limit": 1}, standby={"keep": "1m"})
    stage.run()
    kept = stage.world.store.get("RLHFRollout", KEY.namespace, stage.runs[0].name) or {}
    labels = kept["metadata"]["labels"] | {"rlhf.dev/pin": "incident-42"}
    stage.put({**kept, "metadata": kept["metadata"] | {"labels": labels}})
    names_of_all = [run.name for run in stage.runs]
    for target in ("v2", "v1", "v2"):
        stage.edit(version=target)
        stage.run()
        names_of_all += [run.name for run in stage.runs if run.name not in names_of_all]
    left = [run.name for run in stage.runs]
    assert left == [names_of_all[0], *names_of_all[-2:]]
    pins = {pin.revision for run in stage.runs for pin in run.status.pins}
    assert stored(stage, "ControllerRevision").keys() == pins, "with all that it names"
    labels.pop("rlhf.dev/pin")
    kept = stage.world.store.get("RLHFRollout", KEY.namespace, names_of_all[0]) or {}
    stage.put({**kept, "metadata": kept["metadata"] | {"labels": labels}})
    stage.run()
    assert [run.name for run in stage.runs] == names_of_all[-2:]


def test_a_record_that_was_left_before_it_settled_is_closed() -> None:
    stage = Stage()
    while (
        not stage.runs or stage.runs[-1].status.outcome is None or stage.runs[-1].spec.revision < 2
    ):
        stage._pass()
        stage.cluster.settle()
        stage.now += timedelta(seconds=1)
    assert stage.runs[-1].status.phase == "Settling"
    stage.say("RollBackTo", version="sft")
    stage.run()
    left = stage.runs[1]
    assert (left.status.phase, left.status.outcome) == ("Completed", Outcome.PROMOTED)
    assert stage.runs[2].spec.type == "Rollback"
    assert all(run.is_settled for run in stage.runs) and stage.weights == {"sft": 100}


def test_quarantines_are_read_once_in_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(script=lambda name, _: Verdict.FAILED if name == "v1" else Verdict.SUCCESSFUL)
    stage.run()
    stage.say("Pause", name="a")
    stage.say("Resume", name="b")
    read: list[str] = []
    true = stage.world.store.quarantining
    monkeypatch.setattr(
        stage.world.store, "quarantining", lambda *asked: read.append(asked[0]) or true(*asked)
    )
    stage._pass()
    assert read == [KEY.namespace]


def test_a_plan_that_leaves_no_time_is_told_once_and_holds_nothing_back() -> None:
    stage = Stage(script=lambda *_: Verdict.INCONCLUSIVE)
    rollout = dict(stage.model["spec"]["rollout"])
    stage.edit(rollout=rollout | {"maxHold": "5m", "onInconclusive": "Hold"})
    stage.slos.counted = {
        "events": 0, "samples": 40, "stable_events": 1, "stable_samples": 360
    }  # fmt: skip
    stage.run(30 * MINUTE)
    assert stage.condition("DecisionUnlikely") == ("True", "TooSlow")
    assert stage.weights == {"sft": 90, "v1": 10}
    told = [kind for kind in stage.cluster.events if kind[1] == "DecisionUnlikely"]
    assert told == [("Warning", "DecisionUnlikely")]
    written = stage.cluster.history.count(("status", "RLHFModel", KEY.name))
    stage.run(30 * MINUTE)
    assert stage.cluster.history.count(("status", "RLHFModel", KEY.name)) == written
    stage.script = lambda *_: Verdict.SUCCESSFUL
    stage.run()
    assert stage.weights == {"v1": 100}
    assert stage.condition("DecisionUnlikely") is None


def test_the_router_names_the_run_while_users_are_compared() -> None:
    stage = Stage(script=lambda *_: Verdict.INCONCLUSIVE)
    stage.edit(traffic=stage.model["spec"]["traffic"] | {"stickiness": {"mode": "Arm"}})
    named = []

    def note() -> None:
        route = stage.world.store.get("HTTPRoute", KEY.namespace, KEY.name)
        rules = route["spec"]["rules"] if route else []
        told = [rule["filters"][0]["requestHeaderModifier"].get("set", []) for rule in rules]
        named.append((told, stage.weights))

    stage.run()
    note()
    assert stage.runs[-1].plan.stickiness == "Arm"
    stage.script = lambda *_: Verdict.SUCCESSFUL
    stage.run()
    note()
    header = [
        {"name": "x-rlhf-run", "value": "support-2"},
        {"name": "x-rlhf-arms", "value": "v1=10;step=0;run=support-2"},
    ]
    assert named == [([header] * 3, {"sft": 90, "v1": 10}), ([[]], {"v1": 100})]


def test_a_slow_burn_is_told_once_and_moves_nothing() -> None:
    stage = Stage()
    stage.run()
    told = "spends its budget faster than allowed over 72 h and over 6 h"
    stage.slos.counted = {"samples": 1000, "slow_burn": told}
    stage.run(30 * MINUTE)
    assert stage.condition("SlowBurn") == ("True", "BudgetBurns")
    assert stage.message("SlowBurn").startswith(f"unsafe of v1 {told}: no rollback follows")
    assert stage.weights == {"v1": 100} and stage.condition("Ready") == ("True", "Serving")
    written = stage.cluster.history.count(("status", "RLHFModel", KEY.name))
    stage.slos.subjects.clear()  # a restarted operator has judged nothing yet
    stage._pass()
    assert stage.condition("SlowBurn") == ("True", "BudgetBurns")
    stage.run(30 * MINUTE)
    assert stage.cluster.history.count(("status", "RLHFModel", KEY.name)) == written
    assert [kind for kind in stage.cluster.events if kind[1] == "SlowBurn"] == [
        ("Warning", "SlowBurn")
    ]
    stage.slos.counted = None
    stage.run()
    assert stage.condition("SlowBurn") is None
