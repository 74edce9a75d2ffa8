"""What becomes of one answer: the verdicts on prompt and answer put together. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from rlhf_operator.guard.rules import Outcome, Ruleset, Verdict, worst
from rlhf_operator.guard.text import count_words


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """One answer as it will be sent, and what was found on the way."""

    text: str
    asked: Verdict
    made: Verdict | None = None  # None: the model was not asked
    is_refusal: bool = False
    length: int

    @property
    def outcome(self) -> Outcome:
        """Return the stricter of the two outcomes."""
        return worst(verdict.outcome for verdict in (self.asked, self.made) if verdict)

    @property
    def is_blocked(self) -> bool:
        """Tell whether the answer was replaced."""
        return self.outcome is Outcome.BLOCKED

    @property
    def blocking(self) -> tuple[str, ...]:
        """Return the categories for which the answer was replaced."""
        made = self.made.blocking if self.made else ()
        return tuple(sorted({*self.asked.blocking, *made}))


def judge_prompt(rules: Ruleset, prompt: str) -> Verdict:
    """Return the verdict on what a user sent."""
    return rules.check(prompt, "Input")


def refuse(asked: Verdict, refusal: str) -> Judged:
    """Return the answer to a blocked prompt."""
    return Judged(text=refusal, asked=asked, length=count_words(refusal))


def judge_answer(
    rules: Ruleset, text: str, *, asked: Verdict, tokens: int | None, refusal: str
) -> Judged:
    """Return what the user gets of an answer that the model made."""
    made = rules.check(text, "Output")
    served = refusal if made.is_blocked else text
    return Judged(
        text=served,
        asked=asked,
        made=made,
        is_refusal=rules.is_refusal(text),
        length=count_words(served) if made.is_blocked or tokens is None else tokens,
    )
