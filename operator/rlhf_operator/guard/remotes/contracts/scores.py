"""A classifier on Triton that gives one score for each label.

Asked by `POST /v2/models/MODEL/infer` (the v2 protocol, JSON): the input tensor `text`, BYTES,
shape [1, 1], as a text model with batching has it. Answered is the output tensor `scores`, FP32,
shape [1, N], in the order of the spec's labels. Triton's dynamic batching puts requests together.

Text classifiers read a few hundred tokens and ignore the rest without a word, so that a harmless
beginning would hide what follows. Long texts therefore go in parts, and the worst counts. Nobody
knows a classifier's tokens here: four letters of a word count as one, any other sign does, too.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rlhf_operator.api.stages import Direction
from rlhf_operator.guard.conversation import Conversation
from rlhf_operator.guard.remotes import answers
from rlhf_operator.guard.remotes.answers import BadAnswer
from rlhf_operator.guard.remotes.categories import Said, Wanted
from rlhf_operator.guard.verdict import Judgement

INPUT, OUTPUT = "text", "scores"
PART = 2000
"""Characters in one part at most."""
TOKENS = 500
"""Tokens in one part at most, by our count; encoders have 512, with their own at both ends."""
_OVERLAP = 50
"""Tokens of one part with which the next begins."""
_LONGEST_TOKEN = 4
_TOKEN = re.compile(r"[a-z\u00c0-\u024f]{1,4}|\S", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """Asks a classifier for its scores."""

    wanted: Wanted
    model: str
    labels: tuple[str, ...]

    @property
    def path(self) -> str:
        """Return Triton's path for this model."""
        return f"/v2/models/{self.model}/infer"

    def headers(self, _credential: str) -> dict[str, str]:
        """Return nothing: Triton knows no credentials."""
        return {}

    def requests(
        self, text: str, _direction: Direction, _conversation: Conversation
    ) -> tuple[dict[str, Any], ...]:
        """Return an inference request for each part that a classifier reads to its end."""
        tensor = {"name": INPUT, "shape": [1, 1], "datatype": "BYTES"}
        return tuple(
            {"inputs": [{**tensor, "data": [part]}], "outputs": [{"name": OUTPUT}]}
            for part in _parts(text)
        )

    def read(self, answer: dict[str, Any], _text: str) -> Judgement:
        """Return what the scores say; there must be exactly one for each label."""
        tensors = map(answers.an_object, answers.a_list(answer.get("outputs")))
        named = [tensor for tensor in tensors if tensor.get("name") == OUTPUT]
        if len(named) != 1 or named[0].get("datatype") not in ("FP32", "FP64"):
            raise BadAnswer("not one tensor of scores")
        shape = [answers.a_number(size) for size in answers.a_list(named[0].get("shape"))]
        data = answers.a_list(named[0].get("data"), length=len(self.labels))
        if math.prod(shape) != len(data):
            raise BadAnswer("a tensor of another shape than its data")
        numbers = map(answers.a_number, data)
        scores = dict(zip(self.labels, numbers, strict=True))
        return self.wanted.judge(Said(flagged=False, scores=scores))


def _parts(text: str) -> Iterator[str]:
    """Yield the parts of a text, each beginning within the one before."""
    starts = [token.start() for token in _TOKEN.finditer(text)]
    first, after = 0, 0
    while after < len(starts):
        after = min(first + TOKENS, bisect_right(starts, starts[first] + PART - _LONGEST_TOKEN))
        end = starts[after] if after < len(starts) else len(text)
        yield text[starts[first] : min(end, starts[first] + PART)]
        first = max(first + 1, after - min(_OVERLAP, (after - first) // 2))
