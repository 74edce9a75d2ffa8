"""Exhaustive: every crash, lost answer, and pair of them, at each write, in each story.

However the operator dies, the story ends as if it had not, and no invariant breaks on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from rlhf_operator.api.evidence import Verdict
from rlhf_operator.core.observed import Run
from rlhf_operator.core.rules_in_force import InForce
from rlhf_operator.reconcile import pods
from tests.reconcile.search import Event, Search
from tests.reconcile.stage import Stage, identity_of

IDENTITY = identity_of("v1", "1")
PLAN: dict[str, Any] = {
    "strategy": "Canary",
    "coolDown": "0s",
    "readyTimeout": "1m",
    "canary": {"steps": [{"weight": 10, "hold": "90s"}, {"weight": 50, "hold": "10s"}]},
}


def nothing(_: Stage) -> None:
    """All goes its way."""


def v1_is_unsafe(stage: Stage) -> None:
    stage.script = lambda name, _: Verdict.FAILED if name == "v1" else Verdict.SUCCESSFUL


def v1_turns_unsafe(stage: Stage) -> None:
    """Once v1 was promoted and has settled, it fails."""

    def script(name: str, _: object) -> Verdict:
        done = any(run.spec.to.name == "v1" and run.is_settled for run in stage.runs)
        return Verdict.FAILED if name == "v1" and done else Verdict.SUCCESSFUL

    stage.script = script


def is_judged(run: Run) -> bool:
    """At its first weight, on record; the record tells what an ended weight showed."""
    return run.status.weight == 10 and run.status.checkpoint is not None


def v1_turns_unsafe_and_the_spec_cannot_be_read(stage: Stage) -> None:
    """Once v1 was promoted and has settled, a commit breaks the spec, and v1 fails."""
    v1_turns_unsafe(stage)
    runs = stage.runs
    promoted = runs and runs[-1].spec.to.name == "v1" and runs[-1].is_settled
    if promoted and stage.model["spec"]["fallback"] != "nonsense":
        stage.edit(fallback="nonsense", policies=7)


def v1_turns_unsafe_beside_v2_and_the_spec_cannot_be_read(stage: Stage) -> None:
    """While v2 has its first weight beside v1, a commit breaks the spec, and v1 fails."""
    runs, spec = stage.runs, stage.model["spec"]
    tried = runs[-1].spec.to.name if runs else None
    if tried == "v1" and runs[-1].is_settled and spec["version"] == "v1":
        stage.edit(version="v2")
    if tried == "v2" and is_judged(runs[-1]) and spec["fallback"] != "nonsense":
        stage.edit(fallback="nonsense", policies=7)

    def script(name: str, _: object) -> Verdict:
        broken = stage.model["spec"]["fallback"] == "nonsense"
        return Verdict.FAILED if name == "v1" and broken else Verdict.SUCCESSFUL

    stage.script = script


def users_stay(stage: Stage) -> None:
    """Users stay on their arms, and the floor keeps a tenth of them beside v1 for two minutes."""
    v1_is_held_back(stage)
    traffic = stage.model["spec"]["traffic"]
    if "stickiness" not in traffic:
        stage.edit(traffic=traffic | {"stickiness": {"mode": "Arm"}})


def v2_comes_midway(stage: Stage) -> None:
    """While v1 has its first weight, a commit asks for v2."""
    runs = stage.runs
    if runs and is_judged(runs[-1]) and runs[-1].spec.to.name == "v1":
        model = stage.world.store.get("RLHFModel", "team", "support")
        if model and model["spec"]["version"] == "v1":
            stage.edit(version="v2")


def v1_never_gets_ready(stage: Stage) -> None:
    stage.cluster.never_ready = {"v1"}


def ann_aborts(stage: Stage) -> None:
    """While v1 has its first weight, a person ends the run."""
    runs = stage.runs
    if runs and is_judged(runs[-1]) and not stage.said("stop"):
        stage.say("Abort", name="stop")


def ann_restarts(stage: Stage) -> None:
    """Once v1 was promoted and has settled, a commit names a new guard and a person restarts."""
    runs = stage.runs
    if runs and runs[-1].spec.to.name == "v1" and runs[-1].is_settled and not stage.said("renew"):
        stage.edit(serving={"replicas": 2, "images": {"guard": "guard-of-tomorrow"}})
        stage.say("Restart", name="renew")


def two_approve(stage: Stage) -> None:
    """While v1 has its first weight, two people approve the second, one of them twice."""
    if not stage.said("one"):
        approval = {"gate": "Enter", "count": 2}
        steps = [PLAN["canary"]["steps"][0], PLAN["canary"]["steps"][1] | {"approval": approval}]
        stage.edit(rollout=PLAN | {"canary": {"steps": steps}})
        stage.say("Approve", name="one", identity=IDENTITY)
    runs = stage.runs
    if runs and is_judged(runs[-1]) and not stage.said("two"):
        stage.say("Approve", name="two", identity=IDENTITY)
        stage.say("Approve", name="three", author="bob", identity=IDENTITY)


def ann_vetoes(stage: Stage) -> None:
    """Once v1 was promoted and has settled, a person forbids it."""
    runs = stage.runs
    if runs and runs[-1].spec.to.name == "v1" and runs[-1].is_settled and not stage.said("no"):
        stage.say("Veto", name="no", identity=IDENTITY)


def ann_repins(stage: Stage) -> None:
    """While v1 has its first weight, a person has another plan pinned for its run."""
    runs = stage.runs
    if runs and is_judged(runs[-1]) and not stage.said("new"):
        steps = [{"weight": weight, "hold": "10s"} for weight in (5, 20)]
        stage.edit(rollout=PLAN | {"canary": {"steps": steps}})
        stage.say("Repin", name="new")


def the_rules_change(stage: Stage) -> None:
    """While v1 has its first weight, a commit changes the guard, and all guards take it."""
    runs = stage.runs
    if runs and is_judged(runs[-1]) and not stage.model["spec"].get("guard"):
        stage.edit(guard={"refusalPatterns": ["never"]})
    digest = "new" if stage.model["spec"].get("guard") else "old"
    stage.slos.rules = InForce(digests=frozenset({digest}))


def v1_is_held_back(stage: Stage) -> None:
    """The floor keeps a tenth of the traffic beside v1 for two minutes."""
    if not stage.model["spec"].get("standby"):
        stage.edit(standby={"holdback": 10, "keep": "2m"})


def the_control_arm_turns_unsafe(stage: Stage) -> None:
    """Once it stands beside v1, the floor fails."""
    v1_is_held_back(stage)

    def script(name: str, _: object) -> Verdict:
        done = any(run.spec.to.name == "v1" and run.is_settled for run in stage.runs)
        return Verdict.FAILED if name == "sft" and done else Verdict.SUCCESSFUL

    stage.script = script


def by(strategy: str, **plan: Any) -> Callable[[Stage], None]:
    """Have the model's first run go by another strategy."""

    def told(stage: Stage) -> None:
        if stage.model["spec"]["rollout"]["strategy"] != strategy:
            rest = {name: value for name, value in PLAN.items() if name != "canary"}
            stage.edit(rollout=rest | {"strategy": strategy} | plan)

    return told


