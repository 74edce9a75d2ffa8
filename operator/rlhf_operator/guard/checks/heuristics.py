"""Heuristics: known shapes of attacks, by signals that only count together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import re2

from rlhf_operator.api.stages import Heuristic
from rlhf_operator.guard.checks import attacks, obfuscation, signals
from rlhf_operator.guard.checks.signals import Signal
from rlhf_operator.guard.checks.views import Readings, read
from rlhf_operator.guard.text import Span, normal_view

Families = Sequence[Sequence[Signal]]


@dataclass(frozen=True, kw_only=True, slots=True)
class HeuristicFinder:
    """One heuristic."""

    judge: Callable[[Readings], list[Span]]
    longest: int | None = None
    beside: int = 0

    def find(self, readings: Readings) -> list[Span] | None:
        """Return the stretches of text in which the heuristic sees an attack."""
        return self.judge(readings) or None


def _jailbreak(readings: Readings) -> list[Span]:
    return _attacked(attacks.JAILBREAKS, readings, attacks.ABOUT)


def _injection(readings: Readings) -> list[Span]:
    return _attacked(attacks.INJECTIONS, readings, None)


def _attacked(families: Families, readings: Readings, excuse: re2._Regexp | None) -> list[Span]:
    return [
        view.originally(start, end)
        for view in readings.words
        for family in families
        for start, end in signals.places(family, view, excuse)
    ]


def _obfuscation(readings: Readings) -> list[Span]:
    return obfuscation.places(readings.normal, _is_attack)


def _is_attack(text: str) -> bool:
    """Tell whether a text that was hidden is an attack; what it hides in turn is not looked at."""
    return bool(_jailbreak(read(normal_view(text))))


_JUDGES: Mapping[Heuristic, Callable[[Readings], list[Span]]] = {
    "Jailbreak": _jailbreak,
    "PromptInjection": _injection,
    "Obfuscation": _obfuscation,
}


def heuristic_finder(name: Heuristic) -> HeuristicFinder:
    """Return the finder of a heuristic."""
    return HeuristicFinder(judge=_JUDGES[name])
