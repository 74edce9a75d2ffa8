"""What rules find in a text; pure, and linear in the length of the text.

All regular expressions run on RE2: no pattern and no text can make it slow.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import re2

from rlhf_operator.api.guard import GuardSpec
from rlhf_operator.api.stages import Direction, GuardRule
from rlhf_operator.guard import text as texts
from rlhf_operator.guard.verdict import Found, Judgement

OTHER = "other"
"""The category of what a classifier or service finds without a name that the spec knows."""

# RE2's \b knows ASCII only. Scripts that are written without spaces have no word boundaries.
_WORD = r"\p{L}\p{M}\p{N}_"
_UNSPACED = re2.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]",
)


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
class RulesCheck:
    """The rules of one stage, ready to run."""

    rules: tuple[CompiledRule, ...]

    def judge(self, text: str) -> Judgement:
        """Return the categories that occur in a text."""
        normal = texts.normalise(text)
        return Judgement(
            found=tuple(
                Found(category=rule.category) for rule in self.rules if rule.matches(normal)
            )
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Ruleset:
    """All that a guard's spec says, compiled and checked; services are not among it."""

    checks: Mapping[str, RulesCheck]
    """The checks of the stages of type Rules, by the stage's name."""
    refusals: tuple[re2._Regexp, ...]
    categories: tuple[str, ...]
    digest: str

    def is_refusal(self, text: str) -> bool:
        """Tell whether the model itself declines in this answer."""
        normal = texts.normalise(text)
        return any(expression.search(normal) for expression in self.refusals)


def compile_guard(spec: GuardSpec, *, force_block: bool = False) -> Ruleset:
    """Return the rules of a guard ready to run; a pattern that does not compile is an error."""
    return Ruleset(
        checks={
            stage.name: RulesCheck(
                rules=tuple(_compile_rule(rule, stage.name) for rule in stage.rules)
            )
            for stage in spec.stages
            if stage.rules is not None
        },
        refusals=tuple(
            compile_pattern(pattern, where="refusalPatterns") for pattern in spec.refusal_patterns
        ),
        categories=_categories(spec),
        digest=_digest(spec, force_block=force_block),
    )


def applies(spec: GuardSpec, direction: Direction) -> bool:
    """Tell whether any stage looks at text in this direction."""
    return any(direction in stage.applies_to for stage in spec.stages)


def _categories(spec: GuardSpec) -> tuple[str, ...]:
    """Return every category that can be found by name; `other` where services may find more."""
    found: set[str] = set()
    for stage in spec.stages:
        found |= {rule.category for rule in stage.rules or ()}
        for remote in (stage.model, stage.external):
            if remote is not None:
                found |= {threshold.category for threshold in remote.categories} | {OTHER}
    return tuple(sorted(found))


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
