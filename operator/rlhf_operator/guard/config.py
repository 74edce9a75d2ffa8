"""What a guard process is told at its start, checked before the first request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from rlhf_operator.api.guard import GuardConfig
from rlhf_operator.guard import rules
from rlhf_operator.guard.judge import Replacements

SIGNING_KEY = "GUARD_SIGNING_KEY"
_SHORTEST_KEY = 16


class BadConfig(ValueError):  # noqa: N818 - it names what is wrong, not that something is
    """The guard cannot start as it was told to; the message says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """A checked configuration with its rules compiled."""

    config: GuardConfig
    rules: rules.Ruleset
    key: bytes

    @property
    def instead(self) -> Replacements:
        """Return what users read in place of answers that do not leave."""
        return Replacements(
            blocked=self.config.refusal_text, withheld=self.config.guard.fallback.message
        )


def parse(text: str, environment: Mapping[str, str]) -> Setup:
    """Return the setup that a configuration file and the environment describe."""
    try:
        config = GuardConfig.model_validate_json(text)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in each['loc']) or 'file'}: {each['msg']}"
            for each in error.errors(include_input=False, include_url=False)
        )
        raise BadConfig(f"configuration: {problems}") from error
    key = environment.get(SIGNING_KEY, "").encode()
    if len(key) < _SHORTEST_KEY:
        raise BadConfig(f"{SIGNING_KEY} must hold at least {_SHORTEST_KEY} bytes")
    try:
        compiled = rules.compile_guard(config.guard, force_block=config.force_block)
    except rules.BadPattern as error:
        raise BadConfig(str(error)) from error
    return Setup(config=config, rules=compiled, key=key)
