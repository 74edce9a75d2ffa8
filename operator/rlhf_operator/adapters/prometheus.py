"""Asks one Prometheus: with a time limit always, and every fault told as a value.

Wraps prometheus-api-client, which alone would wait forever, retry silently, and drop the
warnings by which a source says that its answer is incomplete.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any, overload

import requests
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from pydantic_core import from_json
from urllib3.exceptions import HTTPError, ReadTimeoutError
from urllib3.util.retry import Retry

from rlhf_operator.adapters.breaker import Breaker
from rlhf_operator.api.measurements import Answer, Problem, Series, Silence

_PIECE = 256 * 1024
_REFUSALS = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One named metric source, from the operator's own configuration."""

    name: str
    url: str
    scrape_interval: timedelta = timedelta(seconds=15)
    timeout: timedelta = timedelta(seconds=5)
    token_file: Path | None = None
    """A bearer token; read anew for each question, because it is rotated."""
    ca_file: Path | None = None
    max_bytes: int = 64 * 1024 * 1024
    max_series: int = 200_000
    max_expression_series: int = 20_000
    """The limit for a team's own expression."""
    threads: int = 4


class _Points(Sequence[tuple[float, float]]):
    """Points as they came; turned into numbers when looked at, for most were seen before."""

    __slots__ = ("_raw",)

    def __init__(self, raw: list[tuple[float, str]]) -> None:
        self._raw = raw

    def __len__(self) -> int:
        return len(self._raw)

    @overload
    def __getitem__(self, place: int) -> tuple[float, float]: ...
    @overload
    def __getitem__(self, place: slice) -> list[tuple[float, float]]: ...
    def __getitem__(self, place: int | slice) -> tuple[float, float] | list[tuple[float, float]]:
        if isinstance(place, slice):
            return [(float(time), float(value)) for time, value in self._raw[place]]
        time, value = self._raw[place]
        return float(time), float(value)


class _TooLargeError(Exception):
    """The answer is longer than allowed."""


class _TooSlowError(Exception):
    """The answer did not end in time."""


@dataclass(slots=True)
class _Response:
    """What prometheus-api-client reads of an answer; the whole JSON stays at hand."""

    status_code: int
    content: bytes
    parsed: Any = None

    def json(self) -> Any:
        if self.parsed is None:
            # Values differ each time: remembered ones would only scatter over the memory.
            self.parsed = from_json(self.content, cache_strings="keys")
        return self.parsed


