"""The OpenAI-style dialect: bodies in, bodies out. Pure; errors never repeat what was sent.

A parameter that would change the answer and that we cannot honour is refused, not ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

_DEFAULT_MAX_TOKENS = 256
_ONE_CHUNK = re.compile(r"\s*\S+\s*|\s+")

# What clients send as a matter of course, and the value under which it changes nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "top_p": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "echo": (False,),
    "logprobs": (False, 0),
    "suffix": ("",),
    "tools": ([],),
    "logit_bias": ({},),
    "response_format": ({"type": "text"},),
}


class BadRequest(ValueError):  # noqa: N818 - the HTTP name of it
    """The client's request cannot be served as it is; the message says what to change."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What a client asks, whichever endpoint it used."""

    prompt: str
    max_tokens: int
    temperature: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    user: str | None = None
    is_chat: bool = False
    stream: bool = False
    include_usage: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a client gets, whichever form it asked for."""

    id: str
    created: int
    model: str
    text: str
    finish_reason: Literal["stop", "length", "content_filter"]
    prompt_tokens: int
    completion_tokens: int


class _Type(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class _StreamOptions(_Type):
    include_usage: bool = False


class _Part(_Type):
    type: Literal["text"]
    text: str


class _Message(_Type):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | tuple[_Part, ...]

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class _Request(_Type):
    model: str | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: str | tuple[str, ...] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    # The second is the older name of the first.
    safety_identifier: str | None = None
    user: str | None = None


class _Completion(_Request):
    prompt: str


class _Chat(_Request):
    messages: tuple[_Message, ...] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)


def parse(body: bytes, *, is_chat: bool, model: str, most_tokens: int) -> Question:
    """Return the question in a request body."""
    try:
        asked: _Completion | _Chat = (_Chat if is_chat else _Completion).model_validate_json(body)
    except ValidationError as error:
        # Only places and rules: the input must not come back, nor reach a log.
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "body"
        raise BadRequest(f"{place}: {first['msg']}") from None
    if asked.model not in (None, model):
        raise BadRequest(f"this address serves the model {model!r} only")
    for name, neutral in _NEUTRAL.items():
        if (asked.model_extra or {}).get(name) not in (None, *neutral):
            raise BadRequest(f"{name}: only {json.dumps(neutral[0])} is supported")
    wanted = asked.max_tokens
    if isinstance(asked, _Chat):
        wanted = asked.max_completion_tokens or wanted
    tokens = wanted or min(_DEFAULT_MAX_TOKENS, most_tokens)
    if tokens > most_tokens:
        raise BadRequest(f"max_tokens: at most {most_tokens}")
    stop = (asked.stop,) if isinstance(asked.stop, str) else asked.stop or ()
    return Question(
        prompt=flatten(asked.messages) if isinstance(asked, _Chat) else asked.prompt,
        max_tokens=tokens,
        temperature=asked.temperature,
        seed=asked.seed,
        stop=tuple(filter(None, stop)),
        user=asked.safety_identifier or asked.user,
        is_chat=is_chat,
        stream=bool(asked.stream),
        include_usage=bool(asked.stream_options and asked.stream_options.include_usage),
    )


def flatten(messages: tuple[_Message, ...]) -> str:
    """Return a conversation as one prompt that ends where the assistant speaks."""
    names = {"developer": "System"}
    lines = [f"{names.get(m.role, m.role.capitalize())}: {m.text}" for m in messages]
    return "\n".join([*lines, "Assistant:"])


def body(answer: Answer, *, is_chat: bool) -> dict[str, Any]:
    """Return an answer as one JSON object."""
    said: dict[str, Any] = (
        {"message": {"role": "assistant", "content": answer.text}}
        if is_chat
        else {"text": answer.text}
    )
    choice = {"index": 0, **said, "logprobs": None, "finish_reason": answer.finish_reason}
    kind = "chat.completion" if is_chat else "text_completion"
    return {**_head(answer, kind), "choices": [choice], "usage": _usage(answer)}


def chunks(answer: Answer, *, is_chat: bool, include_usage: bool) -> Iterator[bytes]:
    """Return an answer as server-sent events, a word at a time."""
    head = _head(answer, "chat.completion.chunk" if is_chat else "text_completion")

    def event(said: dict[str, Any], finish: str | None) -> bytes:
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": finish}
        return _event({**head, "choices": [choice]})

    if is_chat:
        yield event({"delta": {"role": "assistant", "content": ""}}, None)
    for piece in _ONE_CHUNK.findall(answer.text):
        yield event({"delta": {"content": piece}} if is_chat else {"text": piece}, None)
    yield event({"delta": {}} if is_chat else {"text": ""}, answer.finish_reason)
    if include_usage:
        yield _event({**head, "choices": [], "usage": _usage(answer)})
    yield b"data: [DONE]\n\n"


def cut(text: str, stop: tuple[str, ...]) -> str:
    """Return text up to the first stop sequence."""
    ends = [at for each in stop if (at := text.find(each)) >= 0]
    return text[: min(ends)] if ends else text


def error(message: str, *, kind: str, code: str) -> dict[str, Any]:
    """Return an error as the dialect has it."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _head(answer: Answer, kind: str) -> dict[str, Any]:
    return {"id": answer.id, "object": kind, "created": answer.created, "model": answer.model}


def _usage(answer: Answer) -> dict[str, int]:
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
    }


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"
