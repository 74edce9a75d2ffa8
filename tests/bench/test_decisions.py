"""The simulation of decisions: its statistics are core's, and its worlds are as they are said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from e2e.bench.decisions import agreement, bound, ours, rewards, scenarios
from e2e.bench.decisions.scenarios import Scenario, Trait
from e2e.bench.decisions.traffic import LOOK, MINUTE, Traffic, Unit


def test_the_vectorised_evidence_is_that_of_core() -> None:
    assert agreement.largest_difference(runs=100, seed=7) < 1e-9


def test_every_bad_scenario_has_its_equal_twin() -> None:
    every = scenarios.every()
    assert len({each.name for each in every}) == len(every)
    assert {each.twin for each in every} <= set(every)
    assert not any(each.twin.is_bad for each in every)


def totals(
    scenario: Scenario,
    minutes: int = 60,
    weight: float = 0.05,
    unit: Unit = Unit.ANSWER,
    every: int = MINUTE,
) -> dict[str, float]:
    """Return sums over all runs and looks of a scenario."""
    traffic = Traffic(scenario, 400, np.random.default_rng(3), unit, every)
    found: dict[str, float] = {}
    for _ in range(minutes * MINUTE // every):
        traffic.tick()
        seen = traffic.interval(np.full(400, weight))
        for name in ("canary", "stable", "canary_flags", "stable_flags", "canary_events",
                     "canary_samples"):  # fmt: skip
            found[name] = found.get(name, 0) + float(getattr(seen, name).sum())
        found["unread"] = found.get("unread", 0) + float((~seen.canary_read).mean())
    return found


@pytest.mark.parametrize(
    ("scenario", "numerator", "denominator", "expected"),
    [
        pytest.param(
            Scenario(), "canary", "stable", 0.05 / 0.95, id="the canary's share is the weight"
        ),
        pytest.param(
            Scenario(factor=3), "canary_flags", "canary", 0.06, id="a canary may be worse"
        ),
        pytest.param(
            Scenario(trait=Trait.SPLIT), "canary", "stable", 0.07 / 0.93,
            id="a gateway gives 7 % for 5 %",
        ),
        pytest.param(
            Scenario(trait=Trait.HEAVY), "stable_flags", "stable", 0.02,
            id="heavy users leave the rate of flags as it is",
        ),
        pytest.param(
            Scenario(trait=Trait.RESETS), "stable_flags", "stable", 0.02,
            id="a restart loses answers and flags alike",
        ),
    ],
)  # fmt: skip
def test_the_world_is_as_its_scenario_says(
    scenario: Scenario, numerator: str, denominator: str, expected: float
) -> None:
    found = totals(scenario)
    assert found[numerator] / found[denominator] == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(
    ("trait", "name"),
    [
        pytest.param(Trait.PLAIN, "canary_flags", id="a plain world"),
        pytest.param(Trait.IDLE, "canary", id="an idle canary"),
        pytest.param(Trait.GAPS, "unread", id="gaps"),
        pytest.param(Trait.RESETS, "canary", id="restarts"),
        pytest.param(Trait.HEAVY_STICKY, "canary_flags", id="heavy users"),
        pytest.param(Trait.ATTACK_CANARY, "canary_flags", id="an attacker"),
    ],
)
def test_the_world_is_the_same_however_often_one_looks(trait: Trait, name: str) -> None:
    scenario = Scenario(trait=trait)
    often, seldom = totals(scenario, every=LOOK)[name], totals(scenario)[name]
    share = LOOK / MINUTE if name == "unread" else 1
    assert often * share == pytest.approx(seldom, rel=0.12)


def test_an_idle_canary_answers_nothing_at_first() -> None:
    assert totals(Scenario(trait=Trait.IDLE), minutes=10)["canary"] == 0


def test_gaps_hide_some_minutes() -> None:
    assert 3 < totals(Scenario(trait=Trait.GAPS))["unread"] < 15


def test_a_users_flags_count_once_a_run() -> None:
    heavy = Scenario(trait=Trait.HEAVY_STICKY)
    answers, once = (totals(heavy, unit=unit) for unit in (Unit.ANSWER, Unit.USER_A_RUN))
    # Of 100 heavy users five are the canary's; the light ones make 0.6 flags a minute there.
    assert once["canary_events"] / 400 == pytest.approx(60 * 0.6 + 5, rel=0.05)
    assert answers["canary_events"] / 400 == pytest.approx(60 * 1.2, rel=0.08)


def test_as_built_an_attacker_is_one_event_in_comparisons_and_in_bounds() -> None:
    attacked = Scenario(trait=Trait.ATTACK_CANARY)
    alone, found = totals(Scenario()), totals(attacked, unit=Unit.FIRST_FLAG)
    # One event, and two answers on average until there is one.
    assert found["canary_samples"] == pytest.approx(alone["canary"] + 400 * 2, rel=0.01)
    assert found["canary_events"] == pytest.approx(alone["canary_flags"] + 400, rel=0.03)
    assert found["canary"] == pytest.approx(alone["canary"] + 400 * 56 * 60, rel=0.01)


def test_the_bad_share_of_an_equal_version_is_the_base_rate() -> None:
    assert rewards.bad_share(Scenario(shift=0)) == pytest.approx(0.02)
    assert rewards.bad_share(Scenario(shift=0.3)) > 0.03


@pytest.mark.parametrize(("evenly", "stable"), [(False, 95), (True, 5)])
def test_all_answers_are_scored_or_as_few_of_stables(evenly: bool, stable: int) -> None:
    one = np.ones(1)
    seen = Traffic(Scenario(), 1, np.random.default_rng(3)).interval(np.full(1, 0.05))
    seen = replace(seen, canary=5 * one, stable=95 * one)
    told = rewards.scored(seen, Scenario(shift=0.3), np.random.default_rng(4), evenly=evenly)
    assert (told[0, 0], told[3, 0]) == (5, stable)


@pytest.mark.parametrize(
    ("scenario", "rolled_back", "promoted"),
    [
        pytest.param(Scenario(), 0, 1, id="an equal version is promoted"),
        pytest.param(Scenario(factor=3), 1, 0, id="a version three times as bad is rolled back"),
        pytest.param(Scenario(shift=0.3), 1, 0, id="a version with a lower reward is rolled back"),
        pytest.param(
            Scenario(trait=Trait.GAPS, factor=2), 1, 0, id="gaps delay a rollback, no more"
        ),
    ],
)
def test_our_decision(scenario: Scenario, rolled_back: float, promoted: float) -> None:
    found = ours.simulate(scenario, 200, 5, unit=Unit.ANSWER)
    assert found.rolled_back.mean() == pytest.approx(rolled_back, abs=0.01)
    assert found.promoted.mean() == pytest.approx(promoted, abs=0.01)


def test_without_traffic_nothing_is_decided() -> None:
    setting = ours.Setting(max_hold=30 * MINUTE)
    found = ours.simulate(Scenario(requests=0), 20, 5, unit=Unit.ANSWER, setting=setting)
    assert found.undecided == 1
    assert set(found.seconds) == {40.0 * MINUTE}


def test_the_plan_takes_at_least_its_holds() -> None:
    found = ours.simulate(Scenario(requests=200), 200, 5, unit=Unit.ANSWER)
    assert found.seconds[found.promoted].min() == 30 * MINUTE


@pytest.mark.parametrize(
    ("scenario", "least"),
    [
        # Of an event at 5 % the odds are the canary's by 3: 0.0545 of information, 13.6 % of them.
        pytest.param(Scenario(factor=3), 11.5, id="three times as bad"),
        pytest.param(Scenario(factor=1.5), 67.7, id="half as bad again"),
        pytest.param(Scenario(shift=0.3), 107.7 * 0.0397, id="a reward lower by 0.3"),
        pytest.param(Scenario(trait=Trait.HEAVY_STICKY, factor=3), 23.0,
                     id="half of the flags are repeats"),
    ],
)  # fmt: skip
def test_no_rule_knows_before(scenario: Scenario, least: float) -> None:
    assert bound.least_bad(scenario) == pytest.approx(least, rel=0.02)
    assert bound.least_bad(scenario.twin) is None


def test_people_who_act_as_one_are_beyond_the_aim() -> None:
    beyond = [each for each in scenarios.every() if each.is_beyond]
    assert len(beyond) == 4 and not any(each.is_aimed_at for each in beyond)
