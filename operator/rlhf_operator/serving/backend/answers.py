"""What is asked of a model, and how the answers to a batch grow by a token in each step.

Knows neither torch nor Triton.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

DEFAULT_MAX_TOKENS = 16
MOST_TOKENS = 4096

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"

Decode = Callable[[Sequence[int]], str]


class Unanswerable(ValueError):  # noqa: N818 - it names what is wrong, not that something is
    """A request that the model cannot answer; the message never repeats the prompt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One prompt and how it is to be answered."""

    text: str
    max_tokens: int = DEFAULT_MAX_TOKENS
    temperature: float = 0.0
    """0 takes the likeliest token each time."""
    seed: int | None = None
    """The same seed gives the same answer, whatever else is in the batch."""
    stream: bool = False
    """Whether the text is wanted as it is made."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The answer to one prompt."""

    text: str
    token_ids: tuple[int, ...]
    token_logprobs: tuple[float, ...]
    """Natural logarithms under the model's own distribution, whatever the temperature."""
    input_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What one step added to one answer."""

    text: str
    """Whole characters, maybe none; always empty where nobody wants the text as it is made."""
    token_id: int
    token_logprob: float
    answer: Answer | None
    """The whole answer, if this step ends it."""


Hear = Callable[[Sequence[Step | None]], Collection[int]]
"""Takes one step of each row, or None for a row that is done; returns the rows whose answers
nobody waits for any more."""


class Pieces:
    """Cuts a growing answer into texts of whole characters, which joined are the answer's text."""

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._start = 0
        self._told = 0

    def cut(self, tokens: Sequence[int], *, is_last: bool) -> str:
        """Return the text that the tokens add to what was told before.

        Tokens are decoded together with those before them, for a token alone may read otherwise.
        """
        before = self._decode(tokens[self._start : self._told])
        now = self._decode(tokens[self._start :])
        if not is_last and (len(now) <= len(before) or now.endswith(_UNFINISHED)):
            return ""
        self._start, self._told = self._told, len(tokens)
        return now[len(before) :]


class Rows:
    """The answers to one batch while they are made."""

    def __init__(
        self,
        questions: Sequence[Question],
        prompts: Sequence[Sequence[int]],
        *,
        ends: frozenset[int],
        decode: Decode,
        hear: Hear,
    ) -> None:
        self._rows = [
            _Row(question, len(prompt), ends, decode)
            for question, prompt in zip(questions, prompts, strict=True)
        ]
        self._hear = hear

    def grow(self, tokens: Sequence[int], logprobs: Sequence[float]) -> list[bool]:
        """Take the next token of each row, tell them, and return which rows are done."""
        steps = [
            None if row.is_done else row.add(token, logprob)
            for row, token, logprob in zip(self._rows, tokens, logprobs, strict=True)
        ]
        for left in self._hear(steps):
            self._rows[left].is_done = True
        return [row.is_done for row in self._rows]


class _Row:
    def __init__(
        self, question: Question, input_tokens: int, ends: frozenset[int], decode: Decode
    ) -> None:
        self.is_done = False
        self._question = question
        self._input_tokens = input_tokens
        self._ends = ends
        self._decode = decode
        self._pieces = Pieces(decode) if question.stream else None
        self._tokens: list[int] = []
        self._logprobs: list[float] = []

    def add(self, token: int, logprob: float) -> Step:
        """Take the next token; one that ends the answer belongs to it."""
        self._tokens.append(token)
        self._logprobs.append(logprob)
        self.is_done = token in self._ends or len(self._tokens) >= self._question.max_tokens
        pieces = self._pieces
        return Step(
            text=pieces.cut(self._tokens, is_last=self.is_done) if pieces else "",
            token_id=token,
            token_logprob=logprob,
            answer=self._answer() if self.is_done else None,
        )

    def _answer(self) -> Answer:
        return Answer(
            text=self._decode(self._tokens),
            token_ids=tuple(self._tokens),
            token_logprobs=tuple(self._logprobs),
            input_tokens=self._input_tokens,
        )
