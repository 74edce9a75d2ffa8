"""What holds for every picture, not only for those that someone thought of."""

from __future__ import annotations

from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from rlhf_operator.api.evidence import GoldenResult, Verdict
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import Outcome, RunType
from rlhf_operator.core import analysis, rollout
from rlhf_operator.core.decision import Action
from rlhf_operator.core.gpus import Room
from rlhf_operator.core.observed import Assessment, Observed, Route, Workload
from tests import builders as make
from tests.builders import NOW, PASSED, SFT, V1, V1_COPY, V2, act, ago

maybe = st.booleans()
moments = st.sampled_from([ago(minutes) for minutes in (-5, 0, 0.5, 2, 31, 25 * 60)])
versions = st.sampled_from([SFT, V1, V2, V1_COPY])
assessments = st.none() | st.builds(
    Assessment,
    results=st.lists(
        st.builds(
            lambda verdict, class_: make.judged(verdict, class_, name="x").results[0],
            st.sampled_from(Verdict),
            st.sampled_from(["Safety", "Quality", "Performance", "Informational"]),
        ),
        max_size=3,
    ).map(tuple),
    blind=st.sampled_from([(), ("unsafe",)]),
)
workloads = st.builds(
    Workload,
    wanted=st.integers(0, 3),
    ready=st.integers(0, 3),
    is_current=maybe,
    failure=st.none()
    | st.sampled_from([make.failure(Reason.NOT_READY), make.failure(Reason.ARTIFACT_MISMATCH)]),
)
goldens = st.none() | st.sampled_from([PASSED, GoldenResult(at=NOW, passed=False)])
problems = st.none() | st.just(make.failure(Reason.ROUTE_NOT_ACCEPTED))
specs = st.none() | st.builds(
    lambda suspend, surge, nothing, replicas: make.model_spec(
        suspend=suspend,
        rollout={"surge": surge, "whenNothingIsSafe": nothing},
        serving={"replicas": replicas},
    ),
    maybe,
    st.sampled_from(["None", "One", "Full"]),
    st.sampled_from(["ServeFallback", "Refuse", "KeepServing"]),
    st.integers(1, 3),
)
acts = st.lists(
    st.sampled_from(
        [
            act("Retry"), act("Promote"), act("Repin"), act("Abort"),
            act("Pause"), act("Resume"), act("Restart"),
            act("Abort", expires_at=ago(1)),
            act("RollBackTo", version=SFT), act("RollBackTo", version=V2), act("RollBackTo"),
            act("LiftQuarantine", identity=V1.identity),
            act("Veto", identity=V1.identity), act("Veto", identity=SFT.identity),
            act("Approve", identity=V1.identity), act("Approve", identity=V2.identity, step=1),
        ]
    ),
    max_size=2,
).map(tuple)  # fmt: skip

OVERRIDE = {"name": "skip", "action": "Override", "author": "ann", "reason": "known", "slo": "x",
            "until": ago(-9), "at": ago(9)}  # fmt: skip


@st.composite
def canary_runs(draw: st.DrawFn) -> Any:
    step = draw(st.integers(-1, 1))
    return make.make_run(
        step=step,
        weight={-1: 0, 0: 10, 1: 50}[step],
        phase="Progressing" if step >= 0 else draw(st.sampled_from(["Preparing", "Parked"])),
        started_at=draw(st.none() | st.just(ago(9)) | st.just(ago(9))),
        in_force_at=draw(st.none() | moments),
        ready_since=draw(moments),
        blind_since=draw(st.none() | moments),
        not_holding_since=draw(st.none() | moments),
        paused=draw(maybe),
        decisions=draw(st.sampled_from([(), (), (OVERRIDE,)])),
        golden=draw(goldens),
    )


@st.composite
def other_runs(draw: st.DrawFn) -> Any:
    kind = draw(st.sampled_from(["none", "first", "ended"]))
    if kind == "none":
        return None
    if kind == "first":
        return make.initial(in_force_at=draw(st.none() | moments))
    return make.ended(
        draw(st.sampled_from(Outcome)),
        type=draw(st.sampled_from(RunType)),
        settled_at=draw(st.none() | moments),
        finished_at=draw(moments),
        force_block=draw(maybe),
        refuse=draw(maybe),
        standby=draw(st.none() | st.sampled_from([make.standby(), make.standby(V2)])),
        not_the_model=draw(st.sampled_from([None, None, "v1 fails like v2"])),
    )


