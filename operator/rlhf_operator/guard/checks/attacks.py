"""The signals of attacks on a model's instructions; their words, by language, are in a file."""

from __future__ import annotations

import tomllib
from importlib import resources

import re2

from rlhf_operator.guard.checks.signals import Signal, words

_LISTS: dict[str, list[str]] = tomllib.loads(
    resources.files("rlhf_operator.guard.checks").joinpath("attacks.toml").read_text("utf-8")
)


def _of(name: str) -> re2._Regexp:
    return words(*_LISTS[name])


_PROMPT, _BEFORE, _AFTER = (
    f"(?:{'|'.join(_LISTS[name])})" for name in ("prompt", "owner_before", "owner_after")
)
_RULES, _IGNORE, _YOURS = _of("rules"), _of("ignore"), _of("yours")
_REVEAL, _VERBATIM = _of("reveal"), _of("verbatim")
_CIVIL, _TOLD = _of("civil"), _of("told")

_BYPASS = (
    Signal(
        name="ignore the rules",
        core=_RULES,
        weight=0.6,
        needs=_IGNORE,
        adds=((_YOURS, 0.4),),
        takes=((_of("mine"), 0.5), (_CIVIL, 0.5)),
    ),
    Signal(
        name="rules are off",
        core=_RULES,
        weight=0.6,
        needs=_of("off"),
        adds=((_YOURS, 0.2), (_of("safety"), 0.2)),
        takes=((_CIVIL, 0.5),),
    ),
    Signal(name="no limits", core=_of("limits"), weight=0.4, needs=_of("none"), near=30),
    Signal(name="never refuse", core=_of("never_refuse"), weight=0.5),
    Signal(name="persona", core=_of("persona"), weight=0.25, adds=((_of("model"), 0.15),)),
    Signal(name="mode", core=_of("modes"), weight=0.6),
    Signal(name="authority", core=_of("authority"), weight=0.25),
)
_EXTRACTION = (
    Signal(
        name="your prompt",
        core=words(_BEFORE + _PROMPT, _PROMPT + _AFTER),
        weight=0.7,
        adds=((_REVEAL, 0.3), (_VERBATIM, 0.3)),
    ),
    Signal(
        name="a prompt",
        core=words(_PROMPT),
        weight=0.25,
        adds=((_REVEAL, 0.25), (_VERBATIM, 0.5)),
        takes=((_TOLD, 0.3),),
    ),
    Signal(
        name="all above", core=_of("above"), weight=0.6, adds=((_REVEAL, 0.4), (_VERBATIM, 0.4))
    ),
    Signal(name="leak", core=_of("leak"), weight=1.0),
)
JAILBREAKS = (_BYPASS, _EXTRACTION)
"""Families of signals; only those of one family add up."""

INJECTIONS = (
    (
        Signal(
            name="to the model",
            core=_of("address"),
            weight=0.6,
            takes=((_of("mine_model"), 0.4),),
        ),
        Signal(
            name="ignore the rules",
            core=_RULES,
            weight=0.5,
            needs=_IGNORE,
            adds=((_YOURS, 0.2),),
            takes=((_of("mine"), 0.3), (_CIVIL, 0.5)),
        ),
        Signal(name="order", core=_of("order"), weight=0.4),
        Signal(name="hidden", core=_of("hiding"), weight=0.3),
        Signal(name="system", core=_of("system"), weight=0.6),
        Signal(name="new orders", core=_of("new_orders"), weight=0.3),
    ),
)
ABOUT = _of("about")
"""Words by which attacks are talked about, where the attack itself stands in quotes."""
