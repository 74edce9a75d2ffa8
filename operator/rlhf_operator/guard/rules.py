"""What rules find in a text; pure, and linear in the length of the text.

Patterns, keywords, shapes and signals run on RE2: no pattern and no text can make them slow. What
takes disguises off is rewritten with a few fixed expressions that never look at a place twice.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import re2

from rlhf_operator.api.categories import in_stages
from rlhf_operator.api.guard import GuardSpec, looking_at
from rlhf_operator.api.stages import Direction, GuardRule
from rlhf_operator.guard import text as texts
from rlhf_operator.guard.checks.edition import edition
from rlhf_operator.guard.checks.expressions import (
    BadPattern,
    Finder,
    compile_pattern,
    pattern_finder,
)
from rlhf_operator.guard.checks.heuristics import HeuristicFinder, heuristic_finder
from rlhf_operator.guard.checks.keywords import keyword_finder
from rlhf_operator.guard.checks.recognizers import RecognizerFinder, recognizer_finder
from rlhf_operator.guard.checks.repetition import LimitFinder, limit_finder
from rlhf_operator.guard.checks.views import Readings, read
from rlhf_operator.guard.verdict import Found, Judgement

__all__ = [
    "BadPattern",
    "RulesCheck",
    "Ruleset",
    "applies",
    "compile_guard",
    "compile_pattern",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class CompiledRule:
    """One category and the ways to find it."""

    category: str
    finders: tuple[Finder, ...]

    def find(self, readings: Readings) -> Found | None:
        """Return the category with all places where it was found; none where it was not."""
        places = [spans for finder in self.finders if (spans := finder.find(readings)) is not None]
        if not places:
            return None
        # Where one way cannot say where, the whole text is what was found.
        known = itertools.chain.from_iterable(places) if all(places) else ()
        return Found(category=self.category, spans=tuple(texts.merged(known)))

    @property
    def limits(self) -> tuple[LimitFinder, ...]:
        """Return those of its ways that look at how long and how repetitive a text is."""
        return tuple(each for each in self.finders if isinstance(each, LimitFinder))

    def is_too_long(self, text: str) -> bool:
        """Tell whether a text is beyond the rule's limit on characters."""
        return any(limit.is_too_long(text) for limit in self.limits)

    def longest(self) -> int | None:
        """Return the longest original that the rule finds; none where there is no bound."""
        return _longest(finder.longest for finder in self.finders)


@functools.lru_cache(maxsize=1)
def _read(text: str) -> Readings:
    """Return the readings of a text; kept until the next, because all stages see the same one."""
    return read(texts.normal_view(text))


@dataclass(frozen=True, kw_only=True, slots=True)
class RulesCheck:
    """The rules of one stage, ready to run."""

    rules: tuple[CompiledRule, ...]

    def judge(self, text: str) -> Judgement:
        """Return the categories that occur in a text, and where."""
        readings = _read(text)
        return Judgement(
            found=tuple(found for rule in self.rules if (found := rule.find(readings)))
        )

    def too_long(self, text: str) -> Judgement | None:
        """Return the categories whose limit a text is beyond, without reading it; None if none."""
        found = tuple(
            Found(category=rule.category) for rule in self.rules if rule.is_too_long(text)
        )
        return Judgement(found=found) if found else None

    def beyond(self, text: str) -> Judgement:
        """Return the categories of which a text is beyond any limit."""
        rules = (rule for rule in self.rules if any(each.is_beyond(text) for each in rule.limits))
        return Judgement(found=tuple(Found(category=rule.category) for rule in rules))

    def limits(self) -> RulesCheck:
        """Return the rules that have limits."""
        return RulesCheck(rules=tuple(rule for rule in self.rules if rule.limits))

    def without_limits(self) -> RulesCheck:
        """Return what the rules find at some place of a text, whatever the rest of it is."""
        rules = (
            replace(rule, finders=tuple(each for each in rule.finders if each not in rule.limits))
            for rule in self.rules
        )
        return RulesCheck(rules=tuple(rule for rule in rules if rule.finders))

    @property
    def reads_around(self) -> bool:
        """Tell whether what stands around, sentences away, decides on what is found."""
        return any(isinstance(each, HeuristicFinder) for each in self._finders)

    @property
    def takes_long(self) -> bool:
        """Tell whether there is more than words and patterns to look for."""
        slow = (HeuristicFinder, RecognizerFinder)
        return any(isinstance(each, slow) for each in self._finders)

    @property
    def _finders(self) -> Iterator[Finder]:
        return (each for rule in self.rules for each in rule.finders)

    def longest(self) -> int | None:
        """Return how many characters what a rule finds can have, with one more on each side.

        None where there is no bound. Disguises count as one more character for each: who spreads a
        word wider, or hides it among what shows nothing, is found for certain in a whole text only.
        """
        return _longest(rule.longest() for rule in self.rules)

    def beside(self) -> int:
        """Return how many characters before what a rule finds may decide whether it is found."""
        return max((each.beside for each in self._finders), default=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ruleset:
    """All that a guard's spec says, compiled and checked; services are not among it."""

    checks: Mapping[str, RulesCheck]
    """The checks of the stages of type Rules, by the stage's name."""
    refusals: tuple[re2._Regexp, ...]
    categories: tuple[str, ...]
    in_answers: tuple[str, ...]
    """Those that a stage can find in answers."""
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
        categories=tuple(sorted(in_stages(spec.stages))),
        in_answers=tuple(sorted(in_stages(looking_at(spec, "Output")))),
        digest=_digest(spec, force_block=force_block),
    )


def applies(spec: GuardSpec, direction: Direction) -> bool:
    """Tell whether any stage looks at text in this direction."""
    return bool(looking_at(spec, direction))


def _compile_rule(rule: GuardRule, stage: str) -> CompiledRule:
    where = f"stage {stage}, category {rule.category}"
    return CompiledRule(category=rule.category, finders=tuple(_finders(rule, where)))


def _finders(rule: GuardRule, where: str) -> Iterator[Finder]:
    if words := keyword_finder(rule.keywords or ()):
        yield words
    if rule.patterns:
        yield pattern_finder(rule.patterns, where=where)
    for recognizer in rule.recognizers or ():
        yield recognizer_finder(recognizer)
    for heuristic in rule.heuristics or ():
        yield heuristic_finder(heuristic)
    if rule.limits is not None:
        yield limit_finder(rule.limits)


def _longest(bounds: Iterable[int | None]) -> int | None:
    longest = 0
    for bound in bounds:
        if bound is None:
            return None
        longest = max(longest, bound)
    return longest


def _digest(spec: GuardSpec, *, force_block: bool) -> str:
    judged_by = spec.model_dump(mode="json", by_alias=True, include={"stages", "refusal_patterns"})
    rules = [rule for stage in spec.stages for rule in stage.rules or ()]
    if any(rule.recognizers or rule.heuristics for rule in rules):
        judged_by["edition"] = edition()
    canonical = json.dumps(judged_by, sort_keys=True)
    digest = f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"
    return f"{digest}+block" if force_block else digest
