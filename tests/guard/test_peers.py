"""Votes in a model of several guards: one of them counts, whichever is asked."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from rlhf_operator.guard import peers, tokens
from tests.guard.world import KEY, MakeWorld, World, a_setup, examples

OPENSSL = shutil.which("openssl")
addresses = st.sets(st.tuples(st.ip_addresses(v=4).map(str), st.just(8080)), min_size=2, max_size=8)
nonces = st.text("0123456789abcdef", min_size=24, max_size=24)

MakeGuards = Callable[[int], Awaitable[list[World]]]


@examples
@given(nonces, addresses)
def test_all_guards_say_to_whom_a_vote_belongs(nonce: str, known: set[peers.Address]) -> None:
    found = peers.owner(b"key", nonce, known)
    assert found in known
    assert peers.owner(b"key", nonce, sorted(known)) == found
    assert peers.owner(b"key", nonce, sorted(known, reverse=True)) == found


@examples
@given(nonces, addresses, st.data())
def test_a_guard_that_goes_takes_only_its_own_along(
    nonce: str, known: set[peers.Address], data: st.DataObject
) -> None:
    gone = data.draw(st.sampled_from(sorted(known)))
    before, after = (peers.owner(b"key", nonce, each) for each in (known, known - {gone}))
    assert after == before or before == gone


def test_each_of_some_guards_gets_its_share() -> None:
    known = [(f"10.0.0.{n}", 8080) for n in range(4)]
    found = [peers.owner(b"key", f"{n:024x}", known) for n in range(2000)]
    assert all(400 < found.count(each) < 600 for each in known)


def address(world: World) -> peers.Address:
    return "127.0.0.1", int(world.users.server.port or 0)


def know(world: World, known: list[World]) -> None:
    found = frozenset(map(address, known))

    async def look(_name: str, _port: int) -> frozenset[peers.Address]:
        if not found:
            raise OSError("nobody")
        return found

    world.guard.peers.lookup = look
    world.guard.peers._since = None
    world.guard.peers.seconds = 60  # a busy machine is no failure


@pytest.fixture
def make_guards(make_world: MakeWorld) -> MakeGuards:
    async def make(count: int) -> list[World]:
        made = [await make_world(peers="support-guards.team.svc") for _ in range(count)]
        for world in made:
            know(world, made)
        return made

    return make


async def an_id(world: World, **headers: str) -> str:
    body = {"prompt": "Hello", "user": "ann"}
    reply = await world.users.post("/v1/completions", json=body, headers=headers)
    return str((await reply.json())["id"])


async def vote(world: World, headers: dict[str, str] | None = None, **body: Any) -> tuple[int, Any]:
    reply = await world.users.post("/v1/feedback", json=body, headers=headers)
    return reply.status, await reply.json()


async def counts(worlds: list[World], first: str = "") -> list[float]:
    name = f'{first}feedback_total{{about_version="support-v7",kind="thumbs",value="up"}}'
    return [(await world.metrics())[name] for world in worlds]


async def test_one_vote_counts_once_whichever_guards_are_asked(make_guards: MakeGuards) -> None:
    guards = await make_guards(3)
    for _ in range(6):
        said = await an_id(guards[0])
        statuses = [(await vote(each, response_id=said, thumbs="up"))[0] for each in guards]
        assert statuses == [200, 409, 409]
    found = await counts(guards)
    assert sum(found) == 6
    assert [len(each.guard.votes) for each in guards] == found


async def test_the_votes_of_a_user_in_a_run_go_to_one_guard(make_guards: MakeGuards) -> None:
    """Whichever guards answered and are asked: a user's first vote is told by one of them."""
    guards = await make_guards(3)
    arms = {"x-rlhf-arms": "support-v8=5;step=1;run=support-7", "x-rlhf-run": "support-7"}
    for answers, asked in zip(guards * 3, (guards[1:] + guards[:1]) * 3, strict=True):
        said = await an_id(answers, **arms)
        statuses = [
            (await vote(each, response_id=said, thumbs="up"))[0] for each in (asked, answers)
        ]
        assert statuses == [200, 409]
    assert sorted(await counts(guards)) == [0, 0, 9]
    assert sorted(await counts(guards, "first_")) == [0, 0, 1]


async def test_votes_at_the_same_time_count_once(make_guards: MakeGuards) -> None:
    guards = await make_guards(3)
    said = await an_id(guards[0])
    sent = [vote(each, response_id=said, thumbs="up") for each in guards * 3]
    statuses = [status for status, _ in await asyncio.gather(*sent)]
    assert sorted(statuses) == [200] + [409] * 8
    assert sum(await counts(guards)) == 1


