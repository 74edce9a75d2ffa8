"""Rules that change while the guard runs."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer, unused_port

from rlhf_operator.api.stages import Direction
from rlhf_operator.guard import config
from rlhf_operator.guard.config import Setup
from rlhf_operator.guard.pipeline import Remote
from rlhf_operator.guard.reload import LiveFile, no_remotes
from rlhf_operator.guard.verdict import Judgement
from tests.guard.test_server import wait_until_asked
from tests.guard.world import KEY, MakeWorld, StubTriton, World, a_config, a_stage

BLOCKING = {"guard": {"stages": [a_stage(action="Block")]}}
CLASSIFIER = a_stage(
    "classifier",
    type="Model",
    rules=None,
    model={
        "service": {"name": "c", "port": 8000},
        "model": "c",
        "labels": ["toxic"],
        "categories": [{"category": "toxic", "atLeast": "0.5"}],
    },
)


def put(path: Path, content: Any) -> None:
    """Put a file in the place of another one, as kubelet does."""
    new = path.with_suffix(".new")
    new.write_text(content if isinstance(content, str) else json.dumps(content))
    os.replace(new, path)


def a_live_file(world: World, tmp_path: Path, content: Any) -> LiveFile:
    path = tmp_path / "live.json"
    put(path, content)
    return LiveFile(guard=world.guard, path=path)


async def verdict(world: World) -> str:
    world.triton.text = "They have a bomb."
    return (await world.complete()).headers["x-rlhf-verdict"]


async def reloads(world: World) -> tuple[float, float]:
    seen = await world.metrics()
    taken, refused = (seen[f'reloads_total{{outcome="{each}"}}'] for each in ("taken", "refused"))
    return taken, refused


async def test_new_rules_are_in_force_from_the_next_request_on(
    world: World, tmp_path: Path
) -> None:
    assert await verdict(world) == "flagged"
    before = world.guard.setup.rules.digest
    live = a_live_file(world, tmp_path, BLOCKING)
    await live.look()
    assert await verdict(world) == "blocked"
    after = world.guard.setup.rules.digest
    seen = await world.metrics()
    assert after != before
    assert seen[f'info{{rules_digest="{after}"}}'] == 1
    assert f'info{{rules_digest="{before}"}}' not in seen
    assert await reloads(world) == (1, 0)


async def test_a_file_that_stays_is_taken_once(world: World, tmp_path: Path) -> None:
    live = a_live_file(world, tmp_path, BLOCKING)
    for _ in range(3):
        await live.look()
    put(live.path, BLOCKING)  # the same again
    await live.look()
    assert await reloads(world) == (1, 0)


async def test_a_request_under_way_keeps_the_rules_with_which_it_began(
    world: World, tmp_path: Path
) -> None:
    world.triton.gate = asyncio.Event()
    world.triton.text = "They have a bomb."
    under_way = asyncio.create_task(world.complete())
    await wait_until_asked(world)
    await a_live_file(world, tmp_path, BLOCKING).look()
    world.triton.gate.set()
    assert (await under_way).headers["x-rlhf-verdict"] == "flagged"
    assert await verdict(world) == "blocked"


async def test_new_categories_begin_at_zero(world: World, tmp_path: Path) -> None:
    stage = a_stage(rules=[{"category": "fraud", "keywords": ["pyramid"]}])
    await a_live_file(world, tmp_path, {"guard": {"stages": [stage]}}).look()
    seen = await world.metrics()
    assert seen['unsafe_served_total{category="fraud"}'] == 0
    assert seen['stage_decisions_total{decision="blocked",direction="output",stage="words"}'] == 0


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "live rules: file: Invalid JSON"),
        ("", "live rules: file: Invalid JSON"),
        ({"guard": {"stages": [a_stage(action="SECRET")]}}, "live rules: guard.stages.0.action"),
        (
            {"guard": {"refusalPatterns": ["SECRET("]}},
            "refusalPatterns: a pattern does not compile",
        ),
        (
            {"guard": {"stages": [a_stage(rules=[{"category": "x", "patterns": ["SECRET("]}])]}},
            "stage words, category x: a pattern does not compile",
        ),
        ({"guard": {"stages": [CLASSIFIER]}}, "KeyError"),
    ],
    ids=["no JSON", "empty", "no rules", "a bad pattern", "a bad rule", "nothing to run it with"],
)
async def test_a_file_that_cannot_be_used_changes_nothing(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: Any, why: str
) -> None:
    caplog.set_level(logging.DEBUG)
    live = a_live_file(world, tmp_path, content)
    before = world.guard.setup
    await live.look()
    await live.look()
    assert world.guard.setup is before
    assert await verdict(world) == "flagged"
    assert await reloads(world) == (0, 1)
    assert why in caplog.text
    assert "SECRET" not in caplog.text
    put(live.path, BLOCKING)
    await live.look()
    assert await verdict(world) == "blocked"


async def test_a_file_that_goes_takes_no_rule_away(world: World, tmp_path: Path) -> None:
    live = a_live_file(world, tmp_path, BLOCKING)
    await live.look()
    live.path.unlink()
    await live.look()
    assert await verdict(world) == "blocked"


class _Calm:
    async def judge(self, text: str, direction: Direction, _said: object) -> Judgement:
        return Judgement()


async def test_services_are_made_anew_with_the_rules(world: World, tmp_path: Path) -> None:
    told: list[Setup] = []

    def make(setup: Setup) -> Mapping[str, Remote]:
        told.append(setup)
        return {"classifier": _Calm()}

    live = a_live_file(world, tmp_path, {"guard": {"stages": [CLASSIFIER]}})
    live.remotes = make
    await live.look()
    assert [stage.name for stage in told[0].config.guard.stages] == ["classifier"]
    assert await verdict(world) == "ok"
    assert no_remotes(told[0]) == {}


async def test_a_floor_that_blocks_goes_on_blocking_by_new_rules(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    world = await make_world(forceBlock=True)
    await a_live_file(world, tmp_path, {"guard": {"stages": [a_stage(action="Flag")]}}).look()
    assert await verdict(world) == "blocked"


async def test_a_team_lowers_its_limits_and_cannot_raise_them(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    world = await make_world(limits={"bodyBytes": 2048, "concurrency": 8, "maxTokens": 100})
    asked = {"bodyBytes": 4096, "concurrency": 4, "maxTokens": 50, "timeout": "1s"}
    await a_live_file(world, tmp_path, {"guard": {"limits": asked}}).look()
    limits = world.guard.setup.config.limits
    assert (limits.body_bytes, limits.concurrency, limits.max_tokens) == (2048, 4, 50)
    assert limits.timeout_seconds == 1
    assert (await world.complete(max_tokens=51)).status == 400
    await a_live_file(world, tmp_path, {"guard": {"limits": {"bodyBytes": 1024}}}).look()
    assert (await world.complete("x" * 1500)).status == 413
    assert (await world.complete(max_tokens=100)).status == 200


async def test_a_process_begins_with_the_live_rules_and_follows_them(tmp_path: Path) -> None:
    stub = StubTriton(text="They have a bomb.")
    model = TestServer(stub.app())
    await model.start_server()
    port = unused_port()
    live = tmp_path / "live.json"
    put(live, BLOCKING)
    told = a_config(
        tritonUrl=str(model.make_url("")).rstrip("/"),
        port=port,
        operationsPort=unused_port(),
        liveFile=str(live),
    )
    (tmp_path / "guard.json").write_text(json.dumps(told))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rlhf_operator.guard", "--config", tmp_path / "guard.json"),
        env={**os.environ, config.SIGNING_KEY: KEY},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            assert await _becomes(client, "blocked", ready=False) == ["blocked"]
            put(live, {"guard": {"stages": [a_stage(action="Flag")]}})
            seen = await _becomes(client, "flagged", ready=True)
            assert set(seen) == {"blocked", "flagged"}, "no request failed on the way"
    finally:
        process.terminate()
        _, logged = await process.communicate()
        await model.close()
    assert process.returncode == 0, logged
    assert logged.count(b"new rules are in force") == 2


async def _becomes(client: aiohttp.ClientSession, wanted: str, *, ready: bool) -> list[str]:
    """Ask until a verdict comes; return all on the way. Until it is ready nobody may answer."""
    seen: list[str] = []
    while wanted not in seen:
        try:
            reply = await client.post("/v1/completions", json={"prompt": "Hi"})
        except aiohttp.ClientConnectionError:
            if ready:
                raise
        else:
            seen.append(reply.headers["x-rlhf-verdict"])
        await asyncio.sleep(0.02)
    return seen