@st.composite
def pictures(draw: st.DrawFn) -> Observed:
    spec = draw(specs)
    known = spec is not None and draw(st.sampled_from([True, True, False]))
    return make.make_observed(
        run=draw(canary_runs() | other_runs()),
        deleted=draw(st.sampled_from([False, False, False, True])),
        generation=draw(st.integers(1, 2)),
        spec=spec,
        invalid=None if known else make.failure(Reason.SPEC_INVALID),
        target=draw(versions) if spec is not None and known else None,
        fallback=draw(st.sampled_from([SFT, V2])) if spec is not None else None,
        workloads=draw(st.dictionaries(st.sampled_from(["sft", "v1", "v2"]), workloads)),
        route=Route(
            weights=draw(st.none() | st.just({"sft": 100})),
            accepted=draw(maybe),
            failure=draw(problems),
        ),
        canary=draw(assessments),
        stable=draw(assessments),
        golden=draw(goldens),
        query_problems=draw(st.sampled_from([(), ("no series",)])),
        quarantines=draw(
            st.sampled_from(
                [
                    {},
                    make.quarantine(V1),
                    make.quarantine(SFT),
                    make.quarantine(V2),
                    make.vetoed(V1),
                    make.vetoed(V2),
                ]
            )
        ),
        acts=draw(acts),
        place_free=draw(maybe),
        gpus=draw(st.none() | st.builds(Room, free=st.integers(0, 2))),
        gpus_per_pod=draw(st.integers(0, 2)),
        frozen=draw(st.none() | st.just("weekend")),
    )


def verdict(seen: Observed) -> Verdict:
    """The worst of what counts; the objective `x` may be overridden where it is not Safety."""
    results = seen.canary.results if seen.canary else ()
    out = bool(seen.run and seen.run.status.decisions)
    return analysis.worst(one for one in results if one.class_ == "Safety" or not out)


@settings(max_examples=300, deadline=None)
@given(pictures())
def test_every_picture_gets_an_answer_and_every_rise_has_its_reason(seen: Observed) -> None:
    decision = rollout.decide(seen)
    event(decision.rule)
    assert decision.message is not None and decision.rule
    before = seen.run.status.weight if seen.run else 0
    if decision.action is Action.PROMOTE and seen.run and seen.run.status.canary is not None:
        assert seen.workload(seen.run.status.canary).ready > 0
        if decision.act is None:
            assert verdict(seen) is Verdict.SUCCESSFUL
        else:
            assert seen.canary is not None and not seen.canary.blind
            assert not analysis.failed(seen.canary.results, "Safety")
    if decision.action is Action.ADVANCE:
        assert seen.run is not None and seen.run.status.canary is not None
        assert decision.weight is not None and decision.weight > before
        assert seen.workload(seen.run.status.canary).ready > 0
        assert seen.workload(seen.run.status.stable).ready > 0
        assert not (seen.spec and seen.spec.suspend) and seen.frozen is None
        assert not seen.run.status.paused
        assert not seen.is_quarantined(seen.run.status.canary)
        if seen.run.status.step >= 0:
            assert verdict(seen) is Verdict.SUCCESSFUL
        else:
            golden = seen.golden or seen.run.status.golden
            assert golden is not None and golden.passed and not seen.query_problems
    elif decision.action is Action.REPIN:
        assert decision.weight is not None and decision.weight <= before
    elif decision.weight is not None:
        assert decision.weight == 0


@settings(max_examples=150, deadline=None)
@given(pictures())
def test_nothing_but_a_person_comes_before_an_unsafe_canary(seen: Observed) -> None:
    run = seen.run
    if run is None or not run.is_active or not run.is_open or run.status.canary is None:
        return
    unsafe = seen.canary is not None and bool(analysis.failed(seen.canary.results, "Safety"))
    if not unsafe or seen.deleted:
        return
    decision = rollout.decide(seen)
    if decision.rule == "person_stopped":
        assert decision.act is not None or decision.action is Action.ROLL_BACK
    else:
        assert (decision.action, decision.weight) == (Action.ROLL_BACK, 0)
        assert decision.quarantine


@settings(max_examples=150, deadline=None)
@given(pictures())
def test_nothing_quarantined_is_started_but_a_floor_that_blocks_where_nothing_is_safe(
    seen: Observed,
) -> None:
    start = rollout.decide(seen).start
    if start is None or start.type is RunType.RESTART or not seen.is_quarantined(start.to):
        return
    assert start.type is RunType.FALLBACK
    assert start.cause.reason in (Reason.NOTHING_SAFE, Reason.REFUSING)


@settings(max_examples=150, deadline=None)
@given(pictures())
def test_quality_and_speed_lead_nobody_to_the_floor(seen: Observed) -> None:
    start = rollout.decide(seen).start
    if start is not None and start.cause.reason == Reason.SLO_FAILED:
        assert start.type is RunType.ROLLBACK and start.cause.evidence
        assert seen.fallback is None or start.to.identity != seen.fallback.identity
        assert seen.workload(start.to).ready > 0


@settings(max_examples=150, deadline=None)
@given(pictures())
def test_where_a_flight_did_not_help_nobody_flees_again_by_themselves(seen: Observed) -> None:
    run, decision = seen.run, rollout.decide(seen)
    if run is None or run.is_active or run.status.not_the_model is None:
        return
    if decision.start is not None and decision.start.type in (RunType.ROLLBACK, RunType.FALLBACK):
        assert decision.start.cause.author is not None
    assert decision.action is not Action.BLOCK or decision.rule == "stable_vetoed"
