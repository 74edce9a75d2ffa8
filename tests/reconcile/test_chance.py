"""A life by chance: people, commits, verdicts, pods, crashes and old leaders in any order.

Nothing that happens may break an invariant, and when all is calm again the model serves.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from random import Random

import pytest

from rlhf_operator.api.evidence import Verdict
from rlhf_operator.reconcile.ports import Fenced
from tests.reconcile import invariants
from tests.reconcile.stage import KEY, MINUTE, Stage, identity_of, model, version

VERSIONS = ("sft", "v1", "v2", "v3")


class Life:
    """A stage, and what may happen on it next."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.stage = Stage(script=self.verdict)
        self.stage.put(version("v3", "3"))
        self.stage.edit(serving={"replicas": self.chance.choice([1, 2, 3, 5])})
        self.verdicts = dict.fromkeys(VERSIONS, Verdict.SUCCESSFUL)
        self.said = 0
        self.told: list[str] = []

    def verdict(self, name: str, _: object) -> Verdict:
        return self.verdicts[name]

    def commit(self) -> None:
        self.stage.edit(version=self.chance.choice(VERSIONS))

    def suspend(self) -> None:
        self.stage.edit(suspend=self.chance.random() < 0.4)

    def break_spec(self) -> None:
        self.stage.edit(version="missing")

    def garble(self) -> None:
        """The spec is one of tomorrow's operator, or of today's again."""
        self.stage.edit(fallback=self.chance.choice(["nonsense", {"version": "sft"}]))

    def judge(self) -> None:
        likely = [Verdict.SUCCESSFUL] * 7 + list(Verdict)
        self.verdicts[self.chance.choice(VERSIONS[1:])] = self.chance.choice(likely)

    def pods(self) -> None:
        names = [name for name in VERSIONS if self.chance.random() < 0.2]
        self.stage.cluster.never_ready = set(names)

    def route(self) -> None:
        self.stage.cluster.refuse_routes = self.chance.random() < 0.3

    def say(self) -> None:
        self.said += 1
        name = f"say-{self.said}"
        simple = ["Abort", "Pause", "Resume", "Restart", "Retry", "Promote", "Repin"]
        told = ["Approve"] * 4 + ["Veto", "Back"] + ["Lift"] * 5
        match self.chance.choice([*simple, *told]):
            case "Back":
                self.stage.say("RollBackTo", name=name, version=self.chance.choice(VERSIONS))
            case "Lift":
                self.lift(name)
            case "Approve" | "Veto" as action:
                number = self.chance.randrange(len(VERSIONS))
                identity = identity_of(VERSIONS[number], str(number))
                author = self.chance.choice(["ann", "bob"])
                self.stage.say(action, name=name, identity=identity, author=author)
            case action:
                self.stage.say(action, name=name)

    def lift(self, name: str) -> None:
        for raw in self.stage.world.store.in_namespace("RLHFRollout", KEY.namespace):
            for record in invariants.in_force(raw):
                self.stage.say("LiftQuarantine", name=name, identity=record["identity"])
                return

    def plan(self) -> None:
        """A plan of one to three steps, some of which ask for people."""
        steps = [
            {"weight": weight, "hold": "1m"}
            | ({"approval": {"gate": self.chance.choice(["Leave", "Enter"]), "timeout": "30m",
                             "count": self.chance.choice([1, 2])}}
               if self.chance.random() < 0.3 else {})
            for weight in sorted(self.chance.sample([5, 10, 30, 50, 70], 2))
        ]  # fmt: skip
        rollout = self.stage.model["spec"]["rollout"]
        self.stage.edit(rollout=rollout | {"canary": {"steps": steps}})

    def crash(self) -> None:
        at = self.stage.cluster.writes + self.chance.randint(1, 6)
        how = self.chance.choice(["before", "after", "lost"])
        self.stage.cluster.crash = lambda count: how if count == at else None

    def old_leader(self) -> None:
        """A process that led before makes a pass: it may write nothing."""
        if not self.stage.runs or self.stage.runs[-1].status.epoch == 0:
            return
        now = self.stage.world.epoch
        object.__setattr__(self.stage.world, "epoch", lambda: 0)
        writes = self.stage.cluster.writes
        with pytest.raises(Fenced):
            self.stage._pass()
        assert self.stage.cluster.writes == writes
        object.__setattr__(self.stage.world, "epoch", now)

    def wait(self) -> None:
        self.stage.run(self.chance.choice([1, 20, 20, 90, 400]) * timedelta(seconds=1))
        if self.stage.quiet:
            earlier = self.stage.runs[:-1]
            assert [run.name for run in earlier if not run.is_settled] == [], self.told

    def step(self) -> None:
        happenings: list[Callable[[], None]] = [
            self.commit, self.commit, self.plan, self.suspend, self.break_spec, self.garble,
            self.judge, self.judge, self.pods, self.route, *[self.say] * 8,
            self.crash, self.crash, self.old_leader,
        ]  # fmt: skip
        what = self.chance.choice(happenings)
        self.told.append(what.__name__)
        what()
        self.wait()

    def calm(self) -> None:
        """All is well again, and a person lets everything go on."""
        self.verdicts = dict.fromkeys(VERSIONS, Verdict.SUCCESSFUL)
        self.stage.cluster.never_ready, self.stage.cluster.refuse_routes = set(), False
        self.stage.cluster.crash = lambda _: None
        self.said += 1
        self.stage.edit(suspend=False, version="sft", fallback={"version": "sft"})
        self.stage.say("Resume", name=f"say-{self.said}")
        # A run that waits for approvals which nobody gives is ended, and the next asks for none.
        self.stage.say("Abort", name=f"say-{self.said}-stop")
        self.stage.edit(rollout=model()["spec"]["rollout"])
        # Nobody forbids the floor for ever: what was said of it is taken back.
        self.stage.say("LiftQuarantine", name=f"say-{self.said}-lift",
                       identity=identity_of("sft", "0"))  # fmt: skip
        self.stage.run(20 * MINUTE)
        # A floor that was unsafe blocks until a person lets it serve again.
        self.stage.say("Restart", name=f"say-{self.said}-restart")
        self.stage.run(20 * MINUTE)


