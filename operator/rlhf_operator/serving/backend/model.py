"""Triton's side of the backend `huggingface`: tensors in, tensors out.

Triton starts this file in a process of its own for each model instance; the package that does
the work lies beside it. A decoupled model gives each request its responses when they are made:
the whole answer, or to a request with `stream` one response per token. Each of those costs about
0.1 ms, and asking whether its client has left 0.03 ms.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.insert(0, str(Path(__file__).parent))

from rlhf_operator.serving.backend.answers import Answer, Question, Step, Unanswerable
from rlhf_operator.serving.backend.generation import Generator, Settings

_PADDING = -1
_FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    """One instance of the model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the checkpoint that `1/model.json` names."""
        folder = Path(args["model_repository"]) / args["model_version"]
        settings = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        is_gpu = args["model_instance_kind"] == "GPU"
        device = f"cuda:{args['model_instance_device_id']}" if is_gpu else "cpu"
        self._generator = Generator(Settings(**settings), device)
        config = json.loads(args["model_config"])
        self._is_decoupled = config.get("model_transaction_policy", {}).get("decoupled", False)

    def execute(self, requests: list[Any]) -> list[Any] | None:
        """Answer the requests; those that can be answered share a batch."""
        exchanges = [Exchange(request, is_decoupled=self._is_decoupled) for request in requests]
        batch = Batch([each for each in exchanges if self._begin(each)])
        try:
            if batch.questions:
                self._generator.run(batch.questions, batch.hear)
        except Exception as error:
            # The text of the error could hold a prompt.
            batch.fail(f"the model failed: {type(error).__name__}")
        return None if self._is_decoupled else [each.sent for each in exchanges]

    def _begin(self, exchange: Exchange) -> bool:
        """Return whether the request can be answered; tell its client if not."""
        try:
            exchange.read()
            for question in exchange.questions:
                self._generator.check(question)
        except Unanswerable as error:
            # Triton answers 400 to every failure; this tells the client's from the model's.
            exchange.fail(f"invalid request: {error}")
            return False
        if exchange.is_stream:
            exchange.open([self._generator.count(each.text) for each in exchange.questions])
        return True


class Exchange:
    """One request and what is sent to it."""

    def __init__(self, request: Any, *, is_decoupled: bool) -> None:
        self.questions: list[Question] = []
        self.is_over = False
        self.sent: Any = None
        """The response, where Triton takes it as what `execute` returns."""
        self._request = request
        self._sender = request.get_response_sender() if is_decoupled else None
        self._answers: dict[int, Answer] = {}

    def read(self) -> None:
        """Read the questions; raise if they cannot be read."""
        texts = [_decode(row[0]) for row in _input(self._request, "text_input")]
        self.questions = [
            Question(text=text, **options)
            for text, options in zip(texts, _options(self._request, len(texts)), strict=True)
        ]

    def open(self, input_tokens: Sequence[int]) -> None:
        """Begin a stream.

        Only from the first response on does Triton notice that a client of HTTP leaves, so that
        one must not wait for the first token.
        """
        self._send(_response(text_output=[""] * len(input_tokens), input_tokens=input_tokens))

    def end_if_left(self) -> bool:
        """End the request if nobody waits for it any more; return whether it is over."""
        if self._sender is not None and not self.is_over and self._request.is_cancelled():
            self.is_over = True
            self._sender.send(flags=_FINAL)
        return self.is_over

    def take(self, steps: Sequence[Step | None]) -> None:
        """Take a step of each row; send it, or the answers when they are whole."""
        for at, step in enumerate(steps):
            if step is not None and step.answer is not None:
                self._answers[at] = step.answer
        is_last = len(self._answers) == len(self.questions)
        if self.is_stream:
            self._send(_step_response(steps), is_last=is_last)
        elif is_last:
            self._send(
                _whole_response([self._answers[at] for at in range(len(steps))]), is_last=True
            )

    def fail(self, message: str) -> None:
        """Send an error in place of what is missing."""
        error = pb_utils.TritonError(message)
        self._send(pb_utils.InferenceResponse(error=error), is_last=True)

    @property
    def is_stream(self) -> bool:
        """Whether the text is sent as it is made."""
        return self._sender is not None and any(each.stream for each in self.questions)

    def _send(self, response: Any, *, is_last: bool = False) -> None:
        self.is_over = is_last
        if self._sender is None:
            self.sent = response
        else:
            self._sender.send(response, flags=_FINAL if is_last else 0)


class Batch:
    """The requests that share a pass through the model; each has its rows in it."""

    def __init__(self, exchanges: Sequence[Exchange]) -> None:
        self.questions: list[Question] = []
        self._places: list[tuple[Exchange, range]] = []
        for exchange in exchanges:
            first = len(self.questions)
            self.questions += exchange.questions
            self._places.append((exchange, range(first, len(self.questions))))

    def hear(self, steps: Sequence[Step | None]) -> list[int]:
        """Pass each request its part of a step; return the rows of those that are over."""
        over: list[int] = []
        for exchange, rows in self._places:
            if exchange.end_if_left():
                over += rows
            else:
                exchange.take(steps[rows.start : rows.stop])
        return over

    def fail(self, message: str) -> None:
        """Fail what is not answered yet."""
        for exchange, _ in self._places:
            if not exchange.is_over:
                exchange.fail(message)


def _options(request: Any, rows: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{} for _ in range(rows)]
    kinds = (("max_tokens", int), ("temperature", float), ("seed", int), ("stream", bool))
    for name, kind in kinds:
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


def _step_response(steps: Sequence[Step | None]) -> Any:
    return _response(
        text_output=[step.text if step else "" for step in steps],
        token_ids=[[step.token_id] if step else [] for step in steps],
        token_logprobs=[[step.token_logprob] if step else [] for step in steps],
    )


def _whole_response(answers: Sequence[Answer]) -> Any:
    return _response(
        text_output=[answer.text for answer in answers],
        token_ids=[answer.token_ids for answer in answers],
        token_logprobs=[answer.token_logprobs for answer in answers],
        input_tokens=[answer.input_tokens for answer in answers],
    )


def _response(
    *,
    text_output: Sequence[str],
    token_ids: Sequence[Sequence[int]] | None = None,
    token_logprobs: Sequence[Sequence[float]] | None = None,
    input_tokens: Sequence[int] | None = None,
) -> Any:
    texts = np.array([[text.encode()] for text in text_output], dtype=np.object_)
    tensors = [pb_utils.Tensor("text_output", texts)]
    if token_ids is not None:
        tensors.append(pb_utils.Tensor("token_ids", _padded(token_ids, _PADDING, np.int64)))
    if token_logprobs is not None:
        padded = _padded(token_logprobs, 0.0, np.float32)
        tensors.append(pb_utils.Tensor("token_logprobs", padded))
    if input_tokens is not None:
        counts = np.array([[count] for count in input_tokens], dtype=np.int32)
        tensors.append(pb_utils.Tensor("input_tokens", counts))
    return pb_utils.InferenceResponse(output_tensors=tensors)


def _padded(rows: Sequence[Sequence[float]], fill: float, kind: Any) -> Any:
    longest = max(len(row) for row in rows)
    return np.array([[*row, *[fill] * (longest - len(row))] for row in rows], dtype=kind)
