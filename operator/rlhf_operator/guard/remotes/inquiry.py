"""One stage's way to its classifier or service: parts, slots, circuit, contract."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from rlhf_operator.api.stages import Direction
from rlhf_operator.guard.conversation import Conversation
from rlhf_operator.guard.pipeline import CannotJudge
from rlhf_operator.guard.remotes.answers import BadAnswer
from rlhf_operator.guard.remotes.breaker import Circuit, Outcome, State
from rlhf_operator.guard.remotes.contracts.contract import Contract
from rlhf_operator.guard.remotes.credentials import Credential
from rlhf_operator.guard.remotes.service import Service
from rlhf_operator.guard.verdict import Found, Judgement, Unjudged

log = logging.getLogger("rlhf_operator.guard.remotes")

_MEANS_DEAD = (Unjudged.TIMEOUT, Unjudged.UNREACHABLE, Unjudged.REFUSED)
_NEARLY = 0.9
"""Who is given up after so much of the time that there was has failed; before, nobody knows."""


@dataclass(kw_only=True, slots=True)
class Inquiry:
    """A `Remote`: asks a service about texts and remembers how it is."""

    stage: str
    contract: Contract
    service: Service
    patience: float
    """Seconds that one text may take at most: the stage's timeout, or the whole budget if less."""
    credential: Credential | None = None
    clock: Callable[[], float] = time.monotonic
    circuit: Circuit = field(default_factory=Circuit)

    def inherit(self, before: Inquiry) -> None:
        """Go on with what another inquiry knows of the same address."""
        if before.service.url == self.service.url:
            self.circuit = replace(before.circuit, probe_until=None)  # it ends there, not here

    async def judge(
        self, text: str, direction: Direction, conversation: Conversation = ()
    ) -> Judgement:
        """Return what the service finds in a text; raises CannotJudge where it does not say."""
        if not text.strip():
            return Judgement()  # services refuse to look at nothing
        requests = self.contract.requests(text, direction, conversation)
        if len(requests) == 1:
            return await self._ask(requests[0], text)
        results = await asyncio.gather(
            *(self._ask(asked, text) for asked in requests), return_exceptions=True
        )
        judged = [each for each in results if isinstance(each, Judgement)]
        whole = _together(judged)
        for each in results:
            if isinstance(each, CannotJudge):
                raise CannotJudge(each.reason, found=whole.found)
            if isinstance(each, BaseException):
                raise each
        return whole

    async def _ask(self, asked: dict[str, Any], text: str) -> Judgement:
        self._expect_open_way()
        headers = self._headers()
        async with self.service.slots:
            self._expect_open_way()  # others may have found out meanwhile
            began = self.clock()
            is_probe = self.circuit.state(began) is State.HALF_OPEN
            self.circuit = self.circuit.begin(began)
            outcome = Outcome.WORKED
            try:
                answer = await self.service.post(asked, headers)
                return self.contract.read(answer, text)
            except CannotJudge as error:
                outcome = Outcome.FAILED if error.reason in _MEANS_DEAD else Outcome.WORKED
                raise
            except BadAnswer as error:
                log.warning("stage %s: an answer that is not understood: %s", self.stage, error)
                raise CannotJudge(Unjudged.BAD_ANSWER) from None
            except asyncio.CancelledError:
                waited = self.clock() - began
                outcome = Outcome.FAILED if waited >= _NEARLY * self.patience else Outcome.UNKNOWN
                raise
            finally:
                self._note(outcome, is_probe=is_probe)

    def _expect_open_way(self) -> None:
        if self.circuit.state(self.clock()) is State.OPEN:
            raise CannotJudge(Unjudged.CIRCUIT_OPEN)

    def _headers(self) -> dict[str, str]:
        if self.credential is None:
            return {}
        value = self.credential.read()
        if value is None:
            raise CannotJudge(Unjudged.NOT_SET_UP)
        return self.contract.headers(value)

    def _note(self, outcome: Outcome, *, is_probe: bool) -> None:
        now = self.clock()
        before = self.circuit
        self.circuit = before.end(now, outcome, is_probe=is_probe)
        if (before.open_until is None) != (self.circuit.open_until is None):
            log.warning("stage %s: its circuit is %s", self.stage, self.circuit.state(now))


@dataclass(frozen=True, kw_only=True, slots=True)
class NotSetUp:
    """A `Remote` without an address."""

    async def judge(
        self, _text: str, _direction: Direction, _conversation: Conversation = ()
    ) -> Judgement:
        """Raise CannotJudge, always."""
        raise CannotJudge(Unjudged.NOT_SET_UP)


def _together(judged: list[Judgement]) -> Judgement:
    """Return what was found in any part, with the highest scores."""
    scores: dict[str, float] = {}
    for name, score in (each for one in judged for each in one.scores):
        scores[name] = max(score, scores.get(name, 0.0))
    names = sorted({found.category for each in judged for found in each.found})
    return Judgement(
        found=tuple(Found(category=name) for name in names), scores=tuple(scores.items())
    )
