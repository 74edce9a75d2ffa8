"""Every operation that users may call: what it takes and all that it may answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel

from rlhf_operator.guard import feedback, moderations, openai
from rlhf_operator.guard.openapi import answers, questions
from rlhf_operator.guard.remotes.contracts.litellm import PATH as GUARDRAIL_PATH

JSON = "application/json"
EVENTS = "text/event-stream"
BINARY = "application/octet-stream"
TEXT = "text/plain"
OPEN = "any JSON"
"""In place of a type where the shape is Triton's affair."""

Content = Mapping[str, type[BaseModel] | str]
"""What a body may be, by media type: a type of JSON, or a sentence about other bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One method of one path."""

    name: str
    method: str
    path: str
    summary: str
    takes: Content = field(default_factory=dict)
    gives: Content = field(default_factory=dict)
    errors: tuple[int, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    """Request headers that are read, each with what it says."""

    @property
    def is_judged(self) -> bool:
        """Tell whether it gives what a model made, with a verdict on it."""
        return set(_ASKED) <= set(self.errors)


ERRORS = {
    400: "`bad_request`: the request cannot be served as it is; the message says what to change.",
    403: "`forbidden`: the response id was not issued by this model, or is too old.",
    404: "`not_found`: there is no such thing, or it is closed to users.",
    408: "`timeout`: the request's body took too long to arrive.",
    409: "`conflict`: this answer already has votes of these kinds.",
    413: "`too_large`: the request's body is too large, after decompression.",
    500: "`internal`: the guard failed.",
    502: "`model_server`: the model server gave no answer that can be used.",
    503: "`overloaded`: too many requests are in flight. `nothing_safe`: no safe version is left. "
    "`try_again`: the guard that counts this vote is not there. All with Retry-After.",
    504: "`timeout`: the model server took too long.",
}

_ASKED = (400, 408, 413, 500, 502, 503, 504)
_READ = (400, 404, 500, 502)
_LENGTH = {
    "Inference-Header-Content-Length": "How many bytes of the body are JSON; binary tensors follow."
}
_EVENTS = "Each event has one JSON object as its data; the data of the last one is `[DONE]`."
_TRITON_EVENTS = "Each event has one JSON object as its data."
_TENSORS = "JSON as above, then binary tensors, as Triton's binary tensor extension has it."
_MODEL = "/v2/models/{model}"


def _reading(name: str, path: str, summary: str) -> Operation:
    gives = {JSON: OPEN}
    return Operation(name=name, method="get", path=path, summary=summary, gives=gives, errors=_READ)


def _probing(name: str, path: str, summary: str) -> Operation:
    gives = {TEXT: "Nothing."}
    return Operation(name=name, method="get", path=path, summary=summary, gives=gives, errors=_READ)


def _triton(suffix: str, base: str) -> tuple[Operation, ...]:
    """Return what may be asked of one of Triton's models."""
    return (
        Operation(
            name=f"generate{suffix}",
            method="post",
            path=f"{base}/generate",
            summary="Ask Triton for a text.",
            takes={JSON: questions.GenerateQuestion},
            gives={JSON: answers.GenerateAnswer},
            errors=(404, *_ASKED),
        ),
        Operation(
            name=f"generateStream{suffix}",
            method="post",
            path=f"{base}/generate_stream",
            summary="Ask Triton for a text as it is made.",
            takes={JSON: questions.GenerateQuestion},
            gives={EVENTS: _TRITON_EVENTS},
            errors=(404, *_ASKED),
        ),
        Operation(
            name=f"infer{suffix}",
            method="post",
            path=f"{base}/infer",
            summary="Ask Triton with tensors.",
            takes={JSON: questions.InferQuestion, BINARY: _TENSORS},
            gives={JSON: answers.InferAnswer, BINARY: _TENSORS},
            errors=(404, *_ASKED),
            headers=_LENGTH,
        ),
        _reading(f"metadata{suffix}", base, "What Triton says of a model."),
        _reading(f"config{suffix}", f"{base}/config", "How a model is configured."),
        _reading(
            f"stats{suffix or 'OfModel'}", f"{base}/stats", "How often and how fast it answered."
        ),
        _probing(f"ready{suffix or 'OfModel'}", f"{base}/ready", "Whether a model is ready."),
    )


OPERATIONS = (
    Operation(
        name="complete",
        method="post",
        path="/v1/completions",
        summary="Continue a text.",
        takes={JSON: openai._Completion},
        gives={JSON: answers.CompletionAnswer, EVENTS: _EVENTS},
        errors=_ASKED,
    ),
    Operation(
        name="chat",
        method="post",
        path="/v1/chat/completions",
        summary="Answer in a conversation.",
        takes={JSON: openai._Chat},
        gives={JSON: answers.ChatAnswer, EVENTS: _EVENTS},
        errors=_ASKED,
    ),
    Operation(
        name="listModels",
        method="get",
        path="/v1/models",
        summary="Name the model that is served here.",
        gives={JSON: answers.Models},
        errors=(500,),
    ),
    Operation(
        name="showModel",
        method="get",
        path="/v1/models/{name}",
        summary="Name the model that is served here, if this is its name.",
        gives={JSON: answers.Model},
        errors=(404, 500),
    ),
    Operation(
        name="moderate",
        method="post",
        path="/v1/moderations",
        summary="Judge texts by this guard's stages, also while no version is safe; uncounted.",
        takes={JSON: moderations._Moderation},
        gives={JSON: answers.Moderations},
        errors=(400, 408, 413, 500, 503, 504),
    ),
    Operation(
        name="guardrail",
        method="post",
        path=GUARDRAIL_PATH,
        summary="The same in the form of LiteLLM's generic guardrail API.",
        takes={JSON: moderations._Guardrail},
        gives={JSON: answers.GuardrailAnswer},
        errors=(400, 408, 413, 500, 503, 504),
    ),
    Operation(
        name="vote",
        method="post",
        path="/v1/feedback",
        summary="Vote on an answer, once per kind of vote, by the id that it came with.",
        takes={JSON: feedback._Vote},
        gives={JSON: answers.Feedback},
        errors=(400, 403, 408, 409, 413, 500, 503),
    ),
    *_triton("", _MODEL),
    *_triton("OfVersion", f"{_MODEL}/versions/{{version}}"),
    *(
        _reading(name, path, summary)
        for name, path, summary in (
            ("server", "/v2", "What Triton's server says of itself."),
            ("stats", "/v2/models/stats", "How often and how fast all models answered."),
        )
    ),
    _probing("serverLive", "/v2/health/live", "Whether Triton lives."),
    _probing("serverReady", "/v2/health/ready", "Whether Triton is ready."),
    Operation(
        name="live",
        method="get",
        path="/healthz/live",
        summary="Whether the guard lives.",
        gives={TEXT: "`alive`"},
        errors=(500,),
    ),
    Operation(
        name="ready",
        method="get",
        path="/healthz/ready",
        summary="Whether guard and model can answer.",
        gives={TEXT: "`ready`"},
        errors=(500, 503),
    ),
    Operation(
        name="description",
        method="get",
        path="/openapi.json",
        summary="This description, with the limits of this very guard.",
        gives={JSON: OPEN},
        errors=(500,),
    ),
)
