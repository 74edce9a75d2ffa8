"""What one guard process holds while it runs, and the steps that every answer shares."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from aiohttp import web

from rlhf_operator.api.guard import RUN_HEADER
from rlhf_operator.guard import judge, openai, pipeline, tokens, users
from rlhf_operator.guard.config import Setup
from rlhf_operator.guard.conversation import Conversation, passed
from rlhf_operator.guard.generation import Generation
from rlhf_operator.guard.judge import Judged
from rlhf_operator.guard.metrics import Instruments
from rlhf_operator.guard.peers import Peers
from rlhf_operator.guard.pipeline import Pipeline, Remote
from rlhf_operator.guard.sampling.counts import SampleCounts
from rlhf_operator.guard.sampling.exchange import Exchange, Timing
from rlhf_operator.guard.sampling.origin import Origin, origin
from rlhf_operator.guard.sampling.recognisers import finder
from rlhf_operator.guard.sampling.sampler import Sampler
from rlhf_operator.guard.triton import Triton
from rlhf_operator.guard.verdict import Verdict
from rlhf_operator.guard.votes import Votes

_MOST_VOTES = 100_000
_IDENTITY_DIGITS = 12

NO_WORD = "the model server refuses this request"

ID_HEADER = "x-rlhf-response-id"
VERDICT_HEADER = "x-rlhf-verdict"
CATEGORIES_HEADER = "x-rlhf-categories"


@dataclass(kw_only=True, slots=True)
class Call:
    """One request for an answer, while it is served."""

    started: float
    origin: Origin
    user: bytes | None = None  # who asks, as a pseudonym, where that is known
    is_counted: bool = False
    is_answered: bool = False  # what became of the answer is counted
    is_failed: bool = False
    first_byte: float | None = None  # when it left
    response: web.StreamResponse | None = None  # once its first byte is out
    # What a trace tells of it; nothing of what was said.
    response_id: str | None = None
    verdict: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    answer_tokens: int | None = None

    @property
    def counted(self) -> bytes | None:
        """Return who asks, as the counters know them: another one at each step of a run.

        When the weight rises the canary gets users whom it has not met, and when a version is
        dropped from a test stable gets its users. If those who stay had been counted before and
        did not count again, the two would not be alike.
        """
        if self.user is None or self.origin.arms is None:
            return self.user
        arms = self.origin.arms
        return self.user + bytes((arms.step, len(arms.tested)))

    def became(self, judged: Judged, *, finish_reason: str | None = None) -> None:
        """Note what became of the answer."""
        self.verdict = judged.outcome.value
        self.finish_reason = finish_reason or ("content_filter" if judged.is_stopped else "stop")


@dataclass(kw_only=True, slots=True)
class Load:
    """What the process has to do now."""

    in_flight: int = 0
    is_draining: bool = False
    body_bytes: int = 0
    """Bytes of all bodies, whole or not yet, of requests that are not over; unpacked."""


@dataclass(kw_only=True, slots=True)
class Guard:
    """The running guard. Its rules may change; a request keeps those with which it began."""

    setup: Setup
    pipeline: Pipeline
    triton: Triton
    instruments: Instruments
    sampler: Sampler
    peers: Peers
    votes: Votes = field(default_factory=lambda: Votes(_MOST_VOTES))
    load: Load = field(default_factory=Load)

    @classmethod
    def of(cls, setup: Setup, triton: Triton, remotes: Mapping[str, Remote] | None = None) -> Guard:
        """Return a guard that has seen nothing yet; `remotes` by the names of their stages."""
        instruments = Instruments(setup.config.guard, setup.rules, version=setup.config.version)
        prepared = _prepared(setup, remotes or {}, instruments)
        sampler = Sampler(SampleCounts(instruments.registry), finder)
        sampler.take(setup)
        return cls(
            setup=setup,
            pipeline=prepared,
            triton=triton,
            instruments=instruments,
            sampler=sampler,
            peers=Peers(session=triton.session),
        )

    def take(self, setup: Setup, remotes: Mapping[str, Remote]) -> None:
        """Judge by other rules from the next request on."""
        prepared = _prepared(setup, remotes, self.instruments)
        self.instruments.take(setup.config.guard, setup.rules)
        self.sampler.take(setup)
        self.setup, self.pipeline = setup, prepared

    def as_now(self) -> Guard:
        """Return the guard as a request finds it: rules that change later do not reach it."""
        return replace(self)

    @property
    def is_draining(self) -> bool:
        """Tell whether the process is on its way out."""
        return self.load.is_draining

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

    def call(self, request: web.Request) -> Call:
        """Return a request for an answer, which begins now."""
        return Call(
            started=time.monotonic(), origin=origin(request.headers), user=self.whose(request)
        )

    def begin(self, call: Call) -> None:
        """Count a request that is well formed."""
        call.is_counted = True
        self.instruments.count_request(call.counted)

    def fail(self, call: Call) -> None:
        """Count a request that fails through our side's fault."""
        if not call.is_counted:
            self.begin(call)
        call.is_failed = True
        self.instruments.count_error(call.counted)

    async def checked_mistake(self, said: str) -> str:
        """Return what the model server says is wrong with a request, if that may be told."""
        verdict = await self.pipeline.uncounted().check(said, "Output")  # it is no answer
        told = said if verdict.text is None else verdict.text
        return NO_WORD if verdict.is_stopped or not told else told

    async def ask(self, question: openai.Question) -> Judged:
        """Return the judged answer to a question."""
        asked = await self.pipeline.check(
            question.prompt, "Input", conversation=question.conversation
        )
        if asked.is_stopped:
            return judge.refuse(asked, self.setup.instead)
        judged, _ = await self.answer(question, asked)
        return judged

    async def answer(self, question: openai.Question, asked: Verdict) -> tuple[Judged, Generation]:
        """Return the judged answer to a question whose prompt may pass, and what was made."""
        prompt = question.read(asked.text)
        made = await self.triton.generate(prompt, question.parameters)
        text = openai.cut(made.text, question.stop)
        said = passed(question.conversation, question.prompt, asked.text)
        judged = await self.judge_answer(text, asked=asked, tokens=made.tokens, conversation=said)
        return judged, made

    async def judge_prompt(self, prompt: str, conversation: Conversation = ()) -> Verdict:
        """Return what was found in a user's prompt."""
        asked = await self.pipeline.check(prompt, "Input", conversation=conversation)
        self.instruments.redactions.count(asked.redacted, "input")
        return asked

    async def judge_answer(
        self, text: str, *, asked: Verdict, tokens: int | None, conversation: Conversation
    ) -> Judged:
        """Return what the user gets of an answer to a conversation."""
        return judge.answer(
            text,
            asked=asked,
            made=await self.pipeline.check(text, "Output", conversation=conversation),
            tokens=tokens,
            is_refusal=self.setup.rules.is_refusal(text),
            instead=self.setup.instead,
        )

    def new_id(self, call: Call) -> str:
        """Return a fresh signed response id."""
        config, key = self.setup.config, self.setup.key
        arms, user = call.origin.arms, call.counted
        about = tokens.ResponseId(
            version=config.version,
            identity=config.identity.removeprefix("sha256:")[:_IDENTITY_DIGITS],
            nonce=secrets.token_hex(12),
            issued=int(time.time()),
            place=arms.place_of(config.version) if arms is not None else None,
            # Only in a run votes are counted by user; outside of it ids tell of nobody.
            voter=None if arms is None else "" if user is None else users.voter(key, user),
        )
        call.response_id = tokens.issue(key, model=config.model, about=about)
        return call.response_id

    def first_byte(self, call: Call) -> None:
        """Note when the first byte of an answer leaves."""
        call.first_byte = time.monotonic()
        self.instruments.first_token.observe(call.first_byte - call.started)

    def leaving(self, call: Call, *answers: Judged) -> None:
        """Count answers in the moment before their first byte leaves."""
        self.first_byte(call)
        call.is_answered = True
        for judged in answers:
            self.instruments.count_served(judged, call.counted)

    def finished(self, call: Call, *exchanges: Exchange) -> None:
        """Offer what has left to the sampler; nothing waits for it."""
        first_byte = None if call.first_byte is None else call.first_byte - call.started
        timing = Timing(first_byte=first_byte, whole=time.monotonic() - call.started)
        for exchange in exchanges:
            self.sampler.offer(exchange, call.origin, user=call.user, timing=timing)


def verdict_headers(known: Verdict | Judged) -> dict[str, str]:
    """Return the headers that tell what was found."""
    headers = {VERDICT_HEADER: known.outcome.value}
    if known.categories:
        headers[CATEGORIES_HEADER] = ",".join(known.categories)
    return headers


def _prepared(setup: Setup, remotes: Mapping[str, Remote], instruments: Instruments) -> Pipeline:
    config = setup.config
    return pipeline.prepare(
        config.guard, setup.rules, remotes, instruments.stages, force_block=config.force_block
    )
