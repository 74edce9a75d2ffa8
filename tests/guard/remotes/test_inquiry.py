"""Asking services on loopback: addresses, credentials, limits, and what is left alone."""

from __future__ import annotations

import gzip
import json
import logging
import os
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from rlhf_operator.api.guard import GuardConfig
from rlhf_operator.api.stages import Direction
from rlhf_operator.guard.pipeline import CannotJudge, Remote
from rlhf_operator.guard.remotes import roster
from rlhf_operator.guard.remotes.service import LONGEST_ANSWER
from rlhf_operator.guard.verdict import Unjudged
from tests.guard.remotes.services import (
    AZURE,
    OPENAI,
    StubService,
    azure,
    infer,
    litellm,
    llama,
    openai,
)  # fmt: skip
from tests.guard.remotes.test_contracts import JSON, LG, TOXIC
from tests.guard.world import a_config

SECRET = "sk-very-secret"
KEY = {"secretName": "keys", "key": "token"}


def a_stage(given: dict[str, Any], port: int, **changes: Any) -> dict[str, Any]:
    place = {} if "provider" in given else {"service": {"name": "judge", "port": port}}
    kind = "model" if "model" in given else "external"
    return {
        "name": "asked", "type": kind.capitalize(), "appliesTo": ["Input", "Output"],
        # A busy machine is no failure.
        "action": "Block", "timeout": "20s", kind: {**place, **given}, **changes,
    }  # fmt: skip


def a_remote(
    session: aiohttp.ClientSession, given: dict[str, Any], port: int = 80, **changes: Any
) -> Remote:
    config = a_config(**{"guard": {"stages": [a_stage(given, port)]}, **changes})
    return roster.Roster(session=session).build(GuardConfig.model_validate(config))["asked"]


async def reason(remote: Remote, text: str = "words", direction: Direction = "Input") -> Unjudged:
    with pytest.raises(CannotJudge) as caught:
        await remote.judge(text, direction)
    return caught.value.reason


@pytest.mark.parametrize(
    ("given", "path"),
    [
        (OPENAI, "/v1/moderations"),
        (AZURE, "/contentsafety/text:analyze?api-version=2024-09-01"),
        (litellm(), "/beta/litellm_basic_guardrail_api"),
        (JSON, "/"),
        (TOXIC, "/v2/models/toxic/infer"),
        (LG, "/v2/models/guard/generate"),
        ({**JSON, "service": {"name": "judge", "port": 0, "path": "/a:b?c=d"}}, "/a:b?c=d"),
    ],
)
async def test_where_each_is_asked(
    session: aiohttp.ClientSession, service: StubService, given: dict[str, Any], path: str
) -> None:
    if "service" in given:
        given = {**given, "service": {**given["service"], "port": service.port}}
    service.answer = lambda _: {}
    assert await reason(a_remote(session, given, service.port)) is Unjudged.BAD_ANSWER
    assert service.paths == [path]
    assert service.headers[0]["host"] == f"judge.default.svc:{service.port}"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://127.0.0.1:{}", "/v1/moderations"),
        ("http://127.0.0.1:{}/", "/v1/moderations"),
        ("http://127.0.0.1:{}/other/v1?x=y", "/other/v1?x=y"),
    ],
)
async def test_a_provider_is_asked_at_its_url(
    session: aiohttp.ClientSession, service: StubService, url: str, path: str
) -> None:
    providers = [{"name": "cloud", "url": url.format(service.port)}]
    remote = a_remote(session, {**OPENAI, "provider": "cloud"}, providers=providers)
    assert (await remote.judge("words", "Input")).found == ()
    assert service.paths == [path]


@pytest.mark.parametrize("url", [None, "http://[", "http://:80"])
async def test_a_provider_without_an_address_is_not_set_up(
    session: aiohttp.ClientSession, url: str | None
) -> None:
    providers = [{"name": "cloud", "url": url}] if url else []
    remote = a_remote(session, {**OPENAI, "provider": "cloud"}, providers=providers)
    assert await reason(remote) is Unjudged.NOT_SET_UP


def keep(folder: Path, content: bytes) -> Path:
    place = folder / "keys" / "token"
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(content)
    return place


async def test_a_credential_is_sent_and_read_anew_when_it_changed(
    session: aiohttp.ClientSession, service: StubService, tmp_path: Path
) -> None:
    remote = a_remote(
        session, {**OPENAI, "credentials": KEY}, service.port, credentialsFolder=str(tmp_path)
    )
    assert await reason(remote) is Unjudged.NOT_SET_UP
    for number, content in enumerate((b"one\n", b"two", b"three  \n")):
        os.utime(keep(tmp_path, content), ns=(number, number))
        await remote.judge("words", "Input")
    (tmp_path / "keys" / "token").unlink()
    assert await reason(remote) is Unjudged.NOT_SET_UP
    sent = [headers["authorization"] for headers in service.headers]
    assert sent == ["Bearer one", "Bearer two", "Bearer three"]


@pytest.mark.parametrize("content", [b"", b" \n", b"a\r\nX-Evil: 1", b"\xff", b"x" * 9000])
async def test_what_no_header_can_hold_is_no_credential(
    session: aiohttp.ClientSession, service: StubService, tmp_path: Path, content: bytes
) -> None:
    keep(tmp_path, content)
    remote = a_remote(
        session, {**OPENAI, "credentials": KEY}, service.port, credentialsFolder=str(tmp_path)
    )
    assert await reason(remote) is Unjudged.NOT_SET_UP
    assert service.asked == []


