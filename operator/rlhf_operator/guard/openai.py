"""The OpenAI-style dialect: bodies in, bodies out. Pure; errors never repeat what was sent.

A parameter that would change the answer and that we cannot honour is refused (`parameters.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rlhf_operator.api.chat_template import ChatTemplate, Message, Unfit
from rlhf_operator.guard import parameters
from rlhf_operator.guard.conversation import Conversation, Turn
from rlhf_operator.guard.generation import Parameters
from rlhf_operator.guard.judge import Judged

FinishReason = Literal["stop", "length", "content_filter"]

_DEFAULT_MAX_TOKENS = 256
_MOST_STOPS = 16
_LONGEST_STOP = 256
_ONE_PROMPT = "one text is supported, alone or in a list; ask for each of several by itself"
_MOST_MESSAGES = 2000
"""A version's chat template goes through them while everybody waits."""

# What some backends can do, and the value under which it changes nothing.
_SOMETIMES = {"top_p": 1, "frequency_penalty": 0, "presence_penalty": 0}


class BadRequest(ValueError):  # noqa: N818 - the HTTP name of it
    """The client's request cannot be served as it is; the message says what to change."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What a client asks, whichever endpoint it used."""

    prompt: str
    """What is asked, as it is judged: a conversation as lines of text."""
    conversation: Conversation = ()
    """The turns of a chat, of which the prompt is made."""
    max_tokens: int
    temperature: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    user: str | None = None
    is_chat: bool = False
    template: ChatTemplate | None = None
    """How a conversation is written for the model, where the version says it."""
    written: str | None = None
    """The conversation so written."""
    stream: bool = False
    include_usage: bool = False

    @property
    def parameters(self) -> Parameters:
        """Return how the answer is to be made."""
        return Parameters(
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            seed=self.seed,
            top_p=self.top_p,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            stop=self.stop,
        )

    def read(self, changed: str | None = None) -> str:
        """Return what the model reads; `changed` is the prompt as a stage let it pass.

        Nobody knows which turn of a conversation a stage changed, so then it is one turn.
        """
        if changed is None:
            return self.prompt if self.written is None else self.written
        if self.template is None:
            return changed
        return _write(self.template, [Message(role="user", content=changed)])

    def check(self, honours: Collection[str]) -> None:
        """Raise BadRequest where the model cannot do what is asked."""
        for name, neutral in _SOMETIMES.items():
            if getattr(self, name) not in (None, neutral) and name not in honours:
                raise BadRequest(f"{name}: only {neutral} is supported")

    @property
    def is_plain(self) -> bool:
        """Tell whether every model can do what is asked."""
        return all(getattr(self, name) in (None, same) for name, same in _SOMETIMES.items())


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a client gets, whichever form it asked for."""

    id: str
    created: int
    model: str
    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int


class _Type(BaseModel):
    # Strict: what would have to be read as something else is refused.
    model_config = ConfigDict(frozen=True, extra="allow", strict=True)


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
    top_p: float | None = Field(default=None, gt=0, le=1)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    stop: str | tuple[str, ...] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    # The second is the older name of the first.
    safety_identifier: str | None = None
    user: str | None = None


class _Completion(_Request):
    prompt: str | Annotated[tuple[str, ...], Field(min_length=1, max_length=1)]

    @property
    def text(self) -> str:
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]


class _Chat(_Request):
    messages: tuple[_Message, ...] = Field(min_length=1, max_length=_MOST_MESSAGES)
    max_completion_tokens: int | None = Field(default=None, ge=1)


def parse(
    body: bytes,
    *,
    is_chat: bool,
    model: str,
    most_tokens: int,
    template: ChatTemplate | None = None,
) -> Question:
    """Return the question in a request body; `template` writes a conversation for the model."""
    try:
        asked: _Completion | _Chat = (_Chat if is_chat else _Completion).model_validate_json(body)
    except ValidationError as error:
        # Only places and rules: the input must not come back, nor reach a log.
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "body"
        said = f"prompt: {_ONE_PROMPT}" if place[:7] == "prompt." else f"{place}: {first['msg']}"
        raise BadRequest(said) from None
    if asked.model not in (None, model):
        raise BadRequest(f"this address serves the model {model!r} only")
    if unsupported := _unsupported(asked):
        raise BadRequest(unsupported)
    wanted = asked.max_completion_tokens if isinstance(asked, _Chat) else None
    tokens = wanted or asked.max_tokens or min(_DEFAULT_MAX_TOKENS, most_tokens)
    if tokens > most_tokens:
        raise BadRequest(f"max_tokens: at most {most_tokens}")
    stop = (asked.stop,) if isinstance(asked.stop, str) else asked.stop or ()
    # Each is looked for behind every token.
    if len(stop) > _MOST_STOPS or any(len(each) > _LONGEST_STOP for each in stop):
        raise BadRequest(f"stop: at most {_MOST_STOPS} texts of {_LONGEST_STOP} characters")
    return Question(
        prompt=flatten(asked.messages) if isinstance(asked, _Chat) else asked.text,
        conversation=turns(asked.messages) if isinstance(asked, _Chat) else (),
        max_tokens=tokens,
        temperature=asked.temperature,
        seed=asked.seed,
        top_p=asked.top_p,
        frequency_penalty=asked.frequency_penalty,
        presence_penalty=asked.presence_penalty,
        stop=tuple(filter(None, stop)),
        user=asked.safety_identifier or asked.user,
        is_chat=is_chat,
        template=template if is_chat else None,
        written=_written(asked, template),
        stream=bool(asked.stream),
        include_usage=bool(asked.stream_options and asked.stream_options.include_usage),
    )


def _unsupported(asked: _Completion | _Chat) -> str | None:
    """Return what is asked for beside what is read, where it would change the answer."""
    problem = parameters.REQUEST.problem(asked.model_extra)
    if problem is None and asked.stream_options is not None:
        extra = asked.stream_options.model_extra
        problem = parameters.STREAM_OPTIONS.problem(extra, where="stream_options.")
    for at, message in enumerate(asked.messages if isinstance(asked, _Chat) else ()):
        where = f"messages.{at}."
        problem = problem or parameters.MESSAGE.problem(message.model_extra, where=where)
    return problem


def _written(asked: _Completion | _Chat, template: ChatTemplate | None) -> str | None:
    if template is None or not isinstance(asked, _Chat):
        return None
    roles = {"developer": "system"}  # as templates know it
    said = [Message(role=roles.get(m.role, m.role), content=m.text) for m in asked.messages]
    return _write(template, said)


def _write(template: ChatTemplate, messages: Sequence[Message]) -> str:
    try:
        return template.render(messages)
    except Unfit as error:
        raise BadRequest(f"messages: {error}") from None


def flatten(messages: tuple[_Message, ...]) -> str:
    """Return a conversation as one prompt that ends where the assistant speaks."""
    names = {"developer": "System"}
    lines = [f"{names.get(m.role, m.role.capitalize())}: {m.text}" for m in messages]
    return "\n".join([*lines, "Assistant:"])


def turns(messages: tuple[_Message, ...]) -> Conversation:
    """Return a conversation turn by turn; what a client says to the system is the user's word."""
    return tuple(
        Turn(speaker="Assistant" if each.role == "assistant" else "User", text=each.text)
        for each in messages
    )


