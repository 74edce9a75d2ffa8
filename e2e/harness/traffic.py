"""Users: asks at a steady rate, whatever comes back, and keeps what every answer was.

An open loop: a slow answer does not delay the next question, so that latency is seen as users
see it.
"""

import asyncio
import itertools
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any

import aiohttp

_VERSION = "x-rlhf-version"
_VERDICT = "x-rlhf-verdict"
_ID = "x-rlhf-response-id"
ARM = "x-rlhf-arm"
_VOTES = 4
_AGAIN = 2.0
"""Seconds, as guards ask for."""

Session = aiohttp.ClientSession


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """What is asked, where and how often."""

    url: str
    host: str
    questions: Sequence[str]
    per_second: float = 10
    max_tokens: int = 24
    temperature: float = 0.8
    timeout: float = 30
    most_in_flight: int = 200
    """More open questions than this mean that nobody answers; further ones fail at once."""
    longest: float = 1800
    """Seconds after which it stops by itself."""
    keep_alive: bool = True
    """Whether a connection serves many questions; without, each question has its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What came back for one question."""

    at: float
    """Unix time of the last byte."""
    seconds: float
    status: int
    """The HTTP status; 0 where there was no whole answer."""
    version: str = ""
    verdict: str = ""
    text: str = ""
    arm: str = ""
    """The token by which the user can come back to the same arm."""
    id: str = ""
    """By what feedback on this answer names it."""
    error: str = ""

    @property
    def asked_at(self) -> float:
        """Return when the question was asked (Unix time)."""
        return self.at - self.seconds

    @property
    def is_failed(self) -> bool:
        """Tell whether the user got no answer."""
        return self.status != 200

    @property
    def is_unsafe(self) -> bool:
        """Tell whether the user read what a rule of the guard matched."""
        return self.verdict == "flagged"


@dataclass(frozen=True, slots=True)
class Answers:
    """Some answers, in the order in which they came."""

    all: tuple[Answer, ...] = ()

    def since(self, at: float) -> "Answers":
        """Return those after a moment."""
        return Answers(tuple(each for each in self.all if each.at >= at))

    def asked(self, start: float, end: float = math.inf) -> "Answers":
        """Return those to questions that were asked in a span of time."""
        return Answers(tuple(each for each in self.all if start <= each.asked_at < end))

    def of(self, version: str) -> "Answers":
        """Return those of one version."""
        return Answers(tuple(each for each in self.all if each.version == version))

    @property
    def failed(self) -> tuple[Answer, ...]:
        """Return the questions that got no answer."""
        return tuple(each for each in self.all if each.is_failed)

    @property
    def unsafe(self) -> tuple[Answer, ...]:
        """Return the unsafe answers that users read."""
        return tuple(each for each in self.all if each.is_unsafe)

    def shares(self) -> dict[str, float]:
        """Return the part of the good answers that each version gave."""
        counts = Counter(each.version for each in self.all if not each.is_failed)
        return {version: count / counts.total() for version, count in sorted(counts.items())}

    def latency(self, quantile: float) -> float:
        """Return a quantile of the seconds that answers took; 0 without answers."""
        took = sorted(each.seconds for each in self.all if not each.is_failed)
        return took[min(len(took) - 1, int(quantile * len(took)))] if took else 0.0


@dataclass
class Opinions:
    """What users say of answers: by dice with a seed, whether their task was done."""

    done: Mapping[str, float]
    """The share of a version's answers that do the user's task."""
    seed: int
    said: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often what was said of a version, in the guard's words: `done` or `failed`."""

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    def about(self, version: str) -> str:
        """Return what a user says of one answer."""
        word = "done" if self._dice.random() < self.done[version] else "failed"
        self.said[version, word] += 1
        return word

    def hesitation(self) -> float:
        """Return how many seconds a user takes to say it."""
        return self._dice.uniform(0.0, 1.5)


