"""A scripted Prometheus: counters that grow each second, and one that jumps when told to."""

from __future__ import annotations

import functools
import json
import math
import re
import time
from collections import Counter
from dataclasses import dataclass, field

from aiohttp import web

from rlhf_operator.api import metrics

NAMESPACE = "rlhf-bench"
SAMPLES = metrics.GUARD_RESPONSES.name
UNSAFE = metrics.GUARD_UNSAFE_SERVED_RESPONSES.name
PER_SECOND = 10
_BAD_ANSWERS = 1_000_000
_QUERY = re.compile(r'(last_over_time\()?(\w+)(?:\{rlhf_model=~"(.*?)"\})?\[(\d+)([smh])\]\)?')
_UNITS = {"s": 1, "m": 60, "h": 3600}

Target = tuple[str, str]
"""Model and version."""


@dataclass
class Breach:
    """A bad sample: when it could be read, and when it was first handed out."""

    at: float
    readable: float
    served: float | None = None


@dataclass
class ScriptedPrometheus:
    """Answers instant queries about two counters of every target, scraped each full second."""

    born: dict[Target, int] = field(default_factory=dict)
    breaches: dict[Target, Breach] = field(default_factory=dict)
    queries: Counter[str] = field(default_factory=Counter)
    url: str = ""

    async def start(self) -> web.AppRunner:
        """Listen on a free port of the loopback."""
        app = web.Application()
        app.router.add_route("*", "/api/v1/query", self._query)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    def show(self, model: str, version: str) -> None:
        """Scrape a target from now on."""
        self.born[(model, version)] = math.floor(time.time())

    def drop(self, model: str, version: str) -> None:
        """Scrape a target no more."""
        self.born.pop((model, version), None)
        self.breaches.pop((model, version), None)

    def breach(self, model: str, version: str) -> Breach:
        """Add a scrape of one target, right now, that shows many unsafe answers."""
        made = Breach(time.time(), time.monotonic())
        self.breaches[(model, version)] = made
        return made

    async def _query(self, request: web.Request) -> web.Response:
        asked = {**request.query, **(await request.post())}
        text, at = str(asked["query"]), float(str(asked["time"]))
        self.queries[text] += 1
        found = _QUERY.fullmatch(text)
        if found is None:
            return web.json_response({"status": "error", "error": "not scripted"}, status=400)
        last, name, models, number, unit = found.groups()
        chosen = frozenset(models.split("|")) if models is not None else None
        body, shown = self._answer(name, chosen, at, int(number) * _UNITS[unit], bool(last))
        served = time.monotonic()
        for breach in shown:
            breach.served = breach.served or served
        return web.Response(text=body, content_type="application/json")

    def _answer(
        self, name: str, models: frozenset[str] | None, at: float, window: int, last: bool
    ) -> tuple[str, list[Breach]]:
        """Return the JSON, and the bad samples that it shows."""
        usual: dict[int, str] = {}
        series, shown = [], []
        for target, born in self.born.items():
            if models is not None and target[0] not in models:
                continue
            breach = self.breaches.get(target)
            if breach is not None and breach.at <= at:
                values = _values(name, born, at, window, last, breach)
                if name == UNSAFE:
                    shown.append(breach)
            elif born in usual:
                values = usual[born]
            else:
                values = usual[born] = _values(name, born, at, window, last, None)
            if values:
                series.append(f'{{"metric":{_labels(name, target, last)},{values}}}')
        kind = "vector" if last else "matrix"
        data = f'{{"resultType":"{kind}","result":[{",".join(series)}]}}'
        return f'{{"status":"success","data":{data}}}', shown


@functools.lru_cache(10_000)
def _labels(name: str, target: Target, last: bool) -> str:
    model, version = target
    labels = {} if last else {"__name__": name}
    labels |= {metrics.NAMESPACE: NAMESPACE, metrics.MODEL: model, metrics.VERSION: version}
    return json.dumps(labels | {"pod": f"{version}-0"})


def _values(name: str, born: int, at: float, window: int, last: bool, breach: Breach | None) -> str:
    """Return the points of one series in a window, as JSON; empty when there is none."""
    first = max(born, math.floor(at - window) + 1)
    points: list[tuple[float, int]] = [
        (tick, _value(name, born, tick, breach)) for tick in range(first, math.floor(at) + 1)
    ]
    if breach is not None and at - window < breach.at <= at:
        points.append((breach.at, _value(name, born, breach.at, breach)))
        points.sort()
    if not points:
        return ""
    if last:
        return f'"value":[{at},"{points[-1][1]}"]'
    return '"values":[' + ",".join(f'[{tick:.3f},"{value}"]' for tick, value in points) + "]"


def _value(name: str, born: int, tick: float, breach: Breach | None) -> int:
    bad = _BAD_ANSWERS if breach is not None and tick >= breach.at else 0
    return bad if name == UNSAFE else bad + PER_SECOND * math.floor(tick - born)
