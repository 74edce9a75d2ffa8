"""What users reach by Triton's own API, with their texts checked both ways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Literal

from aiohttp import web

from rlhf_operator.guard import (
    blame,
    deltas,
    fallback,
    generation,
    judge,
    rules,
    stream,
    v2,
    v2_inputs,
)
from rlhf_operator.guard.conversation import Conversation, passed
from rlhf_operator.guard.events import Events
from rlhf_operator.guard.generation import Generation, TritonError
from rlhf_operator.guard.judge import Judged
from rlhf_operator.guard.openai import BadRequest
from rlhf_operator.guard.sampling.exchange import Exchange
from rlhf_operator.guard.state import ID_HEADER, Call, Guard, verdict_headers
from rlhf_operator.guard.stream import Courier, Passage
from rlhf_operator.guard.text import count_words
from rlhf_operator.guard.triton import Reply, Unanswered
from rlhf_operator.guard.verdict import Outcome, Verdict, together, worst

_READ_SECONDS = 5.0
"""What may be read takes no place in flight, so nobody may wait for it for long."""
_MOST_TEXTS = 256
"""Each is checked by itself, which costs far more than its bytes."""


async def read_triton(guard: Guard, request: web.Request) -> web.Response:
    """Pass on what may be read of Triton: health and metadata."""
    path = request.rel_url.raw_path
    if not v2.is_readable(path):
        raise web.HTTPNotFound(text="this part of Triton's API is closed")
    try:
        async with asyncio.timeout(_READ_SECONDS):
            reply = await guard.triton.forward("GET", path)
    except TimeoutError:
        raise TritonError("no answer about itself") from None
    if reply.status != 200:
        raise await blame.mistake(guard, reply)
    if v2.is_probe(path):
        return web.Response(text="")
    return web.Response(body=reply.body, content_type="application/json")


async def ask_triton(guard: Guard, request: web.Request, call: Call) -> web.StreamResponse:
    """Pass a v2 request on, with its texts checked both ways."""
    path = request.rel_url.raw_path
    verb = v2.verb(path)
    if verb is None:
        raise web.HTTPNotFound(text="this part of Triton's API is closed")
    try:
        message = v2.decode(await request.read(), request.headers.get(v2.HEADER_LENGTH))
        prompts = _texts(message, verb, "inputs")
        beside = _beside(guard, message, verb, len(prompts))
        if rules.applies(guard.setup.config.guard, "Output"):
            v2_inputs.expect_checkable(message, verb)
    except v2.Malformed as error:
        raise BadRequest(str(error)) from None
    if guard.pipeline.steps and path.split("/")[3] != guard.setup.config.triton_model:
        raise BadRequest("what other models are asked cannot be checked")
    if not prompts and rules.applies(guard.setup.config.guard, "Input"):
        raise BadRequest(f"a request without {v2.TEXT_INPUT} cannot be checked")
    if len(prompts) > _MOST_TEXTS:
        raise BadRequest(f"at most {_MOST_TEXTS} texts in one request")
    if verb == "generate_stream" and len(prompts) > 1:
        raise BadRequest("a stream has one prompt")
    guard.begin(call)
    if len(prompts) > 1:
        guard = replace(guard, pipeline=guard.pipeline.beside_others())
    verdicts = [await guard.judge_prompt(each) for each in prompts]
    if beside:
        verdicts.append(await guard.pipeline.check(beside, "Input"))
        if verdicts[-1].text is not None and not verdicts[-1].is_stopped:
            raise BadRequest(f"something beside {v2.TEXT_INPUT} would have to be redacted")
    asked = together(verdicts)
    prompts = [
        prompt if verdict.text is None else verdict.text
        for prompt, verdict in zip(prompts, verdicts, strict=False)
    ]
    if asked.is_stopped:
        refused = [judge.refuse(asked, guard.setup.instead) for _ in prompts]
        if verb == "generate_stream":
            guard.instruments.streams.ended(asked.outcome.value)
        return await _refused(guard, request, call, message, verb, prompts, refused)
    if asked.text is not None:
        message = v2.replace(message, verb, "inputs", v2.TEXT_INPUT, prompts)
    if verb == "generate_stream":
        return await _stream(guard, request, call, message, asked, "".join(prompts))
    return await _ask(guard, request, call, message, verb, asked, prompts)


async def _ask(
    guard: Guard,
    request: web.Request,
    call: Call,
    message: v2.Message,
    verb: v2.Verb,
    asked: Verdict,
    prompts: list[str],
) -> web.StreamResponse:
    """Return Triton's whole reply to a request that may pass, with its texts checked."""
    path = request.rel_url.raw_path
    reply = await guard.triton.forward("POST", path, message.encode(), _headers(message))
    if reply.status != 200:
        raise await blame.find(guard, reply)
    answered, texts = _answers(guard, reply, verb)
    # In a batch nobody says whose tokens they are.
    is_single = verb == "generate" and len(texts) == 1
    made = generation.read_delta(answered.fields) if is_single else Generation(text="")
    answers = [
        await guard.judge_answer(text, asked=asked, tokens=made.tokens, conversation=said)
        for text, said in zip(texts, _said(prompts, texts), strict=True)
    ]
    for judged in answers:
        guard.instruments.count_generated(judged, call.counted)
    guard.instruments.count_tokens(
        prompt=_known(made.prompt_tokens, prompts), answer=_known(made.tokens, texts)
    )
    outcome = worst(judged.outcome for judged in answers)
    if any(each.is_stopped for each in answers):
        # One blocked answer takes its batch along: other tensors may tell the same in numbers.
        stopped = judge.taken_along(answers)
        return await _refused(guard, request, call, message, verb, prompts, stopped)
    response_id = guard.new_id(call)
    headers = {ID_HEADER: response_id, **_told(outcome, answers)}
    guard.leaving(call, *answers)
    guard.finished(call, *_exchanges(response_id, prompts, answers))
    if any(judged.made and judged.made.text is not None for judged in answers):
        answered = v2.texts_only(answered, verb)
    # Written anew: what Triton wrote could be read in another way than it was here.
    if answers:
        served = [each.text for each in answers]
        answered = v2.replace(answered, verb, "outputs", v2.TEXT_OUTPUT, served)
    return web.Response(body=answered.encode(), headers={**headers, **_headers(answered)})


