"""A model whose pods nobody scrapes says so, and what to apply."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rlhf_operator.api.evidence import Verdict
from rlhf_operator.core.rules_in_force import UNKNOWN, InForce
from tests.reconcile.stage import MINUTE, Stage

GUARDS = InForce(digests=frozenset({"rules"}))
NOTHING, NOBODY_ASKS, A_FEW = None, 0, 5


def at_first_weight(verdict: Verdict, samples: int | None, rules: InForce) -> Stage:
    """Return a model with a canary that its objectives say no more of than this."""
    stage = Stage(script=lambda *_: verdict)
    stage.slos.rules, stage.slos.counted = rules, {"samples": samples}
    while not (stage.runs and stage.runs[-1].status.weight == 10):
        stage.run(timedelta(seconds=5))
    return stage


@pytest.mark.parametrize(
    ("sentence", "verdict", "samples", "rules", "told"),
    [
        ("no series of any pod", Verdict.INCONCLUSIVE, NOTHING, UNKNOWN, True),
        ("the only query yields nothing", Verdict.INCONCLUSIVE, NOTHING, GUARDS, False),
        ("nobody asks the model", Verdict.INCONCLUSIVE, NOBODY_ASKS, GUARDS, False),
        ("guards tell no rules", Verdict.INCONCLUSIVE, A_FEW, UNKNOWN, False),
        ("Prometheus is away", Verdict.ERROR, NOTHING, UNKNOWN, False),
    ],
)
def test_only_pods_that_are_not_scraped_are_said_to_be(
    sentence: str, verdict: Verdict, samples: int | None, rules: InForce, told: bool
) -> None:
    stage = at_first_weight(verdict, samples, rules)
    stage.run(3 * MINUTE)
    assert (stage.condition("NoScrapeTarget") == ("True", "NoSeries")) is told, sentence
    assert ("PodMonitor" in stage.message("NoScrapeTarget")) is told
    assert stage.weights == {"sft": 90, "v1": 10}, "silence raises no weight"


def test_a_first_scrape_has_a_minute_to_come() -> None:
    stage = at_first_weight(Verdict.INCONCLUSIVE, NOTHING, UNKNOWN)
    stage.run(MINUTE / 2)
    assert stage.condition("NoScrapeTarget") is None


def test_it_ends_with_the_first_series() -> None:
    stage = at_first_weight(Verdict.INCONCLUSIVE, NOTHING, UNKNOWN)
    stage.run(3 * MINUTE)
    stage.slos.counted = {"samples": A_FEW}
    stage.run(MINUTE)
    assert stage.condition("NoScrapeTarget") is None


def test_it_is_told_of_what_serves_outside_a_run_too() -> None:
    stage = Stage(script=lambda *_: Verdict.INCONCLUSIVE)
    stage.slos.counted = {"samples": NOTHING}
    stage.edit(version="sft")
    stage.run(10 * MINUTE)
    assert stage.weights == {"sft": 100}
    assert stage.condition("NoScrapeTarget") == ("True", "NoSeries")
