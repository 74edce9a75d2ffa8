"""Triton's stream of events: one answer of `generate_stream`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rlhf_operator.guard import generation, sse, v2
from rlhf_operator.guard.generation import Generation, TritonError
from rlhf_operator.guard.judge import Judged, Replacements
from rlhf_operator.guard.state import ID_HEADER


@dataclass(kw_only=True, slots=True)
class Events:
    """Triton's events as they leave: with text alone where stages may change it."""

    name: str
    model: str
    is_as_made: bool
    is_judged: bool
    """Whether a stage looks at answers: then no other text goes with them."""
    instead: Replacements
    fields: dict[str, Any] = field(default_factory=dict)

    def head(self) -> Mapping[str, str]:
        """Return the headers that are known before the first text leaves."""
        return {ID_HEADER: self.name}

    def take(self, fields: dict[str, Any]) -> Generation:
        """Return what an event adds, and keep what else it says."""
        if self.is_as_made:
            if self.is_judged and v2.says_more(v2.Message(fields=fields), "generate_stream"):
                raise TritonError(f"an event has a text that is not {v2.TEXT_OUTPUT}")
            self.fields |= {name: each for name, each in fields.items() if name != v2.TEXT_OUTPUT}
        return generation.read_delta(fields)

    def piece(self, text: str) -> bytes:
        """Return an event with more text."""
        said, self.fields = self.fields, {}
        return self._event(text, **said)

    def end(self, judged: Judged, *, prompt_tokens: int, is_cut: bool, has_left: bool) -> bytes:
        """Return the last event: what was found, and the text in place of what was stopped."""
        found = {"verdict": judged.outcome.value, "categories": list(judged.categories)}
        text = self.instead.of(judged) if judged.is_stopped else "" if has_left else judged.text
        return self._event(text, rlhf=found)

    def error(self) -> bytes:
        """Return the event that tells of a failure."""
        return sse.event({"error": "the model server failed"})

    def _event(self, text: str, **more: Any) -> bytes:
        head = {"model_name": self.model, "model_version": "1"}
        return sse.event({**head, **more, v2.TEXT_OUTPUT: text})
