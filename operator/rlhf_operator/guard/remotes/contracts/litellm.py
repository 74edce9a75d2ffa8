"""LiteLLM's generic guardrail API.

Source: its documentation, `POST /beta/litellm_basic_guardrail_api`, the key in `x-api-key`. Asked
is `{"texts", "input_type": "request" | "response", "request_data", …}`; answered is `{"action":
"BLOCKED" | "NONE" | "GUARDRAIL_INTERVENED", "blocked_reason", "texts", …}`. The reason is prose, so
it names no category. Rewritten texts stand in the order of those that were sent.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from rlhf_operator.api.stages import Direction
from rlhf_operator.guard.conversation import Conversation
from rlhf_operator.guard.remotes import answers
from rlhf_operator.guard.remotes.answers import BadAnswer
from rlhf_operator.guard.remotes.categories import Wanted
from rlhf_operator.guard.verdict import Found, Judgement

PATH = "/beta/litellm_basic_guardrail_api"


@dataclass(frozen=True, kw_only=True, slots=True)
class LiteLLM:
    """Asks whether one text may pass, and in which form."""

    wanted: Wanted
    path: str = PATH

    def headers(self, credential: str) -> dict[str, str]:
        """Return the key."""
        return {"x-api-key": credential}

    def requests(
        self, text: str, direction: Direction, _conversation: Conversation
    ) -> tuple[dict[str, Any], ...]:
        """Return one request: parts could not be put together again when rewritten."""
        asked: dict[str, Any] = {
            "texts": [text],
            "input_type": "request" if direction == "Input" else "response",
            "litellm_call_id": str(uuid.uuid4()),
            "request_data": {},
            "additional_provider_specific_params": {},
        }
        return (asked,)

    def read(self, answer: dict[str, Any], text: str) -> Judgement:
        """Return what the action says; a rewritten text is the replacement."""
        found = (Found(category=self.wanted.whole),)
        texts = answer.get("texts")
        rewritten = answers.a_text(answers.a_list(texts, length=1)[0]) if texts else None
        match answer.get("action"):
            case "NONE":
                if rewritten not in (None, text):
                    raise BadAnswer("a rewritten text without an intervention")
                return Judgement()
            case "BLOCKED":
                return Judgement(found=found)
            case "GUARDRAIL_INTERVENED":
                return Judgement(found=found, replacement=rewritten)
            case _:
                raise BadAnswer("no action of the contract")
