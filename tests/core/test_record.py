"""From a decision to the next status: what is remembered, and when nothing is written."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from rlhf_operator.api.evidence import (
    BaselineRecord,
    Checkpoint,
    FirstCounts,
    SLOResult,
    StratumRecord,
    Sums,
    Verdict,
)
from rlhf_operator.api.rollout import FallbackProof, Outcome, RolloutStatus, RunType
from rlhf_operator.api.standby import StandbyRecord
from rlhf_operator.core import drills, holdback, mandatory, record, rollout
from rlhf_operator.core.observed import Act, Assessment
from tests import builders as make
from tests.builders import BAD, NOW, SFT, SILENT, V1, act, ago

DRAIN = timedelta(seconds=30)
POINT = Checkpoint(since=ago(2), at=NOW)


def after(checkpoint: Checkpoint | None = None, **changes: Any) -> RolloutStatus:
    """The status after one pass; the stored one where nothing is written."""
    seen = make.make_observed(**changes)
    assert seen.run is not None
    decision = rollout.decide(seen)
    found = record.next_status(seen, decision, epoch=3, drain=DRAIN, checkpoint=checkpoint)
    return found or seen.run.status


def test_a_step_is_closed_with_its_evidence() -> None:
    status = after(run=make.make_run(steps=[{"index": 0, "weight": 10, "declaredAt": ago(3)}]))
    old, new = status.steps
    assert (old.ended_at, old.rule, old.slos[0].name) == (NOW, "step_passed", "unsafe")
    assert (new.index, new.weight, new.declared_at) == (1, 50, NOW)
    assert (status.weight, status.in_force_at, status.checkpoint) == (50, None, None)


def test_a_promotion_moves_a_pointer_and_keeps_the_old_version_warm() -> None:
    status = after(run=make.make_run(step=1, weight=50))
    assert (status.stable, status.canary, status.outcome) == (V1, None, Outcome.PROMOTED)
    assert status.standby is not None and status.standby.version == SFT
    assert status.in_force_at is None and status.quarantine is None


@pytest.mark.parametrize(
    ("weight", "changes", "kept"),
    [
        pytest.param(50, {}, 5, id="as a control arm it keeps what the spec says"),
        pytest.param(97, {}, 3, id="and no more than it has"),
        pytest.param(50, {"workloads": make.pods(sft=make.GONE)}, 0, id="nothing without a pod"),
        pytest.param(50, {"quarantines": make.quarantine(SFT)}, 0, id="nothing in quarantine"),
    ],
)
def test_what_a_promotion_leaves_to_the_previous_version(
    weight: int, changes: dict[str, Any], kept: int
) -> None:
    run = make.make_run(step=1, weight=weight)
    seen = make.make_observed(run=run, spec=make.model_spec(standby={"holdback": 5}), **changes)
    assert holdback.standby(seen, run, SFT).weight == kept


def test_a_released_control_arm_tells_why_and_settles_anew() -> None:
    arm = make.standby(weight=5)
    status = after(run=make.ended(standby=arm), control=BAD, spec=make.model_spec())
    assert status.standby is not None and status.standby.released is not None
    assert (status.standby.weight, status.standby.released.reason) == (0, "SafetyFailed")
    assert (status.settled_at, status.in_force_at, status.outcome) == (None, None, "Promoted")
    assert status.quarantine is not None and status.quarantine.identity == SFT.identity


def test_a_rollback_names_what_failed() -> None:
    status = after(canary=BAD)
    assert (status.stable, status.canary, status.weight) == (SFT, None, 0)
    assert status.quarantine is not None and status.quarantine.identity == V1.identity


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        pytest.param({"run": make.make_run(in_force_at=None), "canary": None}, "in_force_at", NOW,
                     id="since when a weight is in force"),
        pytest.param({"canary": make.judged(blind=("unsafe",))} | {"run": make.make_run(
            in_force_at=ago(0.5))}, "blind_since", NOW, id="since when safety is unseen"),
        pytest.param({"run": make.make_run(in_force_at=ago(0.5), blind_since=ago(3))},
                     "blind_since", None, id="that safety is seen again"),
        pytest.param({"spec": make.model_spec(suspend=True)}, "not_holding_since", NOW,
                     id="since when the clock of maxHold stands still"),
        pytest.param({"run": make.make_run(not_holding_since=ago(7), held_for="1m"),
                      "canary": SILENT}, "held_for", "8m", id="for how long it stood still"),
        pytest.param({"acts": (act("Pause"),)}, "paused", True, id="that a person paused"),
        pytest.param({"acts": (act("Resume"),), "run": make.make_run(paused=True)}, "paused",
                     False, id="that a person lets it go on"),
        pytest.param({"run": make.ended(settled_at=None, in_force_at=ago(1))}, "settled_at", NOW,
                     id="that what was left is drained"),
        pytest.param({"run": make.ended(settled_at=None, in_force_at=NOW)}, "settled_at", None,
                     id="not before its time"),
        pytest.param({}, "epoch", 3, id="who wrote it"),
    ],
)  # fmt: skip
def test_what_is_remembered(changes: dict[str, Any], field: str, value: Any) -> None:
    assert getattr(after(**changes), field) == value


def test_the_same_pass_twice_writes_nothing() -> None:
    changes: dict[str, Any] = {"canary": SILENT, "run": make.make_run(reason="Inconclusive")}
    first = after(POINT, **changes)
    again = make.make_observed(canary=SILENT, run=make.make_run(**dict(first)))
    decision = rollout.decide(again)
    assert record.next_status(again, decision, epoch=3, drain=DRAIN, checkpoint=POINT) is None


@pytest.mark.parametrize(
    ("age", "written"), [(0.5, False), (1.5, True)], ids=["within a minute", "after a minute"]
)
def test_counts_are_kept_once_a_minute(age: float, written: bool) -> None:
    earlier = Checkpoint(since=ago(2), at=ago(age))
    run = make.make_run(reason="Inconclusive", checkpoint=earlier, slos=SILENT.results)
    assert (after(POINT, canary=SILENT, run=run).checkpoint == POINT) is written


def test_an_epoch_never_goes_down() -> None:
    assert after(canary=BAD, run=make.make_run(epoch=9)).epoch == 9


PINS = [{"version": name, "revision": f"{name}-pin"} for name in ("sft", "v1", "v2")]


@pytest.mark.parametrize(
    ("changes", "standby", "kept"),
    [
        pytest.param({}, None, {"sft", "v1"}, id="of what serves and of the fallback"),
        pytest.param({}, make.standby(make.V2), {"sft", "v1", "v2"}, id="of what is kept warm"),
        pytest.param({"type": RunType.ROLLBACK}, None, {"sft", "v1", "v2"},
                     id="of what traffic flees to"),
        pytest.param({"fallback": None}, None, {"sft", "v1", "v2"},
                     id="all, when it is not known what the fallback is"),
        pytest.param({"type": RunType.RESTART, "to": V1}, None, {"sft"},
                     id="not of pods that are made anew"),
    ],
)  # fmt: skip
def test_the_pins_that_a_new_record_inherits(
    changes: dict[str, Any], standby: StandbyRecord | None, kept: set[str]
) -> None:
    known = {"fallback": changes.pop("fallback")} if "fallback" in changes else {}
    run = make.make_run(started_at=None, **{"from_": V1, "to": make.V2} | changes)
    before = make.ended(revision=1, pins=PINS, standby=standby)
    status = after(run=run, previous=before, canary=None, **known)
    assert {pin.version for pin in status.pins} == kept


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        pytest.param(RunType.ROLLBACK, "SafetyFailed", id="a way back: what was left"),
        pytest.param(RunType.FALLBACK, "SafetyFailed", id="a flight to the floor: what was left"),
        pytest.param(RunType.ROLLOUT, "Started", id="a try: that it started"),
    ],
)
def test_a_new_record_says_why_it_was_made(kind: RunType, reason: str) -> None:
    cause = {"reason": reason, "message": "v1: unsafe-answers 0.5 > 0.3"}
    run = make.make_run(started_at=None, type=kind, from_=V1, to=make.V2, cause=cause)
    status = after(run=run, previous=make.ended(revision=1), canary=None)
    assert (status.reason, status.message) == (reason, "v1: unsafe-answers 0.5 > 0.3")


@pytest.mark.parametrize(
    ("acts", "times"),
    [
        pytest.param((), 1, id="a weight that ends counts once"),
        pytest.param((act("Pause"),), 0, id="what a person says ends no weight"),
        pytest.param((act("Repin"),), 1, id="another plan ends one"),
    ],
)
def test_what_was_counted_is_counted_once(acts: tuple[Act, ...], times: int) -> None:
    (result,) = make.GOOD.results
    counted = result.model_copy(update={"harm": "0.1", "events": 3, "samples": 1000})
    status = after(acts=acts, canary=Assessment(results=(counted,)))
    assert [(each.slo, each.samples) for each in status.strata] == [("safe/unsafe", 1000)] * times


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param("0.1", id="by the process that counted"),
        pytest.param(None, id="by a successor that has seen nothing yet"),
    ],
)
def test_what_was_counted_before_nothing_could_be_seen_is_kept_when_the_weight_is_parked(
    harm: str | None,
) -> None:
    (result,) = make.GOOD.results
    unseen = result.model_copy(update={"harm": harm, "samples": None, "verdict": Verdict.ERROR})
    counts = [
        {
            "slo": "safe/unsafe",
            "version": name,
            "events": 3,
            "samples": samples,
            "firstEvents": 1,
            "firstSamples": samples - 9,
        }
        for name, samples in (("v1", 100), ("sft", 900))
    ]
    run = make.make_run(
        blind_since=ago(31),
        checkpoint={"since": ago(40), "at": ago(32), "counts": counts},
    )
    canary = Assessment(results=(unseen,), blind=("unsafe",))
    status = after(run=run, canary=canary)
    assert (status.phase, status.weight) == ("Parked", 0)
    assert [(each.slo, each.samples, each.stable_samples) for each in status.strata] == [
        ("safe/unsafe", 100, 900)
    ]
    assert status.strata[0].firsts == FirstCounts(
        events=1, samples=91, stable_events=1, stable_samples=891
    )


def test_what_was_counted_of_users_goes_on_record_beside_the_answers() -> None:
    (result,) = make.GOOD.results
    firsts = FirstCounts(events=2, samples=90, stable_events=20, stable_samples=880)
    changes = {"harm": "0.1", "events": 3, "samples": 1000, "stable_samples": 9000}
    counted = result.model_copy(update=changes | {"firsts": firsts})
    earlier = StratumRecord(slo="safe/unsafe", events=1, samples=9, stable_events=1,
                            stable_samples=9, firsts=firsts)  # fmt: skip
    run = make.make_run(checkpoint={"since": ago(2), "at": ago(1), "strata": (earlier,)})
    status = after(run=run, canary=Assessment(results=(counted,)))
    assert [each.samples for each in status.strata] == [9, 991]
    assert status.strata[1].firsts == FirstCounts(
        events=0, samples=0, stable_events=0, stable_samples=0
    )


@pytest.mark.parametrize(
    ("scorer", "samples"),
    [
        pytest.param("a", 900, id="what was counted before it went unseen is kept"),
        pytest.param("a,b", 0, id="but not what two reward models have scored"),
    ],
)
def test_sums_of_a_mean_that_went_unseen(scorer: str, samples: int) -> None:
    (result,) = make.GOOD.results
    unseen = result.model_copy(update={"harm": "0.1", "samples": None})
    counts = [
        {"slo": "safe/unsafe", "version": version, "events": 0, "samples": 900, "scorer": scorer,
         "sums": {"total": "-9.5", "squares": "950"}}
        for version in ("sft", "v1")
    ]  # fmt: skip
    kept = Checkpoint.model_validate(
        {"since": "2026-01-05T11:58:00Z", "at": "2026-01-05T11:59:00Z", "counts": counts}
    )
    run = make.make_run(checkpoint=kept)
    status = after(run=run, acts=(act("Abort"),), canary=Assessment(results=(unseen,)))
    (stratum,) = status.strata
    assert (stratum.samples, stratum.stable_samples) == (samples, samples)
    assert (stratum.sums is not None and stratum.sums.total == "-9.5") is bool(samples)


def test_what_was_counted_for_an_objective_that_was_edited_is_forgotten() -> None:
    (result,) = make.GOOD.results
    counted = result.model_copy(update={"harm": "0.1", "events": 3, "samples": 1000})
    (slo,) = make.POLICY.slos
    edited = make.POLICY.model_copy(update={"slos": (slo.model_copy(update={"max": "0.03"}),)})
    run = make.make_run(strata=(StratumRecord(
        slo="safe/unsafe", events=1, samples=9, stable_events=1, stable_samples=9),))  # fmt: skip
    for canary in (Assessment(results=(counted,)), None):
        repinned = after(run=run, acts=(act("Repin"),), canary=canary, policies=(edited,))
        assert repinned.repin is not None and repinned.strata == ()


ASKED = make.model_spec(rollbackDrill={"every": "1h"})
COUNTED = Assessment(results=(SLOResult(
    policy="safe", name="drill-answers", class_="Informational", version="sft",
    verdict=Verdict.SUCCESSFUL, samples=4),))  # fmt: skip
KNOWN = FallbackProof(version=SFT, proven=True, at=ago(90), proven_at=ago(90), message="then")


@pytest.mark.parametrize(
    ("changes", "outcome", "proven_at"),
    [
        pytest.param({"canary": COUNTED}, Outcome.PROVEN, NOW, id="an answer is a proof"),
        pytest.param({"run": make.drill(in_force_at=ago(32), proof=KNOWN), "canary": None},
                     Outcome.UNPROVEN, ago(90), id="silence leaves the last proof as it was"),
        pytest.param({"run": make.drill(proof=KNOWN), "workloads": make.pods(sft=make.GONE)},
                     Outcome.UNPROVEN, ago(90), id="lost pods prove that it does not serve"),
        pytest.param({"run": make.drill(proof=KNOWN), "canary": BAD}, Outcome.ROLLED_BACK,
                     ago(90), id="so does harm"),
    ],
)  # fmt: skip
def test_what_a_drill_leaves_on_record(
    changes: dict[str, Any], outcome: Outcome, proven_at: Any
) -> None:
    status = after(**{"run": make.drill(), "spec": ASKED} | changes)
    assert (status.outcome, status.stable, status.canary, status.weight) == (outcome, V1, None, 0)
    assert status.proof is not None and status.proof.proven is (outcome is Outcome.PROVEN)
    assert (status.proof.at, status.proof.proven_at) == (NOW, proven_at)
    assert (status.quarantine is not None) is (outcome is Outcome.ROLLED_BACK)
    assert status.standby is None


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"target": make.V2}, id="a new version"),
        pytest.param({"acts": (act("Abort"),)}, id="a person"),
    ],
)
def test_what_puts_a_drill_off_proves_nothing(changes: dict[str, Any]) -> None:
    status = after(**{"run": make.drill(proof=KNOWN), "spec": ASKED} | changes)
    assert status.outcome in (Outcome.SUPERSEDED, Outcome.ABORTED)
    assert status.proof == KNOWN


@pytest.mark.parametrize(
    ("stable", "since", "known"),
    [
        pytest.param(SFT, NOW, ago(500), id="when the fallback itself is left"),
        pytest.param(V1, ago(500), ago(500), id="not when another version is"),
        pytest.param(V1, NOW, None, id="or when it was not known"),
    ],
)
def test_from_when_the_fallback_is_unproven(stable: Any, since: Any, known: Any) -> None:
    run = make.make_run(step=1, weight=50, stable=stable, unproven_since=known)
    assert drills.unproven_since(make.make_observed(run=run), run.status) == since


SHOWN = make.GOOD.results[0].model_copy(
    update={"harm": "0.1", "events": 3, "samples": 1000, "query": "unsafe / all"}
)
EARLIER = StratumRecord(slo="safe/unsafe", events=1, samples=9, stable_events=7, stable_samples=99)
BASELINE = BaselineRecord(slo="safe/unsafe", measure="unsafe / all", events=4, samples=1009)


def test_what_a_run_showed_is_frozen_when_it_is_promoted() -> None:
    plain = make.judged(name="latency").results[0]
    run = make.make_run(step=1, weight=50, strata=(EARLIER,))
    status = after(run=run, canary=Assessment(results=(SHOWN, plain)))
    assert (status.outcome, status.baseline) == (Outcome.PROMOTED, (BASELINE,))


def test_what_stood_beside_a_pinned_objective_is_frozen_under_its_own_name() -> None:
    """A mandatory policy was edited in the run; from now on it is judged as it is today."""
    today = make.POLICY.model_copy(update={"mandatory": True})
    (beside,) = mandatory.binding((), (today,))
    result = SHOWN.model_copy(update={"policy": beside.name})
    earlier = EARLIER.model_copy(update={"slo": f"{beside.name}/unsafe"})
    run = make.make_run(step=1, weight=50, strata=(earlier,))
    status = after(run=run, canary=Assessment(results=(SHOWN, result)), policies=(today,))
    assert (status.outcome, status.baseline) == (Outcome.PROMOTED, (BASELINE,))


VALUES = {"total": "800000", "squares": "640000001"}
COUNT = {"slo": "safe/unsafe", "version": "v1", "events": 0, "samples": 1000, "sums": VALUES}


@pytest.mark.parametrize(
    ("counts", "scorer", "kept"),
    [
        pytest.param([COUNT | {"scorer": "rm"}], "rm", True, id="of one reward model"),
        pytest.param([COUNT], None, True, id="of what needs no scorer"),
        pytest.param([COUNT | {"scorer": "rm,other"}], None, False, id="not of two"),
        pytest.param([COUNT | {"version": "sft"}], None, False, id="not of stable"),
        pytest.param([COUNT | {"sums": None}], None, False, id="not without values"),
        pytest.param([], None, False, id="not where nothing was counted"),
    ],
)
@pytest.mark.parametrize("on_record", [True, False])
def test_the_values_of_a_run_are_frozen_at_its_promotion(
    counts: list[Any], scorer: str | None, kept: bool, on_record: bool
) -> None:
    """By the engine's counts, or by those on record where it has none now."""
    mean = SHOWN.model_copy(update={"events": None, "sums": Sums.model_validate(VALUES)})
    point = Checkpoint.model_validate({"since": ago(2), "at": NOW, "counts": counts})
    run = make.make_run(step=1, weight=50, checkpoint=point if on_record else None)
    seen = {"run": run, "canary": Assessment(results=(mean,))}
    status = after(None if on_record else point, **seen)
    record = BaselineRecord(slo="safe/unsafe", measure="unsafe / all", samples=1000,
                            sums=Sums.model_validate(VALUES), scorer=scorer)  # fmt: skip
    assert status.outcome is Outcome.PROMOTED
    assert status.baseline == ((record,) if kept else ())


