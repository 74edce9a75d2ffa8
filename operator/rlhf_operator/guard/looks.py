"""How the rules of a window look at a growing text: near what is undecided, or at all of it. Pure.

Only what hangs on the whole text, such as which share of it repeats itself, is read as a whole
again and again, the more seldom the longer it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rlhf_operator.guard.pipeline import Step
from rlhf_operator.guard.rules import RulesCheck
from rlhf_operator.guard.text import Span
from rlhf_operator.guard.verdict import Judgement

_GROWN = 8
"""Limits are judged anew when the text has grown by this part: n characters cost 9 n."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where something was found; nowhere in particular if `span` is None."""

    step: Step
    category: str
    span: Span | None

    @property
    def is_blocking(self) -> bool:
        """Tell whether nothing more may leave for it."""
        return self.step.action == "Block"

    def begins_before(self, at: int) -> bool:
        """Tell whether it begins before a place; what is nowhere in particular does."""
        return self.span is None or self.span[0] < at


class Looks:
    """The rules of stages that see the same text; those that only flag look at its end alone."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = tuple(steps)
        self.acting = tuple(step for step in steps if step.action != "Flag")
        self._near = tuple((step, _rules(step).without_limits()) for step in self.acting)
        self._limits = tuple((step, _rules(step).limits()) for step in self.acting)
        self._limits_due = 0
        self._known: dict[str, Judgement] = {}
        self._known_of = -1
        self.looked = 0
        """How many characters were looked at in all, to tell the cost."""

    @property
    def has_limits(self) -> bool:
        """Tell whether any stage has a limit, which only the whole text can tell."""
        return any(check.rules for _, check in self._limits)

    @property
    def take_long(self) -> bool:
        """Tell whether any stage has more than words and patterns to look for."""
        return any(check.takes_long for _, check in self._near)

    def longest(self) -> int | None:
        """Return how much text decides on one match at most; None where there is no bound."""
        longest = 0
        for step, check in self._near:
            one = check.longest()
            # What is replaced must be the same however it is looked at.
            if one is None or (step.action == "Redact" and check.reads_around):
                return None
            longest = max(longest, one)
        return longest

    def beside(self) -> int:
        """Return how many characters before a match may decide whether it is one."""
        return max((check.beside() for _, check in self._near), default=0)

    def whole(self, text: str) -> list[Place]:
        """Return what is found in all of the text."""
        self.looked += len(text)
        self._limits_due = len(text) + len(text) // _GROWN
        if self._known_of != len(text):
            self._known.clear()
            self._known_of = len(text)
        places: list[Place] = []
        for step in self.acting:
            judged = self._known[step.name] = _rules(step).judge(text)
            places += _places(step, judged, 0)
        return places

    def near(self, text: str, start: int) -> list[Place]:
        """Return what is found from a place on, and which limits the whole text is beyond."""
        self.looked += len(text) - start
        seen = text[start:]
        places = [
            place for step, check in self._near for place in _places(step, check.judge(seen), start)
        ]
        is_due = len(text) >= self._limits_due
        if is_due:
            self._limits_due = len(text) + len(text) // _GROWN
        for step, check in self._limits:
            judged = check.beyond(text) if is_due else check.too_long(text)
            places += _places(step, judged, 0) if judged is not None else ()
        return places

    def judgements(self, text: str) -> Iterator[tuple[Step, Judgement]]:
        """Yield what each stage, also one that only flags, says of all of the text."""
        if self._known_of != len(text):
            self._known.clear()
            self._known_of = len(text)
        for step in self.steps:
            if step.name not in self._known:
                self._known[step.name] = _rules(step).judge(text)
            yield step, self._known[step.name]


def _rules(step: Step) -> RulesCheck:
    assert isinstance(step.check, RulesCheck)
    return step.check


def _places(step: Step, judged: Judgement, start: int) -> Iterator[Place]:
    for found in judged.found:
        spans = [(start + first, start + end) for first, end in found.spans]
        for span in spans or (None,):
            yield Place(step=step, category=found.category, span=span)
