"""No prompt and no answer is in any log or metric, whatever goes wrong."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from rlhf_operator.api.stages import Direction
from rlhf_operator.guard import pipeline
from rlhf_operator.guard.pipeline import CannotJudge
from rlhf_operator.guard.state import Guard
from rlhf_operator.guard.verdict import Judgement, Unjudged
from tests.guard.test_connections import listening
from tests.guard.test_reload import CLASSIFIER, a_live_file
from tests.guard.world import MakeWorld, World, a_stage

ASKED, MADE = "Whisper-of-the-prompt", "Whisper-of-the-answer"
PATHS = (
    "/v1/completions",
    "/v1/chat/completions",
    "/v2/models/model/generate",
    "/v2/models/model/generate_stream",
    "/v2/models/model/infer",
    "/v1/feedback",
)


def bodies() -> list[Any]:
    """Return requests that are right and wrong in every way that comes to mind."""
    tensor = {"name": "text_input", "datatype": "BYTES", "shape": [1], "data": [ASKED]}
    return [
        {"prompt": ASKED},
        {"prompt": ASKED, "stream": True},
        {"prompt": [ASKED, 3]},
        {"prompt": ASKED, "max_tokens": ASKED},
        {"prompt": ASKED, "max_tokens": 10**9},
        {"prompt": ASKED, "user": ASKED, "safety_identifier": ASKED},
        {"prompt": ASKED, ASKED: ASKED},
        {"messages": [{"role": "user", "content": ASKED}]},
        {"messages": [{"role": ASKED, "content": ASKED}]},
        {"messages": ASKED},
        {"text_input": ASKED},
        {"text_input": ASKED, "parameters": {ASKED: ASKED}},
        {"inputs": [tensor]},
        {"inputs": [tensor | {"datatype": ASKED}]},
        {"inputs": [{"name": ASKED}]},
        {"response_id": ASKED, "thumbs": ASKED},
        {"response_id": ASKED, "thumbs": "up"},
        f'{{"prompt": "{ASKED}',
        f'"{ASKED}"',
        ASKED,
        "\ufeff" + ASKED,
        {"prompt": ASKED * 200},
    ]


class _Breaks:
    """A service that fails as a library may: with what it was sent in the exception."""

    async def judge(self, text: str, direction: Direction, _said: object) -> Judgement:
        raise ValueError(f"cannot judge {text!r}")


class _Cannot:
    async def judge(self, text: str, direction: Direction, _said: object) -> Judgement:
        raise CannotJudge(Unjudged.BAD_ANSWER) from ValueError(text)


def fine(_world: World) -> None:
    """All goes well, and is blocked or not."""


def triton_fails(world: World) -> None:
    world.triton.status, world.triton.error = 500, f"no memory for {ASKED}"


def triton_refuses(world: World) -> None:
    world.triton.status, world.triton.error = 400, f"while parsing {ASKED}"


def triton_says_no_json(world: World) -> None:
    world.triton.text, world.triton.tokens = MADE, 0
    world.triton.generated = lambda: [MADE]  # type: ignore[method-assign, assignment, return-value]
    world.triton.outputs = [{"name": MADE, "data": [MADE]}]


def triton_says_other_things(world: World) -> None:
    said = {MADE: MADE, "text_output": [MADE, {"a": MADE}]}
    world.triton.generated = lambda: said  # type: ignore[method-assign]
    world.triton.outputs = [{"name": "text_output", "datatype": MADE, "data": [MADE]}]


def triton_is_slow(world: World) -> None:
    world.triton.gate = asyncio.Event()


def the_guard_breaks(world: World) -> None:
    def broken(*_given: Any, **_named: Any) -> Any:
        raise RuntimeError(f"{ASKED} {MADE}")

    world.guard.votes.add = broken  # type: ignore[method-assign]
    world.guard.triton.generate = broken  # type: ignore[method-assign]
    world.guard.triton.forward = broken  # type: ignore[method-assign]


def _with(remote: Any) -> Callable[[World], None]:
    def change(world: World) -> None:
        guard: Guard = world.guard
        step = pipeline.Step(
            name="classifier",
            applies_to=("Input", "Output"),
            action="Block",
            passes_failed=False,
            seconds=1.0,
            check=remote,
        )
        guard.pipeline = pipeline.Pipeline(
            steps=(step,), budget=1.0, counts=guard.instruments.stages
        )

    return change


async def drive(port: int) -> None:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as users:
        await _ask_everything(users)


async def _ask_everything(users: aiohttp.ClientSession) -> None:
    for path in PATHS:
        for body in bodies():
            given = {"data": body} if isinstance(body, str) else {"json": body}
            headers = {"X-Secret": ASKED, "traceparent": ASKED, "Content-Type": "application/json"}
            reply = await users.post(path, headers=headers, **given)
            await reply.read()
    for method in ("GET", "PUT", "DELETE"):
        reply = await users.request(method, f"/{ASKED}?q={ASKED}")
        await reply.read()


@pytest.mark.parametrize(
    "trouble",
    [
        fine,
        triton_fails,
        triton_refuses,
        triton_says_no_json,
        triton_says_other_things,
        triton_is_slow,
        the_guard_breaks,
        _with(_Breaks()),
        _with(_Cannot()),
    ],
    ids=lambda found: getattr(found, "__name__", "stage").replace("_", " "),
)
async def test_no_text_is_in_a_log_or_a_metric(
    make_world: MakeWorld,
    caplog: pytest.LogCaptureFixture,
    trouble: Callable[[World], Awaitable[None] | None],
) -> None:
    caplog.set_level(logging.DEBUG)
    world = await make_world(
        guard={
            "stages": [a_stage(rules=[{"category": "bad", "keywords": ["answer"]}])],
            "golden": [{"name": "one", "prompt": ASKED, "maxTokens": 3, "mustMatch": "never"}],
        },
        limits={"bodyBytes": 2048, "timeoutSeconds": 0.02 if trouble is triton_is_slow else 60},
    )
    world.triton.text = MADE
    trouble(world)
    async with listening(world) as port:
        await drive(port)
    golden = await (await world.operations.post("/golden")).text()
    metrics = await (await world.operations.get("/metrics")).text()
    logged = "\n".join(
        f"{record.getMessage()} {record.exc_info} {record.exc_text}"
        for record in caplog.records
        if record.name != "aiohttp.access"  # the stub's
    )
    for text in (ASKED, MADE, ASKED.lower(), MADE.lower()):
        assert text not in logged
        assert text not in metrics
        assert text not in golden


async def test_no_text_of_refused_rules_is_in_a_log(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for content in (MADE, {"guard": {"stages": [CLASSIFIER], "refusalPatterns": [MADE + "("]}}):
        await a_live_file(world, tmp_path, content).look()
    assert "refused" in caplog.text
    assert MADE not in caplog.text


async def test_no_text_is_in_a_log_when_the_sink_fails(
    make_world: MakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    world = await make_world(
        guard={"sampling": {"provider": "sink", "share": "1", "batch": 1, "redact": []}},
        providers=[{"name": "sink", "url": "http://127.0.0.1:1"}],
    )
    world.triton.text = MADE
    async with listening(world) as port:
        await drive(port)
    await world.guard.sampler.close()
    metrics = await (await world.operations.get("/metrics")).text()
    assert 'rlhf_guard_samples_total{outcome="sent"} 0.0' in metrics
    assert 'rlhf_guard_samples_total{outcome="failed"} 0.0' not in metrics
    logged = "\n".join(
        f"{record.getMessage()} {record.exc_info} {record.exc_text}"
        for record in caplog.records
        if record.name != "aiohttp.access"
    )
    for text in (ASKED, MADE, ASKED.lower(), MADE.lower()):
        assert text not in logged
        assert text not in metrics
