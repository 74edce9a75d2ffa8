"""What users reach by OpenAI's API: completions, chat, models."""

from __future__ import annotations

import time

from aiohttp import web

from rlhf_operator.guard import fallback, judge, openai, stream
from rlhf_operator.guard.chunks import Chunks
from rlhf_operator.guard.conversation import passed
from rlhf_operator.guard.judge import Judged
from rlhf_operator.guard.openai import Answer, Question
from rlhf_operator.guard.sampling.exchange import Exchange
from rlhf_operator.guard.state import ID_HEADER, Call, Guard, verdict_headers
from rlhf_operator.guard.stream import Courier, Passage
from rlhf_operator.guard.text import count_words
from rlhf_operator.guard.verdict import Outcome, Verdict


def models(guard: Guard) -> web.Response:
    """Return the one model that is served here."""
    model = openai.model_object(guard.setup.config.model)
    return web.json_response({"object": "list", "data": [model]})


def model(guard: Guard, request: web.Request) -> web.Response:
    """Return the model by its name."""
    name = guard.setup.config.model
    if request.match_info["name"] != name:
        problem = openai.error(
            f"this address serves the model {name!r} only",
            kind="invalid_request_error",
            code="model_not_found",
        )
        return web.json_response(problem, status=404)
    return web.json_response(openai.model_object(name))


async def complete(
    guard: Guard, request: web.Request, call: Call, *, is_chat: bool
) -> web.StreamResponse:
    """Answer a completion or a chat."""
    config = guard.setup.config
    question = openai.parse(
        await request.read(),
        is_chat=is_chat,
        model=config.model,
        most_tokens=config.limits.max_tokens,
        template=guard.setup.chat,
    )
    call.user = guard.whose(request, question.user)
    if not question.is_plain:
        question.check((await guard.triton.abilities()).honours)
    guard.begin(call)
    asked = await guard.judge_prompt(question.prompt, question.conversation)
    if asked.is_stopped:
        judged = judge.refuse(asked, guard.setup.instead)
        _count_stream(guard, question, judged)
        return await _reply(guard, request, call, question, judged, count_words(question.prompt))
    if question.stream and (await guard.triton.abilities()).is_decoupled:
        return await _stream(guard, request, call, question, asked)
    judged, made = await guard.answer(question, asked)
    guard.instruments.count_generated(judged, call.counted)
    read = made.prompt_tokens
    read = count_words(question.prompt) if read is None else read
    answer = count_words(made.text) if made.tokens is None else made.tokens
    guard.instruments.count_tokens(prompt=read, answer=answer)
    call.prompt_tokens, call.answer_tokens = read, answer
    _count_stream(guard, question, judged)
    return await _reply(guard, request, call, question, judged, read)


async def _stream(
    guard: Guard, request: web.Request, call: Call, question: Question, asked: Verdict
) -> web.StreamResponse:
    """Answer with what the model makes, as soon as it may leave."""
    prompt = question.read(asked.text)
    said = passed(question.conversation, question.prompt, asked.text)
    passage = Passage.of(guard, prompt, asked, said, question.stop)
    chunks = _chunks(guard, question, guard.new_id(call))
    courier = Courier(guard=guard, request=request, call=call, dialect=chunks)
    deltas = guard.triton.stream(prompt, question.parameters)
    stopped = await stream.send(courier, passage, deltas)
    if stopped is not None:
        return await _reply(guard, request, call, question, stopped, passage.read_tokens())
    if passage.read is not None:
        answer = chunks.answer(
            passage.read, prompt_tokens=passage.read_tokens(), is_cut=passage.stops.is_over
        )
        call.became(passage.read, finish_reason=answer.finish_reason)
        guard.finished(call, _exchange(question, passage.read, answer))
    assert call.response is not None
    return call.response


async def _reply(
    guard: Guard,
    request: web.Request,
    call: Call,
    question: Question,
    judged: Judged,
    prompt_tokens: int,
) -> web.StreamResponse:
    """Reply with an answer that is whole, or with what stands in its place."""
    if judged.outcome is Outcome.WITHHELD:
        other = await fallback.answer(guard, request, call)
        if other is not None:
            return other
    guard.leaving(call, judged)
    answer = Answer(
        id=guard.new_id(call),
        created=int(time.time()),
        model=guard.setup.config.model,
        text=judged.text,
        finish_reason=openai.finish_reason(judged, question.max_tokens),
        prompt_tokens=prompt_tokens,
        completion_tokens=judged.length,
    )
    call.became(judged, finish_reason=answer.finish_reason)
    if not question.stream:
        guard.finished(call, _exchange(question, judged, answer))
        headers = {ID_HEADER: answer.id, **verdict_headers(judged)}
        return web.json_response(openai.body(answer, is_chat=question.is_chat), headers=headers)
    chunks = _chunks(guard, question, answer.id)
    courier = Courier(guard=guard, request=request, call=call, dialect=chunks)
    response = await courier.begin(judged)
    await courier.send(
        chunks.end(judged, prompt_tokens=prompt_tokens, is_cut=False, has_left=False)
    )
    guard.finished(call, _exchange(question, judged, answer))
    return response


def _exchange(question: Question, judged: Judged, answer: Answer) -> Exchange:
    return Exchange(
        response_id=answer.id,
        prompt=_got(question, judged.asked),
        judged=judged,
        finish_reason=answer.finish_reason,
        prompt_tokens=answer.prompt_tokens,
        max_tokens=question.max_tokens,
        temperature=question.temperature,
        seed=question.seed,
        is_streamed=question.stream,
    )


def _count_stream(guard: Guard, question: Question, judged: Judged) -> None:
    """Count an answer that leaves as a stream although it was whole before."""
    if question.stream:
        guard.instruments.streams.ended(judged.outcome.value if judged.is_stopped else "complete")


def _chunks(guard: Guard, question: Question, name: str) -> Chunks:
    return Chunks(
        id=name,
        created=int(time.time()),
        model=guard.setup.config.model,
        is_chat=question.is_chat,
        include_usage=question.include_usage,
        max_tokens=question.max_tokens,
    )


def _got(question: Question, asked: Verdict) -> str:
    """Return the prompt as the model got it; as it was asked where the model was not asked."""
    return question.prompt if asked.is_stopped else question.read(asked.text)
