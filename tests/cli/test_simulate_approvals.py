"""What `simulate` foretells of plans that wait for people: when these approve, and that they do."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from rlhf_operator.api.approval import CHANGED_BY_ANNOTATION
from rlhf_operator.api.rollout import Outcome
from rlhf_operator.cli import odds
from rlhf_operator.cli.__main__ import app
from tests.cli.test_simulate import endings, make_scene, ways
from tests.cli.test_simulate_strategies import MAX, PROMOTED, SWITCH, TEST, text, thumbs
from tests.golden import files

WAITS = (None, "AwaitingApproval")
ONE: dict[str, Any] = {"gate": "Leave"}


def canary(*approvals: dict[str, Any] | None) -> str:
    """Return a model whose steps have these approvals."""
    steps = [
        {"weight": 10 * (place + 1), "hold": "5m"} | ({"approval": each} if each else {})
        for place, each in enumerate(approvals)
    ]
    plan = {"strategy": "Canary", "maxHold": "1h", "canary": {"steps": steps}}
    return text(plan, MAX)


# The plan of the design: somebody else than who made the change lets the last step pass.
AS_DESIGNED = canary(None, None, {"gate": "Leave", "count": 1, "notAuthor": True})
SHADOW = {"strategy": "Shadow", "maxHold": "1h", "shadow": {"percent": 20, "hold": "10m"}}


@pytest.mark.parametrize(
    ("played", "assumed"),
    [
        pytest.param(AS_DESIGNED, {}, id="at the end, by somebody else"),
        pytest.param(canary({"gate": "Enter"}), {}, id="before the first weight"),
        pytest.param(canary(None, {"gate": "Enter", "count": 2}), {}, id="between two weights"),
        pytest.param(canary({"gate": "Leave", "count": 16}), {}, id="sixteen people"),
        pytest.param(
            canary({"gate": "Leave", "count": 16}, {"gate": "Enter", "count": 16}), {},
            id="two gates in one place",
        ),
        pytest.param(canary(ONE, ONE, ONE), {}, id="every step"),
        pytest.param(
            text(SHADOW | {"shadow": SHADOW["shadow"] | {"approval": ONE}}, MAX), {},
            id="after a shadow",
        ),
        pytest.param(
            text(SWITCH | {"blueGreen": {"hold": "10m", "approval": {"gate": "Enter"}}}, MAX), {},
            id="before a switch",
        ),
        pytest.param(
            text(TEST | {"abTest": TEST["abTest"] | {"approval": ONE}}, MAX), thumbs(0.1),
            id="after a test",
        ),
    ],
)  # fmt: skip
def test_a_good_version_is_promoted_where_people_approve(
    played: str, assumed: dict[str, Any]
) -> None:
    made = make_scene(played, **{"flags": 0.005} | assumed)
    assert ways(made, 3) == {PROMOTED}


@pytest.mark.parametrize("gate", ["Leave", "Enter"])
def test_a_run_that_nobody_approves_waits_until_the_limit(gate: str) -> None:
    limit = timedelta(hours=5)
    made = make_scene(
        canary({"gate": gate, "notAuthor": True}), flags=0.005, approve_after=None, limit=limit
    )
    assert ways(made, 2) == {WAITS}
    assert all(each.took >= limit for each in endings(made, 2))


@pytest.mark.parametrize("count", [1, 3])
def test_the_time_that_people_take_is_waited_at_each_gate(count: int) -> None:
    asked = {"gate": "Leave", "count": count}
    late = endings(
        make_scene(canary(asked, asked), flags=0.001, approve_after=timedelta(minutes=20)), 3
    )
    soon = endings(make_scene(canary(asked, asked), flags=0.001), 3)
    for slow, fast in zip(late, soon, strict=True):
        # The throws differ with the times of looking, so the hold may end a little earlier.
        assert slow.took - fast.took >= timedelta(minutes=35)
        assert slow.answers > fast.answers  # the canary goes on answering meanwhile


def test_people_who_take_longer_than_the_plan_allows_end_it() -> None:
    plan = canary({"gate": "Leave", "timeout": "30m"})
    late = make_scene(plan, flags=0.001, approve_after=timedelta(hours=1))
    assert ways(late, 2) == {(Outcome.ROLLED_BACK, "ApprovalTimeout")}
    in_time = make_scene(plan, flags=0.001, approve_after=timedelta(minutes=20))
    assert ways(in_time, 2) == {PROMOTED}


def test_harm_is_found_while_people_think_it_over() -> None:
    plan = canary({"gate": "Leave"})
    made = make_scene(plan, flags=0.045, traffic=50, approve_after=timedelta(days=2))
    bad = make_scene(plan, flags=0.3, traffic=50, approve_after=timedelta(days=2))
    assert ways(bad, 2) == {(Outcome.ROLLED_BACK, "SafetyFailed")}
    assert PROMOTED in ways(made, 2)


@pytest.mark.parametrize("named", [True, False])
def test_who_made_the_change_is_supposed_only_where_the_model_does_not_say(named: bool) -> None:
    raws = list(yaml.safe_load_all(AS_DESIGNED))
    if named:
        raws[0]["metadata"]["annotations"] = {CHANGED_BY_ANNOTATION: "ann@example.com"}
    made = make_scene(yaml.safe_dump_all(raws), flags=0.005)
    assert any("rlhf.dev/changed-by" in note for note in made.notes) is not named
    assert ways(made, 1) == {PROMOTED}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param((), "step 3 (30 %) is left with 1 approval, given at once", id="by default"),
        pytest.param(
            ("--approve-after", "1h30m"), "given 1 h 30 min after being asked for", id="later"
        ),
        pytest.param(("--approve-after", "never"), "1 approval, which nobody gives", id="never"),
    ],
)
def test_what_is_supposed_of_people_is_told(
    given: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("support.yaml").write_text(AS_DESIGNED)
    asked = ["simulate", "support.yaml", "--flag-rate", "0.005", "--runs", "1", *given]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert f"supposed: {said}" in done.output or said in done.output
    assert "supposed: step 3 (30 %) is left" in done.output


def test_a_plan_that_asks_nobody_supposes_nothing() -> None:
    assert odds.simulate(make_scene(), 1, 1).supposed == ()


@pytest.mark.parametrize("given", ["soon", "-1h", "1"])
def test_a_time_that_is_none_is_refused(given: str) -> None:
    asked = ["simulate", "x.yaml", "--flag-rate", "0", "--approve-after", given]
    assert CliRunner().invoke(app, asked).exit_code == 2


def test_the_output_is_what_the_page_shows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("support.yaml").write_text(AS_DESIGNED)
    asked = ["simulate", "support.yaml", "--flag-rate", "0.01", "--runs", "20"]
    done = CliRunner().invoke(app, [*asked, "--approve-after", "2h"])
    assert done.exit_code == 0, done.output
    shown, _, _ = done.output.partition("\nnot modelled:\n")
    files.compare("cli/simulate/approval.txt", shown)
