"""The client against a server that does every kind of harm, and against a real Prometheus.

The real one (Debian: `apt-get install prometheus`) scrapes a small exporter, so that what the
engine's tests assume of Prometheus is what Prometheus does.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import math
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from rlhf_operator.adapters.breaker import Breaker
from rlhf_operator.adapters.prometheus import Prometheus, Source
from rlhf_operator.api.measurements import Answer, Problem, Series, Silence

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Script:
    """What the fake server answers, and what it was asked."""

    status: int = 200
    body: bytes = b"{}"
    pause: float = 0.0
    together: threading.Barrier | None = None
    """Where the questions wait for each other before any is answered."""
    drip: bool = False
    breaks_off: bool = False
    sent: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[dict[str, list[str]], dict[str, str]]] = field(default_factory=list)


def _serve(handler: type[BaseHTTPRequestHandler]) -> tuple[ThreadingHTTPServer, str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}"


@pytest.fixture
def script() -> Iterator[tuple[Script, str]]:
    made = Script()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append((parse_qs(urlsplit(self.path).query), dict(self.headers)))
            time.sleep(made.pause)
            if made.together is not None:
                made.together.wait()
            self.send_response(made.status)
            self.send_header("Content-Length", str(len(made.body)))
            for name, value in made.headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                step = 1 if made.drip else len(made.body) // 2 if made.breaks_off else 1 << 20
                for start in range(0, len(made.body), step):
                    self.wfile.write(made.body[start : start + step])
                    made.sent += step
                    if made.breaks_off:
                        break
                    time.sleep(0.05 if made.drip else 0)
            except OSError:
                pass

        def log_message(self, *_: Any) -> None:
            pass

    server, url = _serve(Handler)
    yield made, url
    server.shutdown()
    server.server_close()


@pytest.fixture
async def opened() -> AsyncIterator[Callable[[Source], Prometheus]]:
    made: list[Prometheus] = []

    def make(source: Source) -> Prometheus:
        made.append(Prometheus(source))
        return made[-1]

    yield make
    for each in made:
        each.close()


def source(url: str, seconds: float = 60, **options: Any) -> Source:
    return Source(name="default", url=url, timeout=timedelta(seconds=seconds), **options)


def answer(kind: str, *result: dict[str, Any], **more: Any) -> bytes:
    body = {"status": "success", "data": {"resultType": kind, "result": result}}
    return json.dumps(body | more).encode()


ONE = {"metric": {"a": "b"}, "value": [1.5, "2"]}
TWO = {"metric": {"a": "c"}, "value": [1.5, "NaN"]}
Opened = Callable[[Source], Prometheus]


async def test_a_connection_that_leads_astray_is_not_kept(opened: Opened) -> None:
    """Whoever answered in the source's place must not go on doing so once the source is back."""
    statuses, callers = [200, 200, 404, 200], []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            callers.append(self.client_address[1])
            body = answer("vector", ONE)
            self.send_response(statuses[len(callers) - 1])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server, url = _serve(Handler)
    prometheus = opened(source(url, threads=1))
    found = [await prometheus.instant("up", NOW) for _ in statuses]
    server.shutdown()
    server.server_close()
    assert [isinstance(each, Silence) for each in found] == [False, False, True, False]
    kept, again, astray, fresh = callers
    assert kept == again == astray != fresh


async def test_values_come_with_their_labels(script: tuple[Script, str], opened: Opened) -> None:
    made, url = script
    made.body = answer("vector", ONE, TWO)
    found = await opened(source(url)).instant("up", NOW)
    assert not isinstance(found, Silence)
    assert [dict(each.labels) for each in found] == [{"a": "b"}, {"a": "c"}]
    assert found[0].points == [(1.5, 2.0)]
    assert math.isnan(found[1].points[0][1])
    asked, headers = made.asked[0]
    assert asked == {"query": ["up"], "time": ["1767225600.000"], "timeout": ["60s"]}
    assert "Authorization" not in headers


