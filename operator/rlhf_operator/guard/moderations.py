"""The guard's stages as a service: OpenAI's moderation API, and LiteLLM's guardrail API.

What is judged here is no traffic of users and is counted nowhere. A text that a stage could not
judge, and that its failure policy withholds, is never reported as harmless: OpenAI's form has no
word for it, so the answer is 503; LiteLLM's form says BLOCKED.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rlhf_operator.api.stages import Direction
from rlhf_operator.guard import admission
from rlhf_operator.guard.openai import BadRequest
from rlhf_operator.guard.remotes.contracts.litellm import PATH as GUARDRAIL_PATH
from rlhf_operator.guard.state import VERDICT_HEADER, Guard
from rlhf_operator.guard.verdict import Outcome, Verdict, worst

MOST_INPUTS = 64
"""Texts in one moderation request."""
MOST_TEXTS = 1000
"""Texts in one conversation of LiteLLM's, and calls of tools beside them."""

Body = TypeVar("Body", bound=BaseModel)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["text"]
    text: str


class _Moderation(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    input: str | Annotated[list[str] | list[_Part], Field(min_length=1, max_length=MOST_INPUTS)]
    model: str | None = None
    direction: Literal["Input", "Output", "input", "output"] = "Input"

    @property
    def texts(self) -> list[str]:
        """Return the texts to judge: parts of one message are one text."""
        if isinstance(self.input, str):
            return [self.input]
        texts = [each for each in self.input if isinstance(each, str)]
        return texts or ["\n".join(each.text for each in self.input if isinstance(each, _Part))]


class _Function(BaseModel):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(BaseModel):
    model_config = ConfigDict(extra="allow")

    function: _Function | None = None


class _Guardrail(BaseModel):
    """What is judged of LiteLLM's request; what else stands there says who asks."""

    texts: Annotated[list[str], Field(max_length=MOST_TEXTS)]
    input_type: Literal["request", "response"]
    images: list[str] | None = None
    tool_calls: Annotated[list[_ToolCall] | None, Field(max_length=MOST_TEXTS)] = None
    tools: list[Any] | None = None

    @property
    def arguments(self) -> list[str]:
        """Return the texts that tools are called with, and those by which they are described."""
        calls = [call.function for call in self.tool_calls or () if call.function]
        texts = [text for call in calls for text in (call.name, call.arguments) if text]
        others = [call.model_extra for call in self.tool_calls or ()]
        return [*texts, *filter(None, ("\n".join(_words(each)) for each in (others, self.tools)))]


def _words(value: Any) -> list[str]:
    """Return all texts in a JSON value, keys among them, in their order."""
    words: list[str] = []
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            words.append(item)
        elif isinstance(item, list):
            waiting.extend(reversed(item))
        elif isinstance(item, dict):
            waiting.extend(reversed([part for pair in item.items() for part in pair]))
    return words


def add_routes(app: web.Application, guard: Guard) -> None:
    """Offer moderation in an application."""
    app.router.add_post("/v1/moderations", admission.uncounted(guard, moderate))
    app.router.add_post(GUARDRAIL_PATH, admission.uncounted(guard, guardrail))


async def moderate(guard: Guard, request: web.Request) -> web.Response:
    """Answer in OpenAI's form, with the categories of this guard."""
    asked = _parse(
        _Moderation,
        await request.read(),
        f"send input, a text or up to {MOST_INPUTS} of them, and direction, input or output; "
        "only texts can be judged",
    )
    direction: Direction = "Input" if asked.direction in ("Input", "input") else "Output"
    verdicts = await _judge(guard, asked.texts, direction)
    outcome = worst(verdict.outcome for verdict in verdicts)
    if any(verdict.outcome is Outcome.WITHHELD for verdict in verdicts):
        raise web.HTTPServiceUnavailable(text="a stage of the guard could not judge the text")
    body = {
        "id": f"modr-{secrets.token_hex(12)}",
        "model": guard.setup.config.model,
        "results": [_result(guard.setup.rules.categories, verdict) for verdict in verdicts],
    }
    return web.json_response(body, headers={VERDICT_HEADER: outcome.value})


async def guardrail(guard: Guard, request: web.Request) -> web.Response:
    """Answer in the form of LiteLLM's generic guardrail API."""
    wrong = (
        f"send up to {MOST_TEXTS} texts, as many calls of tools, "
        "and input_type: request or response"
    )
    asked = _parse(_Guardrail, await request.read(), wrong)
    direction: Direction = "Input" if asked.input_type == "request" else "Output"
    if asked.images and guard.pipeline.steps_for(direction):
        return _action("BLOCKED", Outcome.WITHHELD, blocked_reason="images cannot be judged")
    verdicts = await _judge(guard, [*asked.texts, *asked.arguments], direction)
    outcome = worst(verdict.outcome for verdict in verdicts)
    rest = verdicts[len(asked.texts) :]
    if outcome is Outcome.BLOCKED:
        names = sorted({name for verdict in verdicts for name in verdict.blocking})
        return _action("BLOCKED", outcome, blocked_reason=f"found: {', '.join(names)}")
    if outcome is Outcome.WITHHELD:
        return _action("BLOCKED", outcome, blocked_reason="a stage could not judge the text")
    if any(verdict.text is not None for verdict in rest):
        why = "the call of a tool would have to be rewritten"
        return _action("BLOCKED", Outcome.BLOCKED, blocked_reason=why)
    if outcome is Outcome.REDACTED:
        texts = [
            text if verdict.text is None else verdict.text
            for text, verdict in zip(asked.texts, verdicts, strict=False)
        ]
        return _action("GUARDRAIL_INTERVENED", outcome, texts=texts)
    return _action("NONE", outcome)


def _action(action: str, outcome: Outcome, **fields: Any) -> web.Response:
    body = {"action": action, **fields}
    return web.json_response(body, headers={VERDICT_HEADER: outcome.value})


def _result(categories: Sequence[str], verdict: Verdict) -> dict[str, Any]:
    found = set(verdict.categories)
    names = sorted({*categories, *found})
    scores = dict.fromkeys(names, 0.0)
    for name, score in verdict.scores:
        scores[name] = max(score, scores.get(name, 0.0))
    result = {
        "flagged": bool(found),
        "categories": {name: name in found for name in names},
        "category_scores": {name: scores[name] for name in names},
        "category_applied_input_types": {name: ["text"] for name in names},
        "verdict": verdict.outcome.value,
    }
    if verdict.failures:
        result["unjudged_by"] = sorted({failure.stage for failure in verdict.failures})
    return result


async def _judge(guard: Guard, texts: Sequence[str], direction: Direction) -> list[Verdict]:
    stages = guard.pipeline.uncounted()
    if len(texts) > 1:
        stages = stages.beside_others()
    return await asyncio.gather(*(stages.check(text, direction) for text in texts))


def _parse(kind: type[Body], body: bytes, wrong: str) -> Body:
    try:
        return kind.model_validate_json(body)
    except ValidationError:  # its text repeats what was sent
        raise BadRequest(wrong) from None