async def test_what_is_no_vote_is_refused_where_it_arrives(make_guards: MakeGuards) -> None:
    (guard, gone) = await make_guards(2)
    await gone.users.server.close()
    said = await an_id(guard)
    assert (await vote(guard, response_id=said, thumbs="sideways"))[0] == 400
    assert (await vote(guard, response_id="rlhf-x", thumbs="up"))[0] == 403


async def an_id_of(guard: World, other: World, known: list[World]) -> str:
    """Return an id whose votes belong to the other."""
    while True:
        said = await an_id(guard)
        about = tokens.read(KEY.encode(), model="support", text=said)
        assert about is not None
        belongs = peers.owner(KEY.encode(), about.nonce, list(map(address, known)))
        if belongs == address(other):
            return said


async def test_a_vote_for_a_guard_that_is_gone_counts_nowhere_until_it_is_known(
    make_guards: MakeGuards,
) -> None:
    guards = await make_guards(2)
    guard, gone = guards
    said = await an_id_of(guard, gone, guards)
    await gone.users.server.close()
    reply = await guard.users.post("/v1/feedback", json={"response_id": said, "thumbs": "up"})
    assert (reply.status, reply.headers["Retry-After"]) == (503, "2")
    assert await counts([guard]) == [0]
    know(guard, [guard])
    assert (await vote(guard, response_id=said, thumbs="up"))[0] == 200


async def test_nobody_counts_where_nobody_is_known(make_guards: MakeGuards) -> None:
    (guard,) = await make_guards(1)
    know(guard, [])
    said = await an_id(guard)
    assert (await vote(guard, response_id=said, thumbs="up"))[0] == 503
    assert await counts([guard]) == [0]


async def test_a_vote_is_passed_on_once_however_guards_disagree(make_guards: MakeGuards) -> None:
    one, other = await make_guards(2)
    know(one, [other])
    know(other, [one])
    said = await an_id(one)
    assert (await vote(one, response_id=said, thumbs="up"))[0] == 200
    assert await counts([one, other]) == [0, 1]


async def test_a_client_cannot_say_that_a_vote_was_passed_on(make_guards: MakeGuards) -> None:
    one, other = await make_guards(2)
    know(one, [other])
    for signature in ("", "0" * 64, "é"):
        said = await an_id(one)
        status, _ = await vote(one, {peers.HEADER: signature}, response_id=said, thumbs="up")
        assert status == 200
    assert await counts([one, other]) == [0, 3]


@pytest.mark.skipif(OPENSSL is None, reason="openssl is not there")
async def test_guards_that_serve_https_ask_each_other_by_it(tmp_path: Path) -> None:
    assert OPENSSL is not None
    command = [OPENSSL, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "1", "-subj", "/CN=chat.example.com"]
    command += ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert")]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    setup = a_setup()
    heard: list[bool] = []

    async def take(request: web.Request) -> web.Response:
        heard.append(peers.is_passed_on(setup, request.headers[peers.HEADER], await request.read()))
        return web.Response(status=409, body=b"{}")

    app = web.Application()
    app.router.add_post("/v1/feedback", take)
    async with aiohttp.ClientSession() as session:
        secure = TestServer(app, scheme="https")
        await secure.start_server(ssl=context)
        to = ("127.0.0.1", int(secure.port or 0))
        known = peers.Peers(session=session)
        reply = await known.pass_on(setup, to, b"{}", [], is_secure=True)
        assert (reply.status, heard) == (409, [True])
        with pytest.raises(peers.Unreachable):
            await known.pass_on(setup, to, b"{}", [], is_secure=False)
        await secure.close()


async def test_addresses_are_looked_up_anew_after_a_while(
    make_guards: MakeGuards, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await make_guards(2)
    know(one, [one])
    assert (await vote(one, response_id=await an_id(one), thumbs="up"))[0] == 200
    since = one.guard.peers._since
    know(one, [other])
    one.guard.peers._since = since
    assert (await vote(one, response_id=await an_id(one), thumbs="up"))[0] == 200
    monkeypatch.setattr(peers, "_FRESH_SECONDS", -1.0)
    assert (await vote(one, response_id=await an_id(one), thumbs="up"))[0] == 200
    assert await counts([one, other]) == [2, 1]


async def test_a_name_is_looked_up() -> None:
    assert ("127.0.0.1", 8080) in await peers.lookup("localhost", 8080)
    with pytest.raises(socket.gaierror):
        await peers.lookup("no-such-name.invalid", 8080)
