"""Heuristics: known shapes of attacks, by signals that only count together."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import re2

from rlhf_operator.api.stages import Heuristic
from rlhf_operator.guard.checks import attacks, harms, obfuscation, signals
from rlhf_operator.guard.checks.signals import Signal
from rlhf_operator.guard.checks.views import Readings, read
from rlhf_operator.guard.text import Span, merged, normal_view

Families = Sequence[Sequence[Signal]]


@dataclass(frozen=True, kw_only=True, slots=True)
class HeuristicFinder:
    """One heuristic."""

    judge: Callable[[Readings], list[Span]]
    longest: int | None
    beside: int = 0

    def find(self, readings: Readings) -> list[Span] | None:
        """Return the stretches of text in which the heuristic sees an attack."""
        return self.judge(readings) or None


def _jailbreak(readings: Readings) -> list[Span]:
    found = _attacked(attacks.JAILBREAKS, readings, attacks.ABOUT)
    return merged([*found, *_said("jailbreak", readings)])


def _injection(readings: Readings) -> list[Span]:
    found = _attacked(attacks.INJECTIONS, readings, None)
    return merged([*found, *_said("injection", readings)])


def _attacked(families: Families, readings: Readings, excuse: re2._Regexp | None) -> list[Span]:
    return [
        view.originally(start, end)
        for view in readings.words
        for family in families
        for start, end in signals.places(family, view, excuse)
    ]


def _said(name: str, readings: Readings) -> list[Span]:
    harm = harms.harm(name)
    return [
        view.originally(start, end) for view in readings.words for start, end in harm.places(view)
    ]


def _obfuscation(readings: Readings) -> list[Span]:
    return obfuscation.places(readings.normal, _is_attack)


def _is_attack(text: str) -> bool:
    """Tell whether a text that was hidden is an attack; what it hides in turn is not looked at."""
    readings = read(normal_view(text))
    return bool(_jailbreak(readings)) or any(_said(name, readings) for name in _HARMS.values())


_HARMS: Mapping[Heuristic, str] = {
    "Bias": "bias",
    "Harassment": "harassment",
    "SelfHarm": "self_harm",
    "Goading": "goading",
    "Violence": "violence",
    "IllicitGoods": "illicit_goods",
    "Malware": "malware",
    "Phishing": "phishing",
}
_JUDGES: Mapping[Heuristic, Callable[[Readings], list[Span]]] = {
    "Jailbreak": _jailbreak,
    "PromptInjection": _injection,
    "Obfuscation": _obfuscation,
    **{heuristic: functools.partial(_said, name) for heuristic, name in _HARMS.items()},
}
_READ: Mapping[Heuristic, tuple[str, ...]] = {
    "Jailbreak": ("jailbreak",),
    "PromptInjection": ("injection",),
    "Obfuscation": ("jailbreak", *_HARMS.values()),
    **{heuristic: (name,) for heuristic, name in _HARMS.items()},
}
"""The files of words that a heuristic needs."""

_FURTHEST = max(harms.FURTHEST, signals.FURTHEST)
"""How many characters, which have a byte or more each, hang together in what is found."""
_LONGEST: Mapping[Heuristic, int | None] = {"Obfuscation": None}
"""Obfuscation counts in the whole text, and turns it around."""


def heuristic_finder(name: Heuristic) -> HeuristicFinder:
    """Return the finder of a heuristic; its words are read now and not with the first request."""
    for each in _READ[name]:
        harms.harm(each)
    return HeuristicFinder(judge=_JUDGES[name], longest=_LONGEST.get(name, _FURTHEST))
