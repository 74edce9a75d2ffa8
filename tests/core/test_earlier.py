"""A version that has all traffic is compared with what stable showed before."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import Any

import pytest

from rlhf_operator.api.evidence import Verdict
from rlhf_operator.api.plan import PinnedPolicy
from rlhf_operator.api.policy import SLO
from rlhf_operator.core import analysis, earlier
from rlhf_operator.core.objective import Judgement, Objective, Reading, objective
from rlhf_operator.core.stretches import Past, Stretch
from tests.builders import NOW, POLICY


def goal(class_: str = "Quality", indicator: str = "RefusalRate", **bounds: Any) -> Objective:
    slo = SLO.model_validate(
        {"name": "refusals", "class": class_, "indicator": {"type": indicator},
         "versusStable": {"ratio": "1.5"}} | bounds
    )  # fmt: skip
    return objective(POLICY, slo)


def judge(asked: Objective, mine: tuple[int, int], before: tuple[int, int]) -> Judgement:
    """Judge a canary with all traffic; stable is there and has not answered since."""
    events, samples = mine
    reading = Reading(events=events, samples=samples, value=events / samples, at=NOW)
    stable = Reading(events=0, samples=0, at=NOW)
    past = Past(stable_before=Stretch(events=before[0], samples=before[1]))
    return analysis.weigh(
        asked, reading, stable, None, now=NOW, since=NOW - timedelta(minutes=5),
        stale=timedelta(minutes=1), past=past,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "mine", "before", "verdict"),
    [
        pytest.param(goal(), (800, 40_000), (800, 40_000), Verdict.SUCCESSFUL,
                     id="an equal rate is within the margin"),
        pytest.param(goal(), (2, 100), (2, 100), Verdict.INCONCLUSIVE,
                     id="a few answers show nothing"),
        pytest.param(goal(), (900, 10_000), (200, 10_000), Verdict.FAILED,
                     id="a rate far above it is not"),
        pytest.param(goal(), (260, 10_000), (200, 10_000), Verdict.INCONCLUSIVE,
                     id="a little worse is neither"),
        pytest.param(goal("Safety"), (300, 10_000), (150, 10_000), Verdict.FAILED,
                     id="Safety fails as soon as it is worse at all"),
        pytest.param(goal(), (0, 10_000), (0, 10_000), Verdict.INCONCLUSIVE,
                     id="without one event of stable no ratio can be shown"),
        pytest.param(goal(), (200, 10_000), (0, 0), Verdict.INCONCLUSIVE,
                     id="without any answer of stable there is nothing to compare with"),
        pytest.param(goal(indicator="TaskCompletionRate"), (9_000, 10_000), (9_000, 10_000),
                     Verdict.SUCCESSFUL, id="more is better and it is the same"),
        pytest.param(goal(indicator="TaskCompletionRate"), (4_000, 10_000), (9_000, 10_000),
                     Verdict.FAILED, id="more is better and it is less"),
        pytest.param(goal(max="0.01"), (200, 10_000), (200, 10_000), Verdict.FAILED,
                     id="an absolute bound is judged as ever"),
    ],
)  # fmt: skip
def test_against_what_was_before(
    asked: Objective, mine: tuple[int, int], before: tuple[int, int], verdict: Verdict
) -> None:
    found = judge(asked, mine, before)
    assert found.verdict is verdict, found.message


def test_it_is_told_why_nothing_can_be_compared() -> None:
    assert "stable showed nothing before" in judge(goal(), (200, 10_000), (0, 0)).message
    worse = judge(goal(), (900, 10_000), (200, 10_000)).message
    assert "> 1.5 times stable's 0.02 (200 of 10000) before" in worse


def test_harmless_versions_are_rarely_found_harmful() -> None:
    """Both errors together stay below the asked-for one: 20 % here, over bound and test."""
    policy = PinnedPolicy.model_validate(POLICY.dump() | {"falseRollback": "0.2"})
    asked = objective(policy, goal("Safety").slo).rate
    assert asked is not None
    chance, rounds, false = Random(7), 400, 0
    for _ in range(rounds):
        before = Stretch(events=sum(chance.random() < 0.05 for _ in range(400)), samples=400)
        events = 0
        for answers in range(1, 1201):
            events += chance.random() < 0.05
            if answers % 60 == 0:
                counted = Stretch(events=events, samples=answers)
                if earlier.proof(asked, counted, before).harm >= asked.levels.harm:
                    false += 1
                    break
    assert false <= 0.2 * rounds
