"""The tables of docs/decisions-bench.md, from rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from e2e.bench.decisions import bound, report, scenarios
from e2e.bench.decisions.peers import Peer
from e2e.bench.decisions.report import Row
from e2e.bench.decisions.traffic import Unit

QUALITY = "ours, rewards as Quality"
EVENLY = "ours, as few of stable scored"
USERS = {
    "ours, counting answers": Unit.ANSWER,
    "ours, counting users once a stratum": Unit.USER_A_STRATUM,
    "ours, counting users once a run": Unit.USER_A_RUN,
}
"""Ways to count where single users weigh, beside what is built."""


def tables(rows: Iterable[Row]) -> str:
    """Return ours, ours beside variants for rewards and users, and the peers, in Markdown."""
    rows = list(rows)
    parts = (
        _ours(rows), _beside(rows, ["ours", QUALITY, EVENLY]), _beside(rows, ["ours", *USERS]),
        _peers(rows),
    )  # fmt: skip
    return "\n\n".join("\n".join(part) for part in parts)


def _ours(rows: list[Row]) -> Iterator[str]:
    yield (
        "| scenario | rolled back | promoted | undecided | minutes | bad answers | of hindsight "
        "| of hindsight, a look a minute | of the least |"
    )
    yield "| --- |" + " --- |" * 8
    named = {each.name: each for each in scenarios.every()}
    for row in rows:
        if row.method != "ours":
            continue
        best = report.cheapest(row.scenario, rows)
        minutely = report.cheapest(row.scenario, rows, report.MINUTELY)
        least = bound.least_bad(named[row.scenario])
        if row.false_promotion is None:
            rolled = _percent(row.false_rollback)
            promoted = 1 - row.false_rollback - row.undecided
        else:
            promoted = row.false_promotion
            rolled = _percent(1 - promoted - row.undecided)
        yield _line(
            row.scenario, rolled, _percent(promoted), _percent(row.undecided),
            _minutes(row.median_seconds), f"{row.bad_answers_served:.0f}",
            _times(row, best), _times(row, minutely), _times(row, least),
        )  # fmt: skip


def _times(row: Row, other: float | None) -> str:
    return f"{row.bad_answers_served / other:.2f}" if other else "-"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f}" if seconds >= 600 else f"{seconds / 60:.1f}"


def _beside(rows: list[Row], kinds: list[str]) -> Iterator[str]:
    """Yield ours beside other ways to count or to ask, for the scenarios that have them."""
    by = {(row.scenario, row.method): row for row in rows}
    yield "| scenario | " + " | ".join(kinds) + " |"
    yield "| --- |" + " --- |" * len(kinds)
    for row in rows:
        if row.method == kinds[1]:
            yield _line(row.scenario, *(_short(by[row.scenario, each]) for each in kinds))


def _peers(rows: list[Row]) -> Iterator[str]:
    methods = [
        f"{peer}, {how}" for how in ("defaults", report.ONE, report.HINDSIGHT) for peer in Peer
    ]
    by = {(row.scenario, row.method): row for row in rows}
    yield "| scenario | " + " | ".join(methods) + " |"
    yield "| --- |" + " --- |" * len(methods)
    for row in rows:
        if row.method == "ours":
            cells = [by.get((row.scenario, each)) for each in methods]
            yield _line(row.scenario, *("-" if each is None else _short(each) for each in cells))


def _short(row: Row) -> str:
    """Return the one error that counts, and the bad answers."""
    wrong = row.false_rollback if row.false_promotion is None else row.false_promotion
    return f"{_percent(wrong)}, {row.bad_answers_served:.0f}"


def _percent(share: float) -> str:
    return f"{100 * max(share, 0):.1f} %"


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"