async def _refused(
    guard: Guard,
    request: web.Request,
    call: Call,
    message: v2.Message,
    verb: v2.Verb,
    prompts: list[str],
    stopped: list[Judged],
) -> web.StreamResponse:
    """Return refusals in place of all answers, or what the fallback version says to all."""
    outcome = worst(judged.outcome for judged in stopped)
    if outcome is Outcome.WITHHELD:
        other = await fallback.answer(guard, request, call, count=len(stopped))
        if other is not None:
            return other
    guard.leaving(call, *stopped)
    body = v2.refusal(
        message,
        verb,
        model=guard.setup.config.triton_model,
        text=stopped[0].text,
        count=len(stopped),
    )
    kind = "text/event-stream" if verb == "generate_stream" else "application/json"
    response_id = guard.new_id(call)
    guard.finished(call, *_exchanges(response_id, prompts, stopped))
    headers = {ID_HEADER: response_id, **_told(outcome, stopped)}
    return web.Response(body=body, content_type=kind, headers=headers)


async def _stream(
    guard: Guard,
    request: web.Request,
    call: Call,
    message: v2.Message,
    asked: Verdict,
    prompt: str,
) -> web.StreamResponse:
    path = request.rel_url.raw_path
    passage = Passage.of(guard, prompt, asked, passed((), prompt, None))
    events = Events(
        name=guard.new_id(call),
        model=guard.setup.config.triton_model,
        is_as_made=passage.chain.holds_nothing,
        is_judged=rules.applies(guard.setup.config.guard, "Output"),
        instead=guard.setup.instead,
    )

    @asynccontextmanager
    async def parts() -> AsyncIterator[AsyncIterator[Generation]]:
        async with guard.triton.events(path, message.encode()) as stream:
            yield (events.take(fields) async for fields in stream)

    courier = Courier(guard=guard, request=request, call=call, dialect=events)
    try:
        stopped = await stream.send(courier, passage, parts())
    except Unanswered as error:
        raise await blame.find(guard, error.reply) from None
    if stopped is not None:
        return await _refused(guard, request, call, message, "generate_stream", [prompt], [stopped])
    if passage.read is not None:
        guard.finished(
            call,
            Exchange(
                response_id=events.name,
                prompt=prompt,
                judged=passage.read,
                prompt_tokens=passage.prompt_tokens,
                is_streamed=True,
            ),
        )
    assert call.response is not None
    return call.response