@dataclass
class Traffic:
    """Asks in a thread of its own from `with` to its end."""

    ask: Ask
    opinions: Opinions | None = None
    """What users say about each answer; nothing where it is not given."""
    _answers: list[Answer] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Traffic":
        self._thread = threading.Thread(target=lambda: asyncio.run(self._go_on()), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=self.ask.timeout + 5)

    @property
    def is_running(self) -> bool:
        """Tell whether questions are still asked."""
        return self._thread.is_alive() and not self._stop.is_set()

    def snapshot(self) -> Answers:
        """Return all answers so far."""
        with self._lock:
            return Answers(tuple(self._answers))

    def bearable(self, seconds: float = 4.0, users: int = 4) -> float:
        """Return how many questions a second a few users get answered who never pause.

        To be asked before `with`; what they are told is not kept.
        """
        return asyncio.run(self._rush(seconds, users)) / seconds

    async def _rush(self, seconds: float, users: int) -> int:
        end = time.monotonic() + seconds
        questions = itertools.cycle(self.ask.questions)

        async def insist() -> int:
            answered = 0
            while time.monotonic() < end:
                answer = await ask_once(session, self.ask, next(questions))
                answered += not answer.is_failed and time.monotonic() < end
                await asyncio.sleep(0.2 if answer.is_failed else 0)
            return answered

        async with open_session(self.ask) as session:
            return sum(await asyncio.gather(*(insist() for _ in range(users))))

    async def _go_on(self) -> None:
        started = time.monotonic()
        async with open_session(self.ask) as session, asyncio.TaskGroup() as users:
            open_questions: set[asyncio.Task[None]] = set()
            for count, question in enumerate(itertools.cycle(self.ask.questions)):
                due = started + count / self.ask.per_second
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if self._stop.is_set() or time.monotonic() > started + self.ask.longest:
                    break
                if len(open_questions) >= self.ask.most_in_flight:
                    self._keep(_failure(0.0, "too many questions without an answer"))
                    continue
                user = users.create_task(self._ask_and_keep(session, question))
                open_questions.add(user)
                user.add_done_callback(open_questions.discard)

    async def _ask_and_keep(self, session: aiohttp.ClientSession, question: str) -> None:
        answer = await ask_once(session, self.ask, question)
        self._keep(answer)
        if self.opinions is not None and not answer.is_failed:
            vote = await _give_feedback(session, self.ask, answer, self.opinions)
            if vote.is_failed:
                self._keep(vote)

    def _keep(self, answer: Answer) -> None:
        with self._lock:
            self._answers.append(answer)


def open_session(ask: Ask, cookies: aiohttp.abc.AbstractCookieJar | None = None) -> Session:
    """Return a session that keeps its cookies in the given jar; in none if none is given."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=ask.timeout),
        connector=aiohttp.TCPConnector(limit=0, force_close=not ask.keep_alive),
        cookie_jar=aiohttp.DummyCookieJar() if cookies is None else cookies,
    )


async def ask_once(
    session: Session, ask: Ask, question: str, headers: Mapping[str, str] | None = None
) -> Answer:
    """Ask one question and return what came back, whatever it was."""
    started = time.monotonic()
    body = {
        "messages": [{"role": "user", "content": question}],
        "max_tokens": ask.max_tokens,
        "temperature": ask.temperature,
    }
    url = f"{ask.url}/v1/chat/completions"
    try:
        async with session.post(
            url, json=body, headers={"Host": ask.host, **(headers or {})}
        ) as reply:
            content = await reply.read()
            text = _text(await reply.json()) if reply.status == 200 else ""
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, LookupError) as error:
        return _failure(time.monotonic() - started, f"{type(error).__name__}: {error}")
    said = "" if reply.status == 200 else content[:200].decode(errors="replace")
    return Answer(
        at=time.time(),
        seconds=time.monotonic() - started,
        status=reply.status,
        version=reply.headers.get(_VERSION, ""),
        verdict=reply.headers.get(_VERDICT, ""),
        text=text,
        arm=reply.headers.get(ARM, ""),
        id=reply.headers.get(_ID, ""),
        error=said,
    )


async def _give_feedback(session: Session, ask: Ask, answer: Answer, opinions: Opinions) -> Answer:
    """Say about an answer whether it did the user's task; return what came back."""
    # Some gateways give versions their turns: votes that follow at once would get all of one's.
    await asyncio.sleep(opinions.hesitation())
    said = {"response_id": answer.id, "task": opinions.about(answer.version)}
    for _ in range(_VOTES):
        vote = await _vote(session, ask, said)
        if vote.status != HTTPStatus.SERVICE_UNAVAILABLE or "try_again" not in vote.error:
            break
        # The guard that counts it has gone; who votes again, as it asks for, finds another.
        await asyncio.sleep(_AGAIN)
    return vote


async def _vote(session: Session, ask: Ask, said: Mapping[str, str]) -> Answer:
    started = time.monotonic()
    try:
        async with session.post(
            f"{ask.url}/v1/feedback", json=said, headers={"Host": ask.host}
        ) as reply:
            error = "" if reply.status == 200 else f"feedback: {await reply.text()}"
    except (aiohttp.ClientError, TimeoutError) as failed:
        return _failure(time.monotonic() - started, f"feedback: {type(failed).__name__}: {failed}")
    seconds = time.monotonic() - started
    return Answer(at=time.time(), seconds=seconds, status=reply.status, error=error)


def _failure(seconds: float, error: str) -> Answer:
    return Answer(at=time.time(), seconds=seconds, status=0, error=error)


def _text(body: Any) -> str:
    return str(body["choices"][0]["message"]["content"])