async def test_neither_credential_nor_text_nor_answer_is_logged(
    session: aiohttp.ClientSession, service: StubService, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    keep(tmp_path, SECRET.encode())
    remote = a_remote(
        session, {**OPENAI, "credentials": KEY}, service.port, credentialsFolder=str(tmp_path)
    )
    for answer, status in (({"results": "echo: my prompt"}, 200), ({}, 503), ({}, 401)):
        service.answer, service.status = lambda _, said=answer: said, status
        with pytest.raises(CannotJudge) as caught:
            await remote.judge("my prompt", "Input")
        assert "my prompt" not in repr(caught.value) + repr(caught.value.__cause__)
    assert "is not understood" in caplog.text
    assert "my prompt" not in caplog.text and SECRET not in caplog.text
    assert SECRET not in repr(remote)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, Unjudged.REFUSED), (403, Unjudged.REFUSED), (429, Unjudged.REFUSED),
        (500, Unjudged.UNREACHABLE), (502, Unjudged.UNREACHABLE), (503, Unjudged.UNREACHABLE),
        (400, Unjudged.BAD_ANSWER), (404, Unjudged.BAD_ANSWER), (422, Unjudged.BAD_ANSWER),
        (201, Unjudged.BAD_ANSWER), (302, Unjudged.BAD_ANSWER),
    ],
)  # fmt: skip
async def test_only_status_200_is_an_answer(
    session: aiohttp.ClientSession, service: StubService, status: int, expected: Unjudged
) -> None:
    service.status = status
    assert await reason(a_remote(session, OPENAI, service.port)) is expected


async def test_a_redirect_is_not_followed(
    session: aiohttp.ClientSession, service: StubService
) -> None:
    service.raw = lambda: web.Response(status=307, headers={"Location": "/v1/elsewhere"})
    assert await reason(a_remote(session, OPENAI, service.port)) is Unjudged.BAD_ANSWER
    assert service.paths == ["/v1/moderations"]


def padded(size: int) -> bytes:
    body = json.dumps(openai()).encode()
    return body + b" " * (size - len(body))


@pytest.mark.parametrize(
    ("body", "is_read"), [(padded(LONGEST_ANSWER), True), (padded(LONGEST_ANSWER + 1), False)]
)
async def test_an_answer_has_a_longest_size(
    session: aiohttp.ClientSession, service: StubService, body: bytes, is_read: bool
) -> None:
    service.raw = lambda: web.Response(body=body)
    remote = a_remote(session, OPENAI, service.port)
    if is_read:
        assert (await remote.judge("words", "Input")).found == ()
    else:
        assert await reason(remote) is Unjudged.BAD_ANSWER


async def test_what_is_packed_is_not_unpacked(
    session: aiohttp.ClientSession, service: StubService
) -> None:
    packed = gzip.compress(json.dumps(openai()).encode())
    service.raw = lambda: web.Response(body=packed, headers={"Content-Encoding": "gzip"})
    assert await reason(a_remote(session, OPENAI, service.port)) is Unjudged.BAD_ANSWER


async def test_nobody_there_is_unreachable(session: aiohttp.ClientSession) -> None:
    assert await reason(a_remote(session, OPENAI, 1)) is Unjudged.UNREACHABLE


async def test_no_proxy_of_the_environment_is_used(
    session: aiohttp.ClientSession, service: StubService, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (await a_remote(session, OPENAI, service.port).judge("words", "Input")).found == ()


@pytest.mark.parametrize("text", ["", " \n\t"])
async def test_nothing_is_not_sent(
    session: aiohttp.ClientSession, service: StubService, text: str
) -> None:
    assert (await a_remote(session, OPENAI, service.port).judge(text, "Input")).found == ()
    assert service.asked == []


async def test_the_worst_part_of_a_long_text_counts(
    session: aiohttp.ClientSession, service: StubService
) -> None:
    service.answer = lambda asked: azure(Hate=4 if "needle" in asked["text"] else 0)
    text = "x" * 24_990 + "needle" + "y" * 20_000
    judged = await a_remote(session, AZURE, service.port).judge(text, "Output")
    assert [each.category for each in judged.found] == ["hate"]
    assert dict(judged.scores)["hate"] == pytest.approx(4 / 6)
    assert len(service.asked) == 5


async def test_an_error_in_one_part_is_no_pardon_for_another(
    session: aiohttp.ClientSession, service: StubService
) -> None:
    service.answer = lambda asked: (
        infer(0.9, 0.0) if "needle" in asked["inputs"][0]["data"][0] else {}
    )
    with pytest.raises(CannotJudge) as caught:
        await a_remote(session, TOXIC, service.port).judge("x" * 5000 + "needle", "Output")
    assert caught.value.reason is Unjudged.BAD_ANSWER
    assert [each.category for each in caught.value.found] == ["toxic"]


async def test_llama_guard_is_asked_for_both_sides(
    session: aiohttp.ClientSession, service: StubService
) -> None:
    service.answer = lambda asked: llama(
        "unsafe\nS1" if "Agent: bombs" in asked["text_input"] else "safe"
    )
    remote = a_remote(session, LG, service.port)
    assert (await remote.judge("bombs", "Input")).found == ()
    assert [each.category for each in (await remote.judge("bombs", "Output")).found] == ["violence"]
