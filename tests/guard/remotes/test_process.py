"""A guard as a process, with a provider and a mounted credential."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import aiohttp
from aiohttp.test_utils import TestServer, unused_port

from rlhf_operator.guard import config
from tests.guard.remotes.services import OPENAI, StubService, openai
from tests.guard.remotes.test_inquiry import KEY as SECRET_KEY
from tests.guard.remotes.test_inquiry import a_stage, keep
from tests.guard.world import KEY, StubTriton, a_config, until_ready


async def test_a_process_asks_its_provider(tmp_path: Path, service: StubService) -> None:
    service.answer = lambda asked: openai(*(["hate"] if "awful" in asked["input"] else []))
    model = TestServer(StubTriton(text="An awful answer.").app())
    await model.start_server()
    keep(tmp_path, b"key")
    port = unused_port()
    told = a_config(
        guard={"stages": [a_stage({**OPENAI, "provider": "cloud", "credentials": SECRET_KEY}, 0)]},
        providers=[{"name": "cloud", "url": f"http://127.0.0.1:{service.port}"}],
        credentialsFolder=str(tmp_path),
        tritonUrl=str(model.make_url("")).rstrip("/"),
        port=port,
        operationsPort=unused_port(),
    )
    (tmp_path / "guard.json").write_text(json.dumps(told))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rlhf_operator.guard", "--config", tmp_path / "guard.json"),
        env={**os.environ, config.SIGNING_KEY: KEY, "http_proxy": "http://127.0.0.1:1"},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            await until_ready(client)
            reply = await client.post("/v1/completions", json={"prompt": "Hello"})
            assert reply.headers["x-rlhf-verdict"] == "blocked"
    finally:
        process.terminate()
        _, logged = await process.communicate()
        await model.close()
    assert [headers["authorization"] for headers in service.headers] == ["Bearer key"] * 2
    assert process.returncode == 0
    assert b"awful" not in logged and b"Bearer" not in logged
