"""Parameters of OpenAI's API that nobody here reads: which change nothing, and which are refused.

What is not named here is refused, so that no wish is passed over in silence. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
"""What may be repeated to a client: anything else is no name of a parameter, but what it sent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unread:
    """What one kind of JSON object may hold beside what is read of it."""

    neutral: Mapping[str, tuple[Any, ...]]
    """Parameters that are there as a matter of course, and the values that change nothing."""
    harmless: Collection[str] = ()
    """Parameters that change no answer, whatever their value."""

    def problem(self, given: Mapping[str, Any] | None, *, where: str = "") -> str | None:
        """Return what is wrong with parameters and what to do, or None; null asks for nothing."""
        for name, value in (given or {}).items():
            if value is None or name in self.harmless:
                continue
            said = where + (name if _NAME.fullmatch(name) else "a field")
            values = self.neutral.get(name)
            if values is None:
                return f"{said}: this is not supported here; leave it out"
            if not any(_is_same(value, one) for one in values):
                return f"{said}: only {json.dumps(values[0])} is supported"
        return None

    def describe(self) -> dict[str, Any]:
        """Return the same as a part of a JSON schema."""
        return {
            "properties": {
                **{name: {"enum": [None, *values]} for name, values in self.neutral.items()},
                **{name: {} for name in sorted(self.harmless)},
            },
            "additionalProperties": {"type": "null"},
        }


REQUEST = Unread(
    neutral={
        "n": (1,),
        "best_of": (1,),
        "echo": (False,),
        "logprobs": (False, 0),
        "top_logprobs": (0,),
        "suffix": ("",),
        "tools": ([],),
        "tool_choice": ("none", "auto"),
        "functions": ([],),
        "function_call": ("none", "auto"),
        "logit_bias": ({},),
        "response_format": ({"type": "text"},),
        "modalities": (["text"],),
        "reasoning_effort": ("none",),
        "verbosity": ("medium",),
        "store": (False,),
        "top_k": (-1, 0),
        "min_p": (0,),
        "repetition_penalty": (1,),
        "ignore_eos": (False,),
        "skip_special_tokens": (True,),
        "min_tokens": (0,),
        "length_penalty": (1,),
        "use_beam_search": (False,),
    },
    harmless=(
        "metadata",
        "parallel_tool_calls",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_retention",
        "service_tier",
    ),
)
STREAM_OPTIONS = Unread(
    neutral={"continuous_usage_stats": (False,)}, harmless=("include_obfuscation",)
)
MESSAGE = Unread(neutral={"tool_calls": ([],), "annotations": ([],)}, harmless=("name",))


def _is_same(given: Any, neutral: Any) -> bool:
    """Tell whether two JSON values are the same; to Python, False is 0."""
    return bool(given == neutral) and isinstance(given, bool) is isinstance(neutral, bool)
