"""Triton's Python backend, played: what a model file sees of it, and what it sends."""

import importlib.util
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy

FINAL = 1


@dataclass
class Tensor:
    """A tensor with a name."""

    name: str
    array: Any

    def as_numpy(self):
        return self.array


@dataclass
class TritonError:
    """What went wrong, in the model's words."""

    text: str

    def message(self):
        return self.text


@dataclass
class InferenceResponse:
    """One response: tensors or an error."""

    output_tensors: list[Tensor] = field(default_factory=list)
    error: TritonError | None = None

    def get(self, name):
        """Return the values of an output, or nothing where it is absent."""
        for tensor in self.output_tensors:
            if tensor.name == name:
                return tensor.array.tolist()
        return None

    def text(self):
        """Return the one text of the response."""
        [[text]] = self.get("text_output")
        return text if isinstance(text, str) else text.decode()


@dataclass
class Request:
    """One request of a decoupled or plain model; it may be cancelled after some responses."""

    inputs: dict[str, Any]
    leaves_after: int | None = None
    """How many responses the client waits for."""
    sent: list[InferenceResponse] = field(default_factory=list)
    ended: bool = False

    def is_cancelled(self):
        return self.leaves_after is not None and len(self.sent) >= self.leaves_after

    def get_response_sender(self):
        return self

    def send(self, response=None, flags=0):
        assert not self.ended, "a response after the final flag"
        if response is not None:
            self.sent.append(response)
        self.ended = flags == FINAL


def ask(*prompts: str, leaves_after: int | None = None, **options: Any) -> Request:
    """Return a request for prompts, with options for all of them."""
    kinds = {"max_tokens": "int32", "temperature": "float32", "seed": "int64", "stream": "bool"}
    rows = {name: numpy.full((len(prompts), 1), value, dtype=kinds[name])
            for name, value in options.items()}  # fmt: skip
    texts = numpy.array([[prompt.encode()] for prompt in prompts], dtype=object)
    return Request({"text_input": texts, **rows}, leaves_after=leaves_after)


def load(path: Path) -> ModuleType:
    """Return a model file as Triton's process would load it."""
    played = ModuleType("triton_python_backend_utils")
    played.Tensor = Tensor  # type: ignore[attr-defined]
    played.TritonError = TritonError  # type: ignore[attr-defined]
    played.InferenceResponse = InferenceResponse  # type: ignore[attr-defined]
    played.TRITONSERVER_RESPONSE_COMPLETE_FINAL = FINAL  # type: ignore[attr-defined]
    played.get_input_tensor_by_name = _input  # type: ignore[attr-defined]
    spec = importlib.util.spec_from_file_location(f"played_{path.parent.name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(played.__name__)
    sys.modules[played.__name__] = played
    try:
        spec.loader.exec_module(module)
    finally:
        if before is None:
            del sys.modules[played.__name__]
    return module


def _input(request: Request, name: str) -> Tensor | None:
    return Tensor(name, request.inputs[name]) if name in request.inputs else None