def one_after_another(*events: Callable[[Stage], None]) -> Callable[[Stage], None]:
    def told(stage: Stage) -> None:
        for event in events:
            event(stage)

    return told


SHADOW = by("Shadow", shadow={"percent": 10, "hold": "90s"})
BLUE_GREEN = by("BlueGreen", blueGreen={"hold": "90s"}, surge="Full")
AB_TEST = by(
    "ABTest",
    abTest={
        "weight": 50,
        "minimum": "30s",
        "duration": "90s",
        "primary": {"name": "thumbs", "indicator": {"type": "ThumbsDownRate"}},
    },
)


def v1_wins(stage: Stage) -> None:
    stage.slos.primary = Verdict.SUCCESSFUL


def v1_loses(stage: Stage) -> None:
    stage.slos.primary = Verdict.FAILED


def nobody_wins(stage: Stage) -> None:
    stage.slos.primary = Verdict.INCONCLUSIVE


OF_SEVERAL = by(
    "ABTest",
    abTest={
        "weight": 20,
        "others": [{"version": "v2", "weight": 30}],
        "minimum": "30s",
        "duration": "90s",
        "primary": {"name": "thumbs", "indicator": {"type": "ThumbsDownRate"}},
    },
)


def v2_is_the_better_winner(stage: Stage) -> None:
    won = Verdict.SUCCESSFUL
    stage.slos.primaries = {"v1": (won, "0.9"), "v2": (won, "0.5")}


def v1_is_unsafe_and_v2_wins(stage: Stage) -> None:
    v1_is_unsafe(stage)
    v2_is_the_better_winner(stage)


def both_lose(stage: Stage) -> None:
    stage.slos.primaries = {"v1": (Verdict.FAILED, "2"), "v2": (Verdict.FAILED, "3")}


def ann_vetoes_v2(stage: Stage) -> None:
    """While both have traffic, a person forbids v2; then v1 wins."""
    runs = stage.runs
    tested = runs and runs[-1].spec.others and runs[-1].status.checkpoint is not None
    if tested and not stage.said("no"):
        stage.say("Veto", name="no", identity=identity_of("v2", "2"))
    stage.slos.primaries = {"v1": (Verdict.SUCCESSFUL, "0.9")}


def v1_turns_unsafe_in_service(stage: Stage) -> None:
    """Half a minute after all traffic went to v1, it fails."""

    def script(name: str, now: datetime) -> Verdict:
        began = stage.runs[-1].status.in_force_at if stage.weights == {"v1": 100} else None
        late = began is not None and now >= began + timedelta(seconds=30)
        return Verdict.FAILED if name == "v1" and late else Verdict.SUCCESSFUL

    stage.script = script


