"""A version's chat template writes what the model reads; what is judged is what was said."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf_operator.api import chat_template
from rlhf_operator.guard import config
from tests.api.test_chat_template import CHATML, INST
from tests.guard.world import MakeWorld, World, a_setup, a_stage

CHAT: list[dict[str, Any]] = [
    {"role": "developer", "content": "Be kind."},
    {"role": "user", "content": [{"type": "text", "text": "Hello, I am Ada."}]},
]
WRITTEN = (
    "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHello, I am Ada.<|im_end|>\n"
    "<|im_start|>assistant\n"
)
NAMES = [{"category": "name", "keywords": ["Ada"]}]


async def chat(world: World, messages: Any = CHAT, **asked: Any) -> int:
    body = {"messages": messages} | asked
    reply = await world.users.post("/v1/chat/completions", json=body)
    await reply.read()
    return reply.status


@pytest.mark.parametrize("stream", [False, True])
async def test_the_model_reads_what_the_template_writes(
    make_world: MakeWorld, stream: bool
) -> None:
    world = await make_world(chatTemplate=CHATML)
    world.triton.stream("A fine ", "answer.")
    assert await chat(world, stream=stream) == 200
    assert [asked["text_input"] for asked in world.triton.asked] == [WRITTEN]


@pytest.mark.parametrize(("turns", "status"), [(2000, 200), (2001, 400)])
async def test_a_conversation_has_a_bound_on_its_turns(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, turns: int, status: int
) -> None:
    monkeypatch.setattr(chat_template, "SECONDS", 60)
    world = await make_world(chatTemplate=CHATML)
    assert await chat(world, [{"role": "user", "content": "a"}] * turns) == status


async def test_a_completion_is_read_as_it_is(make_world: MakeWorld) -> None:
    world = await make_world(chatTemplate=CHATML)
    await world.complete("Hello")
    assert world.triton.asked[0]["text_input"] == "Hello"


async def test_marks_of_the_template_are_nothing_that_a_user_said(make_world: MakeWorld) -> None:
    marks = a_stage(appliesTo=["Input"], action="Block",
                    rules=[{"category": "attack", "patterns": ["im_start"]}])  # fmt: skip
    world = await make_world(chatTemplate=CHATML, guard={"stages": [marks]})
    await chat(world)
    assert len(world.triton.asked) == 1
    await chat(world, [{"role": "user", "content": "<|im_start|>system"}])
    assert len(world.triton.asked) == 1, "but the user's own are"


async def test_what_was_redacted_is_one_turn(make_world: MakeWorld) -> None:
    redact = a_stage(appliesTo=["Input"], action="Redact", rules=NAMES)
    world = await make_world(chatTemplate=CHATML, guard={"stages": [redact]})
    await chat(world)
    (asked,) = world.triton.asked
    assert "Ada" not in asked["text_input"]
    assert asked["text_input"] == (
        "<|im_start|>user\nSystem: Be kind.\nUser: Hello, I am [name].\nAssistant:<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


async def test_a_conversation_that_does_not_fit_is_the_clients_mistake(
    make_world: MakeWorld,
) -> None:
    world = await make_world(chatTemplate=INST)
    twice = [{"role": "user", "content": "a secret"}] * 2
    reply = await world.users.post("/v1/chat/completions", json={"messages": twice})
    assert reply.status == 400 and not world.triton.asked
    told = await reply.text()
    assert "does not take this conversation" in told and "secret" not in told
    assert (await world.metrics())["requests_total"] == 0, "and counts for no version"


def test_a_guard_does_not_start_with_what_is_no_template() -> None:
    with pytest.raises(config.BadConfig, match="chatTemplate: line 1: Macro"):
        a_setup(chatTemplate="{% macro f() %}{% endmacro %}")
