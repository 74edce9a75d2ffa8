"""What a guard process is told at its start, checked before the first request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from rlhf_operator.api.chat_template import ChatTemplate
from rlhf_operator.api.guard import GuardConfig, LiveGuard
from rlhf_operator.api.operation import GuardLimits, RequestLimits
from rlhf_operator.api.schema import parse_duration
from rlhf_operator.guard import rules
from rlhf_operator.guard.judge import Replacements

SIGNING_KEY = "GUARD_SIGNING_KEY"
_SHORTEST_KEY = 16


class BadConfig(ValueError):  # noqa: N818 - it names what is wrong, not that something is
    """The guard cannot work as it was told to; the message says why.

    `place` says where, and quotes nothing of what was written there.
    """

    def __init__(self, message: str, *, place: str | None = None) -> None:
        super().__init__(message)
        self.place = place or message


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """A checked configuration with its rules compiled."""

    config: GuardConfig
    """What is in force, with the team's limits."""
    told: GuardConfig
    """What was told at the start, with the operator's limits."""
    rules: rules.Ruleset
    key: bytes
    chat: ChatTemplate | None = None
    """How a conversation becomes a prompt; lines of text where there is none."""

    @property
    def instead(self) -> Replacements:
        """Return what users read in place of answers that do not leave."""
        return Replacements(
            blocked=self.config.refusal_text, withheld=self.config.guard.fallback.message
        )


def parse(text: str, environment: Mapping[str, str]) -> Setup:
    """Return the setup that a configuration file and the environment describe."""
    try:
        told = GuardConfig.model_validate_json(text)
    except ValidationError as error:
        raise BadConfig(f"configuration: {_problems(error)}") from error
    key = environment.get(SIGNING_KEY, "").encode()
    if len(key) < _SHORTEST_KEY:
        raise BadConfig(f"{SIGNING_KEY} must hold at least {_SHORTEST_KEY} bytes")
    return _setup(told, told, key)


def with_live(setup: Setup, text: str) -> Setup:
    """Return the setup with a LiveGuard in place of what may change while a guard runs."""
    try:
        live = LiveGuard.model_validate_json(text)
    except ValidationError as error:
        raise BadConfig(f"live rules: {_problems(error)}") from error
    changed = setup.told.model_copy(update={"guard": live.guard, "providers": live.providers})
    return _setup(setup.told, changed, setup.key)


def _setup(told: GuardConfig, wanted: GuardConfig, key: bytes) -> Setup:
    try:
        compiled = rules.compile_guard(wanted.guard, force_block=wanted.force_block)
    except rules.BadPattern as error:
        place, _, _ = str(error).partition(": ")
        raise BadConfig(str(error), place=f"{place}: a pattern does not compile") from error
    limits = narrowed(told.limits, wanted.guard.limits)
    config = wanted.model_copy(update={"limits": limits})
    return Setup(config=config, told=told, rules=compiled, key=key, chat=_chat(told))


def _chat(told: GuardConfig) -> ChatTemplate | None:
    try:
        return ChatTemplate(told.chat_template) if told.chat_template is not None else None
    except ValueError as error:
        raise BadConfig(f"chatTemplate: {error}", place="chatTemplate") from error


def narrowed(bounds: GuardLimits, asked: RequestLimits) -> GuardLimits:
    """Return the team's limits within the operator's."""
    seconds = parse_duration(asked.timeout).total_seconds() if asked.timeout else None
    wanted = {
        "body_bytes": (bounds.body_bytes, asked.body_bytes),
        "concurrency": (bounds.concurrency, asked.concurrency),
        "max_tokens": (bounds.max_tokens, asked.max_tokens),
        "timeout_seconds": (bounds.timeout_seconds, seconds),
    }
    chosen = {name: min(bound, own) for name, (bound, own) in wanted.items() if own is not None}
    return bounds.model_copy(update=chosen)


def _problems(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(str(part) for part in each['loc']) or 'file'}: {each['msg']}"
        for each in error.errors(include_input=False, include_url=False)
    )