def test_a_run_that_goes_on_freezes_nothing() -> None:
    assert after(canary=Assessment(results=(SHOWN,))).baseline == ()


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        pytest.param({"from_": V1, "to": make.V2}, True, id="by a run against that version"),
        pytest.param({"from_": V1, "to": V1, "type": RunType.RESTART}, True,
                     id="when its pods are renewed"),
        pytest.param({"from_": V1, "to": SFT, "type": RunType.FALLBACK}, False,
                     id="not when traffic flees from it"),
        pytest.param({"from_": SFT, "to": V1}, False, id="not by a run against another"),
    ],
)  # fmt: skip
def test_the_baseline_that_a_new_record_inherits(changes: dict[str, Any], kept: bool) -> None:
    run = make.make_run(started_at=None, outcome=None, stable=None, canary=None, **changes)
    before = make.ended(revision=1, baseline=(BASELINE,))
    status = after(run=run, previous=before, canary=None)
    assert status.baseline == ((BASELINE,) if kept else ())


def test_a_rollback_keeps_the_baseline_of_what_goes_on_serving() -> None:
    run = make.make_run(stable=V1, canary=make.V2, to=make.V2, from_=V1, baseline=(BASELINE,))
    assert after(run=run, canary=BAD, target=make.V2).baseline == (BASELINE,)
