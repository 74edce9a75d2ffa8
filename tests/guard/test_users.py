"""A user counts once a run: whose event it is, what it is counted among, and what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_operator.api.metrics import FirstKind
from rlhf_operator.guard import metrics
from rlhf_operator.guard.users import Users, pseudonym, voter
from tests.guard.world import MakeWorld, World, a_config, examples

BAD, FINE = "Those people again.", "A fine answer."


async def ask(world: World, *asked: tuple[str, dict[str, Any], dict[str, str]]) -> dict[str, float]:
    """Ask for answers, each with a text, more of the body, and headers; return what is counted."""
    for text, body, headers in asked:
        world.triton.text = text
        body = {"prompt": "Hello", **body}
        reply = await world.users.post("/v1/completions", json=body, headers=headers)
        assert reply.status == 200
    return await world.metrics()


def first(counted: dict[str, float], kind: str) -> tuple[float, float]:
    return tuple(counted[f'first_{each}_total{{kind="{kind}"}}'] for each in ("events", "samples"))


def by(name: str, text: str = BAD, run: str | None = None, **headers: str):
    found = {name.replace("_", "-"): value for name, value in headers.items()}
    if run is not None:
        found["x-rlhf-run"] = run
    return text, {"user": name} if name else {}, found


@pytest.mark.parametrize(
    ("asked", "events", "samples"),
    [
        pytest.param([by("ann"), by("ann"), by("ann")], 1, 1, id="a second flag is no event"),
        pytest.param(
            [by("ann", FINE), by("ann", FINE), by("ann")], 1, 3,
            id="answers count until the first flag, and it is one of them",
        ),
        pytest.param(
            [by("ann"), by("ann", FINE)], 1, 1, id="who was flagged is no part of the others' rate"
        ),
        pytest.param([by("ann"), by("bob"), by("cat")], 3, 3, id="other users count"),
        pytest.param([by(""), by(""), by("", FINE)], 2, 3, id="who is not known counts always"),
        pytest.param(
            [by("ann", run="support-7"), by("ann", run="support-8"), by("ann", run="support-8")],
            2, 2, id="a user counts once in each run",
        ),
        pytest.param(
            [by("ann", run="support-7", x_rlhf_arms=f"v2=5;step={step};run=support-7")
             for step in (0, 0, 1, 1)],
            2, 2, id="and in each step of it, for then the arms get other users",
        ),
        pytest.param(
            [by("ann", run="support-7", x_rlhf_arms=f"v2=5{others};step=0;run=support-7")
             for others in (",v3=5", ",v3=5", "", "")],
            2, 2, id="and when a version is dropped from a test",
        ),
        pytest.param([(BAD, {"safety_identifier": "ann", "user": "x"}, {}),
                      (BAD, {"safety_identifier": "ann", "user": "y"}, {})], 1, 1,
                     id="the newer name of the field comes first"),
        pytest.param(
            [by("ann", x_user="1"), by("bob", x_user="1"), by("ann", x_user="2")], 2, 2,
            id="the team's header is believed before the body",
        ),
        pytest.param(
            [(BAD, {}, {"Cookie": "rlhf-arm=v1.canary.abc"})] * 2, 2, 2,
            id="the arm's cookie is no name: a whole arm has the same",
        ),
    ],
)  # fmt: skip
async def test_whose_events_count(
    make_world: MakeWorld, asked: Sequence[tuple[str, dict[str, Any], dict[str, str]]],
    events: int, samples: int,
) -> None:  # fmt: skip
    world = await make_world(guard=a_config()["guard"] | {"userHeader": "x-user"})
    counted = await ask(world, *asked)
    assert first(counted, "unsafe_served") == (events, samples)
    assert first(counted, "unsafe_generated") == (events, samples)
    assert counted["responses_total"] == len(asked)


async def test_kinds_are_apart(make_world: MakeWorld) -> None:
    """Who was refused once may still be answered unsafely for the first time."""
    world = await make_world()
    counted = await ask(world, by("ann", "I cannot help with that."), by("ann"), by("ann"))
    assert first(counted, "refused") == (1, 1)
    assert first(counted, "unsafe_served") == (1, 2)
    assert first(counted, "blocked") == (0, 3)
    assert first(counted, "error") == (0, 3)


async def test_a_user_s_first_error_counts_among_requests(world: World) -> None:
    world.triton.status = 500
    for _ in range(3):
        assert (await world.complete(user="ann")).status == 502
    counted = await world.metrics()
    assert (counted["errors_total"], counted["requests_total"]) == (3, 3)
    assert first(counted, "error") == (1, 1)


async def test_a_name_that_is_no_text_is_refused(world: World) -> None:
    assert (await world.complete(user=7)).status == 400


@pytest.mark.parametrize("name", [rb"\ud800", rb"ann\u0000bob", b"a" * 5000, "ann\u00e9".encode()])
async def test_an_odd_name_breaks_nothing(world: World, name: bytes) -> None:
    body = b'{"prompt": "Hello", "user": "' + name + b'"}'
    reply = await world.users.post("/v1/completions", data=body)
    assert reply.status in (200, 400)
    assert (await world.metrics())["errors_total"] == 0


async def test_no_name_is_kept_or_told(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    world.triton.text = BAD
    await world.complete(user="ann@example.org")
    kept = repr(vars(world.guard.instruments.users))
    told = await (await world.operations.get("/metrics")).text()
    assert len(world.guard.instruments.users) == 2
    assert [each for each in (kept, told, caplog.text) if "ann" in each] == []


def test_pseudonyms_differ_by_key_model_run_and_user() -> None:
    one = {"model": "support", "run": "support-7", "user": "ann"}
    others = [pseudonym(b"k" * 16, **one | change) for change in (
        {}, {"model": "sales"}, {"run": "support-8"}, {"user": "bob"})]  # fmt: skip
    others.append(pseudonym(b"l" * 16, **one))
    assert len(set(others)) == 5
    assert pseudonym(b"k" * 16, **one) == others[0]


def test_what_ids_hold_of_a_user_tells_nothing_of_the_pseudonym() -> None:
    user = pseudonym(b"k" * 16, model="support", run="support-7", user="ann")
    found = voter(b"k" * 16, user)
    assert len(found) == 16 and found not in user.hex()
    assert found == voter(b"k" * 16, user)
    others = (voter(b"l" * 16, user), voter(b"k" * 16, user + b"\x01"))
    assert len({found, *others}) == 3


async def test_memory_is_bounded_and_what_is_forgotten_is_told(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "MOST_USERS", 2)
    world = await make_world()
    counted = await ask(world, by("ann"), by("bob"), by("ann"))
    # Two kinds of event each: what is generated and what is served.
    assert counted["users_forgotten_total"] == 4
    assert first(counted, "unsafe_served") == (3, 3)
    assert len(world.guard.instruments.users) == 2


@examples
@given(st.lists(st.tuples(st.sampled_from(FirstKind), st.sampled_from([b"a", b"b", b"c", None]))))
def test_with_room_enough_each_user_counts_once(
    asked: list[tuple[FirstKind, bytes | None]],
) -> None:
    users = Users(100, lambda: None)
    firsts = [each for each in asked if users.add(*each)]
    known = [each for each in asked if each[1] is not None]
    assert len(firsts) == len(set(known)) + len(asked) - len(known)
