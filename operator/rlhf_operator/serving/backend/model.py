"""Triton's side of the backend `huggingface`: tensors in, tensors out.

Triton starts this file in a process of its own for each model instance. It lies beside
`generation.py`, which does the work.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.insert(0, str(Path(__file__).parent))

from generation import (  # type: ignore[import-not-found]
    Answer,
    Generator,
    Question,
    Settings,
    Unanswerable,
)

_PADDING = -1


class TritonPythonModel:
    """One instance of the model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the checkpoint that `1/model.json` names."""
        folder = Path(args["model_repository"]) / args["model_version"]
        settings = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        is_gpu = args["model_instance_kind"] == "GPU"
        device = f"cuda:{args['model_instance_device_id']}" if is_gpu else "cpu"
        self._generator = Generator(Settings(**settings), device)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return one response for each request; those that can be answered share a batch."""
        asked: list[list[Question] | str] = [self._questions(request) for request in requests]
        together = [question for each in asked if isinstance(each, list) for question in each]
        try:
            answers = iter(self._generator.answer(together) if together else ())
        except Exception as error:
            # The text of the error could hold a prompt.
            failed = _failure(f"the model failed: {type(error).__name__}")
            return [failed if isinstance(each, list) else _failure(each) for each in asked]
        return [
            _failure(each) if isinstance(each, str) else _response([next(answers) for _ in each])
            for each in asked
        ]

    def _questions(self, request: Any) -> list[Question] | str:
        """Return the questions in a request, or why they cannot be answered."""
        try:
            texts = [_decode(row[0]) for row in _input(request, "text_input")]
            found = [
                Question(text=text, **options)
                for text, options in zip(texts, _options(request, len(texts)), strict=True)
            ]
            for question in found:
                self._generator.check(question)
        except Unanswerable as error:
            # Triton answers 400 to every failure; this tells the client's from the model's.
            return f"invalid request: {error}"
        return found


def _options(request: Any, rows: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{} for _ in range(rows)]
    for name, kind in (("max_tokens", int), ("temperature", float), ("seed", int)):
        given = _input(request, name)
        if given is not None:
            for row, options in enumerate(found):
                options[name] = kind(given[row][0])
    return found


def _input(request: Any, name: str) -> Any:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy()


def _decode(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise Unanswerable("text_input is not UTF-8") from None


def _failure(message: str) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message))


def _response(answers: list[Answer]) -> Any:
    longest = max(len(answer.token_ids) for answer in answers)

    def padded(rows: list[tuple[Any, ...]], fill: float, kind: Any) -> Any:
        return np.array([[*row, *[fill] * (longest - len(row))] for row in rows], dtype=kind)

    texts = np.array([[answer.text.encode()] for answer in answers], dtype=np.object_)
    ids = padded([answer.token_ids for answer in answers], _PADDING, np.int64)
    logprobs = padded([answer.token_logprobs for answer in answers], 0.0, np.float32)
    lengths = np.array([[answer.input_tokens] for answer in answers], dtype=np.int32)
    return pb_utils.InferenceResponse(
        output_tensors=[
            pb_utils.Tensor("text_output", texts),
            pb_utils.Tensor("token_ids", ids),
            pb_utils.Tensor("token_logprobs", logprobs),
            pb_utils.Tensor("input_tokens", lengths),
        ]
    )
