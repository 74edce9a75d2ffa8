"""Texts so long that reading them would hold others up."""

from __future__ import annotations

import asyncio
import random
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from rlhf_operator.api.guard import Streaming
from rlhf_operator.guard import long_texts, pipeline
from rlhf_operator.guard.chain import Chain
from rlhf_operator.guard.instruments import StageInstruments
from rlhf_operator.guard.long_texts import LONG
from rlhf_operator.guard.rules import RulesCheck
from rlhf_operator.guard.verdict import Found, Judgement
from rlhf_operator.guard.window import Window
from tests.guard.fuzz.examples import words
from tests.guard.test_streamed_secrets import strict
from tests.guard.world import MakeWorld, a_setup, a_stage, checked

_LIMIT = [{"category": "flood", "limits": {"characters": 100}}]


@pytest.mark.parametrize(
    ("action", "length", "categories"),
    [
        pytest.param("Block", 100, ("violence",), id="what is just short enough is read"),
        pytest.param("Block", 101, ("flood",), id="what is too long is blocked unread"),
        pytest.param("Flag", 101, ("flood", "violence"), id="a flag lets it pass, so it is read"),
        pytest.param("Redact", 101, ("flood", "violence"), id="what is redacted is read before"),
    ],
)
def test_a_limit(action: str, length: int, categories: tuple[str, ...]) -> None:
    stages = [a_stage(), a_stage("size", action=action, rules=_LIMIT)]
    text = "bomb ".ljust(length, ".")
    assert checked(a_setup(guard={"stages": stages}), text).categories == categories


@pytest.mark.parametrize(("length", "elsewhere"), [(LONG, False), (LONG + 1, True)])
def test_a_long_text_is_read_beside_the_others(
    monkeypatch: pytest.MonkeyPatch, length: int, elsewhere: bool
) -> None:
    where: list[int] = []

    def judge(_self: RulesCheck, _text: str) -> Judgement:
        where.append(threading.get_ident())
        return Judgement()

    monkeypatch.setattr(RulesCheck, "judge", judge)
    checked(a_setup(), "x" * length)
    assert [each != threading.get_ident() for each in where] == [elsewhere]


BOTH = a_stage(appliesTo=["Input", "Output"])
INPUT = {"name": "text_input", "datatype": "BYTES", "shape": [2, 1], "data": ["a", "b"]}


@pytest.mark.parametrize(
    ("path", "asked", "elsewhere"),
    [
        ("/v1/moderations", {"input": "a"}, False),
        ("/v1/moderations", {"input": ["a", "b"]}, True),
        ("/beta/litellm_basic_guardrail_api", {"texts": ["a"], "input_type": "request"}, False),
        ("/beta/litellm_basic_guardrail_api", {"texts": ["a"] * 9, "input_type": "request"}, True),
        ("/v2/models/model/infer", {"inputs": [{**INPUT, "shape": [1, 1], "data": ["a"]}]}, False),
        ("/v2/models/model/infer", {"inputs": [INPUT]}, True),
    ],
)
async def test_many_short_texts_hold_others_up_no_more_than_a_long_one(
    make_world: MakeWorld,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    asked: dict[str, Any],
    elsewhere: bool,
) -> None:
    where: set[int] = set()

    def judge(_self: RulesCheck, _text: str) -> Judgement:
        where.add(threading.get_ident())
        return Judgement()

    world = await make_world(guard={"stages": [BOTH]})
    monkeypatch.setattr(RulesCheck, "judge", judge)
    assert (await world.users.post(path, json=asked)).status == 200
    assert (threading.get_ident() not in where) == elsewhere
    assert where


async def test_long_texts_are_read_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, most, read = 0, 0, ""
    go_on = threading.Event()

    def judge(_self: RulesCheck, text: str) -> Judgement:
        nonlocal reading, most, read
        read += text[0]
        reading += 1
        most = max(most, reading)
        go_on.wait(20)
        reading -= 1
        return Judgement()

    monkeypatch.setattr(RulesCheck, "judge", judge)
    setup = a_setup()
    counts = StageInstruments(CollectorRegistry())
    stages = pipeline.prepare(setup.config.guard, setup.rules, {}, counts)
    asked = [
        asyncio.create_task(stages.check(letter * (LONG + 1), "Output")) for letter in "abcdef"
    ]
    while not reading:
        await asyncio.sleep(0.001)
    # Who has gone is not read any more.
    gone = asked.pop()
    gone.cancel()
    await asyncio.wait([gone])
    go_on.set()
    await asyncio.gather(*asked)
    assert (most, read) == (1, "abcde")


