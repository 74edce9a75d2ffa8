"""Triton's v2 dialect: finds the texts in requests and replies, JSON or binary. Pure.

Whatever is forwarded was decoded and encoded anew, so that Triton reads what was checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

HEADER_LENGTH = "Inference-Header-Content-Length"
"""The header that says how much of a body is JSON; binary tensors follow."""

TEXT_INPUT = "text_input"
TEXT_OUTPUT = "text_output"

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_MODEL = rf"/v2/models/{_NAME}(?:/versions/[0-9]+)?"
_READABLE = re.compile(
    rf"/v2/?|/v2/health/(?:live|ready)|/v2/models/stats|{_MODEL}(?:/(?:ready|config|stats))?"
)
_ASKABLE = re.compile(rf"{_MODEL}/(?P<verb>infer|generate|generate_stream)")

_NO_PROSE = re.compile(r"[A-Za-z0-9_.:/-]{0,128}")
"""What may stand beside the answers, which no stage sees: names and numbers."""

_LONGEST_NUMBER = 18
_DEEPEST = 16
"""Dimensions of a tensor that is written as lists."""

Verb = Literal["infer", "generate", "generate_stream"]
Side = Literal["inputs", "outputs"]


class Malformed(ValueError):  # noqa: N818 - says what the bytes are
    """The bytes are not what the protocol says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One request or reply: its JSON part, and the binary tensors behind it."""

    fields: dict[str, Any]
    binary: bytes = b""

    def encode(self) -> bytes:
        """Return the bytes to send."""
        return json.dumps(self.fields).encode() + self.binary

    @property
    def header_length(self) -> int | None:
        """Return the length of the JSON part, where something stands behind it."""
        return len(json.dumps(self.fields).encode()) if self.binary else None


def is_readable(path: str) -> bool:
    """Tell whether a path may be read; what controls the server is not among them."""
    return _READABLE.fullmatch(path) is not None


def methods(path: str) -> tuple[str, ...]:
    """Return the methods of a path that users may call; none where it is closed."""
    if is_readable(path):
        return ("GET", "HEAD")
    return ("POST",) if verb(path) else ()


def is_probe(path: str) -> bool:
    """Tell whether a path answers by its status alone."""
    return path.endswith(("/ready", "/live"))


def verb(path: str) -> Verb | None:
    """Return what a path asks of a model."""
    found = _ASKABLE.fullmatch(path)
    match found["verb"] if found else None:
        case "infer":
            return "infer"
        case "generate":
            return "generate"
        case "generate_stream":
            return "generate_stream"
        case _:
            return None


def decode(body: bytes, header_length: str | None) -> Message:
    """Return the message in a body; the header says how long its JSON part is."""
    if header_length is not None and not (header_length.isascii() and header_length.isdigit()):
        raise Malformed(f"{HEADER_LENGTH} is not a number")
    if header_length is not None and len(header_length) > _LONGEST_NUMBER:
        raise Malformed(f"{HEADER_LENGTH} is larger than the body")
    length = len(body) if header_length is None else int(header_length)
    if length > len(body):
        raise Malformed(f"{HEADER_LENGTH} is larger than the body")
    return Message(fields=parse(body[:length]), binary=body[length:])


def parse(text: bytes | str) -> dict[str, Any]:
    """Return the JSON object in a text."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise Malformed("the body is not JSON") from None
    if not isinstance(fields, dict):
        raise Malformed("the body is not a JSON object")
    return fields


def generate_text(message: Message, name: str) -> list[str]:
    """Return the texts under a name in a generate request or reply."""
    if name not in message.fields:
        return []
    return list(_strings(message.fields[name]))


def tensor_texts(message: Message, side: Side, name: str) -> list[str]:
    """Return the texts of the tensors with a name in an infer request or reply."""
    texts: list[str] = []
    for tensor, blob in tensors_of(message, side):
        if tensor.get("name") == name:
            texts += _strings(tensor.get("data", [])) if blob is None else elements(blob)
    return texts


def replace(message: Message, verb: Verb, side: Side, name: str, texts: Sequence[str]) -> Message:
    """Return a message with these texts in place of its own, in their order."""
    rest = iter(texts)
    if verb != "infer":
        fields = {**message.fields, name: _with_strings(message.fields[name], rest)}
        return Message(fields=fields, binary=message.binary)
    tensors = []
    blobs = []
    for tensor, blob in tensors_of(message, side):
        if tensor.get("name") == name and blob is None:
            tensor = {**tensor, "data": _with_strings(tensor.get("data", []), rest)}
        elif tensor.get("name") == name and blob is not None:
            blob = b"".join(_element(next(rest)) for _ in elements(blob))
            parameters = {**tensor["parameters"], "binary_data_size": len(blob)}
            tensor = {**tensor, "parameters": parameters}
        tensors.append(tensor)
        blobs.append(blob or b"")
    return Message(fields={**message.fields, side: tensors}, binary=b"".join(blobs))


