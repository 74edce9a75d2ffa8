"""Text times compiled rules gives a verdict; pure, and linear in the length of the text.

All regular expressions run on RE2: no pattern and no text can make it slow.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import re2

from rlhf_operator.api.guard import Direction, GuardRule, GuardSpec, Stage
from rlhf_operator.guard import text as texts

# RE2's \b knows ASCII only. Scripts that are written without spaces have no word boundaries.
_WORD = r"\p{L}\p{M}\p{N}_"
_UNSPACED = re2.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]",
)


class Outcome(StrEnum):
    """What becomes of a text; the word that answers carry."""

    OK = "ok"
    FLAGGED = "flagged"
    BLOCKED = "blocked"


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the strictest of some outcomes."""
    order = list(Outcome)
    return max(outcomes, key=order.index, default=Outcome.OK)


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The result of checking one text."""

    outcome: Outcome = Outcome.OK
    categories: tuple[str, ...] = ()
    blocking: tuple[str, ...] = ()  # those of the categories that a blocking stage found

    @property
    def is_blocked(self) -> bool:
        """Tell whether the text must not pass."""
        return self.outcome is Outcome.BLOCKED


class BadPattern(ValueError):  # noqa: N818 - it names what is wrong, not that something is
    """A pattern in the configuration does not compile."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CompiledRule:
    """One category and the expressions that mean it."""

    category: str
    expressions: tuple[re2._Regexp, ...]

    def matches(self, normal: str) -> bool:
        """Tell whether any expression occurs in a normalised text."""
        return any(expression.search(normal) for expression in self.expressions)


@dataclass(frozen=True, kw_only=True, slots=True)
class CompiledStage:
    """One stage, ready to run."""

    applies_to: tuple[Direction, ...]
    blocks: bool
    rules: tuple[CompiledRule, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ruleset:
    """All stages of a guard, ready to run."""

    stages: tuple[CompiledStage, ...]
    refusals: tuple[re2._Regexp, ...]
    categories: tuple[str, ...]
    digest: str

    def check(self, text: str, direction: Direction) -> Verdict:
        """Return the verdict of all stages that apply; the strictest outcome holds."""
        normal = texts.normalise(text)
        found: set[str] = set()
        blocking: set[str] = set()
        for stage in self.stages:
            if direction in stage.applies_to:
                hits = {rule.category for rule in stage.rules if rule.matches(normal)}
                found |= hits
                blocking |= hits if stage.blocks else set()
        outcome = Outcome.BLOCKED if blocking else Outcome.FLAGGED if found else Outcome.OK
        return Verdict(
            outcome=outcome, categories=tuple(sorted(found)), blocking=tuple(sorted(blocking))
        )

    def applies_to(self, direction: Direction) -> bool:
        """Tell whether any stage looks at text in this direction."""
        return any(direction in stage.applies_to for stage in self.stages)

    def is_refusal(self, text: str) -> bool:
        """Tell whether the model itself declines in this answer."""
        normal = texts.normalise(text)
        return any(expression.search(normal) for expression in self.refusals)


def compile_guard(spec: GuardSpec, *, force_block: bool = False) -> Ruleset:
    """Return the rules of a guard ready to run; a pattern that does not compile is an error."""
    return Ruleset(
        stages=tuple(_compile_stage(stage, force_block=force_block) for stage in spec.stages),
        refusals=tuple(
            compile_pattern(pattern, where="refusalPatterns") for pattern in spec.refusal_patterns
        ),
        categories=tuple(sorted({r.category for stage in spec.stages for r in stage.rules})),
        digest=_digest(spec, force_block=force_block),
    )


def compile_pattern(pattern: str, *, where: str) -> re2._Regexp:
    """Return a pattern ready for normalised text."""
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    try:
        return re2.compile(pattern, options=options)
    except re2.error as error:
        why = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
        raise BadPattern(f"{where}: pattern {pattern!r} does not compile: {why}") from error


def _compile_stage(stage: Stage, *, force_block: bool) -> CompiledStage:
    return CompiledStage(
        applies_to=stage.applies_to,
        blocks=force_block or stage.action == "Block",
        rules=tuple(_compile_rule(rule, stage.name) for rule in stage.rules),
    )


def _compile_rule(rule: GuardRule, stage: str) -> CompiledRule:
    where = f"stage {stage}, category {rule.category}"
    words = _keywords_expression(rule.keywords or ())
    patterns = ((words,) if words else ()) + (rule.patterns or ())
    return CompiledRule(
        category=rule.category,
        expressions=tuple(compile_pattern(pattern, where=where) for pattern in patterns),
    )


def _keywords_expression(keywords: Iterable[str]) -> str | None:
    normal = (texts.normalise(keyword).split() for keyword in keywords)
    choices = [_whole_words(words) for words in normal if words]
    return "|".join(choices) or None


def _whole_words(words: list[str]) -> str:
    before = "" if _UNSPACED.search(words[0][0]) else f"(?:^|[^{_WORD}])"
    after = "" if _UNSPACED.search(words[-1][-1]) else f"(?:$|[^{_WORD}])"
    return before + r"[\s\p{Z}]+".join(re2.escape(word) for word in words) + after


def _digest(spec: GuardSpec, *, force_block: bool) -> str:
    judged_by = spec.model_dump(mode="json", by_alias=True, include={"stages", "refusal_patterns"})
    canonical = json.dumps({**judged_by, "forceBlock": force_block}, sort_keys=True)
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"
