"""What users reach: completions, chat, Triton's v2 API, feedback.

First form of streaming: the whole answer is made and checked before its first byte leaves.
"""

from __future__ import annotations

import json
import time
from typing import Annotated, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rlhf_operator.guard import judge, openai, rules, tokens, v2
from rlhf_operator.guard.judge import Judged
from rlhf_operator.guard.openai import BadRequest
from rlhf_operator.guard.state import ID_HEADER, VERDICT_HEADER, Call, Guard
from rlhf_operator.guard.text import count_words
from rlhf_operator.guard.triton import Reply, TritonError
from rlhf_operator.guard.verdict import Outcome, Verdict, worst

_OLDEST_VOTE = 30 * 24 * 3600
_HEADER_LENGTH = "Inference-Header-Content-Length"


def models(guard: Guard) -> web.Response:
    """Return the one model that is served here."""
    model = {"id": guard.setup.config.model, "object": "model", "created": 0, "owned_by": "rlhf"}
    return web.json_response({"object": "list", "data": [model]})


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
    )
    call.user = guard.whose(request, question.user)
    guard.begin(call)
    judged, prompt_tokens = await guard.ask(question)
    guard.instruments.count_generated(judged, call.user)
    answer = _answer(guard, question, judged, prompt_tokens)
    headers = {ID_HEADER: answer.id, VERDICT_HEADER: judged.outcome.value}
    if not question.stream:
        guard.leaving(call, judged)
        return web.json_response(openai.body(answer, is_chat=is_chat), headers=headers)
    response = web.StreamResponse(headers={**headers, "Cache-Control": "no-cache"})
    response.content_type = "text/event-stream"
    guard.leaving(call, judged)
    call.response = response
    await response.prepare(request)
    for chunk in openai.chunks(answer, is_chat=is_chat, include_usage=question.include_usage):
        await response.write(chunk)
    await response.write_eof()
    return response


def _answer(
    guard: Guard, question: openai.Question, judged: Judged, prompt_tokens: int | None
) -> openai.Answer:
    finish: Literal["stop", "length", "content_filter"] = "stop"
    if judged.is_stopped:
        finish = "content_filter"
    elif judged.length >= question.max_tokens:
        finish = "length"
    return openai.Answer(
        id=guard.new_id(),
        created=int(time.time()),
        model=guard.setup.config.model,
        text=judged.text,
        finish_reason=finish,
        prompt_tokens=count_words(question.prompt) if prompt_tokens is None else prompt_tokens,
        completion_tokens=judged.length,
    )


async def read_triton(guard: Guard, request: web.Request) -> web.Response:
    """Pass on what may be read of Triton: health and metadata."""
    path = request.rel_url.raw_path
    if not v2.is_readable(path):
        raise web.HTTPNotFound(text="this part of Triton's API is closed")
    return _passed_on(await guard.triton.forward("GET", path), {})


async def ask_triton(guard: Guard, request: web.Request, call: Call) -> web.Response:
    """Pass a v2 request on, with its texts checked both ways."""
    path = request.rel_url.raw_path
    verb = v2.verb(path)
    if verb is None:
        raise web.HTTPNotFound(text="this part of Triton's API is closed")
    try:
        message = v2.decode(await request.read(), request.headers.get(_HEADER_LENGTH))
        prompts = _texts(message, verb, "inputs")
    except v2.Malformed as error:
        raise BadRequest(str(error)) from None
    if not prompts and rules.applies(guard.setup.config.guard, "Input"):
        raise BadRequest(f"a request without {v2.TEXT_INPUT} cannot be checked")
    guard.begin(call)
    asked = _strictest([await guard.pipeline.check(each, "Input") for each in prompts])
    if asked.outcome not in (Outcome.OK, Outcome.FLAGGED):
        refused = [judge.refuse(asked, guard.setup.instead) for _ in prompts]
        return _checked(guard, call, message, verb, refused, None)
    sent = {"Content-Type": "application/json"}
    if message.header_length is not None:
        sent = {
            "Content-Type": "application/octet-stream",
            _HEADER_LENGTH: str(message.header_length),
        }
    reply = await guard.triton.forward("POST", path, message.encode(), sent)
    if reply.status != 200:
        if reply.status >= 500:
            guard.fail(call)
        return _passed_on(reply, {})
    texts = _answers(guard, reply, verb)
    answers = [await guard.judge_answer(text, asked=asked, tokens=None) for text in texts]
    for judged in answers:
        guard.instruments.count_generated(judged, call.user)
    return _checked(guard, call, message, verb, answers, reply)


