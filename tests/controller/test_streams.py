"""What watches bring, and that they come back: kopf's streams against a server that plays along."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import kopf
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from rlhf_operator.controller import streams
from rlhf_operator.controller.watches import Watched

MODELS, SERVICES = Watched(kind="RLHFModel"), Watched(kind="Service", ours=True)


def thing(name: str, version: int = 1) -> dict[str, Any]:
    return {"metadata": {"namespace": "team", "name": name, "resourceVersion": str(version)}}


@dataclass
class ApiServer:
    """Lists some objects, and then sends what is put into `events`."""

    objects: list[dict[str, Any]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    """The statuses of the next answers, before all is well."""
    asked: list[dict[str, str]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    events: asyncio.Queue[dict[str, Any] | None] = field(default_factory=asyncio.Queue)
    """None ends the watch."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append({"path": request.path, **request.query})
        self.tokens.append(request.headers.get("Authorization", ""))
        status = self.answers.pop(0) if self.answers else 200
        if status != 200:
            return web.json_response({"code": status, "message": "no"}, status=status)
        if "watch" in request.query:
            return await self._watch(request)
        start, limit = int(request.query.get("continue", 0)), int(request.query["limit"])
        more = str(start + limit) if start + limit < len(self.objects) else ""
        metadata = {"resourceVersion": "9", "continue": more}
        return web.json_response(
            {"items": self.objects[start : start + limit], "metadata": metadata}
        )

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while (event := await self.events.get()) is not None:
            await answer.write(json.dumps(event).encode() + b"\n")
        return answer


Received = list[tuple[str, str | None, str]]


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiServer]:
    made, logins = ApiServer(), iter(range(100))
    app = web.Application()
    app.router.add_get("/{path:.*}", made.answer)
    monkeypatch.setattr(streams, "AGAIN", 0.01)
    async with TestServer(app) as served:
        url = str(served.make_url("/"))

        def login(**_: Any) -> kopf.ConnectionInfo:
            return kopf.ConnectionInfo(server=url, token=str(next(logins)))

        monkeypatch.setattr(streams, "login", login)
        yield made


async def until(done: Callable[[Received], bool], *kinds: Watched) -> Received:
    """Follow these kinds until enough was received."""
    found: Received = []

    def receive(kind: str, event: str | None, raw: Any) -> None:
        found.append((kind, event, raw["metadata"]["name"]))

    following = asyncio.create_task(streams.follow(kinds, ("team",), receive))
    try:
        while not done(found):
            assert not following.done(), following.exception()
            await asyncio.sleep(0.01)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    return found


async def test_what_is_listed_comes_in_pages_and_what_happens_after(server: ApiServer) -> None:
    server.objects = [thing(f"m{number}") for number in range(250)]
    happened = [("MODIFIED", "m1"), ("BOOKMARK", ""), ("ADDED", "new"), ("DELETED", "m2")]
    for event, name in happened:
        server.events.put_nowait({"type": event, "object": thing(name, 10)})
    found = await until(lambda found: len(found) == 253, MODELS)
    assert found[:250] == [("RLHFModel", None, f"m{number}") for number in range(250)]
    assert [each[1:] for each in found[250:]] == [each for each in happened if each[1]]
    assert [each.get("limit") for each in server.asked[:4]] == ["100", "100", "100", None]
    assert server.asked[3]["resourceVersion"] == "9", "from where the list ended"


async def test_a_watch_that_ended_goes_on_from_what_it_said_last(server: ApiServer) -> None:
    for event in ({"type": "ADDED", "object": thing("one", 10)}, None):
        server.events.put_nowait(event)
    server.events.put_nowait({"type": "ADDED", "object": thing("two", 11)})
    await until(lambda found: len(found) == 2, MODELS)
    assert [each.get("resourceVersion") for each in server.asked] == [None, "9", "10"]


async def test_what_is_too_old_is_listed_anew(server: ApiServer) -> None:
    server.objects = [thing("one")]
    server.events.put_nowait({"type": "ERROR", "object": {"code": 410}})
    found = await until(lambda found: len(found) == 2, MODELS)
    assert found == [("RLHFModel", None, "one")] * 2


async def test_a_kind_that_is_not_there_yet_is_asked_for_again(
    server: ApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.objects, server.answers = [thing("one")], [404, 404]
    await until(lambda found: len(found) == 1, MODELS)
    assert caplog.text.count("RLHFModel cannot be watched now") == 2


@pytest.mark.parametrize("status", [403, 429, 503])
async def test_a_kind_that_is_refused_is_asked_for_again(server: ApiServer, status: int) -> None:
    server.objects, server.answers = [thing("one")], [status]
    assert len(await until(lambda found: len(found) == 1, MODELS)) == 1


async def test_a_watch_that_fails_is_begun_anew(
    server: ApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.objects = [thing("one")]
    server.events.put_nowait({"type": "ERROR", "object": {"code": 500, "message": "etcd"}})
    await until(lambda found: len(found) == 2, MODELS)
    assert "RLHFModel cannot be watched now" in caplog.text


async def test_who_is_not_known_any_more_logs_in_again(server: ApiServer) -> None:
    server.objects, server.answers = [thing("one")], [401]
    await until(lambda found: len(found) == 1, MODELS)
    assert server.tokens[:2] == ["Bearer 0", "Bearer 1"]


async def test_who_cannot_log_in_ends(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "login", lambda **_: None)
    with pytest.raises(ExceptionGroup) as told:
        await streams.follow((MODELS,), (), lambda *_: None)
    assert told.group_contains(kopf.LoginError)


async def test_of_kinds_that_everybody_has_only_ours_are_asked_for(server: ApiServer) -> None:
    server.objects = [thing("one")]
    await until(lambda found: len(found) == 2, MODELS, SERVICES)
    ours = {each["path"]: each.get("labelSelector") for each in server.asked}
    assert ours == {
        "/apis/rlhf.dev/v1alpha1/namespaces/team/rlhfmodels": None,
        "/api/v1/namespaces/team/services": "app.kubernetes.io/managed-by=rlhf-operator",
    }


async def test_others_have_their_turn_while_much_comes(server: ApiServer) -> None:
    server.objects = [thing(f"m{number}") for number in range(100)]
    turns: list[int] = []

    async def count() -> None:
        while True:
            turns.append(0)
            await asyncio.sleep(0)

    counted = 0

    def receive(*_: Any) -> None:
        nonlocal counted
        counted += 1
        if counted in (1, 100):
            turns.append(1)

    counting = asyncio.create_task(count())
    following = asyncio.create_task(streams.follow((MODELS,), (), receive))
    while counted < 100:
        await asyncio.sleep(0.01)
    for task in (counting, following):
        task.cancel()
    await asyncio.gather(counting, following, return_exceptions=True)
    first, last = (place for place, each in enumerate(turns) if each)
    assert turns[first:last].count(0) >= 4
