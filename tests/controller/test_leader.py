"""The election: never two leaders, whatever the clocks and the network do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from rlhf_operator.api.errors import Transient
from rlhf_operator.controller.leader import Elector, Terms

START = datetime(2026, 1, 5, tzinfo=UTC)


@dataclass
class Time:
    """True time; each process has its own clock with an offset and a rate."""

    now: float = 100.0


@dataclass
class FakeApi:
    """One Lease under a resourceVersion; calls can be slow, lost, or refused."""

    time: Time
    lease: dict[str, Any] | None = None
    version: int = 0
    read_takes: float = 0.0
    drop: list[str] = field(default_factory=list)
    """What happens to the next writes: `before`, or `after` the server has stored them."""
    away: bool = False
    meanwhile: Elector | None = None
    """Who tries while a question is on its way."""

    async def read(self, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        if self.away:
            raise Transient("away")
        self.time.now += self.read_takes
        if self.meanwhile is not None:
            other, self.meanwhile = self.meanwhile, None
            await other._try()
        return self.lease

    async def put_lease(self, lease: Mapping[str, Any], *, exists: bool) -> bool:
        fate = "before" if self.away else self.drop.pop(0) if self.drop else ""
        if fate == "before":
            raise Transient("lost")
        known = self.lease["metadata"]["resourceVersion"] if self.lease else None
        if exists != (self.lease is not None) or lease["metadata"].get("resourceVersion") != known:
            return False
        self.version += 1
        metadata = {**lease["metadata"], "resourceVersion": str(self.version)}
        self.lease = {**lease, "metadata": metadata}
        if fate == "after":
            raise Transient("lost")
        return True


def elector(
    api: FakeApi, name: str, *, offset: float = 0.0, rate: float = 1.0, clock_skew: float = 0.0
) -> Elector:
    terms = Terms(namespace="rlhf-system", name="operator", identity=name)
    return Elector(
        api, terms,
        clock=lambda: offset + rate * api.time.now,
        now=lambda: START + timedelta(seconds=clock_skew + api.time.now),
    )  # fmt: skip


FIRST = int((START + timedelta(seconds=Time().now)).timestamp())
"""The epoch of the first leadership: its time, so that it is above all that came before."""


@pytest.fixture
def api() -> FakeApi:
    return FakeApi(time=Time())


async def test_the_first_leads_and_the_second_waits(api: FakeApi) -> None:
    one, two = elector(api, "one"), elector(api, "two")
    assert await one._try() and one.is_leader and one.epoch == FIRST
    assert not await two._try() and not two.is_leader


async def test_a_lease_that_was_deleted_leads_to_a_higher_epoch(api: FakeApi) -> None:
    one, two = elector(api, "one"), elector(api, "two")
    await one._try()
    api.lease = None
    api.time.now += 1
    assert await two._try()
    assert two.epoch > one.epoch


async def test_a_silent_leader_is_followed_after_its_time(api: FakeApi) -> None:
    one, two = elector(api, "one"), elector(api, "two")
    await one._try()
    assert not await two._try()
    api.time.now += 14.9
    assert not await two._try()
    assert not one.is_leader, "it gave up before it can be followed"
    api.time.now += 0.2
    assert await two._try()
    assert two.epoch == FIRST + 1


async def test_a_wrong_wall_clock_changes_nothing(api: FakeApi) -> None:
    one, two = elector(api, "one", clock_skew=-3600), elector(api, "two", clock_skew=3600)
    await one._try()
    for _ in range(20):
        api.time.now += 2
        assert await one._try()
        assert not await two._try()


async def test_a_released_lease_is_taken_at_once(api: FakeApi) -> None:
    one, two = elector(api, "one"), elector(api, "two")
    await one._try()
    await two._try()
    await one.release()
    assert not one.is_leader
    assert await two._try() and two.epoch == FIRST + 1


async def test_releasing_anothers_lease_does_nothing(api: FakeApi) -> None:
    one, two = elector(api, "one"), elector(api, "two")
    await one._try()
    await two.release()
    assert api.lease is not None and api.lease["spec"]["holderIdentity"] == "one"


async def test_a_lost_answer_is_no_leadership(api: FakeApi) -> None:
    one = elector(api, "one")
    api.drop = ["after"]
    assert not await one._try() and not one.is_leader
    assert await one._try() and one.is_leader


async def test_a_leader_that_cannot_renew_stops_in_time(api: FakeApi) -> None:
    one = elector(api, "one")
    await one._try()
    api.away = True
    api.time.now += 9.9
    assert not await one._try() and one.is_leader
    api.time.now += 0.2
    assert not one.is_leader


async def test_only_a_winner_has_a_new_epoch(api: FakeApi) -> None:
    """A loser's epoch must not fence the true leader out."""
    one, two = elector(api, "one"), elector(api, "two")
    await one._try()
    await two._try()
    api.time.now += 20
    api.drop = ["before"]
    assert not await two._try()
    assert two.epoch == 0
    assert await one._try() and one.epoch == FIRST


async def test_the_wait_begins_with_the_answer(api: FakeApi) -> None:
    """The leader renewed while a slow question was on its way, and then fell silent."""
    one, two = elector(api, "one"), elector(api, "two")
    await one._try()
    api.read_takes, api.meanwhile = 9.0, one
    assert not await two._try()
    api.read_takes = 0.0
    while not await two._try():
        api.time.now += 0.5
    assert not one.is_leader


async def test_win_and_keep(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    async def sleep(seconds: float) -> None:
        api.time.now += seconds
        if api.time.now > 150:
            api.away = True

    one = elector(api, "one")
    monkeypatch.setattr(asyncio, "sleep", sleep)
    await one.win()
    await one.keep()
    assert 158 <= api.time.now <= 160, "ten seconds after the last renewal it is over"


@pytest.mark.parametrize("seed", range(40))
async def test_there_are_never_two_leaders(api: FakeApi, seed: int) -> None:
    """Clocks that differ, run 5 % fast or slow, and calls that get lost or take their time."""
    chance = Random(seed)
    electors = [
        elector(api, name, offset=chance.uniform(-1e6, 1e6), rate=chance.uniform(0.95, 1.05),
                clock_skew=chance.uniform(-9e3, 9e3))
        for name in ("one", "two", "three")
    ]  # fmt: skip
    epochs: list[int] = []
    for _ in range(300):
        api.time.now += chance.uniform(0, 3)
        api.away = chance.random() < 0.3
        api.read_takes = chance.choice([0.0, 0.0, 0.1, 4.0])
        api.drop = [chance.choice(["", "before", "after"])]
        await chance.choice(electors)._try()
        leaders = [each for each in electors if each.is_leader]
        assert len(leaders) <= 1
        if leaders and (not epochs or leaders[0].epoch != epochs[-1]):
            epochs.append(leaders[0].epoch)
        if chance.random() < 0.02:
            await chance.choice(electors).release()
    assert epochs == sorted(set(epochs)), "each leadership has a higher epoch than the one before"
    assert len(epochs) > 1
