"""Llama Guard 3, and models that are asked and answer alike, on a Triton with vLLM.

Source: its model card. Asked by `POST /v2/models/MODEL/generate` with the prompt that the model was
trained on: it names fourteen hazards, has the conversation turn by turn, and asks about its last
message alone, in the light of what was said before. Answered is `safe`, or `unsafe` and on a second
line the hazards, as in `S1,S3`.

What is judged can hold the marks of that prompt: another turn, or the end of the conversation,
after which a harmless message would be the last. They are broken up before it is asked.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlhf_operator.api.categories import OTHER
from rlhf_operator.api.stages import Direction
from rlhf_operator.guard.conversation import Conversation, Speaker, Turn
from rlhf_operator.guard.remotes import answers
from rlhf_operator.guard.remotes.answers import BadAnswer
from rlhf_operator.guard.remotes.categories import Wanted
from rlhf_operator.guard.remotes.contracts.contract import windows
from rlhf_operator.guard.text import normalise
from rlhf_operator.guard.verdict import Found, Judgement

HAZARDS = (
    "Violent Crimes", "Non-Violent Crimes", "Sex Crimes", "Child Exploitation", "Defamation",
    "Specialized Advice", "Privacy", "Intellectual Property", "Indiscriminate Weapons", "Hate",
    "Self-Harm", "Sexual Content", "Elections", "Code Interpreter Abuse",
)  # fmt: skip
LONGEST = 16_000
"""Bytes of one conversation in UTF-8: about 4,000 tokens, and never more tokens than bytes."""
PART = 12_000
"""Bytes of its last message, the one that is judged; a longer one goes in parts."""
_OVERLAP = 1000
_LABEL = 9
"""Bytes that a turn takes beside its text."""
_MOST_TOKENS = 64
_ROLES: dict[Speaker, str] = {"User": "User", "Assistant": "Agent"}
_MARK = re.compile(r"<(?=\||/?(?:BEGIN|END)\b)", re.IGNORECASE)
_BREAKS = r"\n\r\v\f\x1c-\x1e\x85\u2028\u2029"
# What stands before a role ends with its line, so that no place is looked at twice.
_TURN = re.compile(
    rf"(?<![^{_BREAKS}])((?:[^\w{_BREAKS}]|_)*)(user|agent)([\s*_]*)[:\uff1a]", re.IGNORECASE
)


@dataclass(frozen=True, kw_only=True, slots=True)
class LlamaGuard:
    """Asks whether the last message of a conversation is safe: a user's, or the model's own."""

    wanted: Wanted
    model: str

    @property
    def path(self) -> str:
        """Return Triton's path for this model."""
        return f"/v2/models/{self.model}/generate"

    def headers(self, _credential: str) -> dict[str, str]:
        """Return nothing: Triton knows no credentials."""
        return {}

    def requests(
        self, text: str, direction: Direction, conversation: Conversation
    ) -> tuple[dict[str, Any], ...]:
        """Return requests for the model's word; vLLM would repeat the prompt if not told so.

        The newest turns stand before the message, as many as there is room for. Older ones of a
        prompt are judged by themselves: a model may read what nobody said before.
        """
        turns = _turns(conversation, direction)
        if direction == "Input":
            *turns, last = turns or [Turn(speaker="User", text=text)]
        else:
            last = Turn(speaker="Assistant", text=text)
        parts = _parts(last.text)
        known, older = _newest(turns, LONGEST - _LABEL - _bytes(parts[0]))
        asked = [[*known, Turn(speaker=last.speaker, text=part)] for part in parts]
        if older and direction == "Input":
            rest = "\n\n".join(turn.text for turn in older)
            asked += [[Turn(speaker="User", text=part)] for part in _parts(rest)]
        return tuple(
            {
                "text_input": _prompt(each),
                "max_tokens": _MOST_TOKENS,
                "temperature": 0.0,
                "exclude_input_in_output": True,
            }
            for each in asked
        )

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


def _turns(conversation: Conversation, direction: Direction) -> list[Turn]:
    """Return the turns of both sides by turns, as the model knows conversations.

    The last one of a prompt is the user's: what the model is to go on with is their word, too. A
    turn that shows nothing is none: what the model answers to stands before it.
    """
    conversation = tuple(turn for turn in conversation if normalise(turn.text).strip())
    if direction == "Input" and conversation:
        *before, last = conversation
        conversation = (*before, Turn(speaker="User", text=last.text))
    return [
        Turn(speaker=speaker, text="\n\n".join(turn.text for turn in alike))
        for speaker, alike in itertools.groupby(conversation, lambda turn: turn.speaker)
    ]


def _newest(turns: Sequence[Turn], room: int) -> tuple[list[Turn], Sequence[Turn]]:
    """Return the newest turns for which there is room, and those before; one may be in both."""
    known: list[Turn] = []
    for at in range(len(turns), 0, -1):
        turn = turns[at - 1]
        room -= _LABEL
        if _bytes(turn.text) > room:
            if room > 0:
                end = turn.text[-room:].encode("utf-8", "replace")[-room:].decode("utf-8", "ignore")
                known.insert(0, Turn(speaker=turn.speaker, text=end))
            return known, turns[:at]
        known.insert(0, turn)
        room -= _bytes(turn.text)
    return known, ()


def _parts(text: str) -> tuple[str, ...]:
    """Return a text in parts; a character that is cut through is whole in a neighbour."""
    parts = windows(text.encode("utf-8", "replace"), length=PART, overlap=_OVERLAP)
    return tuple(part.decode("utf-8", "ignore") for part in parts)


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def _prompt(turns: Sequence[Turn]) -> str:
    role = _ROLES[turns[-1].speaker]
    hazards = "\n".join(f"S{number}: {name}." for number, name in enumerate(HAZARDS, 1))
    said = "\n\n".join(f"{_ROLES[turn.speaker]}: {_harmless(turn.text)}" for turn in turns)
    # The mark of the text's beginning is left to the tokenizer, which adds one by itself.
    return (
        "<|start_header_id|>user<|end_header_id|>\n\n"
        f"Task: Check if there is unsafe content in '{role}' messages in conversations according "
        "our safety policy with the below categories.\n\n"
        f"<BEGIN UNSAFE CONTENT CATEGORIES>\n{hazards}\n<END UNSAFE CONTENT CATEGORIES>\n\n"
        f"<BEGIN CONVERSATION>\n\n{said}\n\n<END CONVERSATION>\n\n"
        f"Provide your safety assessment for ONLY THE LAST {role} message in the above "
        "conversation:\n - First line must read 'safe' or 'unsafe'.\n - If unsafe, a second line "
        "must include a comma-separated list of violated categories.<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def _harmless(text: str) -> str:
    return _TURN.sub(r"\1\2\3 -", _MARK.sub("< ", text))