def texts_only(reply: Message, verb: Verb) -> Message:
    """Return a reply without all that could tell in numbers what was taken out of its text."""
    if verb != "infer":
        kept = ("id", "model_name", "model_version", TEXT_OUTPUT)
        return Message(fields={name: reply.fields[name] for name in kept if name in reply.fields})
    tensors = [each for each in tensors_of(reply, "outputs") if each[0].get("name") == TEXT_OUTPUT]
    fields = {**reply.fields, "outputs": [tensor for tensor, _ in tensors]}
    return Message(fields=fields, binary=b"".join(blob or b"" for _, blob in tensors))


def beside(reply: Message, verb: Verb) -> Iterator[str]:
    """Yield every text in a reply that is not among its answers, wherever it stands."""
    waiting: list[Any] = []
    if verb != "infer":
        waiting += [each for name, each in reply.fields.items() if name != TEXT_OUTPUT]
        yield from reply.fields
    else:
        waiting += [each for name, each in reply.fields.items() if name != "outputs"]
        yield from reply.fields
        for tensor, blob in tensors_of(reply, "outputs"):
            is_answer = tensor.get("name") == TEXT_OUTPUT
            waiting.append({k: v for k, v in tensor.items() if not (is_answer and k == "data")})
            if not is_answer and blob is not None and tensor.get("datatype") == "BYTES":
                yield from elements(blob)
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, dict):
            yield from item
            waiting.extend(item.values())


def says_more(reply: Message, verb: Verb) -> bool:
    """Tell whether a text stands beside the answers of a reply, where no stage would see it."""
    return not all(_NO_PROSE.fullmatch(text) for text in beside(reply, verb))


def refusal(asked: Message, verb: Verb, *, model: str, text: str, count: int) -> bytes:
    """Return a reply that has the refusal text in place of each answer, and nothing else."""
    head = {"model_name": model, "model_version": "1"}
    match verb:
        case "generate":
            return json.dumps({**head, TEXT_OUTPUT: text}).encode()
        case "generate_stream":
            return b"data: " + json.dumps({**head, TEXT_OUTPUT: text}).encode() + b"\n\n"
        case "infer":
            # Two dimensions, as Triton has them with batching: one text per request.
            tensor = {"name": TEXT_OUTPUT, "datatype": "BYTES", "shape": [count, 1]}
            reply = {**head, "outputs": [{**tensor, "data": [text] * count}]}
            if isinstance(asked.fields.get("id"), str):
                reply["id"] = asked.fields["id"]
            return json.dumps(reply).encode()


def tensors_of(message: Message, side: Side) -> Iterator[tuple[dict[str, Any], bytes | None]]:
    """Yield each tensor, with its bytes where they stand behind the JSON."""
    tensors = message.fields.get(side, [])
    if not isinstance(tensors, list) or not all(isinstance(each, dict) for each in tensors):
        raise Malformed(f"{side} is not a list of objects")
    at = 0
    for tensor in tensors:
        parameters = tensor.get("parameters")
        size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
        if size is None:
            yield tensor, None
            continue
        if not isinstance(size, int) or size < 0 or at + size > len(message.binary):
            raise Malformed("binary_data_size does not fit the body")
        yield tensor, message.binary[at : at + size]
        at += size
    if at < len(message.binary):
        raise Malformed("bytes stand behind all tensors")


def _with_strings(data: Any, texts: Iterator[str]) -> Any:
    if isinstance(data, list):
        return [_with_strings(each, texts) for each in data]
    return next(texts)


def _element(text: str) -> bytes:
    encoded = text.encode("utf-8", "replace")
    return len(encoded).to_bytes(4, "little") + encoded


def _strings(data: Any) -> Iterator[str]:
    waiting = [(data, 0)]
    while waiting:
        item, depth = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, list) and depth < _DEEPEST:
            waiting.extend((each, depth + 1) for each in reversed(item))
        else:
            raise Malformed("a text tensor holds something other than text")


def elements(blob: bytes) -> Iterator[str]:
    """Yield the texts of a tensor in binary form."""
    at = 0
    while at < len(blob):
        size = int.from_bytes(blob[at : at + 4], "little")
        at += 4
        if at + size > len(blob):
            raise Malformed("a text tensor is cut short")
        yield blob[at : at + size].decode("utf-8", "replace")
        at += size
