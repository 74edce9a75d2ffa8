"""Small pieces of text that several views draw: bars, verdicts, identities, marks of a state."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text

from rlhf_operator.api.evidence import Verdict
from rlhf_operator.api.rollout import Outcome

_FULL, _EMPTY = "█", "░"
_VERDICTS = {
    Verdict.SUCCESSFUL: ("✓", "good"),
    Verdict.INCONCLUSIVE: ("…", "wait"),
    Verdict.ERROR: ("!", "wait"),
    Verdict.FAILED: ("✗", "bad"),
}
_OUTCOMES = {
    Outcome.PROMOTED: "good",
    Outcome.ROLLED_BACK: "bad",
    Outcome.ABORTED: "bad",
    Outcome.SUPERSEDED: "wait",
    Outcome.PROVEN: "good",
    Outcome.UNPROVEN: "bad",
}


def bar(share: float, width: int = 20, style: str = "good") -> Text:
    """Return a bar that is filled to a share from 0 to 1; the least visible part is one cell."""
    share = min(1.0, max(0.0, share))
    filled = max(1, round(share * width)) if share > 0 else 0
    return Text.assemble((_FULL * filled, style), (_EMPTY * (width - filled), "faint"))


def parts(shares: Iterable[tuple[float, str, str]], width: int) -> Text:
    """Return a bar of several parts, each a share from 0 to 1 with its sign and its style."""
    text, place, total = Text(), 0, 0.0
    for share, sign, style in shares:
        total += share
        end = min(width, round(total * width))
        text.append(sign * (end - place), style)
        place = end
    return text.append(_EMPTY * (width - place), "faint")


def verdict(found: Verdict) -> Text:
    """Return a verdict with its mark."""
    mark, style = _VERDICTS[found]
    return Text(f"{mark} {found}", style=style)


def outcome(found: Outcome | None) -> Text:
    """Return how a run ended, or that it goes on."""
    return Text("going on", style="wait") if found is None else Text(found, _OUTCOMES[found])


def short_digest(digest: str | None) -> str:
    """Return the first twelve digits of a digest, as people compare them."""
    return "" if digest is None else digest.removeprefix("sha256:")[:12]


def truth(status: str | None) -> Text:
    """Return the status of a Ready condition."""
    style = {"True": "good", "False": "bad"}.get(status or "", "wait")
    return Text(status or "Unknown", style)
