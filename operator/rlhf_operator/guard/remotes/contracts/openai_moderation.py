"""OpenAI's moderation API, and what speaks like it.

Source: its API reference, `POST /v1/moderations`; a key in `Authorization: Bearer`. Asked is
`{"input": text}`, without a model: the service's own default. Answered is
`{"id", "model", "results": [{"flagged", "categories", "category_scores", …}]}`, one result for one
input; older models have no word on newer categories and send null for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rlhf_operator.api.stages import Direction
from rlhf_operator.guard.conversation import Conversation
from rlhf_operator.guard.remotes import answers
from rlhf_operator.guard.remotes.answers import BadAnswer
from rlhf_operator.guard.remotes.categories import Said, Wanted
from rlhf_operator.guard.remotes.contracts.contract import bearer
from rlhf_operator.guard.verdict import Judgement


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenAIModeration:
    """Asks for a moderation of one text."""

    wanted: Wanted
    path: str = "/v1/moderations"

    def headers(self, credential: str) -> dict[str, str]:
        """Return the key as a bearer token."""
        return bearer(credential)

    def requests(
        self, text: str, _direction: Direction, _conversation: Conversation
    ) -> tuple[dict[str, Any], ...]:
        """Return one request: the service takes texts of any length, whosever words they are."""
        return ({"input": text},)

    def read(self, answer: dict[str, Any], _text: str) -> Judgement:
        """Return what the one result says."""
        if "error" in answer:
            raise BadAnswer("an error in an answer of status 200")
        (result,) = answers.a_list(answer.get("results"), length=1)
        result = answers.an_object(result)
        flags = answers.an_object(result.get("categories"))
        scores = answers.an_object(result.get("category_scores"))
        if not flags:
            raise BadAnswer("no categories")
        return self.wanted.judge(
            Said(
                flagged=answers.a_flag(result.get("flagged")),
                flags={k: answers.a_flag(v) for k, v in flags.items() if v is not None},
                scores={
                    label: answers.a_number(score, least=0.0, most=1.0)
                    for label, score in scores.items()
                    if score is not None
                },
            )
        )
