"""What a service that judges by the conversation is told of it, both ways."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from rlhf_operator.api.stages import Direction
from rlhf_operator.guard.conversation import Conversation
from rlhf_operator.guard.verdict import Judgement
from tests.guard.test_stream import judged_by_service
from tests.guard.world import MakeWorld, World, a_stage

CHAT = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hello, I am Ada."},
    {"role": "assistant", "content": "Hello!"},
    {"role": "user", "content": [{"type": "text", "text": "What now?"}]},
]
TURNS = [
    ("User", "Be kind."),
    ("User", "Hello, I am Ada."),
    ("Assistant", "Hello!"),
    ("User", "What now?"),
]
NAMES = [{"category": "name", "keywords": ["Ada"]}]
FLAT = "System: Be kind.\nUser: Hello, I am [name].\nAssistant: Hello!\nUser: What now?\nAssistant:"


@dataclass
class Listener:
    """Finds nothing, and remembers what it was told."""

    heard: list[tuple[str, str, list[tuple[str, str]]]] = field(default_factory=list)

    async def judge(self, text: str, direction: Direction, said: Conversation) -> Judgement:
        self.heard.append((direction, text, [(turn.speaker, turn.text) for turn in said]))
        return Judgement()


async def told(make_world: MakeWorld, *before: dict[str, Any]) -> tuple[World, Listener]:
    guard = judged_by_service()
    guard["stages"][0]["appliesTo"] = ["Input", "Output"]
    guard["stages"] = [*before, *guard["stages"]]
    listener = Listener()
    return await make_world(guard=guard, remotes={"service": listener}), listener


@pytest.mark.parametrize("stream", [False, True])
async def test_a_chat_is_told_turn_by_turn(make_world: MakeWorld, stream: bool) -> None:
    world, listener = await told(make_world)
    world.triton.stream("A fine ", "answer.")
    asked = {"messages": CHAT, "stream": stream}
    reply = await world.users.post("/v1/chat/completions", json=asked)
    await reply.read()
    (_, _, prompt), (direction, answer, said) = listener.heard
    assert prompt == said == TURNS
    assert (direction, answer) == ("Output", "A fine answer.")


@pytest.mark.parametrize("stream", [False, True])
async def test_what_was_taken_out_of_a_prompt_is_told_to_nobody(
    make_world: MakeWorld, stream: bool
) -> None:
    redact = a_stage(action="Redact", appliesTo=["Input"], rules=NAMES)
    world, listener = await told(make_world, redact)
    world.triton.stream("A fine ", "answer.")
    asked = {"messages": CHAT, "stream": stream}
    await (await world.users.post("/v1/chat/completions", json=asked)).read()
    assert listener.heard[0] == ("Input", FLAT, [])
    assert listener.heard[1][2] == [("User", FLAT)]


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/completions", {"prompt": "Hi"}),
        ("/v2/models/model/generate", {"text_input": "Hi"}),
        ("/v2/models/model/generate_stream", {"text_input": "Hi"}),
    ],
)
async def test_a_prompt_is_what_its_answer_follows_upon(
    make_world: MakeWorld, path: str, asked: dict[str, Any]
) -> None:
    world, listener = await told(make_world)
    await (await world.users.post(path, json=asked)).read()
    (_, prompt, nothing), (_, answer, said) = listener.heard
    assert (prompt, nothing) == ("Hi", [])
    assert (answer.strip(), said) == ("A fine answer.", [("User", "Hi")])


async def test_in_a_batch_each_answer_follows_upon_its_prompt(make_world: MakeWorld) -> None:
    world, listener = await told(make_world)
    prompts = {"name": "text_input", "datatype": "BYTES", "shape": [2, 1], "data": ["Hi", "Ho"]}
    await world.users.post("/v2/models/model/infer", json={"inputs": [prompts]})
    assert [said for *_, said in listener.heard[2:]] == [[("User", "Hi")], [("User", "Ho")]]
