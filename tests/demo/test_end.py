"""How the demo ends: what was observed is written, and only a story that happened is a success."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from e2e.demo import __main__ as demo
from e2e.demo import scene
from e2e.demo.evidence import Evidence
from e2e.harness.errors import HarnessError
from e2e.harness.traffic import Answer, Answers
from e2e.harness.watch import Change


def answer(at: float, version: str, **changes: Any) -> Answer:
    return Answer(**{"at": at, "seconds": 0.1, "status": 200, "version": version} | changes)


def route(at: float, **weights: int) -> Change:
    refs = [
        {"name": f"{name.replace('_', '-')}-serving", "weight": part}
        for name, part in weights.items()
    ]
    return Change(at, "MODIFIED", {"spec": {"rules": [{"backendRefs": refs}]}})


def rollout(revision: int, to: str, outcome: str, reason: str) -> dict[str, Any]:
    return {
        "metadata": {"name": f"support-{revision}"},
        "spec": {"revision": revision, "type": "Rollout", "to": {"name": to}},
        "status": {"outcome": outcome, "reason": reason},
    }


def weights(**of: int) -> dict[str, int]:
    named = {"sft": scene.SFT, "good": scene.GOOD, "bad": scene.BAD}
    return {named[name].replace("-", "_"): part for name, part in of.items()}


HAPPENED = Evidence(
    answers=Answers(
        (
            answer(1, scene.SFT),
            answer(20, scene.GOOD),
            answer(32, scene.BAD, verdict="flagged"),
            answer(50, scene.GOOD),
        )
    ),
    routes=(
        route(0, **weights(sft=100)),
        route(5, **weights(sft=50, good=50)),
        route(10, **weights(good=100)),
        route(31, **weights(good=80, bad=20)),
        route(33, **weights(good=100)),
    ),
    rollouts=(
        rollout(2, scene.GOOD, "Promoted", "Promoted"),
        rollout(3, scene.BAD, "RolledBack", "SafetyFailed"),
    ),
    bad_applied_at=30.0,
    counted_unsafe=1.0,
)
BROKEN_OFF = replace(
    HAPPENED,
    answers=Answers(HAPPENED.answers.all[:2]),
    routes=HAPPENED.routes[:2],
    rollouts=(),
    bad_applied_at=None,
    counted_unsafe=None,
)
UNANSWERED = Answers((*HAPPENED.answers.all, Answer(at=40, seconds=1, status=503, error="no")))


@pytest.fixture
def play(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Play a story of which so much is seen; return the exit status and what was written."""
    written = tmp_path / ".state" / "demo.json"

    def playing(seen: Evidence, error: Exception | None = None) -> tuple[int, dict[str, Any]]:
        class Played:
            def __init__(self, *_: object) -> None: ...

            def tell(self) -> None:
                if error is not None:
                    raise error

            def seen(self) -> Evidence:
                return seen

        monkeypatch.setattr(demo, "Story", Played)
        monkeypatch.setattr(demo, "endpoints", lambda: None)
        monkeypatch.setattr(demo, "_show_end", lambda *_: None)
        monkeypatch.setattr(demo, "_REPORT", written)
        monkeypatch.setattr(sys, "argv", ["demo"])
        return demo.main(), json.loads(written.read_text())

    return playing


def test_a_story_that_happened_is_a_success(play: Any) -> None:
    status, report = play(HAPPENED)
    assert status == 0
    assert (report["promoted"], report["rolled_back"], report["problems"]) == (True, True, [])
    assert (report["served_while_unsafe"], report["failed_requests"]) == (1, 0)


def test_a_missed_deadline_is_an_error_and_what_was_observed_is_written(
    play: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    status, report = play(BROKEN_OFF, HarnessError("the run ends as Promoted: not in 240 s"))
    assert status == 1
    assert report["problems"][0] == "the run ends as Promoted: not in 240 s"
    assert (report["requests"], report["promoted"], report["rolled_back"]) == (2, False, False)
    assert report["served_while_unsafe_by_prometheus"] is None
    assert "the story did not happen: the run ends as Promoted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seen", "problem"),
    [
        pytest.param(
            replace(HAPPENED, answers=UNANSWERED),
            "1 of 5 questions got no answer; the first: no",
            id="a question without an answer",
        ),
        pytest.param(
            replace(HAPPENED, rollouts=HAPPENED.rollouts[1:]),
            "the good version was not promoted",
            id="no promotion",
        ),
        pytest.param(
            replace(HAPPENED, answers=Answers((*HAPPENED.answers.all, answer(60, scene.BAD)))),
            "safety did not take the bad version back",
            id="the bad version goes on answering",
        ),
        pytest.param(
            replace(HAPPENED, counted_unsafe=None),
            "Prometheus does not say",
            id="a count that nobody knows",
        ),
    ],
)
def test_what_is_not_as_it_should_be_is_no_success(play: Any, seen: Evidence, problem: str) -> None:
    status, report = play(seen)
    assert status == 1
    (said,) = report["problems"]
    assert said.startswith(problem)
