"""What one guard process holds while it runs, and the steps that every answer shares."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field

from aiohttp import web

from rlhf_operator.api.guard import RUN_HEADER
from rlhf_operator.guard import judge, openai, tokens, users
from rlhf_operator.guard.config import Setup
from rlhf_operator.guard.judge import Judged
from rlhf_operator.guard.metrics import Instruments
from rlhf_operator.guard.rules import Verdict
from rlhf_operator.guard.triton import Triton
from rlhf_operator.guard.votes import Votes

_MOST_VOTES = 100_000
_IDENTITY_DIGITS = 12

ID_HEADER = "x-rlhf-response-id"
VERDICT_HEADER = "x-rlhf-verdict"


@dataclass(kw_only=True, slots=True)
class Call:
    """One request for an answer, while it is served."""

    started: float
    user: bytes | None = None  # who asks, as a pseudonym, where that is known
    is_counted: bool = False
    response: web.StreamResponse | None = None  # once its first byte is out


@dataclass(kw_only=True, slots=True)
class Guard:
    """The running guard."""

    setup: Setup
    triton: Triton
    instruments: Instruments
    votes: Votes = field(default_factory=lambda: Votes(_MOST_VOTES))
    in_flight: int = 0
    is_draining: bool = False

    @classmethod
    def of(cls, setup: Setup, triton: Triton) -> Guard:
        """Return a guard that has seen nothing yet."""
        instruments = Instruments(setup.rules, version=setup.config.version)
        return cls(setup=setup, triton=triton, instruments=instruments)

    def whose(self, request: web.Request, named: str | None = None) -> bytes | None:
        """Return the pseudonym of who asks: by the team's header, else as the request names them.

        None where neither says it. The arm's cookie is no name: all users of an arm have the same.
        """
        header = self.setup.config.guard.user_header
        name = (request.headers.get(header) if header else None) or named
        if not name:
            return None
        run = request.headers.get(RUN_HEADER, "")
        model = self.setup.config.model
        return users.pseudonym(self.setup.key, model=model, run=run, user=name)

    def begin(self, call: Call) -> None:
        """Count a request that is well formed."""
        call.is_counted = True
        self.instruments.count_request(call.user)

    def fail(self, call: Call) -> None:
        """Count a request that fails through our side's fault."""
        if not call.is_counted:
            self.begin(call)
        self.instruments.count_error(call.user)

    async def ask(self, question: openai.Question) -> tuple[Judged, int | None]:
        """Return the judged answer to a question, and the tokens of its prompt if known."""
        config = self.setup.config
        asked = judge.judge_prompt(self.setup.rules, question.prompt)
        if asked.is_blocked:
            return judge.refuse(asked, config.refusal_text), None
        made = await self.triton.generate(
            question.prompt,
            max_tokens=question.max_tokens,
            temperature=question.temperature,
            seed=question.seed,
        )
        text = openai.cut(made.text, question.stop)
        return self.judge_answer(text, asked=asked, tokens=made.tokens), made.prompt_tokens

    def judge_answer(self, text: str, *, asked: Verdict, tokens: int | None) -> Judged:
        """Return what the user gets of an answer."""
        return judge.judge_answer(
            self.setup.rules,
            text,
            asked=asked,
            tokens=tokens,
            refusal=self.setup.config.refusal_text,
        )

    def new_id(self) -> str:
        """Return a fresh signed response id."""
        config = self.setup.config
        about = tokens.ResponseId(
            version=config.version,
            identity=config.identity.removeprefix("sha256:")[:_IDENTITY_DIGITS],
            nonce=secrets.token_hex(12),
            issued=int(time.time()),
        )
        return tokens.issue(self.setup.key, model=config.model, about=about)

    def leaving(self, call: Call, *answers: Judged) -> None:
        """Count answers in the moment before their first byte leaves."""
        self.instruments.first_token.observe(time.monotonic() - call.started)
        for judged in answers:
            self.instruments.count_served(judged, call.user)
