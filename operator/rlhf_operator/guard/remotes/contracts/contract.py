"""What every contract can do."""

from __future__ import annotations

from typing import Any, AnyStr, Protocol

from rlhf_operator.api.stages import Direction
from rlhf_operator.guard.conversation import Conversation
from rlhf_operator.guard.verdict import Judgement


class Contract(Protocol):
    """How one kind of service is asked and understood."""

    @property
    def path(self) -> str:
        """The path that is asked where the address names none."""
        ...

    def headers(self, credential: str) -> dict[str, str]:
        """Return the headers that carry a credential."""
        ...

    def requests(
        self, text: str, direction: Direction, conversation: Conversation
    ) -> tuple[dict[str, Any], ...]:
        """Return the bodies of the requests about a text; more than one where it is long.

        A prompt is its conversation written as one text, an answer follows upon it.
        """
        ...

    def read(self, answer: dict[str, Any], text: str) -> Judgement:
        """Return what the answer to one request says; BadAnswer where it is not understood."""
        ...


def bearer(credential: str) -> dict[str, str]:
    """Return the header of a bearer token."""
    return {"Authorization": f"Bearer {credential}"}


def windows(text: AnyStr, *, length: int, overlap: int) -> tuple[AnyStr, ...]:
    """Return a text in parts of so many characters or bytes, each beginning within the one before.

    What stands on a border is whole in one of two parts, unless it is longer than the overlap.
    """
    step = length - overlap
    starts = range(0, max(1, len(text) - overlap), step)
    return tuple(text[start : start + length] for start in starts)