def _checked(
    guard: Guard,
    call: Call,
    message: v2.Message,
    verb: v2.Verb,
    answers: list[Judged],
    reply: Reply | None,
) -> web.Response:
    """Return the reply if every answer in it may leave, else refusals in its place."""
    outcome = worst(judged.outcome for judged in answers)
    headers = {ID_HEADER: guard.new_id(), VERDICT_HEADER: outcome.value}
    if reply is not None and outcome in (Outcome.OK, Outcome.FLAGGED):
        guard.leaving(call, *answers)
        return _passed_on(reply, headers)
    # One blocked answer takes its batch along: other tensors may tell the same in numbers.
    stopped = [each for each in answers if each.outcome not in (Outcome.OK, Outcome.FLAGGED)]
    guard.leaving(call, *stopped)
    body = v2.refusal(
        message,
        verb,
        model=guard.setup.config.triton_model,
        text=stopped[0].text,
        count=len(answers),
    )
    kind = "text/event-stream" if verb == "generate_stream" else "application/json"
    return web.Response(body=body, content_type=kind, headers=headers)


def _texts(message: v2.Message, verb: v2.Verb, side: Literal["inputs", "outputs"]) -> list[str]:
    name = v2.TEXT_INPUT if side == "inputs" else v2.TEXT_OUTPUT
    if verb == "infer":
        return v2.tensor_texts(message, side, name)
    return v2.generate_text(message, name)


def _answers(guard: Guard, reply: Reply, verb: v2.Verb) -> list[str]:
    """Return the texts of a reply; one that rules should have seen and cannot is an error."""
    try:
        if verb == "generate_stream":
            events = v2.events(reply.body)
            if any("error" in event for event in events):
                raise TritonError("the stream ended with an error")
            parts = [v2.generate_text(v2.Message(fields=event), v2.TEXT_OUTPUT) for event in events]
            texts = ["".join(text for part in parts for text in part)] if any(parts) else []
        else:
            texts = _texts(v2.decode(reply.body, reply.header_length), verb, "outputs")
    except v2.Malformed as error:
        raise TritonError(f"the reply cannot be read: {error}") from None
    if not texts and rules.applies(guard.setup.config.guard, "Output"):
        raise TritonError(f"the reply has no {v2.TEXT_OUTPUT} to check")
    return texts


def _strictest(verdicts: list[Verdict]) -> Verdict:
    strictest = worst(each.outcome for each in verdicts)
    return next((each for each in verdicts if each.outcome is strictest), Verdict())


def _passed_on(reply: Reply, headers: dict[str, str]) -> web.Response:
    length = {_HEADER_LENGTH: reply.header_length} if reply.header_length else {}
    return web.Response(
        status=reply.status,
        body=reply.body,
        headers={**headers, **length, "Content-Type": reply.content_type},
    )


class _Vote(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    response_id: Annotated[str, Field(max_length=512)]
    thumbs: Literal["up", "down"] | None = None
    task: Literal["done", "failed"] | None = None


async def vote(guard: Guard, request: web.Request) -> web.Response:
    """Count one vote of a user about one answer, whichever version gave it."""
    try:
        given = _Vote.model_validate_json(await request.read())
    except ValidationError:
        given = None
    if given is None or (given.thumbs is None) == (given.task is None):
        raise BadRequest("send response_id and one of thumbs (up, down) or task (done, failed)")
    kind, value = ("thumbs", given.thumbs) if given.thumbs else ("task", given.task)
    model = guard.setup.config.model
    about = tokens.read(guard.setup.key, model=model, text=given.response_id)
    if about is None:
        raise web.HTTPForbidden(text="response_id was not issued by this model")
    if about.issued < time.time() - _OLDEST_VOTE:
        raise web.HTTPForbidden(text="response_id is too old")
    if not guard.votes.add(about.nonce, kind):
        raise web.HTTPConflict(text=f"this answer already has a vote on {kind}")
    guard.instruments.count_vote(about_version=about.version, kind=kind, value=str(value))
    body = json.dumps({"object": "feedback", "about_version": about.version})
    return web.Response(text=body, content_type="application/json")
