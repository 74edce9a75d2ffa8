"""What classifiers and services judge part by part: nothing leaves that none of them let pass."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from rlhf_operator.api.guard import Streaming
from rlhf_operator.guard import pipeline
from rlhf_operator.guard.chain import Chain
from rlhf_operator.guard.instruments import StageInstruments
from rlhf_operator.guard.pipeline import CannotJudge
from rlhf_operator.guard.verdict import Found, Judgement, Outcome, Unjudged
from tests.guard.test_window import pieces
from tests.guard.world import a_setup, a_stage, examples

WORD = "bomb"
SILENT = "?"
"""Where this stands, the service does not answer."""
PARTS = [WORD, WORD, "bo", "mb", SILENT, "a", " ", "so it goes ", "\n", "e\u0301", "\u0301",
         "\u1100", "\u1161", "\U0001f4a3"]  # fmt: skip
texts = st.lists(st.sampled_from(PARTS), max_size=40).map("".join)
quiet = texts.map(lambda text: text.replace(SILENT, ""))
cuts = st.lists(st.integers(0, 400), max_size=40)
sizes = st.integers(1, 60)


@dataclass
class Service:
    """A service that knows one word, and remembers what it was shown."""

    seen: list[str] = field(default_factory=list)

    async def judge(self, text: str, _direction: object, _said: object) -> Judgement:
        self.seen.append(text)
        await asyncio.sleep(0)
        if SILENT in text:
            raise CannotJudge(Unjudged.TIMEOUT)
        spans = tuple(match.span() for match in re.finditer(WORD, text))
        return Judgement(found=(Found(category="bad", spans=spans),) if spans else ())


def a_chain(service: Service, chunk: int, context: int, **changes: Any) -> Chain:
    outside = {"service": {"name": "m", "port": 80}, "contract": "LiteLLM"}
    stage = a_stage("service", type="External", rules=None, external=outside, **changes)
    setup = a_setup(guard={"stages": [stage]})
    counts = StageInstruments(CollectorRegistry())
    stages = pipeline.prepare(setup.config.guard, setup.rules, {"service": service}, counts)
    return Chain(stages, Streaming(chunk=chunk, context=context))


async def feed(chain: Chain, parts: Sequence[str]) -> list[str]:
    """Return what left after each part, and at the end."""
    left = []
    for part in parts:
        left.append(await chain.feed(part))
        if chain.is_stopped:
            return left
    return [*left, await chain.finish()]


@examples
@given(texts, cuts, sizes, st.integers(0, 60), st.sampled_from(["Block", "Flag"]), st.booleans())
def test_nothing_leaves_without_a_word_that_lets_it_pass(
    text: str, places: list[int], chunk: int, context: int, action: str, is_open: bool
) -> None:
    service = Service()
    policy = "Open" if is_open else "Closed"
    chain = a_chain(service, chunk, context, action=action, failurePolicy=policy)
    left = "".join(asyncio.run(feed(chain, pieces(text, places))))
    assert text.startswith(left)

    passed, shown = 0, 0
    for seen in service.seen:
        # Each is shown the next part, and what stands before it.
        start = max(0, shown - context)
        assert text.startswith(seen, start)
        shown = start + len(seen)
        stops = (SILENT in seen and not is_open) or (
            SILENT not in seen and WORD in seen and action == "Block"
        )
        assert stops == (chain.is_stopped and seen is service.seen[-1])
        passed = passed if stops else shown
    # What passed together with a part that did not is kept back as well.
    assert len(left) <= passed
    if not chain.is_stopped:
        assert left == text
        assert chain.conclude().outcome in (Outcome.OK, Outcome.FLAGGED)
        assert chain.conclude().is_bypassed == (SILENT in text)


@examples
@given(quiet, cuts, sizes, st.integers(len(WORD) - 1, 60))
def test_a_word_within_what_is_shown_again_leaves_no_stream(
    text: str, places: list[int], chunk: int, context: int
) -> None:
    chain = a_chain(Service(), chunk, context, action="Block")
    left = "".join(asyncio.run(feed(chain, pieces(text, places))))
    assert WORD not in left
    assert chain.is_stopped == (WORD in text)


@examples
@given(quiet, cuts, sizes, st.integers(len(WORD) - 1, 60))
def test_a_word_that_a_service_replaces_leaves_no_stream_whole(
    text: str, places: list[int], chunk: int, context: int
) -> None:
    chain = a_chain(Service(), chunk, context, action="Redact")
    left = "".join(asyncio.run(feed(chain, pieces(text, places))))
    assert WORD not in left
    assert ("[bad]" in left) == (WORD in text)
    if not chain.escaped and text.count(WORD) < 2:
        assert left == text.replace(WORD, "[bad]")
