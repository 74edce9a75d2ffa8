"""What is measured: how fast a bad sample takes the weight away, and what standing still costs."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from e2e.bench.api import Weights, service
from e2e.bench.fleet import Fleet
from e2e.bench.operator import REQUESTS
from e2e.bench.prometheus import Breach

_LONGEST = 60.0
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Reaction:
    """Seconds until the weight was gone, from two starts."""

    readable: float
    served: float | None


async def rollbacks(fleet: Fleet, size: int, runs: int, seconds: float) -> dict[str, Any]:
    """Break one of so many live rollouts after the other; each comes back meanwhile.

    No new one is broken after so many seconds.
    """
    deadline = time.monotonic() + seconds
    names = list(fleet.asked)[:size]
    random.shuffle(names)
    found: list[Reaction | None] = []
    restored: list[asyncio.Task[None]] = []
    for run in range(runs):
        if time.monotonic() > deadline:
            break
        name = names[run % len(names)]
        if not fleet.is_live(name):
            await fleet.until_live([name])
        # At any moment of the operator's second, as scrapes of real pods come.
        await asyncio.sleep(random.uniform(0.5, 1.5))
        found.append(await _reaction(fleet, name, fleet.prometheus.breach))
        restored.append(asyncio.create_task(fleet.commit(name)))
        await asyncio.gather(*restored[-1:] if len(names) == 1 else ())
    await asyncio.gather(*restored)
    return _numbers(found)


async def all_at_once(fleet: Fleet, size: int, rounds: int, rest: float) -> dict[str, Any]:
    """Break so many live rollouts in the same instant; again when all are back and at rest."""
    names = list(fleet.asked)[:size]
    found: list[Reaction | None] = []
    for _ in range(rounds):
        await fleet.commit_some(size)
        await asyncio.sleep(rest + random.uniform(0.0, 1.0))
        found += await asyncio.gather(
            *(_reaction(fleet, name, fleet.prometheus.breach) for name in names)
        )
    return _numbers(found)


async def _reaction(fleet: Fleet, name: str, breach: Any) -> Reaction | None:
    version = fleet.canary(name)
    host = service(version)

    def is_gone(weights: Weights) -> bool:
        return not weights.get(host)

    gone = fleet.routes.when(name, is_gone)
    bad: Breach = breach(name, version)
    try:
        at = await asyncio.wait_for(gone, _LONGEST)
    except TimeoutError:
        return None
    return Reaction(at - bad.readable, None if bad.served is None else at - bad.served)


def _numbers(found: Sequence[Reaction | None]) -> dict[str, Any]:
    whole = [each.readable for each in found if each is not None]
    served = [each.served for each in found if each is not None and each.served is not None]
    return {
        "p50_s": _percentile(whole, 0.5),
        "p99_s": _percentile(whole, 0.99),
        "max_s": _percentile(whole, 1.0),
        "from_first_served_p50_s": _percentile(served, 0.5),
        "from_first_served_p99_s": _percentile(served, 0.99),
        "runs": len(found),
        "not_rolled_back": len(found) - len(whole),
    }


def _percentile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that so many of the values do not exceed."""
    ordered = sorted(values)
    return round(ordered[max(0, ceil(share * len(ordered)) - 1)], 3) if ordered else None


async def cost(fleet: Fleet, pid: int, metrics_port: int, seconds: float) -> dict[str, Any]:
    """Watch the operator for some time and return what it used each second."""
    began, before = time.monotonic(), await _requests(metrics_port)
    used, queries = processor_seconds(pid), fleet.prometheus.queries.total()
    await asyncio.sleep(seconds)
    after, took = await _requests(metrics_port), time.monotonic() - began
    rates = {key: (after[key] - before.get(key, 0)) / took for key in after}
    by_kind = {" ".join(key): round(rate, 3) for key, rate in sorted(rates.items()) if rate}
    asked = fleet.prometheus.queries.total() - queries
    return {
        "writes_per_s": _sum(rates, "write"),
        "reads_per_s": _sum(rates, "read"),
        "lease_writes_per_s": round(rates.get(("write", "leases"), 0.0), 3),
        "prometheus_queries_per_s": round(asked / took, 3),
        "rss_mb": resident_megabytes(pid),
        "cpu_cores": round((processor_seconds(pid) - used) / took, 3),
        "seconds_watched": round(took, 1),
        "requests_per_s_by_kind": by_kind,
    }


def _sum(rates: dict[tuple[str, str], float], verb: str) -> float:
    return round(sum(rate for key, rate in rates.items() if key[0] == verb), 3)


async def _requests(port: int) -> dict[tuple[str, str], float]:
    """Return how many requests the operator has made, by verb and kind."""
    url = f"http://127.0.0.1:{port}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        text = await answer.text()
    return {
        (sample.labels["verb"], sample.labels["kind"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == f"{REQUESTS}_total"
    }


def resident_megabytes(pid: int) -> float:
    """Return how much memory a process has now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * _PAGE / 1e6, 1)


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
