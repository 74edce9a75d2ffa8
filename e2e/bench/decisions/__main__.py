"""`make bench-decisions`: simulate every scenario and write .state/decisions.json."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from e2e.bench.decisions import agreement, page, report, scenarios, simulated
from e2e.bench.decisions.peers import Peer
from e2e.bench.decisions.report import Row
from e2e.bench.decisions.scenarios import Scenario
from e2e.bench.decisions.simulated import Found

_RESULT = Path(__file__).parents[3] / ".state" / "decisions.json"


def _found(every: tuple[Scenario, ...], runs: int, processes: int) -> dict[Scenario, Found]:
    # Not forked: what numpy keeps of its threads does not outlive a fork.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        going = {
            scenario: pool.submit(simulated.simulate, seed, scenario, runs)
            for seed, scenario in enumerate(every)
        }
        found = {}
        for scenario, future in going.items():
            found[scenario] = future.result()
            _say(f"{scenario.name}: {found[scenario].cpu_seconds:.0f} s")
    return found


def _rows(found: Mapping[Scenario, Found]) -> list[Row]:
    rows = [
        report.ours(scenario, method, outcome, found[scenario.twin].ours[method])
        for scenario, some in found.items()
        for method, outcome in some.ours.items()
    ]
    for peer in Peer:
        rows += report.peer_rows(peer, {each: some.theirs[peer] for each, some in found.items()})
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
    parser.add_argument("--processes", type=int, default=2, help="how many work at once")
    parser.add_argument("--only", default="", help="only scenarios whose names hold this")
    parser.add_argument("--page", action="store_true", help="only show the last result as tables")
    options = parser.parse_args()
    if options.page:
        found = json.loads(_RESULT.read_text())["scenarios"]
        _say(page.tables(Row(**each) for each in found))
        return
    _simulate(options.runs, options.processes, options.only)


def _simulate(runs: int, processes: int, only: str) -> None:
    began = time.monotonic()
    difference = agreement.largest_difference()
    _say(f"ln E differs from core/statistics by {difference:.1e} at most, over 100 runs")
    if difference > 1e-6:
        raise SystemExit("what is simulated is not what core/statistics does")
    every = tuple(each for each in scenarios.every() if only in each.name or only in each.twin.name)
    every = tuple(dict.fromkeys(one for each in every for one in (each.twin, each)))
    found = _found(every, runs, processes)
    rows = _rows(found)
    for row in rows:
        _say(_line(row))
    missed = report.summary(every, rows)
    for method, sentences in missed.items():
        _say(f"{method}: the aim is missed {len(sentences)} times")
    for sentence in missed["ours"]:
        _say(f"  {sentence}")
    seconds = round(time.monotonic() - began)
    if only:
        return
    _RESULT.parent.mkdir(exist_ok=True)
    _RESULT.write_text(
        json.dumps(
            {
                "runs": runs, "seconds": seconds,
                "cpu_seconds": round(sum(each.cpu_seconds for each in found.values())),
                "largest_difference_from_core": difference, "aim_missed": missed,
                "beyond_the_aim": [each.name for each in every if each.is_beyond],
                "scenarios": report.as_json(rows),
            },
            indent=2,
        ) + "\n"
    )  # fmt: skip
    _say(f"wrote .state/{_RESULT.name} after {seconds} s")


if __name__ == "__main__":
    main()
