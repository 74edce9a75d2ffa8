"""`make bench-decisions`: simulate every scenario and write .state/decisions.json."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from e2e.bench.decisions import agreement, ours, page, report, scenarios, tuning
from e2e.bench.decisions.outcome import Outcome
from e2e.bench.decisions.peers import Peer
from e2e.bench.decisions.report import Row
from e2e.bench.decisions.scenarios import Scenario, Trait
from e2e.bench.decisions.traffic import Unit
from e2e.bench.decisions.tuning import Rule, Score

_RESULT = Path(__file__).parents[3] / ".state" / "decisions.json"
_NO_MAXIMUM = 0.999
"""A ceiling that no rate comes near."""
_USERS = (
    Trait.HEAVY, Trait.HEAVY_STICKY, Trait.ATTACK_CANARY, Trait.ATTACK_STABLE,
    Trait.ACCOUNTS_CANARY, Trait.ACCOUNTS_STABLE,
)  # fmt: skip


def _methods(scenario: Scenario) -> dict[str, tuple[Unit, ours.Setting]]:
    """Return how we may count: only where single users weigh does it make a difference.

    An attacker holds the token of an arm, so arms are sticky there. "What is assigned" is a user
    where arms are sticky, and an answer where chance decides on each one anew. What is built
    compares so too, and bounds every answer: the last method has no maximum.
    """
    plain = ours.Setting()
    if scenario.trait not in _USERS:
        return {"ours": (Unit.ANSWER, plain)}
    is_sticky = scenario.trait is not Trait.HEAVY
    built = Unit.FIRST_FLAG if is_sticky else Unit.ANSWER
    return {
        "ours": (Unit.USER_A_STRATUM, plain),
        "ours, counting answers": (Unit.ANSWER, plain),
        "ours, counting users once a run": (Unit.USER_A_RUN, plain),
        "ours, counting what is assigned": (
            Unit.USER_A_RUN if is_sticky else Unit.ANSWER, plain
        ),
        "ours, as built": (built, plain),
        "ours, as built, no maximum": (built, ours.Setting(ceiling=_NO_MAXIMUM)),
    }  # fmt: skip


def _ours(every: tuple[Scenario, ...], runs: int) -> list[Row]:
    found: dict[tuple[Scenario, str], Outcome] = {}
    rows = []
    for seed, scenario in enumerate(every):
        for method, (unit, setting) in _methods(scenario).items():
            outcome = ours.simulate(scenario, runs, seed, unit=unit, setting=setting)
            found[scenario, method] = outcome
            row = report.ours(
                scenario, method, found[scenario, method], found[scenario.twin, method]
            )
            rows.append(row)
            _say(_line(row))
    return rows


def _theirs(every: tuple[Scenario, ...], runs: int) -> list[Row]:
    found: dict[Peer, dict[Scenario, dict[Rule, Score]]] = {peer: {} for peer in Peer}
    for seed, scenario in enumerate(every):
        for peer, scores in tuning.scores(scenario, runs, 1000 + seed).items():
            found[peer][scenario] = scores
    rows = [row for peer in Peer for row in report.peer_rows(peer, found[peer])]
    for row in rows:
        _say(_line(row))
    return rows


def _line(row: Row) -> str:
    wrong = "     -" if row.false_promotion is None else f"{row.false_promotion:6.1%}"
    return (
        f"{row.scenario:28} {row.method:34} false rollback {row.false_rollback:6.1%}  promotion "
        f"{wrong}  undecided {row.undecided:6.1%}  {row.median_seconds / 60:6.0f} min  "
        f"{row.bad_answers_served:8.1f} bad"
    )


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    """Simulate, compare with the aim, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000, help="rollouts of each scenario")
    parser.add_argument("--page", action="store_true", help="only show the last result as tables")
    options = parser.parse_args()
    if options.page:
        found = json.loads(_RESULT.read_text())["scenarios"]
        _say(page.tables(Row(**each) for each in found))
        return
    _simulate(options.runs)


def _simulate(runs: int) -> None:
    began = time.monotonic()
    difference = agreement.largest_difference()
    _say(f"ln E differs from core/statistics by {difference:.1e} at most, over 100 runs")
    if difference > 1e-6:
        raise SystemExit("what is simulated is not what core/statistics does")
    every = scenarios.every()
    rows = _ours(every, runs) + _theirs(every, runs)
    missed = report.summary(every, rows)
    for method, sentences in missed.items():
        _say(f"{method}: the aim is missed {len(sentences)} times")
    for sentence in missed["ours"]:
        _say(f"  {sentence}")
    seconds = round(time.monotonic() - began)
    _RESULT.parent.mkdir(exist_ok=True)
    _RESULT.write_text(
        json.dumps(
            {
                "runs": runs, "seconds": seconds, "cpu_seconds": round(time.process_time()),
                "largest_difference_from_core": difference, "aim_missed": missed,
                "scenarios": report.as_json(rows),
            },
            indent=2,
        ) + "\n"
    )  # fmt: skip
    _say(f"wrote .state/{_RESULT.name} after {seconds} s")


if __name__ == "__main__":
    main()
