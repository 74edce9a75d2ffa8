"""How services are spared: few requests at once, and none while they are dead."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from rlhf_operator.api.guard import GuardConfig
from rlhf_operator.guard.remotes import breaker, roster
from rlhf_operator.guard.remotes.breaker import State
from rlhf_operator.guard.remotes.inquiry import Inquiry
from rlhf_operator.guard.remotes.service import AT_ONCE
from rlhf_operator.guard.verdict import Unjudged
from tests.guard.remotes.services import OPENAI, StubService
from tests.guard.remotes.test_inquiry import a_remote, a_stage, reason
from tests.guard.world import a_config


async def test_one_host_is_asked_by_so_many_at_once(
    session: aiohttp.ClientSession, service: StubService
) -> None:
    service.gate = asyncio.Event()
    stages = [a_stage(OPENAI, service.port), {**a_stage(OPENAI, service.port), "name": "again"}]
    config = GuardConfig.model_validate(a_config(guard={"stages": stages}))
    remotes = roster.Roster(session=session).build(config)
    asking = [
        asyncio.create_task(remotes[name].judge(f"text {number}", "Input"))
        for number in range(AT_ONCE) for name in ("asked", "again")
    ]  # fmt: skip
    while service.at_once < AT_ONCE:
        await asyncio.sleep(0.005)
    service.gate.set()
    await asyncio.gather(*asking)
    assert len(service.asked) == 2 * AT_ONCE
    assert service.most_at_once == AT_ONCE


@pytest.fixture
def inquiry(session: aiohttp.ClientSession, service: StubService) -> tuple[Inquiry, list[float]]:
    """An inquiry whose clock stands still until the list's one number changes."""
    remote, now = a_remote(session, OPENAI, service.port), [0.0]
    assert isinstance(remote, Inquiry)
    remote.clock = lambda: now[0]
    return remote, now


Clocked = tuple[Inquiry, list[float]]


async def fail_in_a_row(remote: Inquiry) -> None:
    for _ in range(breaker.ROW):
        assert await reason(remote) is not Unjudged.CIRCUIT_OPEN


async def test_a_dead_service_is_left_alone_and_tried_again(
    inquiry: Clocked, service: StubService
) -> None:
    remote, now = inquiry
    service.status = 503
    await fail_in_a_row(remote)
    assert await reason(remote) is Unjudged.CIRCUIT_OPEN
    assert len(service.asked) == breaker.ROW
    now[0] += breaker.FIRST_PAUSE
    service.status = 200
    assert (await remote.judge("words", "Input")).found == ()
    assert remote.circuit.state(now[0]) is State.CLOSED


async def test_while_one_call_finds_out_others_do_not_wait(
    inquiry: Clocked, service: StubService
) -> None:
    remote, now = inquiry
    service.status = 503
    await fail_in_a_row(remote)
    now[0] += breaker.FIRST_PAUSE
    service.gate, service.status = asyncio.Event(), 200
    probe = asyncio.create_task(remote.judge("words", "Input"))
    while service.at_once == 0:
        await asyncio.sleep(0.005)
    assert await reason(remote) is Unjudged.CIRCUIT_OPEN
    service.gate.set()
    assert (await probe).found == ()
    assert (await remote.judge("words", "Input")).found == ()


@pytest.mark.parametrize(
    ("status", "answer", "opens"),
    [
        pytest.param(503, {}, True, id="unreachable"),
        pytest.param(429, {}, True, id="refused"),
        pytest.param(400, {}, False, id="it does not like the text"),
        pytest.param(200, {}, False, id="an answer that a text may have brought about"),
    ],
)
async def test_no_text_can_open_a_circuit(
    inquiry: Clocked, service: StubService, status: int, answer: Any, opens: bool
) -> None:
    remote, _ = inquiry
    service.status, service.answer = status, lambda _: answer
    await fail_in_a_row(remote)
    assert (await reason(remote) is Unjudged.CIRCUIT_OPEN) is opens


@pytest.mark.parametrize(
    ("waited", "opens"),
    [pytest.param(20.0, True, id="nothing in the time of the stage"),
     pytest.param(0.1, False, id="the client has gone, or others took the time")],
)  # fmt: skip
async def test_who_is_given_up_after_its_time_has_failed(
    inquiry: Clocked, service: StubService, waited: float, opens: bool
) -> None:
    remote, now = inquiry
    service.is_dead = True
    for count in range(1, breaker.ROW + 1):
        asking = asyncio.create_task(remote.judge("words", "Input"))
        while len(service.asked) < count:
            await asyncio.sleep(0.005)
        now[0] += waited
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert (remote.circuit.state(now[0]) is State.OPEN) is opens


async def test_of_a_dead_service_nobody_waits_for_a_turn(
    inquiry: Clocked, service: StubService
) -> None:
    remote, _ = inquiry
    service.status = 503
    await fail_in_a_row(remote)
    for _ in range(AT_ONCE):
        await remote.service.slots.acquire()
    assert await reason(remote) is Unjudged.CIRCUIT_OPEN


@pytest.mark.parametrize("is_same", [True, False])
async def test_a_change_of_rules_forgets_no_dead_service(
    session: aiohttp.ClientSession, service: StubService, is_same: bool
) -> None:
    service.status = 503
    made = roster.Roster(session=session)
    stage = a_stage(OPENAI, service.port)
    before = made.build(GuardConfig.model_validate(a_config(guard={"stages": [stage]})))["asked"]
    assert isinstance(before, Inquiry)
    await fail_in_a_row(before)
    place = {"name": "judge" if is_same else "another", "port": service.port}
    changed = {**stage, "action": "Flag", "external": {**OPENAI, "service": place}}
    after = made.build(GuardConfig.model_validate(a_config(guard={"stages": [changed]})))["asked"]
    assert (await reason(after) is Unjudged.CIRCUIT_OPEN) is is_same
