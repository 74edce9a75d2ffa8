"""What a request of Triton's API holds beside its prompts, as the model may read that too. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from rlhf_operator.guard.v2 import (
    TEXT_INPUT,
    TEXT_OUTPUT,
    Malformed,
    Message,
    Verb,
    elements,
    tensors_of,
)

_IMAGES = frozenset({"image", "multi_modal_data"})
_LOGPROBS = "return_logprobs"
_WIDEST = 8
"""Bytes of a number."""


def texts_beside(message: Message, verb: Verb, *, prompts: int) -> list[str]:
    """Return all other texts that the model is sent, those in settings written as JSON too.

    Malformed where something could be a prompt in a form that nobody checks: an image, or more
    numbers than one for each prompt, such as tokens.
    """
    texts: list[str] = []
    for name, value in _values(message, verb):
        if name in _IMAGES:
            raise Malformed(f"beside {TEXT_INPUT} there is an image, which cannot be checked")
        numbers = 0
        for leaf in _leaves(value):
            if isinstance(leaf, str):
                texts += _said(leaf)
            else:
                numbers += leaf is not None
        if numbers > max(1, prompts):
            raise Malformed(f"beside {TEXT_INPUT} there are numbers that cannot be checked")
    return [text for text in texts if text.strip()]


def expect_checkable(message: Message, verb: Verb) -> None:
    """Raise Malformed where a request wants an answer in a form that no stage sees.

    Such a reply would have to be refused, and would count as a fault of the model.
    """
    wanted = message.fields.get("outputs")
    if verb == "infer" and isinstance(wanted, list) and wanted:
        names = [each.get("name") for each in wanted if isinstance(each, dict)]
        if TEXT_OUTPUT not in names:
            raise Malformed(f"an answer without {TEXT_OUTPUT} cannot be checked")
    for name, value in _values(message, verb):
        if name == _LOGPROBS and any(_leaves(value)):
            raise Malformed(f"{_LOGPROBS}: they repeat the answer where it cannot be checked")


def _values(message: Message, verb: Verb) -> Iterator[tuple[str, Any]]:
    """Yield each input and setting with its name; of numbers in binary form whether they are 0."""
    settings = message.fields.get("parameters")
    if verb != "infer":
        known = (TEXT_INPUT, "id", "parameters")
        yield from ((name, each) for name, each in message.fields.items() if name not in known)
    else:
        for tensor, blob in tensors_of(message, "inputs"):
            settings = [settings, tensor.get("parameters")]
            if tensor.get("name") == TEXT_INPUT:
                continue
            value = tensor.get("data")
            if blob is not None and tensor.get("datatype") == "BYTES":
                value = list(elements(blob))
            elif blob is not None:
                value = [any(blob[at : at + _WIDEST]) for at in range(0, len(blob), _WIDEST)]
            yield str(tensor.get("name")), value
    for each in _leaves(settings):
        yield "parameters", each


def _said(text: str) -> list[str]:
    """Return the texts in settings that are written as JSON; a text that is not is one itself."""
    try:
        # All of a key that stands twice.
        value = json.loads(text, object_pairs_hook=lambda pairs: [each for _, each in pairs])
    except (ValueError, RecursionError):
        return [text]
    return [leaf for leaf in _leaves(value) if isinstance(leaf, str)]


def _leaves(value: Any) -> Iterator[Any]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
        else:
            yield item
