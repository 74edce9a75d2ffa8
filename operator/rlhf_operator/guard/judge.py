"""What becomes of one answer: the verdicts on prompt and answer put together. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rlhf_operator.guard.text import count_words
from rlhf_operator.guard.verdict import Decided, Outcome, Verdict, worst


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged(Decided):
    """One answer as it will be sent, and what was found on the way."""

    text: str
    asked: Verdict
    made: Verdict | None = None  # None: the model was not asked
    is_refusal: bool = False
    length: int
    reached: tuple[str, ...] | None = None
    """The categories in what had left, of an answer that ended early or of which something left
    before it was found. None: as the verdict says."""

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Return the verdicts on the prompt and, where the model was asked, on its answer."""
        return (self.asked,) if self.made is None else (self.asked, self.made)

    @property
    def outcome(self) -> Outcome:
        """Return the stricter of the two outcomes."""
        return worst(verdict.outcome for verdict in self.verdicts)

    @property
    def is_bypassed(self) -> bool:
        """Tell whether a stage could not judge the prompt or the answer, which leaves anyway."""
        return any(verdict.is_bypassed for verdict in self.verdicts)

    @property
    def unsafe(self) -> tuple[str, ...]:
        """Return the categories in what a user reads."""
        if self.reached is not None:
            return self.reached
        return self.made.remaining if self.made and not self.is_stopped else ()

    @property
    def categories(self) -> tuple[str, ...]:
        """Return all that was found in prompt and answer, sorted."""
        return tuple(sorted({name for each in self.verdicts for name in each.categories}))

    @property
    def blocking(self) -> tuple[str, ...]:
        """Return the categories for which the answer was replaced."""
        return tuple(sorted({name for each in self.verdicts for name in each.blocking}))


@dataclass(frozen=True, kw_only=True, slots=True)
class Replacements:
    """What users read in place of an answer."""

    blocked: str
    withheld: str

    def of(self, verdict: Decided) -> str:
        """Return what is read in place of a text that was stopped."""
        return self.blocked if verdict.is_blocked else self.withheld


def refuse(asked: Verdict, instead: Replacements) -> Judged:
    """Return the answer to a prompt that was stopped."""
    text = instead.of(asked)
    return Judged(text=text, asked=asked, length=count_words(text))


def answer(
    text: str,
    *,
    asked: Verdict,
    made: Verdict,
    tokens: int | None,
    is_refusal: bool,
    instead: Replacements,
) -> Judged:
    """Return what the user gets of an answer that the model made."""
    served = text if made.text is None else made.text
    if made.is_stopped:
        served = instead.of(made)
    return Judged(
        text=served,
        asked=asked,
        made=made,
        is_refusal=is_refusal,
        length=count_words(served) if made.is_stopped or tokens is None else tokens,
    )


def taken_along(answers: Sequence[Judged]) -> list[Judged]:
    """Return a batch as it is read of which an answer was stopped: all have the text in its place.

    What was found in the strictest one is why none of the others is read.
    """
    strictest = worst(each.outcome for each in answers)
    why = next(each for each in answers if each.outcome is strictest)
    return [
        replace(
            each, text=why.text, length=why.length, made=each.made if each.is_stopped else why.made
        )
        for each in answers
    ]