async def test_the_token_is_read_anew(
    script: tuple[Script, str], opened: Opened, tmp_path: Path
) -> None:
    made, url = script
    made.body, token = answer("vector"), tmp_path / "token"
    client = opened(source(url, token_file=token, threads=1))
    for word in ("first\n", "second\n"):
        token.write_text(word)
        await client.instant("up", NOW)
    assert [headers["Authorization"] for _, headers in made.asked] == [
        "Bearer first",
        "Bearer second",
    ]
    token.unlink()
    assert isinstance(await client.instant("up", NOW), Silence)


@pytest.mark.parametrize(
    ("sentence", "change", "problem", "said"),
    [
        ("an error of the server", {"status": 503}, Problem.SOURCE_DOWN, "HTTP status 503"),
        ("too many requests", {"status": 429}, Problem.SOURCE_DOWN, "HTTP status 429"),
        ("no permission", {"status": 403}, Problem.SOURCE_DOWN, "HTTP status 403"),
        (
            "a query that is refused",
            {"status": 400, "body": b'{"status":"error","error":"parse error at char 5"}'},
            Problem.REFUSED,
            "parse error at char 5",
        ),
        ("refused without words", {"status": 422, "body": b"["}, Problem.REFUSED, "status 422"),
        ("no answer in time", {"pause": 20.0}, Problem.SOURCE_DOWN, "no answer within 0.5 s"),
        (
            "an answer that drips",
            {"drip": True, "body": answer("vector", *[ONE] * 20)},
            Problem.SOURCE_DOWN,
            "no answer within 0.5 s",
        ),
        (
            "an answer that breaks off",
            {"breaks_off": True, "body": answer("vector", ONE)},
            Problem.SOURCE_DOWN,
            "cannot be reached",
        ),
        (
            "an answer that is packed, unasked",
            {"body": gzip.compress(answer("vector")), "headers": {"Content-Encoding": "gzip"}},
            None,
            "",
        ),
        ("no JSON", {"body": b"<html>"}, Problem.SOURCE_DOWN, "not Prometheus JSON"),
        ("other JSON", {"body": b"[]"}, Problem.SOURCE_DOWN, "not Prometheus JSON"),
        ("odd series", {"body": answer("vector", {"x": 1})}, None, ""),
        (
            "a redirect",
            {"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}},
            Problem.SOURCE_DOWN,
            "",
        ),
        (
            "a partial answer",
            {"body": answer("vector", ONE, warnings=["one store is away"])},
            Problem.PARTIAL,
            "one store is away",
        ),
        ("a hint only", {"body": answer("vector", infos=["not a counter?"])}, None, ""),
        ("a number", {"body": answer("scalar")}, Problem.REFUSED, "yields a scalar"),
        ("too many series", {"body": answer("vector", *[ONE] * 4)}, Problem.TOO_LARGE, "4 series"),
        ("too many bytes", {"body": b" " * 5000}, Problem.TOO_LARGE, "longer than 4000 bytes"),
    ],
)
async def test_a_fault_is_a_value(
    script: tuple[Script, str],
    opened: Opened,
    sentence: str,
    change: dict[str, Any],
    problem: Problem | None,
    said: str,
) -> None:
    made, url = script
    for name, value in change.items():
        setattr(made, name, value)
    seconds = 0.5 if "within 0.5 s" in said else 60
    client = opened(source(url, seconds, max_bytes=4000, max_series=3))
    found = await client.instant("up", NOW)
    assert (found.problem if isinstance(found, Silence) else None) is problem
    assert said in (found.message if isinstance(found, Silence) else "")
    assert "127.0.0.1" not in str(found)
    assert len(made.asked) == 1
    assert not made.drip or made.sent < len(made.body), "it is not waited for to its end"


async def test_nobody_there_is_a_value_without_the_address(opened: Opened) -> None:
    found = await opened(source("http://127.0.0.1:9")).instant("up", NOW)
    assert isinstance(found, Silence)
    assert found.problem is Problem.SOURCE_DOWN
    assert "127.0.0.1" not in found.message


async def test_a_slow_query_does_not_keep_others_waiting(
    script: tuple[Script, str], opened: Opened
) -> None:
    made, url = script
    made.together, made.body = threading.Barrier(4, timeout=60), answer("vector")
    client = opened(source(url))
    found = await asyncio.gather(*(client.instant("up", NOW) for _ in range(4)))
    assert found == [()] * 4


async def test_a_teams_query_that_keeps_failing_is_asked_rarely(
    script: tuple[Script, str], opened: Opened
) -> None:
    made, url = script
    made.status = 500
    client = opened(source(url))
    for _ in range(5):
        found = await client.expression("bad", NOW)
        assert isinstance(found, Silence)
    assert len(made.asked) == 3
    assert "asked again in" in found.message
    made.status, made.body = 200, answer("vector")
    assert await client.expression("good", NOW) == ()


def test_a_breaker_closes_after_a_good_answer() -> None:
    clock = [0.0]
    breaker = Breaker(lambda: clock[0])
    down = Silence(Problem.SOURCE_DOWN, "down")
    for _ in range(3):
        breaker.note("q", down)
    assert breaker.open("q") == replace(down, message="down; asked again in 10 s")
    assert breaker.open("other") is None
    clock[0] = 11
    assert breaker.open("q") is None
    breaker.note("q", down)
    clock[0] = 30
    assert breaker.open("q") is not None
    breaker.note("q", ())
    assert breaker.open("q") is None
    for _ in range(3):
        breaker.note("q", Silence(Problem.PARTIAL, "partial"))
    assert breaker.open("q") is None


# -- a real Prometheus ------------------------------------------------------------------------


@dataclass
class Exporter:
    """A program that is scraped every 200 ms; its counter grows by one at each scrape."""

    scrapes: int = 0
    reset_at: int = 0
    quiet: bool = False


@dataclass
class Real:
    exporter: Exporter
    client: Prometheus
    url: str


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    program = shutil.which("prometheus")
    if program is None:
        pytest.fail("no `prometheus` on PATH: apt-get install prometheus")
    exporter = Exporter()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if exporter.quiet:
                self.send_error(500)
                return
            exporter.scrapes += 1
            count = exporter.scrapes - exporter.reset_at
            text = f'n_total {count}\nodd NaN\nsplit{{x="1"}} 1\nsplit{{x="2"}} 2\n'
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            pass

    target, target_url = _serve(Handler)
    folder = tmp_path_factory.mktemp("prometheus")
    config = {
        "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"},
        "scrape_configs": [
            {
                "job_name": "x",
                "static_configs": [
                    {
                        "targets": [urlsplit(target_url).netloc],
                        "labels": {"rlhf_model": "m", "rlhf_version": "v"},
                    }
                ],
            }
        ],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (folder / "log").open("w")
    running = subprocess.Popen(
        [
            program,
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=log,
    )
    url = f"http://127.0.0.1:{port}"
    settings = Source(name="real", url=url, timeout=timedelta(seconds=10))
    client = Prometheus(settings)
    try:
        _until(lambda: len(_points(client, "n_total[1m]")) >= 5, folder / "log")
        yield Real(exporter, client, url)
    finally:
        client.close()
        running.terminate()
        running.wait(20)
        log.close()
        target.shutdown()
        target.server_close()


def _ask(verb: Callable[[str, datetime], Any], query: str) -> Answer:
    found: Answer = asyncio.run(verb(query, datetime.now(UTC)))
    return found


def _points(client: Prometheus, query: str) -> list[tuple[float, float]]:
    found = _ask(client.range_vector, query)
    return list(found[0].points) if not isinstance(found, Silence) and found else []


def _until(true: Callable[[], bool], log: Path = Path("/dev/null")) -> None:
    deadline = time.monotonic() + 60
    while not true():
        if time.monotonic() > deadline:
            pytest.fail(f"Prometheus did not come so far: {log.read_text()[-2000:]}")
        time.sleep(0.2)


def _shown(real: Real, query: str, count: int) -> tuple[Series, ...]:
    """Return the series of an answer; where a scrape failed on a busy machine, of a later one."""
    found: list[Answer] = []

    def is_whole() -> bool:
        found.append(_ask(real.client.instant, query))
        assert not isinstance(found[-1], Silence), found
        return len(found[-1]) == count

    _until(is_whole)
    assert not isinstance(found[-1], Silence)
    return found[-1]


def test_a_range_selector_yields_each_scrape_once_at_its_own_time(real: Real) -> None:
    points = _points(real.client, "n_total[1m]")
    times, values = zip(*points, strict=True)
    assert list(times) == sorted(set(times))
    assert list(values) == sorted(set(values))
    missing = values[-1] - values[0] + 1 - len(values)
    ups = [up for at, up in _points(real.client, "up[1m]") if times[0] <= at <= times[-1]]
    assert missing <= ups.count(0), "only scrapes that failed, as on a busy machine, are missing"
    assert 0 < time.time() - times[-1] < 30


def test_the_last_value_before_an_instant_keeps_the_metric_name(real: Real) -> None:
    points = _points(real.client, "n_total[1m]")
    middle, value = points[len(points) // 2]
    at = datetime.fromtimestamp(round(middle + 0.001, 3), UTC)
    found = asyncio.run(real.client.instant("last_over_time(n_total[10m])", at))
    assert not isinstance(found, Silence)
    assert found[0].labels["__name__"] == "n_total"
    assert found[0].points == [(at.timestamp(), value)]


def test_an_instant_value_carries_the_time_of_the_question_not_of_the_scrape(real: Real) -> None:
    _shown(real, "n_total", 1)
    scraped, _ = _points(real.client, "n_total[1m]")[-1]
    at = datetime.fromtimestamp(round(scraped + 0.05, 3), UTC)
    found = asyncio.run(real.client.instant("n_total", at))
    assert not isinstance(found, Silence)
    assert found[0].points[0][0] == at.timestamp()


def test_a_reset_shows_as_a_fall(real: Real) -> None:
    real.exporter.reset_at = real.exporter.scrapes

    def fell() -> bool:
        values = [value for _, value in _points(real.client, "n_total[2m]")]
        return any(later < earlier for earlier, later in pairwise(values))

    _until(fell)


def test_not_a_number_several_series_and_none(real: Real) -> None:
    [odd] = _shown(real, "odd", 1)
    assert math.isnan(odd.points[0][1])
    assert len(_shown(real, "split", 2)) == 2
    assert _ask(real.client.instant, "nothing_of_that_name") == ()


@pytest.mark.parametrize(
    ("query", "said"),
    [("sum(", "refuses the query"), ("split / on () split", "refuses the query")],
)
def test_what_prometheus_refuses(real: Real, query: str, said: str) -> None:
    found = _ask(real.client.instant, query)
    assert isinstance(found, Silence)
    assert found.problem is Problem.REFUSED
    assert said in found.message


def test_a_number_is_refused_where_series_are_wanted(real: Real) -> None:
    found = _ask(real.client.instant, "1 + 1")
    assert isinstance(found, Silence)
    assert found.problem is Problem.REFUSED


def test_a_target_that_is_gone_leaves_old_points_and_no_new_ones(real: Real) -> None:
    real.exporter.quiet = True
    # A failed scrape ends the series for an instant query at once; its points remain readable.
    _shown(real, "n_total", 0)
    before = _points(real.client, "n_total[10m]")
    assert before
    time.sleep(1)
    assert _points(real.client, "n_total[10m]")[-1] == before[-1]
    real.exporter.quiet = False
