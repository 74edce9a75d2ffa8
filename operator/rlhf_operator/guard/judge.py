"""What becomes of one answer: the verdicts on prompt and answer put together. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from rlhf_operator.guard.text import count_words
from rlhf_operator.guard.verdict import Outcome, Verdict, worst


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """One answer as it will be sent, and what was found on the way."""

    text: str
    asked: Verdict
    made: Verdict | None = None  # None: the model was not asked
    is_refusal: bool = False
    length: int
    reached: tuple[str, ...] | None = None
    """Of an answer that ended early: the categories in what had left. None: as the verdict says."""

    @property
    def outcome(self) -> Outcome:
        """Return the stricter of the two outcomes."""
        return worst(verdict.outcome for verdict in (self.asked, self.made) if verdict)

    @property
    def is_blocked(self) -> bool:
        """Tell whether the answer was replaced because of what was found."""
        return self.outcome is Outcome.BLOCKED

    @property
    def is_stopped(self) -> bool:
        """Tell whether the answer was replaced, for whatever reason."""
        return self.outcome in (Outcome.BLOCKED, Outcome.WITHHELD)

    @property
    def is_bypassed(self) -> bool:
        """Tell whether a stage could not judge the prompt or the answer, which leaves anyway."""
        return self.asked.is_bypassed or (self.made is not None and self.made.is_bypassed)

    @property
    def unsafe(self) -> tuple[str, ...]:
        """Return the categories in what a user reads."""
        if self.reached is not None:
            return self.reached
        return self.made.remaining if self.made and not self.is_stopped else ()

    @property
    def categories(self) -> tuple[str, ...]:
        """Return all that was found in prompt and answer, sorted."""
        made = self.made.categories if self.made else ()
        return tuple(sorted({*self.asked.categories, *made}))

    @property
    def blocking(self) -> tuple[str, ...]:
        """Return the categories for which the answer was replaced."""
        made = self.made.blocking if self.made else ()
        return tuple(sorted({*self.asked.blocking, *made}))


@dataclass(frozen=True, kw_only=True, slots=True)
class Replacements:
    """What users read in place of an answer."""

    blocked: str
    withheld: str

    def of(self, verdict: Verdict | Judged) -> str:
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