WORDS = words(
    "answer process kill drug people garden price attack letter river weapon number police kitchen "
    "burn market password money poison table window knife history group water music women lesson"
)


async def cost(length: int) -> float:
    """Return how often each character of a streamed answer is looked at."""
    chain = Chain(strict(), Streaming())
    drawn = random.Random(1).choices(WORDS, k=length)
    text = "".join(f"{word}{'. ' if at % 9 == 8 else ' '}" for at, word in enumerate(drawn))[
        :length
    ]
    for at in range(0, length, 5):
        await chain.feed(text[at : at + 5])
    await chain.finish()
    assert chain.conclude().outcome == "ok"
    return sum(p.looked for p in chain._parts if isinstance(p, Window)) / length


async def test_ready_made_rules_look_at_a_streamed_answer_a_few_times() -> None:
    short, long = await cost(4_000), await cost(16_000)
    assert short < 20
    assert long < 1.3 * short


async def test_no_long_part_of_a_stream_is_read_on_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here: list[int] = []
    judge, mine = RulesCheck.judge, threading.get_ident()

    def watched(self: RulesCheck, text: str) -> Judgement:
        here.extend([len(text)] * (threading.get_ident() == mine))
        return judge(self, text)

    monkeypatch.setattr(RulesCheck, "judge", watched)
    await cost(12_000)
    assert here
    assert max(here) <= LONG


@pytest.mark.parametrize("is_read", [True, False])
async def test_who_leaves_while_a_long_text_is_read_has_read_no_more_than_is_told(
    is_read: bool,
) -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work(mine: threading.Event) -> None:
        mine.set()
        go_on.wait(20)
        ended.set()

    first = asyncio.create_task(long_texts.read(lambda: work(begun)))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    second = asyncio.create_task(long_texts.read(lambda: work(threading.Event())))
    await asyncio.sleep(0.001)
    leaving = first if is_read else second
    leaving.cancel()
    if is_read:
        await asyncio.sleep(0.01)
        assert not leaving.done()
        go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert ended.is_set() == is_read
    go_on.set()
    await asyncio.wait([first, second])


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        pytest.param({"characters": 300}, "So it goes on. ", id="a limit of size"),
        pytest.param({"repetition": "0.9"}, "again ", id="one word without end"),
    ],
)
async def test_a_stream_beyond_a_limit_ends(limits: dict[str, Any], said: str) -> None:
    stage = a_stage(action="Block", rules=[{"category": "flood", "limits": limits}])
    setup = a_setup(guard={"stages": [stage]})
    counts = StageInstruments(CollectorRegistry())
    chain = Chain(pipeline.prepare(setup.config.guard, setup.rules, {}, counts), Streaming())
    left = ""
    for _ in range(2000 // len(said)):
        left += await chain.feed(said)
    assert chain.is_stopped
    assert len(left) < 600
    assert chain.conclude().blocking == ("flood",)


async def test_services_keep_their_time_however_long_rules_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0

    def judge(_self: RulesCheck, _text: str) -> Judgement:
        nonlocal now
        now += 1000.0  # so long may others' long texts stand before this one
        return Judgement()

    class Service:
        async def judge(self, _text: str, _direction: Any, _conversation: Any) -> Judgement:
            return Judgement(found=(Found(category="violence"),))

    monkeypatch.setattr(RulesCheck, "judge", judge)
    monkeypatch.setattr(pipeline, "time", SimpleNamespace(monotonic=lambda: now))
    model = {
        "service": {"name": "m", "port": 80},
        "model": "m",
        "reads": "LlamaGuard",
        "categories": [{"category": "violence", "label": "S1"}],
    }
    service = a_stage("service", type="Model", rules=None, failurePolicy="Open", model=model)
    setup = a_setup(guard={"stages": [a_stage(), service]})
    counts = StageInstruments(CollectorRegistry())
    stages = pipeline.prepare(setup.config.guard, setup.rules, {"service": Service()}, counts)
    verdict = await stages.check("x" * (LONG + 1), "Output")
    assert (verdict.failures, verdict.categories) == ((), ("violence",))
