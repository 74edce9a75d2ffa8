"""Who asks golden prompts: each version of a run once, and none of a run that has ended."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from rlhf_operator.adapters import golden
from rlhf_operator.adapters.golden import GoldenProber

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


class Guards:
    """Guards that answer when the test lets them."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.left: list[str] = []
        self.may_answer = asyncio.Event()

    async def ask(self, host: str) -> list[str]:
        self.asked.append(host)
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.left.append(host)
            raise
        return ["greeting: wrong"] if host.startswith("bad") else []


@pytest.fixture
def guards(monkeypatch: pytest.MonkeyPatch) -> Guards:
    found = Guards()
    monkeypatch.setattr(golden, "ask", found.ask)
    return found


async def turn() -> None:
    """Let all that is ready go on."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_every_version_of_a_run_is_asked_once_and_side_by_side(guards: Guards) -> None:
    told: list[str] = []
    prober = GoldenProber(now=lambda: NOW, notify=told.append)
    for _ in range(2):
        assert prober.golden("m", "run-2", "good.team") is None
        assert prober.golden("m", "run-2", "bad.team") is None
        await turn()
    assert (guards.asked, guards.left) == (["good.team", "bad.team"], [])
    guards.may_answer.set()
    await turn()
    found = [prober.golden("m", "run-2", host) for host in ("good.team", "bad.team")]
    assert [each.passed for each in found if each is not None] == [True, False]
    assert told == ["m", "m"]
    await prober.close()


async def test_a_run_that_has_ended_is_asked_no_more(guards: Guards) -> None:
    prober = GoldenProber(now=lambda: NOW, notify=lambda _: None)
    prober.golden("m", "run-2", "good.team")
    prober.golden("other", "run-9", "good.elsewhere")
    await turn()
    prober.golden("m", "run-3", "good.team")
    await turn()
    assert guards.left == ["good.team"], "and nothing of another model's"
    await prober.close()
