"""The recognisers that clean samples: the same that stages of type Rules have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rlhf_operator.api.guard import GuardSpec
from rlhf_operator.api.stages import GuardRule, Recognizer, Stage
from rlhf_operator.guard import rules
from rlhf_operator.guard.sampling.redaction import CannotRedact, Find, category
from rlhf_operator.guard.verdict import Found

_STAGE = "samples"


def finder(recognizers: Sequence[Recognizer]) -> Find:
    """Return what finds all that these recognisers know."""
    check = rules.RulesCheck(rules=())
    if recognizers:
        check = rules.compile_guard(_spec(recognizers)).checks[_STAGE]

    def find(text: str) -> Iterable[Found]:
        if not all(rule.finders for rule in check.rules):
            raise CannotRedact("a recogniser is missing")
        return check.judge(text).found

    return find


def _spec(recognizers: Sequence[Recognizer]) -> GuardSpec:
    found = tuple(
        GuardRule(category=category(name), recognizers=(name,))
        for name in dict.fromkeys(recognizers)
    )
    stage = Stage(
        name=_STAGE, type="Rules", applies_to=("Input", "Output"), action="Redact", rules=found
    )
    return GuardSpec(stages=(stage,))