def the_way_back_is_tried(stage: Stage) -> None:
    """Once v1 was promoted and has settled, a drill is asked for, and after it no more."""
    runs = stage.runs
    asked = stage.model["spec"].get("rollbackDrill")
    if runs and runs[-1].spec.type == "Drill" and runs[-1].is_settled:
        if asked["every"] != "168h":
            stage.edit(rollbackDrill={"every": "168h"})
    elif runs and runs[-1].spec.to.name == "v1" and runs[-1].is_settled and not asked:
        stage.edit(rollbackDrill={"every": "1m", "hold": "10s"})


STORIES = [
    pytest.param(SHADOW, "v1", id="a shadow is promoted"),
    pytest.param(one_after_another(SHADOW, v1_is_unsafe), "sft", id="a shadow is unsafe"),
    pytest.param(BLUE_GREEN, "v1", id="all at once"),
    pytest.param(
        one_after_another(BLUE_GREEN, v1_turns_unsafe_in_service), "sft", id="all at once and back"
    ),
    pytest.param(one_after_another(AB_TEST, v1_wins), "v1", id="a test is won"),
    pytest.param(one_after_another(AB_TEST, v1_loses), "sft", id="a test is lost"),
    pytest.param(one_after_another(AB_TEST, nobody_wins), "sft", id="a test without a winner"),
    pytest.param(
        one_after_another(OF_SEVERAL, v2_is_the_better_winner), "v2", id="the better of two wins"
    ),
    pytest.param(
        one_after_another(OF_SEVERAL, v1_is_unsafe_and_v2_wins),
        "v2",
        id="the first of two is unsafe",
    ),
    pytest.param(one_after_another(OF_SEVERAL, both_lose), "sft", id="both of two lose"),
    pytest.param(one_after_another(OF_SEVERAL, ann_vetoes_v2), "v1", id="one of two is vetoed"),
    pytest.param(nothing, "v1", id="promote"),
    pytest.param(v1_is_unsafe, "sft", id="unsafe canary"),
    pytest.param(v1_turns_unsafe, "sft", id="unsafe after promotion"),
    pytest.param(
        v1_turns_unsafe_and_the_spec_cannot_be_read, "sft", id="unsafe under an unreadable spec"
    ),
    pytest.param(
        v1_turns_unsafe_beside_v2_and_the_spec_cannot_be_read,
        "sft",
        id="unsafe stable beside a canary under an unreadable spec",
    ),
    pytest.param(users_stay, "v1", id="users stay on their arms"),
    pytest.param(v2_comes_midway, "v2", id="new version midway"),
    pytest.param(v1_never_gets_ready, "sft", id="canary never ready"),
    pytest.param(ann_aborts, "sft", id="a person aborts"),
    pytest.param(ann_restarts, "v1", id="a person restarts"),
    pytest.param(two_approve, "v1", id="two people approve"),
    pytest.param(ann_repins, "v1", id="a person repins"),
    pytest.param(the_rules_change, "v1", id="the guard's rules change"),
    pytest.param(ann_vetoes, "sft", id="a person vetoes what serves"),
    pytest.param(v1_is_held_back, "v1", id="a control arm"),
    pytest.param(the_control_arm_turns_unsafe, "v1", id="an unsafe control arm"),
    pytest.param(the_way_back_is_tried, "v1", id="a drill"),
]


def search(event: Event) -> Search:
    stage = Stage()
    stage.edit(rollout=PLAN)
    return Search(stage=stage, event=event)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("event", "serves"), STORIES)
def test_no_crash_and_no_pair_of_crashes_changes_the_end(
    event: Callable[[Stage], None], serves: str
) -> None:
    found = search(event)
    found.run(crashes=0)
    (wanted,) = found.ends
    assert found.stage.weights == {serves: 100}
    found.run(crashes=2)
    assert found.crashes > 100, "the search must have crashed somewhere"
    assert [path for end, path in found.ends.items() if end != wanted] == []


def test_the_search_finds_a_restart_that_takes_old_pods_for_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pods, "_carries", lambda *_: True)
    found = search(ann_restarts)
    with pytest.raises(AssertionError):
        found.run(crashes=1)
    assert found.stage.broken == ["I19: the restart of v1 is done with old pods"]


@pytest.fixture(scope="module")
def once() -> Search:
    """The worlds of a promotion with one crash."""
    found = search(nothing)
    found.run(crashes=1)
    return found


@pytest.mark.parametrize("write", range(1, 12))
@pytest.mark.parametrize("how", ["before", "after", "lost"])
def test_the_search_dies_as_a_process_does(once: Search, write: int, how: str) -> None:
    """A crash that is really raised leaves a world that the search knows."""
    found = once
    assert found.start is not None
    found.restore(found.start)
    stage, cluster = found.stage, found.stage.cluster
    cluster.writes = 0
    cluster.crash = lambda count: how if count == write else None
    while cluster.writes < write:
        stage._pass()
        cluster.settle()
    cluster.crash = lambda _: None
    stage.quiet = False
    assert found.key(found.take(())) in found.visited
