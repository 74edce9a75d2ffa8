"""`simulate` as people read it: what was assumed, the chances of each end, and when it comes."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import Outcome
from rlhf_operator.cli import marks, sentences
from rlhf_operator.cli.chances import Assumed, Odds

_WIDTH = 40


def render(found: Odds) -> RenderableType:
    """Return the odds as text, with what they leave out."""
    runs, tested = sentences.count(found.runs, "rollout"), ", ".join((found.to, *found.others))
    parts: list[RenderableType] = [
        Text.assemble(
            (found.model, "name"),
            f"  {found.from_} → {tested}: {runs} played at {found.traffic:g} answers/s,",
            f" seed {found.seed}",
        ),
        Text(f"{found.strategy}: {found.plan}"),
        *(Text(f"supposed: {each}") for each in found.supposed),
        Text(""),
        _objectives(found),
        Text(""),
        _chances(found),
        Text(""),
        *((_ends(found), Text("")) if found.ends else ()),
        *((_stands(found), Text("")) if found.stands else ()),
        *(Text(each) for each in _told(found)),
    ]
    parts += [Text(f"note: {each}", "wait") for each in found.notes]
    parts += [Text(""), Text("not modelled:", "faint")]
    parts += [Text(f"- {each}", "faint") for each in found.not_modelled]
    return Group(*parts)


def _told(found: Odds) -> Iterator[str]:
    """Yield what the tables say, in sentences."""
    test = found.test
    if test is not None and not found.others:
        rest = found.runs - test.won - test.lost - test.no_difference
        otherwise = f", and {rest} ended otherwise" if rest else ""
        yield (
            f"of {found.runs} tests {found.to} won {test.won} and {found.from_} {test.lost}; "
            f"{test.no_difference} showed no difference{otherwise}"
        )
    if found.shown_before_median is not None:
        yield (
            f"{found.to} is compared with what {found.from_} showed before the switch: "
            f"{found.shown_before_median:.0f} answers in the median"
        )
    if found.took_median is None:
        within = sentences.length(found.limit)
        yield f"fewer than half of all rollouts are decided within {within}"
    else:
        within = sentences.length(found.took_median)
        yield f"in half of all rollouts a decision falls within {within}"
    if found.strategy == "Shadow":
        yield (
            f"bad answers that users read from {found.to}: none, for it answers copies; "
            f"{found.unread_mean:.1f} on average were thrown away"
        )
        return
    yield (
        f"bad answers that users read from {', '.join((found.to, *found.others))}: "
        f"{found.bad_mean:.1f} on average, "
        f"{found.bad_median:g} in the median, {found.bad_p95:.0f} or fewer in 95 of 100, "
        f"at most {found.bad_most}"
    )


def _objectives(found: Odds) -> Table:
    table = Table(box=None, pad_edge=False, header_style="faint")
    versions = (found.to, *found.others, found.from_)
    for title in ("OBJECTIVE", "CLASS", *(each.upper() for each in versions), ""):
        table.add_column(title, no_wrap=True)
    for each in found.objectives:
        table.add_row(
            Text(each.objective, "name"),
            each.class_,
            *(_amount(each, value) for value in (each.canary, *each.others)),
            _amount(each, each.stable),
            Text(each.note, "faint"),
        )
    return table


def _amount(of: Assumed, value: float | None) -> str:
    if value is None:
        return "holds"
    return f"{100 * value:g} %" if of.deviation is None else f"{value:g} ± {of.deviation:g}"


def _chances(found: Odds) -> Table:
    is_shadow = found.strategy == "Shadow"
    bad = "FLAGGED, UNREAD (MEAN, P90)" if is_shadow else "BAD ANSWERS (MEAN, P90)"
    table = Table(box=None, pad_edge=False, header_style="faint")
    for title in ("CHANCE", "", "OUTCOME", "WHY", "TIME (MEDIAN, P90)", bad):
        table.add_column(title, no_wrap=True)
    for each in found.chances:
        style = {Outcome.PROMOTED: "good", Outcome.ROLLED_BACK: "bad"}.get(
            Outcome(each.outcome) if each.outcome in list(Outcome) else Outcome.SUPERSEDED, "wait"
        )
        mean, most = (
            (each.unread_mean, each.unread_p90) if is_shadow else (each.bad_mean, each.bad_p90)
        )
        table.add_row(
            marks.bar(each.share, 20, style),
            f"{each.runs} of {found.runs}",
            Text(each.outcome, style),
            each.reason,
            f"{sentences.length(each.took_median)}, {sentences.length(each.took_p90)}",
            f"{mean:.1f}, {most:.0f}",
        )
    return table


def _ends(found: Odds) -> Table:
    """Return how each of several tested versions ended."""
    table = Table(box=None, pad_edge=False, header_style="faint")
    for title in ("VERSION", "CHANCE", "", "HOW IT ENDED"):
        table.add_column(title, no_wrap=True)
    for each in found.ends:
        style = "good" if each.reason == Reason.PROMOTED else "wait"
        bar, runs = marks.bar(each.share, 20, style), f"{each.runs} of {found.runs}"
        table.add_row(Text(each.version, "name"), bar, runs, Text(each.reason, style))
    return table


def _stands(found: Odds) -> Table:
    """Return how all rollouts stand as time goes on, as a picture."""
    table = Table(box=None, pad_edge=False, header_style="faint")
    table.add_column("AFTER", no_wrap=True)
    table.add_column("█ promoted  ▒ ended otherwise  ░ going on", no_wrap=True)
    for each in found.stands:
        table.add_row(
            sentences.length(each.after),
            marks.parts(((each.promoted, "█", "good"), (each.ended, "▒", "bad")), _WIDTH),
        )
    return table
