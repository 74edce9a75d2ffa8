"""From the times of single answers to the figures of the report. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median
from typing import Any

_ENOUGH = 1_000_000
"""Requests after which memory that did not grow counts as flat."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """What one round of asking found; times in microseconds, of every answer."""

    whole: tuple[int, ...]
    first: tuple[int, ...] = ()  # until the first text of a stream
    in_time: int
    seconds: float
    done: int = 0  # all that were asked, before the measured time too
    errors: int = 0
    processor_seconds: float = 0.0  # of the target, for all that were asked


def percentile_ms(micros: Sequence[int], share: float) -> float:
    """Return the smallest time that so many of the times do not exceed, in milliseconds."""
    ordered = sorted(micros)
    return round(ordered[max(0, ceil(share * len(ordered)) - 1)] / 1000, 3)


def point(rounds: Sequence[Sample], direct: Sequence[Sample]) -> dict[str, float]:
    """Return the figures of one target at one number of connections: medians over its rounds."""
    pairs = zip(rounds, direct, strict=True)
    every = [_one(sample, without) for sample, without in pairs]
    names = dict.fromkeys(name for each in every for name in each)
    found = {name: round(median(each[name] for each in every if name in each), 3) for name in names}
    found["answers"] = sum(len(sample.whole) for sample in rounds)
    if errors := sum(sample.errors for sample in rounds):
        found["errors"] = errors
    return found


def _one(sample: Sample, direct: Sample) -> dict[str, float]:
    found = {}
    kinds = [("", sample.whole, direct.whole), ("first_text_", sample.first, direct.first)]
    for kind, micros, without in kinds:
        for share in (50, 99) if micros and without else ():
            plain, base = (percentile_ms(each, share / 100) for each in (micros, without))
            found[f"{kind}p{share}_ms"] = plain
            found[f"{kind}p{share}_added_ms"] = plain - base
    found["rps"] = sample.in_time / sample.seconds
    if sample.done and sample.processor_seconds:
        found["processor_ms_per_request"] = 1000 * sample.processor_seconds / sample.done
    return found


def table(samples: Mapping[str, Mapping[int, Sequence[Sample]]]) -> dict[str, Any]:
    """Return the figures by target and connections; `direct` is the stub asked by itself."""
    return {
        target: {
            str(connections): point(rounds, samples["direct"][connections])
            for connections, rounds in by_connections.items()
        }
        for target, by_connections in samples.items()
    }


def verdicts(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the aims fare: each with its figure, and whether it was met."""
    verdicts = {}
    ours, theirs = (found.get(name, {}).get("64") for name in ("guard", "litellm"))
    if ours and theirs and theirs["rps"]:
        verdicts["rps_over_litellm_at_64"] = _at_least(ours["rps"] / theirs["rps"], 5)
    if "open_loop" in found:
        verdicts["open_loop_p99_added_ms"] = _at_most(found["open_loop"]["p99_added_ms"], 15)
    if found.get("memory", {}).get("rss_mb_at"):
        grown = _at_most(growth(found["memory"]["rss_mb_at"]), 5)
        requests = found["memory"]["requests"]
        if requests < _ENOUGH and grown["met"]:
            grown["met"] = None  # flat so far proves nothing about the rest
        verdicts["rss_growth_mb"] = {**grown, "requests": requests}
    return verdicts


def growth(marks: Sequence[Sequence[float]]) -> float:
    """Return the megabytes gained between a tenth of the requests and the end."""
    settled = marks[-1][0] / 10
    early = next(megabytes for done, megabytes in marks if done >= settled)
    return marks[-1][1] - early


def _at_least(figure: float, aim: float) -> dict[str, Any]:
    return {"figure": round(figure, 2), "aim": f">= {aim}", "met": figure >= aim}


def _at_most(figure: float, aim: float) -> dict[str, Any]:
    return {"figure": round(figure, 2), "aim": f"<= {aim}", "met": figure <= aim}
