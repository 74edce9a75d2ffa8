"""JSON of any kind, by pointers (RFC 6901, without escapes)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rlhf_operator.api.stages import Direction, JsonMapping
from rlhf_operator.guard.conversation import Conversation
from rlhf_operator.guard.remotes import answers
from rlhf_operator.guard.remotes.answers import BadAnswer
from rlhf_operator.guard.remotes.categories import Said, Wanted
from rlhf_operator.guard.remotes.contracts.contract import bearer
from rlhf_operator.guard.verdict import Judgement


@dataclass(frozen=True, kw_only=True, slots=True)
class Mapped:
    """Asks a service of any kind, with a text in and a verdict out at known places."""

    wanted: Wanted
    mapping: JsonMapping
    path: str = "/"

    def headers(self, credential: str) -> dict[str, str]:
        """Return the credential as a bearer token."""
        return bearer(credential)

    def requests(
        self, text: str, _direction: Direction, _conversation: Conversation
    ) -> tuple[dict[str, Any], ...]:
        """Return an object that has the text in its place, and nothing else."""
        value: Any = text
        for key in reversed(_keys(self.mapping.text)):
            value = {key: value}
        return (answers.an_object(value),)

    def read(self, answer: dict[str, Any], _text: str) -> Judgement:
        """Return what stands at the places that the mapping names."""
        flagged = answers.a_flag(_at(answer, self.mapping.flagged))
        if self.mapping.categories is None:
            return self.wanted.judge(Said(flagged=flagged, is_complete=True))
        labels = _at(answer, self.mapping.categories)
        if isinstance(labels, list):
            flags = dict.fromkeys(map(answers.a_text, labels), True)
            return self.wanted.judge(Said(flagged=flagged, flags=flags, is_complete=True))
        values = answers.an_object(labels)
        flags = {label: value for label, value in values.items() if isinstance(value, bool)}
        numbers = {k: answers.a_number(v) for k, v in values.items() if k not in flags}
        return self.wanted.judge(Said(flagged=flagged, flags=flags, scores=numbers))


def _keys(pointer: str) -> list[str]:
    return pointer.split("/")[1:]


def _at(answer: Any, pointer: str) -> Any:
    for key in _keys(pointer):
        if isinstance(answer, list) and key.isascii() and key.isdigit() and int(key) < len(answer):
            answer = answer[int(key)]
        elif isinstance(answer, dict) and key in answer:
            answer = answer[key]
        else:
            raise BadAnswer("nothing stands where the mapping points to")
    return answer
