"""The GPU arithmetic, walked step by step for every size, surge, plan and order of readiness."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_operator.api.model import ModelSpec
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import Outcome, RunType
from rlhf_operator.api.standby import StandbyRecord
from rlhf_operator.core import capacity, contenders, drills, holdback, sizes
from rlhf_operator.core.mirrors import Mirror
from rlhf_operator.core.observed import Observed, Route, Run, Workload
from tests import builders as make
from tests.builders import NOW, SFT, V1, V2

DRAIN = timedelta(seconds=30)
PLANS = st.lists(st.integers(1, 99), min_size=1, max_size=4, unique=True).map(sorted)


def status(run: Run, **changes: Any) -> Run:
    return replace(run, status=run.status.model_copy(update=changes))


@dataclass
class Cluster:
    """Pods and a route that follow each layout; how many more pods get ready is drawn."""

    replicas: int
    surge: str
    chance: Random
    run: Run
    route: dict[str, int] = field(default_factory=lambda: {"sft": 100})
    copies: Mirror | None = None
    pods: dict[str, Workload] = field(default_factory=dict)
    seconds: int = 0
    budget: int = 0
    spec: ModelSpec = field(init=False)

    def __post_init__(self) -> None:
        self.spec = make.model_spec(
            serving={"replicas": self.replicas},
            fallback={"version": "floor", "replicas": 0},
            standby={"replicas": 0},
        )
        self.pods = {"sft": Workload(wanted=self.replicas, ready=self.replicas)}
        self.budget = self.replicas + sizes.surge_pods(self.surge, self.replicas)

    @property
    def seen(self) -> Observed:
        return Observed(
            now=NOW + timedelta(seconds=self.seconds), key=make.KEY, spec=self.spec, run=self.run,
            workloads=self.pods,
            route=Route(weights=self.route, mirror=self.copies, accepted=True),
        )  # fmt: skip

    def turn(self) -> None:
        """One pass: route first, then pods; then some of them get ready."""
        layout = capacity.layout(self.seen, DRAIN)
        self.check(layout)
        if layout.weights:
            self.route, self.copies = dict(layout.weights), layout.mirror
        self.pods = {
            name: self.ready(self.pods.get(name, Workload()), wanted)
            for name, wanted in layout.pods.items()
        }
        self.seconds += 1
        if self.run.status.in_force_at is None and capacity.is_in_force(self.seen, self.run):
            self.run = status(self.run, in_force_at=self.seen.now)

    def ready(self, before: Workload, wanted: int) -> Workload:
        kept = min(before.ready, wanted)
        return Workload(wanted=wanted, ready=kept + self.chance.randint(0, wanted - kept))

    def check(self, layout: capacity.Layout) -> None:
        weights = layout.weights or self.route
        assert sum(weights.values()) == 100, "I1"
        assert all(part > 0 for part in weights.values()), "I1"
        fleeing = self.run.spec.type in capacity.AT_ONCE
        assert sum(layout.pods.values()) <= self.budget or fleeing, "I17"
        for name, part in weights.items():
            assert layout.pods.get(name, 0) >= 1, f"{name} has {part}% and no pod"
            if part > self.route.get(name, 0):
                assert self.pods.get(name, Workload()).ready > 0, "I3"
        stable = self.run.status.stable
        assert stable is not None and layout.pods[stable.name] >= 1, "I4"
        canary = self.run.status.canary
        if canary is not None:
            assert weights.get(canary.name, 0) <= self.run.weight, "I2"
        for arm in self.run.status.arms:
            assert weights.get(arm.version, 0) <= arm.weight, "I2"
        if layout.mirror is not None:
            assert canary is not None and layout.mirror.version == canary.name, "I23"
            assert 0 < layout.mirror.percent <= self.run.status.weight, "I23"
            assert self.run.is_shadow, "I23"
            assert layout.pods["sft"] == self.replicas, "stable serves everything"

    def until(self, fact: Any, most: int = 400) -> None:
        for _ in range(most):
            if fact():
                return
            self.turn()
        raise AssertionError(f"it does not converge: {self.route} {self.pods}")

    def declare(self, step: int, weight: int) -> None:
        changes = {"step": step, "weight": weight, "in_force_at": None, "phase": "Progressing"}
        self.run = status(self.run, **changes)
        self.until(lambda: self.run.status.in_force_at is not None)

    def end(self, outcome: Outcome) -> None:
        stable = V1 if outcome is Outcome.PROMOTED else SFT
        changes = {"outcome": outcome, "stable": stable, "canary": None, "weight": 0}
        self.run = status(self.run, in_force_at=None, phase="Settling", **changes)
        self.until(lambda: set(self.pods) == {stable.name} and self.rests(stable.name))
        assert self.route == {stable.name: 100}

    def rests(self, name: str) -> bool:
        work = self.pods[name]
        return work.wanted == work.ready == self.replicas


@st.composite
def clusters(draw: st.DrawFn) -> tuple[Cluster, list[int]]:
    surge = draw(st.sampled_from(["None", "One", "Full"]))
    replicas = draw(st.integers(2 if surge == "None" else 1, 12))
    weights = draw(PLANS)
    plan = {"surge": surge, "steps": [{"weight": each, "hold": "1m"} for each in weights]}
    run = make.preparing(plan=plan, in_force_at=None)
    chance = Random(draw(st.integers(0, 2**16)))
    return Cluster(replicas=replicas, surge=surge, chance=chance, run=run), weights


@settings(max_examples=120, deadline=None)
@given(clusters())
def test_a_promotion_keeps_every_bound_and_arrives(drawn: tuple[Cluster, list[int]]) -> None:
    cluster, weights = drawn
    cluster.declare(-1, 0)
    for step, weight in enumerate(weights):
        cluster.declare(step, weight)
        assert cluster.route == {"sft": 100 - weight, "v1": weight}
    cluster.end(Outcome.PROMOTED)


@settings(max_examples=120, deadline=None)
@given(clusters(), st.integers(1, 20))
def test_a_control_arm_keeps_its_share_and_gives_it_up_again(
    drawn: tuple[Cluster, list[int]], held: int
) -> None:
    cluster, weights = drawn
    cluster.budget += sizes.pods_for(held, cluster.replicas)
    cluster.declare(-1, 0)
    for step, weight in enumerate(weights):
        cluster.declare(step, weight)
    held = min(held, 100 - weights[-1])
    standby = StandbyRecord(version=SFT, until=NOW + timedelta(days=1), weight=held)
    changes = {"outcome": Outcome.PROMOTED, "stable": V1, "canary": None, "weight": 0}
    cluster.run = status(cluster.run, in_force_at=None, standby=standby, **changes)
    arm = sizes.pods_for(held, cluster.replicas)
    cluster.until(lambda: capacity.is_drained(cluster.run, cluster.seen.now, DRAIN))
    cluster.until(lambda: wanted(cluster) == {"v1": cluster.replicas, "sft": arm})
    assert cluster.route == {"v1": 100 - held, "sft": held}
    cluster.until(lambda: all(work.ready == work.wanted for work in cluster.pods.values()))
    gone = holdback.released(standby, Reason.RELEASED, "its time is over", NOW)
    cluster.run = status(cluster.run, in_force_at=None, standby=gone)
    cluster.turn()
    assert cluster.route == {"v1": 100}
    assert wanted(cluster) == {"v1": cluster.replicas, "sft": arm}, "it drains first"
    cluster.until(lambda: wanted(cluster) == {"v1": cluster.replicas, "sft": 0})


def wanted(cluster: Cluster) -> dict[str, int]:
    return {name: work.wanted for name, work in cluster.pods.items()}


@settings(max_examples=120, deadline=None)
@given(clusters(), st.integers(0, 30))
def test_a_rollback_at_any_moment_keeps_every_bound_and_arrives(
    drawn: tuple[Cluster, list[int]], turns: int
) -> None:
    cluster, weights = drawn
    cluster.declare(-1, 0)
    cluster.run = status(cluster.run, step=0, weight=weights[0], in_force_at=None)
    for _ in range(turns):
        cluster.turn()
    before = cluster.route
    cluster.run = status(
        cluster.run, outcome=Outcome.ROLLED_BACK, canary=None, weight=0, in_force_at=None
    )
    cluster.turn()
    assert cluster.route == {"sft": 100}, f"traffic moves at once, from {before}"
    cluster.end(Outcome.ROLLED_BACK)


@settings(max_examples=80, deadline=None)
@given(clusters())
def test_a_parked_canary_drains_before_its_pods_go(drawn: tuple[Cluster, list[int]]) -> None:
    cluster, weights = drawn
    cluster.declare(-1, 0)
    cluster.declare(0, weights[0])
    before = cluster.pods["v1"].wanted
    changes = {"step": -1, "weight": 0, "phase": "Parked", "in_force_at": None}
    cluster.run = status(cluster.run, **changes)
    cluster.turn()
    assert cluster.route == {"sft": 100}
    assert cluster.pods["v1"].wanted == before
    cluster.until(lambda: cluster.seconds > 60 and cluster.pods["v1"].wanted == 1)
    cluster.declare(0, weights[0])


@st.composite
def others(draw: st.DrawFn) -> tuple[Cluster, int]:
    """A cluster whose run is a shadow, or moves all traffic at once; and its one weight."""
    strategy = draw(st.sampled_from(["Shadow", "BlueGreen"]))
    surge = "Full" if strategy == "BlueGreen" else draw(st.sampled_from(["One", "Full"]))
    replicas = draw(st.integers(1, 12))
    most = 100 if surge == "Full" else 100 // replicas
    weight = 100 if strategy == "BlueGreen" else draw(st.integers(1, most))
    steps = [{"weight": weight, "hold": "1m"}]
    run = make.preparing(
        plan={"strategy": strategy, "surge": surge, "steps": steps}, in_force_at=None
    )
    chance = Random(draw(st.integers(0, 2**16)))
    return Cluster(replicas=replicas, surge=surge, chance=chance, run=run), weight


@settings(max_examples=80, deadline=None)
@given(others(), st.sampled_from([Outcome.PROMOTED, Outcome.ROLLED_BACK]))
def test_shadows_and_switches_keep_every_bound_and_arrive(
    drawn: tuple[Cluster, int], outcome: Outcome
) -> None:
    cluster, weight = drawn
    cluster.declare(-1, 0)
    needed = capacity.pods_before_weight(cluster.run, cluster.replicas)
    cluster.until(lambda: cluster.pods["v1"].ready >= needed)
    cluster.declare(0, weight)
    if cluster.run.is_shadow:
        assert (cluster.route, cluster.copies) == (
            {"sft": 100}, Mirror(version="v1", percent=weight),
        )  # fmt: skip
    else:
        assert (cluster.route, cluster.copies) == ({"v1": 100}, None)
    for _ in range(60):  # longer than the drain: stable stays
        cluster.turn()
    assert cluster.pods["sft"].ready == cluster.replicas
    cluster.run = status(
        cluster.run, outcome=outcome, canary=None, weight=0, in_force_at=None,
        stable=V1 if outcome is Outcome.PROMOTED else SFT, phase="Settling",
    )  # fmt: skip
    cluster.turn()
    assert cluster.copies is None, "no copy outlives its run"
    if outcome is Outcome.ROLLED_BACK:
        assert cluster.route == {"sft": 100}, "traffic is back at once"
    cluster.end(outcome)


def flight(**workloads: Workload) -> Observed:
    run = make.ended(type=RunType.FALLBACK, from_=V2, to=SFT, stable=SFT, in_force_at=None)
    return make.make_observed(
        run=run, workloads=workloads, route=Route(weights={"v1": 40, "v2": 60}, accepted=True)
    )


TWO = Workload(wanted=2, ready=2)


@pytest.mark.parametrize(
    ("workloads", "weights"),
    [
        pytest.param({"v2": TWO, "sft": Workload(wanted=2, ready=1)}, {"sft": 100},
                     id="traffic flees as soon as one pod is ready"),
        pytest.param({"v2": TWO}, {}, id="where no pod is ready yet the route stays as it is"),
        pytest.param({"v1": TWO, "v2": TWO, "sft": TWO}, {"sft": 100},
                     id="also a version that still drains is left"),
    ],
)  # fmt: skip
def test_fleeing(workloads: dict[str, Workload], weights: dict[str, int]) -> None:
    layout = capacity.layout(flight(**workloads), DRAIN)
    assert layout.weights == weights
    assert set(layout.pods) == set(workloads) | {"sft", "v2"}, "nothing goes before it is drained"
    assert layout.pods["sft"] == 2


@pytest.mark.parametrize(
    ("weight", "replicas", "pods"),
    [(0, 4, 1), (1, 4, 1), (25, 4, 1), (26, 4, 2), (50, 3, 2), (99, 4, 4), (100, 4, 4)],
)
def test_pods_that_carry_a_weight(weight: int, replicas: int, pods: int) -> None:
    assert sizes.pods_for(weight, replicas) == pods


@pytest.mark.parametrize(
    ("run", "pods"),
    [
        pytest.param(make.ended(), {"v1": 2, "sft": 1}, id="the floor is kept warm"),
        pytest.param(make.ended(standby=make.standby(V2)), {"v1": 2, "sft": 1, "v2": 1},
                     id="so is the previous version, for a while"),
        pytest.param(
            make.ended(standby=make.standby(V2).model_copy(update={"until": NOW})),
            {"v1": 2, "sft": 1}, id="and not longer"),
    ],
)  # fmt: skip
def test_what_is_kept_warm(run: Run, pods: dict[str, int]) -> None:
    assert capacity.layout(make.make_observed(run=run), DRAIN).pods == pods


def test_the_very_first_version_gets_its_route_with_its_first_pod() -> None:
    waiting = make.make_observed(run=make.initial(), workloads={})
    assert capacity.layout(waiting, DRAIN).weights == {}
    assert capacity.layout(make.make_observed(run=make.initial()), DRAIN).weights == {"sft": 100}


@pytest.mark.parametrize("replicas", [1, 4, 250])
@pytest.mark.parametrize("surge", ["None", "One", "Full"])
def test_a_drill_takes_no_pod_from_stable(replicas: int, surge: str) -> None:
    spec = make.model_spec(
        serving={"replicas": replicas}, rollout={"surge": surge}, rollbackDrill={"percent": 2},
        fallback={"version": "sft", "replicas": 0},
    )  # fmt: skip
    asked = drills.begin(make.make_observed(run=make.ended(), spec=spec))
    run = replace(make.drill(weight=2), spec=asked)
    full = Workload(wanted=replicas, ready=replicas)
    seen = make.make_observed(run=run, spec=spec, workloads={"v1": full, "sft": full})
    found = capacity.layout(seen, DRAIN)
    assert found.pods == {"v1": replicas, "sft": sizes.pods_for(2, replicas)}
    assert found.weights == {"v1": 98, "sft": 2}


@st.composite
def crowds(draw: st.DrawFn) -> tuple[Cluster, list[int]]:
    count = draw(st.integers(2, 4))
    weights = draw(
        st.lists(st.integers(1, 60), min_size=count, max_size=count).filter(
            lambda found: sum(found) <= 99
        )
    )
    surge = draw(st.sampled_from(["None", "One", "Full"]))
    replicas = draw(st.integers(count + 1 if surge == "None" else 1, 12))
    names = [make.ref(f"v{number}", str(number)) for number in range(1, count + 1)]
    planned = [
        {"version": ref.name, "weight": part}
        for ref, part in zip(names[1:], weights[1:], strict=True)
    ]
    primary = {"name": "thumbs", "indicator": {"type": "ThumbsDownRate"}}
    plan = {
        "strategy": "ABTest", "surge": surge, "steps": [{"weight": weights[0], "hold": "1h"}],
        "abTest": {"weight": weights[0], "others": planned, "primary": primary},
    }  # fmt: skip
    run = make.preparing(
        plan=plan, in_force_at=None, others=tuple(names[1:]), arms=contenders.begun(names[1:])
    )
    chance = Random(draw(st.integers(0, 2**16)))
    cluster = Cluster(replicas=replicas, surge=surge, chance=chance, run=run)
    cluster.budget = replicas + count * sizes.surge_pods(surge, replicas)
    return cluster, weights


@settings(max_examples=80, deadline=None)
@given(crowds())
def test_several_versions_keep_every_bound_until_one_is_left_and_promoted(
    drawn: tuple[Cluster, list[int]],
) -> None:
    cluster, weights = drawn
    cluster.declare(-1, 0)
    cluster.run = status(cluster.run, arms=contenders.weighed(cluster.run, has_traffic=True))
    cluster.declare(0, weights[0])
    shares = {f"v{number}": part for number, part in enumerate(weights, start=1)}
    assert cluster.route == {"sft": 100 - sum(weights)} | shares
    while len(shares) > 1:
        loser = cluster.chance.choice(sorted(shares))
        del shares[loser]
        left = contenders.without(
            cluster.run.status, (loser,), Reason.LOST_AB_TEST, "worse", cluster.seen.now
        )
        cluster.run = replace(cluster.run, status=left)
        cluster.run = status(cluster.run, in_force_at=None)
        cluster.turn()
        assert loser not in cluster.route, "at once, whatever the pods are"
        if cluster.chance.random() < 0.5:  # the next may be dropped before this one has drained
            cluster.until(lambda gone=loser: gone not in cluster.pods)
            assert cluster.route == {"sft": 100 - sum(shares.values())} | shares
    cluster.until(lambda: cluster.run.status.in_force_at is not None)
    cluster.until(lambda: not contenders.still_there(cluster.seen, cluster.run))
    (winner,) = shares
    changes = {"outcome": Outcome.PROMOTED, "stable": cluster.run.status.canary, "canary": None}
    cluster.run = status(cluster.run, in_force_at=None, phase="Settling", weight=0, **changes)
    cluster.until(lambda: set(cluster.pods) == {winner} and cluster.rests(winner))
    assert cluster.route == {winner: 100}


@settings(max_examples=40, deadline=None)
@given(crowds())
def test_a_test_of_several_that_ends_drains_them_all(drawn: tuple[Cluster, list[int]]) -> None:
    cluster, weights = drawn
    cluster.declare(-1, 0)
    cluster.run = status(cluster.run, arms=contenders.weighed(cluster.run, has_traffic=True))
    cluster.declare(0, weights[0])
    arms = contenders.closed(cluster.run.status.arms, "Aborted", "ann", cluster.seen.now)
    cluster.run = status(cluster.run, arms=arms)
    cluster.end(Outcome.ROLLED_BACK)
