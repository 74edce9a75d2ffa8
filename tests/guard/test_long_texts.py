"""Texts so long that reading them would hold others up."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from rlhf_operator.guard import pipeline
from rlhf_operator.guard.instruments import StageInstruments
from rlhf_operator.guard.pipeline import LONG
from rlhf_operator.guard.rules import RulesCheck
from rlhf_operator.guard.verdict import Found, Judgement
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
