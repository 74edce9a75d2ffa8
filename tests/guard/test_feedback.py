"""Feedback: each kind counts once per answer, for the version that gave it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from rlhf_operator.api.arms import Place
from rlhf_operator.guard import tokens
from rlhf_operator.guard.users import pseudonym
from tests.guard.samples import StubSink, find_mail
from tests.guard.world import KEY, MakeWorld, World

ARMS = "support-v8=5;step=1;run=support-7"


async def vote(world: World, **body: Any) -> tuple[int, Any]:
    reply = await world.users.post("/v1/feedback", json=body)
    return reply.status, await reply.json()


async def an_id(world: World, user: str | None = None, **headers: str) -> str:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = {"prompt": "Hello"} if user is None else {"prompt": "Hello", "user": user}
    reply = await world.users.post("/v1/completions", json=body, headers=named)
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


def in_run(step: int = 1, run: str = "support-7", tested: str = "support-v8=5") -> dict[str, str]:
    return {"x_rlhf_arms": f"{tested};step={step};run={run}", "x_rlhf_run": run}


RUN = in_run()
DOWN, UP, DONE = {"thumbs": "down"}, {"thumbs": "up"}, {"task": "done"}


@pytest.mark.parametrize(
    ("votes", "down", "up", "done"),
    [
        pytest.param([("ann", RUN, DOWN)] * 9, 1, 0, 0, id="nine answers voted down are one vote"),
        pytest.param([("ann", RUN, UP), ("ann", RUN, DOWN)], 0, 1, 0,
                     id="the first vote counts, whichever it is"),
        pytest.param([("ann", RUN, UP), ("ann", RUN, DONE)], 0, 1, 1, id="kinds are apart"),
        pytest.param([("ann", RUN, DOWN), ("bob", RUN, DOWN)], 2, 0, 0, id="other users count"),
        pytest.param([(None, RUN, DOWN)] * 3, 3, 0, 0, id="who is not known counts always"),
        pytest.param([("ann", in_run(step), DOWN) for step in (0, 1, 1)], 2, 0, 0,
                     id="a user counts once in each step"),
        pytest.param([("ann", in_run(run=f"support-{run}"), DOWN) for run in (7, 8, 8)], 2, 0, 0,
                     id="and in each run"),
        pytest.param([("ann", in_run(tested=tested), DOWN) for tested in
                      ("support-v8=5,support-v9=5", "support-v8=5", "support-v8=5")], 2, 0, 0,
                     id="and when a version is dropped from a test"),
        pytest.param([("ann", {}, DOWN), ("ann", RUN, DOWN)], 1, 0, 0,
                     id="an answer of before the run is none of its"),
    ],
)  # fmt: skip
async def test_whose_votes_count_as_a_user_s_first(
    world: World,
    votes: list[tuple[str | None, dict[str, str], dict[str, str]]],
    down: int, up: int, done: int,
) -> None:  # fmt: skip
    for user, where, said in votes:
        assert (await vote(world, response_id=await an_id(world, user, **where), **said))[0] == 200
    seen = await world.metrics()
    about = 'feedback_total{about_version="support-v7",kind='
    first = [seen[f"first_{about}{each}}}"] for each in (
        '"thumbs",value="down"', '"thumbs",value="up"', '"task",value="done"')]  # fmt: skip
    assert first == [down, up, done]
    every = sum(count for name, count in seen.items() if name.startswith(about))
    assert every == len(votes), "all votes count on"


async def test_a_version_whose_guards_tell_no_voters_has_no_first_votes(world: World) -> None:
    """Nor a 0, which would pass for a version about which no user has voted."""
    about = tokens.ResponseId(
        version="support-v6", identity="0123456789ab", nonce="n", issued=2**33,
        place=Place(run="support-7", step=1, arm="stable"),
    )  # fmt: skip
    signed = tokens.issue(KEY.encode(), model="support", about=about)
    assert (await vote(world, response_id=signed, thumbs="up"))[0] == 200
    seen = await world.metrics()
    assert seen['feedback_total{about_version="support-v6",kind="thumbs",value="up"}'] == 1
    named = {name.partition("{")[0] for name in seen if "support-v6" in name}
    assert named == {"feedback_total"}


async def test_no_id_tells_the_user_s_name_or_pseudonym(world: World) -> None:
    said = await an_id(world, "ann@example.org", **RUN)
    name = {"model": "support", "run": "support-7", "user": "ann@example.org"}
    text = base64.urlsafe_b64decode(said.removeprefix("rlhf-") + "==")
    known = pseudonym(KEY.encode(), **name).hex().encode()
    assert all(each not in text for each in (b"ann", known[:16], known[-16:]))
    about = tokens.read(KEY.encode(), model="support", text=said)
    assert about is not None and about.voter is not None and len(about.voter) == 16


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
