"""The tables of docs/decisions-bench.md, from rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from e2e.bench.decisions import report
from e2e.bench.decisions.peers import Peer
from e2e.bench.decisions.report import Row


def tables(rows: Iterable[Row]) -> str:
    """Return ours, how we count users, and the peers, each as a table in Markdown."""
    rows = list(rows)
    return "\n\n".join("\n".join(part) for part in (_ours(rows), _users(rows), _peers(rows)))


def _ours(rows: list[Row]) -> Iterator[str]:
    yield "| scenario | rolled back | promoted | undecided | minutes | bad answers | of hindsight |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for row in rows:
        if row.method != "ours":
            continue
        best = report.cheapest(row.scenario, rows)
        times = f"{row.bad_answers_served / best:.2f}" if best else "-"
        if row.false_promotion is None:
            rolled = _percent(row.false_rollback)
            promoted = 1 - row.false_rollback - row.undecided
        else:
            promoted = row.false_promotion
            rolled = _percent(1 - promoted - row.undecided)
        yield _line(
            row.scenario, rolled, _percent(promoted), _percent(row.undecided),
            f"{row.median_seconds / 60:.0f}", f"{row.bad_answers_served:.0f}", times,
        )  # fmt: skip


def _users(rows: list[Row]) -> Iterator[str]:
    kinds = [
        "ours, counting answers", "ours", "ours, counting users once a run",
        "ours, counting what is assigned", "ours, as built", "ours, as built, no maximum",
    ]  # fmt: skip
    by = {(row.scenario, row.method): row for row in rows}
    yield (
        "| scenario | answers | users, once a stratum | users, once a run | what is assigned "
        "| as built | as built, no `max` |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for row in rows:
        if row.method == kinds[0]:
            yield _line(row.scenario, *(_short(by[row.scenario, each]) for each in kinds))


def _peers(rows: list[Row]) -> Iterator[str]:
    methods = [
        f"{peer}, {how}" for how in ("defaults", "one setting", report.HINDSIGHT) for peer in Peer
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
