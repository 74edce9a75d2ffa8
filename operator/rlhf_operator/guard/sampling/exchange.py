"""Exchanges and votes, as they wait to be made events."""

from __future__ import annotations

import sys
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from rlhf_operator.api.arms import Place
from rlhf_operator.api.samples import Task, Thumbs
from rlhf_operator.guard.judge import Judged
from rlhf_operator.guard.tokens import ResponseId

_BESIDE = 2048
"""About what an exchange takes in memory beside its texts, in bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exchange:
    """What an endpoint knows of an answer that has left."""

    response_id: str
    prompt: str
    """As the model got it: what a stage replaced is not told to the sink either."""
    judged: Judged
    finish_reason: Literal["stop", "length", "content_filter"] | None = None
    """`stop`, `length` or `content_filter`; None where the endpoint has no such word."""
    prompt_tokens: int | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    seed: int | None = None
    is_streamed: bool = False
    number: int = 0
    """Which of the answers under the same id, from 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """How long an answer took, in seconds since the request's headers."""

    first_byte: float | None
    whole: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """An exchange that is to be sampled."""

    exchange: Exchange
    place: Place | None
    probability: float
    user: bytes | None
    at: datetime
    """When the answer had left."""
    timing: Timing

    @property
    def size(self) -> int:
        """Return about what it takes in memory, in bytes."""
        texts = (self.exchange.prompt, self.exchange.judged.text)
        return _BESIDE + sum(sys.getsizeof(text) for text in texts)

    @property
    def characters(self) -> int:
        """Return how much there is to clean."""
        return len(self.exchange.prompt) + len(self.exchange.judged.text)


@dataclass(frozen=True, kw_only=True, slots=True)
class Vote:
    """What a user said of one answer, of the kinds that count for it."""

    response_id: str
    about: ResponseId
    at: datetime
    thumbs: Thumbs | None = None
    task: Task | None = None
    rating: int | None = None
    reason: str | None = None

    @property
    def values(self) -> dict[str, str]:
        """Return what was said, by kind, as the metrics have it."""
        values = {"thumbs": self.thumbs, "task": self.task, "rating": self.rating}
        return {kind: str(value) for kind, value in values.items() if value is not None}

    def only(self, kinds: Collection[str]) -> Vote:
        """Return the vote with these kinds alone; the reason stays."""
        return replace(
            self,
            thumbs=self.thumbs if "thumbs" in kinds else None,
            task=self.task if "task" in kinds else None,
            rating=self.rating if "rating" in kinds else None,
        )

    @property
    def size(self) -> int:
        """Return about what it takes in memory, in bytes."""
        return _BESIDE + sys.getsizeof(self.reason)

    @property
    def characters(self) -> int:
        """Return how much there is to clean."""
        return len(self.reason or "")
