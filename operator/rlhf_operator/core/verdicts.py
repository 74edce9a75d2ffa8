"""How a set of results is told to people. Judging them is `core/analysis.py`."""

from __future__ import annotations

from collections.abc import Iterable

from rlhf_operator.api.evidence import SLOResult, Verdict


def gating(results: Iterable[SLOResult]) -> tuple[SLOResult, ...]:
    """Return the results that decide; Informational ones are only shown."""
    return tuple(result for result in results if result.class_ != "Informational")


def unsure(results: Iterable[SLOResult]) -> tuple[SLOResult, ...]:
    """Return the deciding results that are neither success nor failure."""
    unclear = (Verdict.INCONCLUSIVE, Verdict.ERROR)
    return tuple(result for result in gating(results) if result.verdict in unclear)


def tell(results: Iterable[SLOResult]) -> str:
    """Return the messages of the results as one sentence."""
    return "; ".join(result.message or f"{result.name} {result.verdict}" for result in results)
