"""OpenAI's stream of chunks: one answer as server-sent events."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rlhf_operator.guard import openai, sse
from rlhf_operator.guard.judge import Judged
from rlhf_operator.guard.openai import Answer
from rlhf_operator.guard.state import ID_HEADER

_ONE_WORD = re.compile(r"\s*\S+\s*|\s+")
_TEXT = "\0text\0"  # stands nowhere else in a chunk
_DONE = b"data: [DONE]\n\n"


@dataclass(kw_only=True, slots=True)
class Chunks:
    """The chunks of one answer."""

    id: str
    created: int
    model: str
    is_chat: bool
    include_usage: bool
    max_tokens: int
    has_begun: bool = False
    _around: tuple[bytes, ...] = ()
    """What stands before and behind the text in every event with text; encoded once."""

    def head(self) -> Mapping[str, str]:
        """Return the headers that are known before the first text leaves."""
        return {ID_HEADER: self.id}

    def piece(self, text: str) -> bytes:
        """Return a chunk with more text; before the first one, who speaks."""
        if not self._around:
            said = {"delta": {"content": _TEXT}} if self.is_chat else {"text": _TEXT}
            self._around = tuple(self._chunk(said, None).split(json.dumps(_TEXT).encode()))
        before, after = self._around
        return b"".join((self._opening(), before, json.dumps(text).encode(), after))

    def answer(self, judged: Judged, *, prompt_tokens: int, is_cut: bool) -> Answer:
        """Return all of the answer as one."""
        return Answer(
            id=self.id,
            created=self.created,
            model=self.model,
            text=judged.text,
            finish_reason=openai.finish_reason(judged, self.max_tokens, is_cut=is_cut),
            prompt_tokens=prompt_tokens,
            completion_tokens=judged.length,
        )

    def end(self, judged: Judged, *, prompt_tokens: int, is_cut: bool, has_left: bool) -> bytes:
        """Return the last chunks: why the answer ends, what was found, the usage if asked for."""
        answer = self.answer(judged, prompt_tokens=prompt_tokens, is_cut=is_cut)
        pieces = [] if has_left else [self.piece(word) for word in _ONE_WORD.findall(judged.text)]
        return b"".join((*pieces, *self._last(answer, judged)))

    def error(self) -> bytes:
        """Return the event that tells of a failure."""
        return sse.event(
            openai.error("the model server failed", kind="server_error", code="model_server")
        )

    def _last(self, answer: Answer, judged: Judged) -> Iterator[bytes]:
        yield self._opening()
        found = {"verdict": judged.outcome.value, "categories": list(judged.categories)}
        said: dict[str, Any] = {"delta": {}} if self.is_chat else {"text": ""}
        yield self._chunk(said, answer.finish_reason, rlhf=found)
        if self.include_usage:
            yield sse.event({**self._head(), "choices": [], "usage": openai.usage(answer)})
        yield _DONE

    def _opening(self) -> bytes:
        if self.has_begun or not self.is_chat:
            return b""
        self.has_begun = True
        return self._chunk({"delta": {"role": "assistant", "content": ""}}, None)

    def _chunk(self, said: dict[str, Any], finish: str | None, **more: Any) -> bytes:
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": finish}
        return sse.event({**self._head(), "choices": [choice], **more})

    def _head(self) -> dict[str, Any]:
        kind = "chat.completion.chunk" if self.is_chat else "text_completion"
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}
