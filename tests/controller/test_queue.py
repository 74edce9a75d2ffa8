"""The queue: each key once, earliest first, one worker per key."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from rlhf_operator.controller.queue import DeadlineQueue


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> DeadlineQueue[str]:
    return DeadlineQueue(clock)


async def waits(queue: DeadlineQueue[str]) -> bool:
    """Whether nothing can be handed out now."""
    getting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    done = getting.done()
    getting.cancel()
    await asyncio.gather(getting, return_exceptions=True)
    return not done


async def test_the_earliest_deadline_comes_first(queue: DeadlineQueue[str], clock: Clock) -> None:
    queue.add("late", 3)
    queue.add("early", 1)
    queue.add("middle", 2)
    clock.now = 5
    assert [(await queue.get())[0] for _ in range(3)] == ["early", "middle", "late"]


async def test_an_urgent_key_comes_before_all_that_are_due(
    queue: DeadlineQueue[str], clock: Clock
) -> None:
    queue.add("overdue")
    queue.add("waiting", 9)
    queue.add("known", 9)
    clock.now = 5
    queue.add("bad", urgent=True)
    queue.add("known", urgent=True)
    assert [await queue.get() for _ in range(2)] == [("bad", 0), ("known", 0)]
    assert await waits(queue), "others would slow down those that are handled"
    for handled in ("bad", "known"):
        queue.done(handled)
    assert await queue.get() == ("overdue", 5)


async def test_others_are_held_back_for_three_seconds_at_most(
    queue: DeadlineQueue[str], clock: Clock
) -> None:
    queue.add("usual")
    queue.add("bad", urgent=True)
    assert (await queue.get())[0] == "bad"
    clock.now = 2.9
    queue.add("worse", urgent=True)
    assert (await queue.get())[0] == "worse" and await waits(queue)
    clock.now = 3.0
    assert await queue.get() == ("usual", 3.0), "the first urgent one takes too long"


async def test_a_worker_that_was_held_back_is_woken_by_calm(queue: DeadlineQueue[str]) -> None:
    queue.add("bad", urgent=True)
    assert (await queue.get())[0] == "bad"
    queue.add("usual")
    getting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.done("bad")
    assert (await getting)[0] == "usual"


async def test_it_is_calm_when_all_urgent_keys_were_handled(queue: DeadlineQueue[str]) -> None:
    calm = asyncio.create_task(queue.calm())
    queue.add("usual")
    await calm
    for bad in ("bad", "worse"):
        queue.add(bad, urgent=True)
    calm = asyncio.create_task(queue.calm())
    assert (await queue.get())[0] == "bad" and (await queue.get())[0] == "worse"
    queue.add("bad", urgent=True)  # it has failed again while it is handled
    for bad in ("bad", "worse"):
        queue.done(bad)
    await asyncio.sleep(0)
    assert queue.urgent == 1 and not calm.done(), "one is asked for again"
    assert (await queue.get())[0] == "bad"
    queue.add("bad", 5)  # a later look is nothing urgent
    queue.done("bad")
    await calm
    assert queue.urgent == 0


async def test_an_urgent_key_that_is_gone_disturbs_nobody(queue: DeadlineQueue[str]) -> None:
    queue.add("bad", urgent=True)
    queue.discard("bad")
    await queue.calm()


async def test_a_key_is_handed_out_once(queue: DeadlineQueue[str]) -> None:
    queue.add("a")
    queue.add("a")
    assert len(queue) == 1
    assert (await queue.get())[0] == "a"
    assert await waits(queue)


async def test_an_earlier_wish_wins(queue: DeadlineQueue[str], clock: Clock) -> None:
    queue.add("a", 10)
    queue.add("a", 2)
    clock.now = 2
    assert await queue.get() == ("a", 0)
    queue.done("a")
    clock.now = 20
    assert await waits(queue), "the later wish is met too"


async def test_a_later_wish_changes_nothing(queue: DeadlineQueue[str], clock: Clock) -> None:
    queue.add("a", 1)
    queue.add("a", 10)
    clock.now = 1
    assert (await queue.get())[0] == "a"


async def test_a_key_in_work_waits_until_it_is_done(queue: DeadlineQueue[str]) -> None:
    queue.add("a")
    await queue.get()
    queue.add("a")
    assert await waits(queue)
    queue.done("a")
    assert (await queue.get())[0] == "a"


async def test_another_key_need_not_wait(queue: DeadlineQueue[str]) -> None:
    queue.add("a")
    await queue.get()
    queue.add("b")
    assert (await queue.get())[0] == "b"


async def test_nothing_comes_before_its_time(queue: DeadlineQueue[str], clock: Clock) -> None:
    queue.add("a", 1)
    assert await waits(queue)
    clock.now = 1.5
    assert await queue.get() == ("a", 0.5)


async def test_a_forgotten_key_does_not_come(queue: DeadlineQueue[str]) -> None:
    queue.add("a")
    queue.discard("a")
    assert await waits(queue)


async def test_a_sleeping_worker_is_woken_by_a_new_key(queue: DeadlineQueue[str]) -> None:
    getting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    assert (await getting)[0] == "a"


async def test_each_of_many_workers_gets_a_key(queue: DeadlineQueue[str]) -> None:
    workers = [asyncio.create_task(queue.get()) for _ in range(4)]
    await asyncio.sleep(0)
    for name in "abcd":
        queue.add(name)
    found = await asyncio.gather(*workers)
    assert sorted(name for name, _ in found) == list("abcd")


async def test_a_busy_queue_does_not_grow(queue: DeadlineQueue[str], clock: Clock) -> None:
    """Each pass asks for a look in five minutes, and events come before."""
    for _ in range(10_000):
        queue.add("a", 300)
        queue.add("a")
        await queue.get()
        queue.done("a")
        clock.now += 0.01
    assert len(queue._heap) < 1_000