class LifeOfTests(Life):
    """A life in which every run tests one version, or several at once."""

    def plan(self) -> None:
        wanted = self.stage.model["spec"]["version"]
        others = [name for name in VERSIONS if name != wanted]
        chosen = self.chance.sample(others, self.chance.randint(0, len(others)))
        gate = {"gate": self.chance.choice(["Leave", "Enter"]), "timeout": "30m"}
        test = {
            "weight": self.chance.choice([1, 10, 25]),
            "others": [
                {"version": name, "weight": self.chance.choice([1, 10, 24])} for name in chosen
            ],
            "minimum": "1m", "duration": self.chance.choice(["2m", "10m"]),
            "primary": {"name": "thumbs", "indicator": {"type": "ThumbsDownRate"}},
        } | ({"approval": gate} if self.chance.random() < 0.2 else {})  # fmt: skip
        self.stage.edit(rollout={
            "strategy": "ABTest", "abTest": test, "coolDown": "1m", "readyTimeout": "5m",
            "surge": self.chance.choice(["One", "Full"]),
        })  # fmt: skip

    def commit(self) -> None:
        super().commit()
        self.plan()

    def judge(self) -> None:
        super().judge()
        says = [Verdict.SUCCESSFUL] * 3 + [Verdict.INCONCLUSIVE] * 2 + [Verdict.FAILED]
        self.stage.slos.primaries = {
            name: (self.chance.choice(says), f"{self.chance.random():.3f}") for name in VERSIONS
        }


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("kind", [Life, LifeOfTests])
def test_no_life_breaks_an_invariant_and_calm_ends_well(kind: type[Life], seed: int) -> None:
    life = kind(seed)
    for _ in range(40):
        life.step()
    life.calm()
    stage = life.stage
    assert stage.weights == {"sft": 100}, life.told
    assert stage.condition("Ready") == ("True", "Serving"), (life.told, stage.status["message"])
    stage.now += MINUTE
    before = stage.cluster.writes
    stage._pass()
    assert invariants.i16_rest_is_quiet(stage.cluster.writes - before) == []
    assert [run.name for run in stage.runs[:-1] if not run.is_settled] == []
