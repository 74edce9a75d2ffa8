"""Values: what checks find in a text, and what becomes of it. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rlhf_operator.api.stages import Action


class Outcome(StrEnum):
    """What becomes of a text, from the mildest to the strictest; the word that answers carry."""

    OK = "ok"
    FLAGGED = "flagged"
    REDACTED = "redacted"
    WITHHELD = "withheld"  # a stage could not judge it, and fails closed
    BLOCKED = "blocked"


_ORDER = tuple(Outcome)


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the strictest of some outcomes."""
    return max(outcomes, key=_ORDER.index, default=Outcome.OK)


class Decided(ABC):
    """What has an outcome: a verdict on one text, or an answer with both of its verdicts."""

    __slots__ = ()

    @property
    @abstractmethod
    def outcome(self) -> Outcome:
        """Return what becomes of it."""

    @property
    def is_blocked(self) -> bool:
        """Tell whether it must not pass because of what it is."""
        return self.outcome is Outcome.BLOCKED

    @property
    def is_stopped(self) -> bool:
        """Tell whether it must not pass, for whatever reason."""
        return self.outcome in (Outcome.BLOCKED, Outcome.WITHHELD)


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """One category that a stage found in a text."""

    category: str
    spans: tuple[tuple[int, int], ...] = ()
    """Where, as half-open ranges of the text's characters; empty where only the whole is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """What one stage says of one text: nothing found means that it may pass."""

    found: tuple[Found, ...] = ()
    replacement: str | None = None
    """The text as it may pass, from a service that redacts by itself."""
    scores: tuple[tuple[str, float], ...] = ()
    """How sure it is of each category, from 0 to 1, found or not; where it says so."""


class Unjudged(StrEnum):
    """Why a stage could not judge."""

    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    BAD_ANSWER = "bad_answer"
    REFUSED = "refused"  # the service said no to us: a wrong credential, a limit
    CIRCUIT_OPEN = "circuit_open"
    NO_BUDGET = "no_budget"
    NOT_SET_UP = "not_set_up"  # a credential or provider that is not there


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A stage that could not judge a text."""

    stage: str
    reason: Unjudged
    passes: bool
    """Whether the text passes nevertheless: the stage fails open."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """One category that a stage found, and what the stage does about it."""

    stage: str
    category: str
    action: Action


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict(Decided):
    """The result of all stages on one text."""

    hits: tuple[Hit, ...] = ()
    failures: tuple[Failure, ...] = ()
    text: str | None = None
    """The text as it may pass, where a stage changed it."""
    scores: tuple[tuple[str, float], ...] = ()
    """The scores that stages gave, of categories that were found and of others."""

    @property
    def outcome(self) -> Outcome:
        """Return what becomes of the text."""
        if any(hit.action == "Block" for hit in self.hits):
            return Outcome.BLOCKED
        if any(not failure.passes for failure in self.failures):
            return Outcome.WITHHELD
        if self.text is not None:
            return Outcome.REDACTED
        return Outcome.FLAGGED if self.hits else Outcome.OK

    @property
    def categories(self) -> tuple[str, ...]:
        """Return all categories that were found, sorted."""
        return tuple(sorted({hit.category for hit in self.hits}))

    @property
    def blocking(self) -> tuple[str, ...]:
        """Return those that a blocking stage found, sorted."""
        return tuple(sorted({hit.category for hit in self.hits if hit.action == "Block"}))

    @property
    def redacted(self) -> tuple[str, ...]:
        """Return those of which a stage replaced the places, sorted."""
        return tuple(sorted({hit.category for hit in self.hits if hit.action == "Redact"}))

    @property
    def remaining(self) -> tuple[str, ...]:
        """Return those that are still in the text as it may pass: redacted ones are not."""
        return tuple(sorted({hit.category for hit in self.hits if hit.action == "Flag"}))

    @property
    def is_bypassed(self) -> bool:
        """Tell whether the text passed a stage that could not judge it."""
        return any(failure.passes for failure in self.failures)


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """Return one verdict on all texts of a request: no find and no failure is forgotten."""
    return Verdict(
        hits=tuple(dict.fromkeys(hit for each in verdicts for hit in each.hits)),
        failures=tuple(dict.fromkeys(one for each in verdicts for one in each.failures)),
        text=next((each.text for each in verdicts if each.text is not None), None),
    )


def redact(text: str, found: Iterable[Found]) -> str:
    """Return a text with each span replaced by its category's name in brackets.

    Spans that overlap or touch are replaced as one, by the name of the first. Where nobody knows
    the place of something, the whole text is replaced: what is left could still hold it.
    """
    found = tuple(found)
    if without := next((each for each in found if not each.spans), None):
        return f"[{without.category}]"
    spans = sorted((start, end, each.category) for each in found for start, end in each.spans)
    parts: list[str] = []
    at = 0
    for start, end, category in spans:
        if start >= at and (start > at or not parts):
            parts += [text[at:start], f"[{category}]"]
        at = max(at, end)
    return "".join(parts) + text[at:]
