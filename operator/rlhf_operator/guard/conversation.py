"""A conversation: who said what, for those who judge a text by what was said before. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Speaker = Literal["User", "Assistant"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """What one side said at a time."""

    speaker: Speaker
    text: str


Conversation = tuple[Turn, ...]
"""What a model is asked, turn by turn; empty where nobody knows the turns."""


def passed(conversation: Conversation, prompt: str, changed: str | None) -> Conversation:
    """Return what the model is asked: one turn where nobody knows which ones a stage changed."""
    if conversation and changed is None:
        return conversation
    return (Turn(speaker="User", text=prompt if changed is None else changed),)
