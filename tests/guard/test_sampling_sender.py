"""The way to the sink: serving waits for nothing, and everything is counted once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from rlhf_operator.api.metrics import SAMPLE_OUTCOMES
from rlhf_operator.guard.sampling import sender
from rlhf_operator.guard.sampling.counts import SampleCounts
from rlhf_operator.guard.sampling.exchange import Timing
from rlhf_operator.guard.sampling.sampler import Sampler
from rlhf_operator.guard.sampling.sink import sink
from tests.guard.samples import (
    Pauses,
    StubSink,
    a_sampling_setup,
    exchange,
    judged,
    nowhere,
    prepare,
    vote,
)
from tests.guard.world import a_setup

TIMING = Timing(first_byte=None, whole=1.0)


class Rig:
    """A sampler with its sink, its pauses and its counts."""

    def __init__(self, sink: StubSink) -> None:
        self.sink = sink
        self.pauses = Pauses()
        self.registry = CollectorRegistry()
        self.sampler = Sampler(SampleCounts(self.registry), prepare, pause=self.pauses)

    def take(self, **changes: Any) -> None:
        self.sampler.take(a_sampling_setup(self.sink.url, **changes))

    def offer(self, *numbers: int, **headers: str) -> None:
        for number in numbers:
            self.sampler.offer(exchange(number), nowhere(**headers), user=None, timing=TIMING)

    def counts(self, what: str = "samples") -> dict[str, float]:
        name = f"rlhf_guard_{what}_total"
        found = {
            outcome: self.registry.get_sample_value(name, {"outcome": outcome})
            for outcome in SAMPLE_OUTCOMES
        }
        return {outcome: count for outcome, count in found.items() if count}

    async def prompts(self) -> list[str]:
        """Return the prompts of the next batch that the sink takes."""
        return [each.data.prompt for each in await self.sink.batches.get()]


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    sink = StubSink()
    await sink.come()
    made = Rig(sink)
    yield made
    made.pauses.over.release()
    await made.sampler.close()
    await sink.go()


async def test_samples_arrive_in_batches_as_cloud_events(rig: Rig) -> None:
    rig.take(batch=3, maxDelay="1h")
    rig.offer(1, 2, 3)
    assert await rig.prompts() == ["1?", "2?", "3?"]
    await rig.sampler.close()
    assert rig.sink.headers[0]["Content-Type"] == "application/cloudevents-batch+json"
    assert rig.counts() == {"sent": 3}


async def test_a_batch_that_does_not_fill_leaves_after_its_delay(rig: Rig) -> None:
    rig.take(batch=3, maxDelay="1ms")
    rig.offer(1)
    assert await rig.prompts() == ["1?"]


async def test_a_sink_that_goes_away_and_comes_back_gets_everything(rig: Rig) -> None:
    rig.take()
    await rig.sink.go()
    rig.offer(1, 2)
    first, second = await rig.pauses.begun.get(), None
    rig.pauses.over.release()
    second = await rig.pauses.begun.get()
    assert 0.25 <= first <= 0.5 <= second <= 1.0
    await rig.sink.come()
    rig.pauses.over.release()
    assert [await rig.prompts(), await rig.prompts()] == [["1?"], ["2?"]]
    await rig.sampler.close()
    assert rig.counts() == {"sent": 2}


@pytest.mark.parametrize("status", [401, 429, 500, 503])
async def test_a_sink_that_cannot_take_it_now_is_asked_again(rig: Rig, status: int) -> None:
    rig.sink.statuses = [status]
    rig.take()
    rig.offer(1)
    await rig.pauses.begun.get()
    rig.pauses.over.release()
    assert await rig.prompts() == ["1?"]
    assert rig.sink.bodies[0] == rig.sink.bodies[1], "the same event has the same id"


@pytest.mark.parametrize("status", [301, 400, 413, 422])
async def test_a_sink_that_refuses_is_not_asked_again(rig: Rig, status: int) -> None:
    rig.sink.statuses = [status]
    rig.take()
    rig.offer(1, 2)
    assert await rig.prompts() == ["2?"]
    await rig.sampler.close()
    assert rig.counts() == {"failed": 1, "sent": 1}


async def test_a_batch_fails_after_its_last_try(rig: Rig) -> None:
    rig.sink.statuses = [503] * (len(sender.PAUSES) + 1)
    rig.take()
    rig.offer(1, 2)
    for _ in sender.PAUSES:
        rig.pauses.over.release()
    assert await rig.prompts() == ["2?"]
    await rig.sampler.close()
    assert rig.counts() == {"failed": 1, "sent": 1}


async def test_what_comes_on_top_of_the_queue_is_dropped_at_once(rig: Rig) -> None:
    rig.take(queue=2)
    rig.offer(1, 2, 3, 4)
    assert rig.counts() == {"dropped": 2}
    assert [await rig.prompts(), await rig.prompts()] == [["1?"], ["2?"]]


async def test_memory_is_bounded_whatever_the_number(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.take(queue=100_000)
    monkeypatch.setattr(rig.sampler._sender._buffer, "_most_bytes", 100_000)
    large = exchange(1, judged=judged("x" * 60_000))
    for _ in range(2):
        rig.sampler.offer(large, nowhere(), user=None, timing=TIMING)
    rig.offer(2)
    assert rig.counts() == {"dropped": 1}
    assert [await rig.prompts(), await rig.prompts()] == [["1?"], ["2?"]]


async def test_a_text_too_long_to_be_cleaned_in_time_is_dropped(rig: Rig) -> None:
    rig.take()
    long = exchange(1, judged=judged("x" * sender.MOST_CHARACTERS))
    rig.sampler.offer(long, nowhere(), user=None, timing=TIMING)
    assert rig.counts() == {"dropped": 1}


async def test_large_samples_go_in_requests_of_bounded_size(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "BATCH_BYTES", 100_000)
    rig.take(batch=3, maxDelay="1h")
    for number in (1, 2, 3):
        large = exchange(number, judged=judged("x" * 60_000))
        rig.sampler.offer(large, nowhere(), user=None, timing=TIMING)
    await rig.sampler.close()
    assert [len(await rig.sink.batches.get()) for _ in range(3)] == [1, 1, 1]


async def test_what_cannot_be_cleaned_is_counted_and_never_leaves(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.take(batch=2, maxDelay="1h")
    bad = exchange(1, prompt="a secret that breaks")
    rig.sampler.offer(bad, nowhere(), user=None, timing=TIMING)
    rig.offer(2)
    assert await rig.prompts() == ["2?"]
    rig.sampler.offer(bad, nowhere(), user=None, timing=TIMING)
    await rig.sampler.close()
    assert rig.counts() == {"not_redacted": 2, "sent": 1}
    assert len(rig.sink.bodies) == 1
    assert "secret" not in "".join(rig.sink.bodies) + caplog.text


async def test_what_nobody_consents_to_is_counted_and_stays(rig: Rig) -> None:
    rig.take(consentHeader="x-ok")
    rig.offer(1)
    rig.offer(2, x_ok="yes")
    assert await rig.prompts() == ["2?"]
    assert rig.sampler.tell(vote(), nowhere()) is False
    assert (rig.counts()["no_consent"], rig.counts("feedback_events")) == (1, {"no_consent": 1})


async def test_feedback_goes_the_same_way_and_counts_apart(rig: Rig) -> None:
    rig.take()
    assert rig.sampler.tell(vote(reason="fine, says a@b.org"), nowhere()) is True
    (said,) = await rig.sink.batches.get()
    await rig.sampler.close()
    assert said.data.reason == "fine, says [email]"
    assert (rig.counts(), rig.counts("feedback_events")) == ({}, {"sent": 1})


async def test_nothing_is_sampled_where_it_is_not_set(rig: Rig) -> None:
    rig.sampler.take(a_setup())
    rig.offer(1)
    assert rig.sampler.tell(vote(), nowhere()) is False
    await rig.sampler.close()
    assert rig.counts() == rig.counts("feedback_events") == {}


async def test_what_waits_stays_in_the_pod_once_sampling_is_switched_off(rig: Rig) -> None:
    rig.take(batch=2, maxDelay="1h")
    rig.offer(1)
    rig.sampler.take(a_setup())
    await rig.sampler.close()
    assert (rig.counts(), rig.sink.bodies) == ({"dropped": 1}, [])


async def test_the_end_sends_what_is_left(rig: Rig) -> None:
    rig.take(batch=100, maxDelay="1h")
    rig.offer(1, 2)
    await rig.sampler.close()
    assert await rig.prompts() == ["1?", "2?"]
    rig.offer(3)
    assert rig.counts() == {"sent": 2, "dropped": 1}


async def test_the_end_does_not_wait_for_a_dead_sink(rig: Rig) -> None:
    rig.take()
    await rig.sink.go()
    rig.offer(1, 2)
    await rig.pauses.begun.get()
    await rig.sampler._sender.close(within=0)
    assert rig.counts() == {"failed": 2}


@pytest.mark.parametrize(
    ("wanted", "url"),
    [
        pytest.param(
            {"service": {"name": "desk", "port": 81, "path": "/events"}},
            "http://desk.team.svc:81/events",
            id="a Service of the namespace",
        ),
        pytest.param({"provider": "sink"}, "https://sink.example/take?key=1", id="a provider"),
        pytest.param({"provider": "stranger"}, None, id="a provider that nobody lists"),
        pytest.param({"provider": "broken"}, None, id="an address that is none"),
    ],
)
def test_where_the_sink_is(wanted: dict[str, Any], url: str | None) -> None:
    config = a_setup(
        namespace="team",
        guard={"sampling": {"share": "1", **wanted}},
        providers=[
            {"name": "sink", "url": "https://sink.example/take?key=1"},
            {"name": "broken", "url": "http://[x"},
        ],
    ).config
    assert config.guard.sampling is not None
    found = sink(config, config.guard.sampling)
    assert (str(found.url) if found else None) == url


async def test_an_unlisted_provider_gets_nothing(rig: Rig) -> None:
    rig.take(provider="stranger")
    rig.offer(1)
    await rig.sampler.close()
    assert (rig.counts(), rig.sink.bodies) == ({"failed": 1}, [])


async def test_the_token_is_read_anew_and_nothing_leaves_without_it(
    rig: Rig, tmp_path: Path
) -> None:
    setup = a_sampling_setup(rig.sink.url, credentials={"secretName": "sink", "key": "token"})
    config = setup.config.model_copy(update={"credentials_folder": str(tmp_path)})
    rig.sampler.take(replace(setup, config=config))
    rig.offer(1)
    await rig.pauses.begun.get()
    assert rig.sink.bodies == []
    (tmp_path / "sink").mkdir()
    (tmp_path / "sink" / "token").write_text("first\n")
    rig.pauses.over.release()
    await rig.prompts()
    (tmp_path / "sink" / "token").write_text("second\n")
    rig.offer(2)
    await rig.prompts()
    assert [each["Authorization"] for each in rig.sink.headers] == ["Bearer first", "Bearer second"]


async def test_an_offer_returns_before_anything_is_sent(rig: Rig) -> None:
    rig.take()
    rig.offer(1)
    # No other task has run yet: there was nothing to wait for.
    assert rig.sink.bodies == []
    await asyncio.sleep(0)
    assert await rig.prompts() == ["1?"]