def _known(tokens: int | None, texts: list[str]) -> int:
    """Return the tokens of some texts; words where nobody told."""
    return sum(map(count_words, texts)) if tokens is None else tokens


def _said(prompts: list[str], texts: list[str]) -> list[Conversation]:
    """Return to what each text is the answer; to all, where nobody says which one."""
    if len(prompts) != len(texts):
        prompts = ["\n".join(prompts)] * len(texts)
    return [passed((), prompt, None) for prompt in prompts]


def _exchanges(response_id: str, prompts: list[str], answers: list[Judged]) -> list[Exchange]:
    """Return what was answered to which prompt; nothing where that is open."""
    if len(prompts) != len(answers):
        return []
    return [
        Exchange(response_id=response_id, prompt=prompt, judged=judged, number=number)
        for number, (prompt, judged) in enumerate(zip(prompts, answers, strict=True))
    ]


def _texts(message: v2.Message, verb: v2.Verb, side: Literal["inputs", "outputs"]) -> list[str]:
    name = v2.TEXT_INPUT if side == "inputs" else v2.TEXT_OUTPUT
    if verb == "infer":
        return v2.tensor_texts(message, side, name)
    return v2.generate_text(message, name)


def _answers(guard: Guard, reply: Reply, verb: v2.Verb) -> tuple[v2.Message, list[str]]:
    """Return a reply and its texts; one that stages should have seen and cannot is an error."""
    try:
        message = v2.decode(reply.body, reply.header_length)
        texts = [deltas.whole(text) for text in _texts(message, verb, "outputs")]
        says_more = v2.says_more(message, verb)
    except v2.Malformed as error:
        raise TritonError(f"the reply cannot be read: {error}") from None
    if "error" in message.fields:
        raise TritonError("the reply is an error")
    if verb != "infer" and message.binary:
        raise TritonError("the reply has bytes behind its JSON")
    if rules.applies(guard.setup.config.guard, "Output"):
        if not texts:
            raise TritonError(f"the reply has no {v2.TEXT_OUTPUT} to check")
        if says_more:
            raise TritonError(f"the reply has a text that is not {v2.TEXT_OUTPUT}")
    return message, texts


def _beside(guard: Guard, message: v2.Message, verb: v2.Verb, prompts: int) -> str:
    """Return what the model may read beside its prompts, where stages look at prompts."""
    if not rules.applies(guard.setup.config.guard, "Input"):
        return ""
    return "\n".join(v2_inputs.texts_beside(message, verb, prompts=prompts))


def _told(outcome: Outcome, answers: list[Judged]) -> dict[str, str]:
    told = next((each for each in answers if each.outcome is outcome), None)
    return verdict_headers(told or Verdict())


def _headers(message: v2.Message) -> dict[str, str]:
    if message.header_length is None:
        return {"Content-Type": "application/json"}
    return {
        "Content-Type": "application/octet-stream",
        v2.HEADER_LENGTH: str(message.header_length),
    }
