"""OpenAI's chunks say what is to be said, whatever that is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_operator.guard import sse
from rlhf_operator.guard.chunks import Chunks
from tests.guard.world import examples


@pytest.mark.parametrize("is_chat", [True, False])
@examples
@given(texts=st.lists(st.text(), min_size=1, max_size=4))
def test_every_text_is_in_a_chunk_of_its_own(is_chat: bool, texts: list[str]) -> None:
    chunks = Chunks(
        id="an id", created=7, model="m", is_chat=is_chat, include_usage=False, max_tokens=9
    )
    reader = sse.Reader()
    read = [each for text in texts for each in reader.feed(chunks.piece(text))]
    kind = "chat.completion.chunk" if is_chat else "text_completion"
    opening = [{"delta": {"role": "assistant", "content": ""}}] if is_chat else []
    said = [{"delta": {"content": text}} if is_chat else {"text": text} for text in texts]
    assert [json.loads(each) for each in read] == [
        {
            "id": "an id",
            "object": kind,
            "created": 7,
            "model": "m",
            "choices": [{"index": 0, **each, "logprobs": None, "finish_reason": None}],
        }
        for each in opening + said
    ]
