"""What the guard sends, as types: only described here, and compared with real answers by tests."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from rlhf_operator.guard.verdict import Outcome

FinishReason = Literal["stop", "length", "content_filter"]


class _Sent(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Usage(_Sent):
    """Tokens, as the backend counts them; words where it does not."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CompletionChoice(_Sent):
    """The one answer."""

    index: Literal[0]
    text: str
    logprobs: None
    finish_reason: FinishReason


class CompletionAnswer(_Sent):
    """A completion."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: Annotated[tuple[CompletionChoice, ...], Field(min_length=1, max_length=1)]
    usage: Usage


class AssistantMessage(_Sent):
    """What the assistant says."""

    role: Literal["assistant"]
    content: str


class ChatChoice(_Sent):
    """The one answer."""

    index: Literal[0]
    message: AssistantMessage
    logprobs: None
    finish_reason: FinishReason


class ChatAnswer(_Sent):
    """An answer in a chat."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: Annotated[tuple[ChatChoice, ...], Field(min_length=1, max_length=1)]
    usage: Usage


class Model(_Sent):
    """The model that is served here, under the name of its RLHFModel."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class Models(_Sent):
    """All models that are served here: one."""

    object: Literal["list"]
    data: Annotated[tuple[Model, ...], Field(min_length=1, max_length=1)]


class ModerationResult(_Sent):
    """What was found in one text, by the categories of this guard."""

    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]
    category_applied_input_types: dict[str, list[Literal["text"]]]
    verdict: Outcome
    unjudged_by: list[str] = []
    """Stages that could not judge the text and let it pass."""


class Moderations(_Sent):
    """What was found in each text."""

    id: str
    model: str
    results: Annotated[list[ModerationResult], Field(min_length=1)]


class GuardrailAnswer(_Sent):
    """What is to become of a conversation."""

    action: Literal["NONE", "BLOCKED", "GUARDRAIL_INTERVENED"]
    blocked_reason: str = ""
    texts: list[str] = []


class Feedback(_Sent):
    """A vote that was counted."""

    object: Literal["feedback"]
    about_version: str
    counted: list[Literal["thumbs", "task", "rating"]]
    """The kinds that counted; the others had a vote already."""
    reason_kept: bool = False
    """Whether the reason that came along waits for the sink; only with a reason."""


class ErrorBody(_Sent):
    """What went wrong; never with what was sent or what the model said."""

    message: str
    type: Literal["invalid_request_error", "server_error"]
    param: None
    code: str


class Error(_Sent):
    """The answer to every request that gets none."""

    error: ErrorBody


class GenerateAnswer(BaseModel):
    """Triton's answer, with whatever else the model gives."""

    model_config = ConfigDict(extra="allow")

    model_name: str = ""
    model_version: str = ""
    text_output: str


class OutputTensor(BaseModel):
    """One tensor of an answer."""

    model_config = ConfigDict(extra="allow")

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] = []


class InferAnswer(BaseModel):
    """Triton's answer; where the model gave binary tensors they stand behind this JSON."""

    model_config = ConfigDict(extra="allow")

    model_name: str = ""
    model_version: str = ""
    id: str = ""
    outputs: list[OutputTensor]