def body(answer: Answer, *, is_chat: bool) -> dict[str, Any]:
    """Return an answer as one JSON object."""
    said: dict[str, Any] = (
        {"message": {"role": "assistant", "content": answer.text}}
        if is_chat
        else {"text": answer.text}
    )
    choice = {"index": 0, **said, "logprobs": None, "finish_reason": answer.finish_reason}
    kind = "chat.completion" if is_chat else "text_completion"
    return {**_head(answer, kind), "choices": [choice], "usage": usage(answer)}


def finish_reason(judged: Judged, max_tokens: int, *, is_cut: bool = False) -> FinishReason:
    """Return why an answer ends where it does."""
    if judged.is_stopped:
        return "content_filter"
    return "length" if judged.length >= max_tokens and not is_cut else "stop"


def model_object(name: str) -> dict[str, Any]:
    """Return what is told of a model."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "rlhf"}


def cut(text: str, stop: tuple[str, ...]) -> str:
    """Return text up to the first stop sequence."""
    ends = [at for each in stop if (at := text.find(each)) >= 0]
    return text[: min(ends)] if ends else text


def error(message: str, *, kind: str, code: str) -> dict[str, Any]:
    """Return an error as the dialect has it."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _head(answer: Answer, kind: str) -> dict[str, Any]:
    return {"id": answer.id, "object": kind, "created": answer.created, "model": answer.model}


def usage(answer: Answer) -> dict[str, int]:
    """Return the tokens that were read and made."""
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
    }
