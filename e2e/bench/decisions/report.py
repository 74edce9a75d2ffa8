"""From what was simulated to rows, and to the sentences that say where the aim is missed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import numpy as np

from e2e.bench.decisions import tuning
from e2e.bench.decisions.outcome import Outcome
from e2e.bench.decisions.peers import Peer
from e2e.bench.decisions.scenarios import Scenario
from e2e.bench.decisions.traffic import MINUTE
from e2e.bench.decisions.tuning import Rule, Score

AIM = 0.01
DEARER = 1.2
"""How many times as many bad answers as with the best threshold by hindsight are allowed."""
HINDSIGHT = "best by hindsight"
MINUTELY = "by hindsight, a look a minute"
"""The best of those that look no more often than once a minute, as people set it mostly."""
ONE = "one setting"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One scenario under one way to decide. Rates are shares of the runs."""

    scenario: str
    method: str
    false_rollback: float
    """Of the equal twin, under the same rule."""
    false_promotion: float | None
    """None where both versions are equal."""
    undecided: float
    median_seconds: float
    """Until the run ended, however it did."""
    bad_answers_served: float
    """Mean of a run, until it ended. A promoted canary goes on, which is not counted."""
    setting: str


def ours(scenario: Scenario, method: str, found: Outcome, twin: Outcome) -> Row:
    """Return the row of our decision."""
    return Row(
        scenario=scenario.name,
        method=method,
        false_rollback=_rounded(twin.rolled_back.mean()),
        false_promotion=_rounded(found.promoted.mean()) if scenario.is_bad else None,
        undecided=_rounded(found.undecided),
        median_seconds=float(np.median(found.seconds)),
        bad_answers_served=round(float(found.bad.mean()), 1),
        setting="the default",
    )


def theirs(scenario: Scenario, method: str, rule: Rule, found: Score, twin: Score) -> Row:
    """Return the row of a peer's rule."""
    return Row(
        scenario=scenario.name,
        method=method,
        false_rollback=_rounded(twin.rolled_back),
        false_promotion=_rounded(found.promoted) if scenario.is_bad else None,
        undecided=_rounded(found.undecided),
        median_seconds=found.median_seconds,
        bad_answers_served=round(found.bad, 1),
        setting=rule.text(scenario),
    )


def peer_rows(peer: Peer, found: Mapping[Scenario, Mapping[Rule, Score]]) -> list[Row]:
    """Return a peer's rows at its defaults, at one setting, and at the best of each scenario.

    One setting for all flags and one for all rewards: they are metrics of their own.
    """
    rows = []
    for is_reward in (False, True):
        some = {each: scores for each, scores in found.items() if _is_reward(each) == is_reward}
        if not some:
            continue
        aimed = {each: scores for each, scores in some.items() if not each.is_beyond}
        one = tuning.best_for_all(aimed, AIM)
        for scenario, scores in some.items():
            twin = some[scenario.twin]
            rules = {"defaults": tuning.DEFAULT, ONE: one}
            if scenario.is_bad:
                rules[HINDSIGHT] = tuning.best_by_hindsight(scores, twin, AIM)
                seldom = {rule: each for rule, each in scores.items() if rule.pace.every >= MINUTE}
                rules[MINUTELY] = tuning.best_by_hindsight(seldom, twin, AIM)
            rows += [
                theirs(scenario, f"{peer}, {how}", rule, scores[rule], twin[rule])
                for how, rule in rules.items()
            ]
    return rows


def _is_reward(scenario: Scenario) -> bool:
    return scenario.shift is not None


def summary(scenarios: Iterable[Scenario], rows: Iterable[Row]) -> dict[str, list[str]]:
    """Return for each method the scenarios in which it misses the aim, with the figures."""
    named = {each.name: each for each in scenarios}
    aimed = {name: each.is_aimed_at for name, each in named.items()}
    rows = [row for row in rows if not named[row.scenario].is_beyond]
    missed: dict[str, list[str]] = {method: [] for method in dict.fromkeys(r.method for r in rows)}
    for row in rows:
        if row.false_promotion is None and row.false_rollback > AIM:
            missed[row.method].append(f"{row.scenario}: false rollback {row.false_rollback:.2%}")
        if aimed[row.scenario] and (row.false_promotion or 0) > AIM:
            missed[row.method].append(f"{row.scenario}: false promotion {row.false_promotion:.2%}")
    for row in rows:
        best = cheapest(row.scenario, rows)
        if row.method.startswith("ours") and best and row.bad_answers_served > DEARER * best:
            missed[row.method].append(
                f"{row.scenario}: {row.bad_answers_served:g} bad answers served, "
                f"{row.bad_answers_served / best:.2f} times the {best:g} of hindsight"
            )
    return missed


def cheapest(scenario: str, rows: Iterable[Row], how: str = HINDSIGHT) -> float | None:
    """Return the bad answers served with the better peer by hindsight; None if none is good.

    Only rules within the aim count: a rule that promotes the bad version serves fewer at first.
    """
    costs = [
        row.bad_answers_served for row in rows
        if row.scenario == scenario and row.method.endswith(how)
        and row.false_rollback <= AIM and (row.false_promotion or 0) <= AIM
    ]  # fmt: skip
    return min(costs, default=None)


def as_json(rows: Iterable[Row]) -> list[dict[str, object]]:
    """Return the rows as they are written."""
    return [asdict(row) for row in rows]


def _rounded(share: float) -> float:
    return round(float(share), 4)
