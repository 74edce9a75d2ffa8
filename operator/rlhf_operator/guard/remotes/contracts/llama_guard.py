"""Llama Guard 3, and models that are asked and answer alike, on a Triton with vLLM.

Source: its model card. Asked by `POST /v2/models/MODEL/generate` with the prompt that the model was
trained on, which names fourteen hazards and whose words are to be judged. Answered is `safe`, or
`unsafe` and on a second line the hazards, as in `S1,S3`.

What is judged can hold the marks of that prompt: another turn, or the end of the conversation,
after which a harmless message would be the last. They are broken up before it is asked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from rlhf_operator.api.stages import Direction
from rlhf_operator.guard.remotes import answers
from rlhf_operator.guard.remotes.answers import BadAnswer
from rlhf_operator.guard.remotes.categories import OTHER, Wanted
from rlhf_operator.guard.remotes.contracts.contract import windows
from rlhf_operator.guard.verdict import Found, Judgement

HAZARDS = (
    "Violent Crimes", "Non-Violent Crimes", "Sex Crimes", "Child Exploitation", "Defamation",
    "Specialized Advice", "Privacy", "Intellectual Property", "Indiscriminate Weapons", "Hate",
    "Self-Harm", "Sexual Content", "Elections", "Code Interpreter Abuse",
)  # fmt: skip
PART = 16_000
"""Characters in one part: about 4,000 tokens, well within what the model reads."""
_OVERLAP = 1000
_MOST_TOKENS = 64
_ROLES = {"Input": "User", "Output": "Agent"}
_MARK = re.compile(r"<(?=\||/?(?:BEGIN|END)\b)", re.IGNORECASE)
_TURN = re.compile(r"^(\W*)(user|agent)(\s*):", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class LlamaGuard:
    """Asks whether one message is safe: a user's, or the model's own."""

    wanted: Wanted
    model: str

    @property
    def path(self) -> str:
        """Return Triton's path for this model."""
        return f"/v2/models/{self.model}/generate"

    def headers(self, _credential: str) -> dict[str, str]:
        """Return nothing: Triton knows no credentials."""
        return {}

    def parts(self, text: str) -> tuple[str, ...]:
        """Return the text in parts that the model reads to their end."""
        return windows(text, length=PART, overlap=_OVERLAP)

    def request(self, text: str, direction: Direction) -> dict[str, Any]:
        """Return a request for the model's word; vLLM would repeat the prompt if not told so."""
        return {
            "text_input": _prompt(text, direction),
            "max_tokens": _MOST_TOKENS,
            "temperature": 0.0,
            "exclude_input_in_output": True,
        }

    def read(self, answer: dict[str, Any], _text: str) -> Judgement:
        """Return what the word is; only `safe`, alone, is safe."""
        if "error" in answer:
            raise BadAnswer("an error in an answer of status 200")
        lines = answers.a_text(answer.get("text_output")).strip().splitlines()
        match [line.strip() for line in lines]:
            case ["safe"]:
                return Judgement()
            case ["unsafe"]:
                labels = []
            case ["unsafe", listed]:
                labels = [label.strip() for label in listed.split(",")]
            case _:
                raise BadAnswer("neither safe nor unsafe")
        known = {each.label or each.category: each.category for each in self.wanted.thresholds}
        hits = {known[label] for label in labels if label in known} or {OTHER}
        return Judgement(found=tuple(Found(category=each) for each in sorted(hits)))


def _prompt(text: str, direction: Direction) -> str:
    role = _ROLES[direction]
    hazards = "\n".join(f"S{number}: {name}." for number, name in enumerate(HAZARDS, 1))
    # The mark of the text's beginning is left to the tokenizer, which adds one by itself.
    return (
        "<|start_header_id|>user<|end_header_id|>\n\n"
        f"Task: Check if there is unsafe content in '{role}' messages in conversations according "
        "our safety policy with the below categories.\n\n"
        f"<BEGIN UNSAFE CONTENT CATEGORIES>\n{hazards}\n<END UNSAFE CONTENT CATEGORIES>\n\n"
        f"<BEGIN CONVERSATION>\n\n{role}: {_harmless(text)}\n\n<END CONVERSATION>\n\n"
        f"Provide your safety assessment for ONLY THE LAST {role} message in the above "
        "conversation:\n - First line must read 'safe' or 'unsafe'.\n - If unsafe, a second line "
        "must include a comma-separated list of violated categories.<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def _harmless(text: str) -> str:
    return _TURN.sub(r"\1\2\3 -", _MARK.sub("< ", text))
