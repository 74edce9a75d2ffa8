"""Users who come back: each sends on what it was given, half of them a cookie, half a header."""

import asyncio
import threading
import time
from dataclasses import dataclass, field

import aiohttp

from e2e.harness.traffic import ARM, Answer, Answers, Ask, ask_once, open_session


@dataclass
class Crowd:
    """Asks in a thread of its own from `with` to its end; a user asks one question at a time."""

    ask: Ask
    users: int
    pause: float = 2.0
    """Seconds between an answer and the user's next question."""
    _answers: dict[int, list[Answer]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Crowd":
        self._thread = threading.Thread(target=lambda: asyncio.run(self._go_on()), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=self.ask.timeout + 5)

    def by_user(self) -> list[Answers]:
        """Return what each user was answered so far."""
        with self._lock:
            return [Answers(tuple(self._answers.get(user, ()))) for user in range(self.users)]

    def snapshot(self) -> Answers:
        """Return what all of them were answered so far, in the order of time."""
        everything = (answer for each in self.by_user() for answer in each.all)
        return Answers(tuple(sorted(everything, key=lambda answer: answer.at)))

    async def _go_on(self) -> None:
        await asyncio.gather(*(self._come_back(user) for user in range(self.users)))

    async def _come_back(self, user: int) -> None:
        end = time.monotonic() + self.ask.longest
        has_cookies = user % 2 == 0
        # By default a jar takes no cookies from a server that is known by its number.
        jar = aiohttp.CookieJar(unsafe=True) if has_cookies else None
        arm = ""
        # Not all at once, as users are.
        await asyncio.sleep(self.pause * user / self.users)
        async with open_session(self.ask, jar) as session:
            while not self._stop.is_set() and time.monotonic() < end:
                question = self.ask.questions[user % len(self.ask.questions)]
                headers = {ARM: arm} if arm and not has_cookies else None
                answer = await ask_once(session, self.ask, question, headers)
                arm = answer.arm or arm
                with self._lock:
                    self._answers.setdefault(user, []).append(answer)
                await asyncio.sleep(self.pause)