class _Session(requests.Session):
    """Reads an answer up to a size and a moment, and keeps it whole."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.verify = str(source.ca_file) if source.ca_file else True
        # A redirect could carry the token elsewhere; the environment could add a proxy.
        self.max_redirects = 0
        self.trust_env = False
        self.headers["Accept-Encoding"] = "identity"
        self.max_bytes = source.max_bytes
        self.seconds = source.timeout.total_seconds()
        self.answer: _Response | None = None

    def request(self, *args: Any, **kwargs: Any) -> Any:
        deadline = time.monotonic() + self.seconds
        self.answer = None
        with super().request(*args, **{**kwargs, "stream": True}) as response:
            content = b"".join(self._pieces(response, deadline))
            self.answer = _Response(response.status_code, content)
        return self.answer

    def _pieces(self, response: requests.Response, deadline: float) -> Iterator[bytes]:
        size = 0
        # Not `iter_content`: it waits for a whole piece, and an answer may come byte by byte.
        while piece := response.raw.read1(_PIECE, decode_content=True):
            size += len(piece)
            if size > self.max_bytes:
                raise _TooLargeError
            if time.monotonic() > deadline:
                raise _TooSlowError
            yield piece


class Prometheus:
    """One metric source. Its questions run in a few threads of their own."""

    def __init__(self, source: Source, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.source = source
        self._pool = ThreadPoolExecutor(source.threads, f"prometheus-{source.name}")
        self._clients = threading.local()
        self._sessions: list[_Session] = []
        self._breaker = Breaker(monotonic)

    @property
    def scrape_interval(self) -> timedelta:
        """Return how often its targets are scraped."""
        return self.source.scrape_interval

    async def range_vector(self, query: str, at: datetime) -> Answer:
        """Return the raw points that a range selector yields at an instant."""
        return await self._run(query, at, "matrix", self.source.max_series)

    async def instant(self, query: str, at: datetime) -> Answer:
        """Return the values of one of our own expressions, one point a series."""
        return await self._run(query, at, "vector", self.source.max_series)

    async def expression(self, query: str, at: datetime) -> Answer:
        """Return the values of a team's expression; one that keeps failing is asked rarely."""
        answer: Answer | None = self._breaker.open(query)
        if answer is None:
            answer = await self._run(query, at, "vector", self.source.max_expression_series)
            self._breaker.note(query, answer)
        return answer

    def close(self) -> None:
        """End the threads and the connections."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for session in self._sessions:
            session.close()

    async def _run(self, query: str, at: datetime, kind: str, limit: int) -> Answer:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._ask, query, at, kind, limit)

    def _ask(self, query: str, at: datetime, kind: str, limit: int) -> Answer:
        """Ask, in a thread of the pool."""
        answer = self._asked(query, at, kind, limit)
        if isinstance(answer, Silence) and answer.problem is Problem.SOURCE_DOWN:
            # A kept connection may lead to what is no metric source any more.
            self._clients.session.close()
        return answer

    def _asked(self, query: str, at: datetime, kind: str, limit: int) -> Answer:
        seconds = self.source.timeout.total_seconds()
        try:
            client, session = self._client()
            client.headers = self._headers()
            params = {"time": f"{at.timestamp():.3f}", "timeout": f"{seconds:g}s"}
            client.custom_query(query, params=params, timeout=(seconds, seconds))
        except PrometheusApiClientException:
            return _fault(session.answer)
        except _TooLargeError:
            return Silence(Problem.TOO_LARGE, f"answer longer than {session.max_bytes} bytes")
        except (_TooSlowError, requests.Timeout, ReadTimeoutError):
            return Silence(Problem.SOURCE_DOWN, f"metric source: no answer within {seconds:g} s")
        except (requests.RequestException, HTTPError, OSError) as error:
            # The address is the operator's own affair; statuses are read by tenants.
            message = f"metric source cannot be reached ({type(error).__name__})"
            return Silence(Problem.SOURCE_DOWN, message)
        except (ValueError, LookupError, TypeError):
            return Silence(Problem.SOURCE_DOWN, "metric source: the answer is not Prometheus JSON")
        assert session.answer is not None
        body, session.answer = session.answer.parsed, None  # a large one must not stay with us
        return _understood(body, kind, limit)

    def _client(self) -> tuple[PrometheusConnect, _Session]:
        """Return this thread's client: a requests session is not made for several threads."""
        if not hasattr(self._clients, "client"):
            session = _Session(self.source)
            # Asking again is the engine's decision, at its next beat.
            self._clients.client = PrometheusConnect(
                url=self.source.url.rstrip("/"), session=session, retry=Retry(0, read=False)
            )
            self._clients.session = session
            self._sessions.append(session)
        return self._clients.client, self._clients.session

    def _headers(self) -> dict[str, str]:
        if self.source.token_file is None:
            return {}
        token = self.source.token_file.read_text(encoding="utf-8").strip()
        return {"Authorization": f"Bearer {token}"}


def _fault(answer: _Response | None) -> Silence:
    """Return what an answer other than 200 means."""
    status = 0 if answer is None else answer.status_code
    if status not in _REFUSALS:
        return Silence(Problem.SOURCE_DOWN, f"metric source answers with HTTP status {status}")
    try:
        assert answer is not None
        said = str(answer.json()["error"])[:300]
    except (ValueError, LookupError, TypeError):
        said = f"HTTP status {status}"
    return Silence(Problem.REFUSED, f"metric source refuses the query: {said}")


def _understood(body: Any, kind: str, limit: int) -> Answer:
    """Return the series of an answer, or why it must not be used."""
    try:
        if body.get("warnings"):
            said = "; ".join(map(str, body["warnings"]))[:300]
            return Silence(Problem.PARTIAL, f"metric source warns: {said}")
        found, yields = body["data"]["result"], body["data"]["resultType"]
        if yields != kind:
            return Silence(Problem.REFUSED, f"the query yields a {yields}, not a {kind}")
        if len(found) > limit:
            message = f"{len(found)} series, more than the limit of {limit}"
            return Silence(Problem.TOO_LARGE, message)
        if kind == "matrix":
            return tuple(
                Series(each["metric"], _Points(each["values"]))
                for each in found
                if "values" in each
            )
        return tuple(
            Series(each["metric"], [(float(each["value"][0]), float(each["value"][1]))])
            for each in found
            if "value" in each
        )
    except (AttributeError, LookupError, TypeError, ValueError):
        return Silence(Problem.SOURCE_DOWN, "metric source: the answer is not Prometheus JSON")
