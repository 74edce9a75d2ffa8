"""Feedback: each kind counts once per answer, for the version that gave it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rlhf_operator.api.arms import Place
from rlhf_operator.guard import tokens
from tests.guard.samples import StubSink, find_mail
from tests.guard.world import KEY, MakeWorld, World

ARMS = "support-v8=5;step=1;run=support-7"


async def vote(world: World, **body: Any) -> tuple[int, Any]:
    reply = await world.users.post("/v1/feedback", json=body)
    return reply.status, await reply.json()


async def an_id(world: World, **headers: str) -> str:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    reply = await world.users.post("/v1/completions", json={"prompt": "Hello"}, headers=named)
    said = (await reply.json())["id"]
    assert reply.headers["x-rlhf-response-id"] == said
    return str(said)


async def test_feedback_counts_for_the_version_that_answered(make_world: MakeWorld) -> None:
    canary, stable = await make_world(version="support-v8"), await make_world()
    said = await an_id(canary)
    status, body = await vote(stable, response_id=said, thumbs="down")
    assert (status, body["about_version"]) == (200, "support-v8")
    assert (await vote(stable, response_id=said, task="done"))[0] == 200
    assert (await vote(stable, response_id=said, thumbs="up"))[0] == 409
    seen = await stable.metrics()
    about = 'feedback_total{about_version="support-v8",kind='
    assert seen[f'{about}"thumbs",value="down"}}'] == 1
    assert seen[f'{about}"thumbs",value="up"}}'] == 0
    assert seen[f'{about}"task",value="done"}}'] == 1


async def test_several_kinds_come_together_and_each_counts_once(world: World) -> None:
    said = await an_id(world)
    status, body = await vote(world, response_id=said, thumbs="up", rating=4)
    assert (status, body["counted"]) == (200, ["thumbs", "rating"])
    status, body = await vote(world, response_id=said, rating=1, task="failed")
    assert (status, body["counted"]) == (200, ["task"])
    assert (await vote(world, response_id=said, rating=5, task="done"))[0] == 409
    seen = await world.metrics()
    counted = [
        name.partition("kind=")[2]
        for name, count in seen.items()
        if name.startswith("feedback_total") and count == 1
    ]
    assert sorted(counted) == [
        '"rating",value="4"}',
        '"task",value="failed"}',
        '"thumbs",value="up"}',
    ]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="no kind"),
        pytest.param({"thumbs": "sideways"}, id="an unknown value"),
        pytest.param({"rating": 0}, id="too low"),
        pytest.param({"rating": 6}, id="too high"),
        pytest.param({"rating": "5"}, id="a number as text"),
        pytest.param({"rating": True}, id="no number"),
        pytest.param({"rating": 4.5}, id="between two numbers"),
        pytest.param({"reason": "because"}, id="a reason alone"),
        pytest.param({"thumbs": "up", "reason": "x" * 2001}, id="too long a reason"),
        pytest.param({"thumbs": "up", "reason": ""}, id="an empty reason"),
        pytest.param({"thumbs": "up", "mood": "fine"}, id="an unknown field"),
    ],
)
async def test_what_is_no_feedback_counts_nothing(world: World, body: dict[str, Any]) -> None:
    said = await an_id(world)
    status, answer = await vote(world, response_id=said, **body)
    assert status == 400
    assert "because" not in json.dumps(answer)
    assert (await vote(world, response_id=said, thumbs="up", rating=1, task="done"))[0] == 200


async def test_feedback_that_is_not_ours_is_refused(world: World) -> None:
    said = await an_id(world)
    other = "A" if said[-1] != "A" else "B"
    assert (await vote(world, response_id=said[:-1] + other, thumbs="up"))[0] == 403
    assert (await vote(world, response_id="rlhf-x", thumbs="up"))[0] == 403
    old = tokens.ResponseId(version="support-v7", identity="0123456789ab", nonce="n", issued=1)
    signed = tokens.issue(KEY.encode(), model="support", about=old)
    status, body = await vote(world, response_id=signed, thumbs="up")
    assert status == 403 and "too old" in body["error"]["message"]


async def test_an_id_tells_version_arm_step_and_run(make_world: MakeWorld) -> None:
    stable, canary = await make_world(), await make_world(version="support-v8")
    for world, arm in ((stable, "stable"), (canary, "canary")):
        said = tokens.read(KEY.encode(), model="support", text=await an_id(world, x_rlhf_arms=ARMS))
        assert said is not None and said.version == world.guard.setup.config.version
        assert said.place == Place(run="support-7", step=1, arm=arm)
    without = tokens.read(KEY.encode(), model="support", text=await an_id(stable))
    assert without is not None and without.place is None


async def test_a_reason_goes_cleaned_to_the_sink_and_nowhere_else(
    make_world: MakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    sink = StubSink()
    await sink.come()
    try:
        world = await make_world(
            guard={"sampling": {"provider": "sink", "share": "0.0000001", "batch": 1}},
            providers=[{"name": "sink", "url": sink.url}],
            version="support-v8",
        )
        world.guard.sampler._prepare = lambda _recognizers: find_mail
        world.guard.sampler.take(world.guard.setup)
        said = await an_id(world, x_rlhf_arms=ARMS)
        reason = "wrong number of jane@doe.org"
        status, body = await vote(world, response_id=said, thumbs="down", reason=reason)
        assert (status, body["reason_kept"]) == (200, True)
        (event,) = await sink.batches.get()
        assert (event.subject, event.data.reason) == (said, "wrong number of [email]")
        assert (event.data.about.arm, event.data.about.run) == ("canary", "support-7")
        metrics = await (await world.operations.get("/metrics")).text()
        assert "jane" not in metrics + caplog.text + json.dumps(body)
    finally:
        await sink.go()


async def test_a_reason_that_nobody_takes_is_not_kept_and_the_vote_counts(world: World) -> None:
    said = await an_id(world)
    status, body = await vote(world, response_id=said, thumbs="down", reason="so")
    assert (status, body["counted"], body["reason_kept"]) == (200, ["thumbs"], False)
