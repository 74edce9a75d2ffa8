"""What Triton is asked for an answer, and how its replies read. Pure.

Triton's error texts may repeat a prompt, so they end here.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from rlhf_operator.guard import deltas, v2

_MISTAKE = "invalid request: "
_ALWAYS = ("max_tokens", "temperature", "seed")
_WHERE_KNOWN = ("top_p", "frequency_penalty", "presence_penalty")
_ALL_IN_ONE = "sampling_parameters"
_MOST_TOKENS = 1_000_000


class Refused(ValueError):  # noqa: N818 - the client must change the request
    """The model cannot answer this request, such as one that is too long for it."""


class TritonError(Exception):
    """Triton gave no answer that can be used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """How an answer is to be made."""

    max_tokens: int
    temperature: float | None = None
    seed: int | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """What the model made of a prompt; tokens where the backend counts them."""

    text: str
    tokens: int | None = None
    prompt_tokens: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Abilities:
    """What a model can do, by its configuration in Triton."""

    is_decoupled: bool = False
    inputs: frozenset[str] = frozenset()

    @property
    def honours(self) -> frozenset[str]:
        """Return the parameters beyond the usual ones that have an effect."""
        known = frozenset(_WHERE_KNOWN)
        return known if _ALL_IN_ONE in self.inputs else known & self.inputs

    def question(
        self, prompt: str, parameters: Parameters, *, stream: bool, exclude_input: bool
    ) -> dict[str, Any]:
        """Return the body of a request for an answer."""
        given = {
            name: value for name, value in asdict(parameters).items() if value not in (None, ())
        }
        asked: dict[str, Any] = {"text_input": prompt}
        if _ALL_IN_ONE in self.inputs:
            # vLLM's backend reads either this one or all others, and a list only here.
            asked[_ALL_IN_ONE] = json.dumps(given)
        else:
            names = (*_ALWAYS, *(name for name in _WHERE_KNOWN if name in self.inputs))
            asked |= {name: given[name] for name in names if name in given}
        if exclude_input:
            asked["exclude_input_in_output"] = True
        if stream and "stream" in self.inputs:
            asked["stream"] = True
        return asked


def read_abilities(body: bytes) -> Abilities:
    """Return what a model's configuration says."""
    try:
        config = v2.parse(body)
        inputs = frozenset(str(each["name"]) for each in config.get("input", []))
        is_decoupled = config.get("model_transaction_policy", {}).get("decoupled") is True
    except (v2.Malformed, AttributeError, KeyError, TypeError):
        raise TritonError("the model's configuration cannot be read") from None
    return Abilities(is_decoupled=is_decoupled, inputs=inputs)


def read_event(data: bytes) -> dict[str, Any]:
    """Return the fields of one event of a stream; one that tells of an error is raised."""
    try:
        # Bytes that are half a character stay what they are until the other half comes.
        fields = v2.parse(data.decode("utf-8", "surrogateescape"))
    except v2.Malformed as error:
        raise TritonError(f"an event cannot be read: {error}") from None
    if "error" in fields:
        raise _failure(fields, "the stream ended with an error")
    return fields


def read_delta(fields: dict[str, Any]) -> Generation:
    """Return what an event adds to an answer; it may be nothing yet."""
    text = fields.get(v2.TEXT_OUTPUT, "")
    # Nearly always it is one text, and an answer has hundreds of events.
    return _generation(text if isinstance(text, str) else _only_text(fields), fields)


def read_generation(body: bytes) -> Generation:
    """Return the generation in a reply of the generate extension."""
    try:
        fields = v2.parse(body.decode("utf-8", "surrogateescape"))
        if "error" in fields:
            raise _failure(fields, "generate answered with an error")
        texts = v2.generate_text(v2.Message(fields=fields), v2.TEXT_OUTPUT)
    except v2.Malformed as error:
        raise TritonError(f"generate's answer cannot be read: {error}") from None
    if len(texts) != 1:
        raise TritonError(f"generate's answer has {len(texts)} texts, not one")
    return _generation(deltas.whole(texts[0]), fields)


def failure(status: int, body: bytes) -> Refused | TritonError:
    """Return what a reply with an error says.

    Triton answers 400 to every failure, a dead backend included, so the status says nothing.
    """
    try:
        fields = v2.parse(body.strip().removeprefix(b"data:"))
    except v2.Malformed:
        fields = {}
    return _failure(fields, f"it answered with status {status}")


def _failure(fields: dict[str, Any], otherwise: str) -> Refused | TritonError:
    _, found, mistake = str(fields.get("error", "")).partition(_MISTAKE)
    return Refused(mistake[:300]) if found else TritonError(otherwise)


def _only_text(fields: dict[str, Any]) -> str:
    """Return the text of an event that has it in a list."""
    try:
        texts = v2.generate_text(v2.Message(fields=fields), v2.TEXT_OUTPUT)
    except v2.Malformed as error:
        raise TritonError(f"an event cannot be read: {error}") from None
    if len(texts) > 1:
        raise TritonError(f"an event has {len(texts)} texts, not one")
    return "".join(texts)


def _generation(text: str, fields: dict[str, Any]) -> Generation:
    return Generation(
        text=text, tokens=_count(fields), prompt_tokens=_number(fields.get("input_tokens"))
    )


def added(known: int | None, more: int | None) -> int | None:
    """Return a count with more added; what is not known adds nothing."""
    return known if more is None else (known or 0) + more


def _count(fields: dict[str, Any]) -> int | None:
    for name in ("token_ids", "token_logprobs"):
        if name in fields:
            # Triton writes a tensor of one element without brackets.
            return len(fields[name]) if isinstance(fields[name], list) else 1
    return _number(fields.get("output_tokens"))


def _number(value: Any) -> int | None:
    """Return a number of tokens; what cannot be one was not told."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and 0 <= value <= _MOST_TOKENS else None
