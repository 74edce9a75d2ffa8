"""What `simulate` foretells of a test of several versions: which wins, and how the others end."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from rlhf_operator.api.rollout import Outcome
from rlhf_operator.cli import odds
from rlhf_operator.cli.__main__ import app
from rlhf_operator.cli.assumptions import Rates, Unplayable
from tests.cli.test_simulate import endings, make_scene
from tests.cli.test_simulate_strategies import MAX, TEST, text
from tests.golden import files

OTHERS = [{"version": "v2", "weight": 25}, {"version": "v3", "weight": 25}]


def test_of(**more: Any) -> str:
    """Return a test of three versions, each with as much of the traffic as stable."""
    return text(TEST | {"abTest": TEST["abTest"] | {"weight": 25, "others": OTHERS} | more}, MAX)


test_of.__test__ = False  # type: ignore[attr-defined]


def flags(one: float, two: float, three: float) -> Rates:
    return Rates(canary=one, stable=0.01, others={"v2": two, "v3": three})


def thumbs(one: float, two: float, three: float) -> Mapping[str, Rates]:
    return {"thumbs": Rates(canary=one, stable=0.4, others={"v2": two, "v3": three})}


SAFE = flags(0.01, 0.01, 0.01)
WON = (Outcome.PROMOTED, "Promoted")


@pytest.mark.parametrize(
    ("rates", "flagged", "end", "ends"),
    [
        pytest.param(
            thumbs(0.1, 0.3, 0.3), SAFE, WON,
            {"v1": {"Promoted"}, "v2": {"OtherWon"}, "v3": {"OtherWon"}},
            id="the one that is asked for is the best",
        ),
        pytest.param(
            thumbs(0.3, 0.3, 0.1), SAFE, WON,
            {"v1": {"OtherWon"}, "v2": {"OtherWon"}, "v3": {"Promoted"}},
            id="another one is the best",
        ),
        pytest.param(
            thumbs(0.7, 0.1, 0.7), SAFE, WON,
            {"v1": {"LostABTest"}, "v2": {"Promoted"}, "v3": {"LostABTest"}},
            id="what is worse is dropped on the way",
        ),
        pytest.param(
            thumbs(0.1, 0.3, 0.3), flags(0.3, 0.01, 0.01), WON,
            {"v1": {"SafetyFailed"}} | {each: {"Promoted", "OtherWon"} for each in ("v2", "v3")},
            id="the best is unsafe, and another one wins",
        ),
        pytest.param(
            thumbs(0.7, 0.7, 0.7), SAFE, (Outcome.ROLLED_BACK, "LostABTest"),
            {name: {"LostABTest"} for name in ("v1", "v2", "v3")},
            id="all are worse",
        ),
        pytest.param(
            thumbs(0.4, 0.4, 0.4), SAFE, (Outcome.ROLLED_BACK, "NoDifference"),
            {name: {"NoDifference"} for name in ("v1", "v2", "v3")},
            id="all are alike",
        ),
        pytest.param(
            thumbs(0.1, 0.1, 0.1), flags(0.3, 0.3, 0.3), (Outcome.ROLLED_BACK, "SafetyFailed"),
            {name: {"SafetyFailed"} for name in ("v1", "v2", "v3")},
            id="all are unsafe",
        ),
    ],
)  # fmt: skip
def test_each_version_ends_as_it_would(
    rates: Mapping[str, Rates],
    flagged: Rates,
    end: tuple[Outcome, str],
    ends: dict[str, set[str]],
) -> None:
    found = endings(make_scene(test_of(), flags=flagged, rates=rates), 3)
    assert {(each.outcome, each.reason) for each in found} == {end}
    for each in found:
        assert all(reason in ends[version] for version, reason in each.ends)
        assert [version for version, _ in each.ends] == ["v1", "v2", "v3"]
        promoted = [reason for _, reason in each.ends].count("Promoted")
        assert promoted == (end == WON)


def test_a_version_without_rates_of_its_own_is_like_the_one_that_is_asked_for() -> None:
    known = thumbs(0.3, 0.3, 0.3)
    short = {"thumbs": Rates(canary=0.3, stable=0.4)}
    one, two = (make_scene(test_of(), flags=SAFE, rates=each) for each in (known, short))
    assert endings(one, 2) == endings(two, 2)


def test_people_approve_the_winner() -> None:
    found = endings(
        make_scene(
            test_of(approval={"gate": "Leave", "count": 2}),
            flags=SAFE, rates=thumbs(0.3, 0.1, 0.3), approve_after=timedelta(hours=1),
        ),
        2,
    )  # fmt: skip
    for each in found:
        assert each.outcome is Outcome.PROMOTED
        assert dict(each.ends)["v2"] == "Promoted"
        assert each.took >= timedelta(hours=1, minutes=30)


def test_bad_answers_are_those_of_all_that_are_tested() -> None:
    # All run to the end: 3 h of 5 answers a second, of which each version gives a quarter.
    alike = thumbs(0.4, 0.4, 0.4)
    clean = endings(make_scene(test_of(), flags=flags(0, 0, 0), rates=alike), 2)
    one = endings(make_scene(test_of(), flags=flags(0, 0, 0.02), rates=alike), 2)
    assert all(each.bad == 0 for each in clean)
    assert mean(each.bad for each in one) == pytest.approx(0.02 * 13500, rel=0.2)
    assert mean(each.answers for each in one) == pytest.approx(3 * 13500, rel=0.05)


def test_the_ends_of_each_version_are_counted() -> None:
    found = odds.simulate(make_scene(test_of(), flags=SAFE, rates=thumbs(0.3, 0.1, 0.4)), 4, 1)
    assert found.others == ("v2", "v3")
    for version in ("v1", "v2", "v3"):
        assert sum(each.runs for each in found.ends if each.version == version) == 4
    assert [each.others for each in found.objectives] == [(0.01, 0.01), (0.1, 0.4)]


def test_a_test_of_two_has_no_ends_of_its_own() -> None:
    rates = {"thumbs": Rates(canary=0.1, stable=0.4)}
    found = odds.simulate(make_scene(text(TEST, MAX), rates=rates), 1, 1)
    assert (found.others, found.ends) == ((), ())


@pytest.mark.parametrize(
    ("assumed", "said"),
    [
        pytest.param(
            {"flags": Rates(canary=0, stable=0, others={"v9": 0})},
            "--flag-rate: v9 is not in abTest.others; there: v2, v3", id="a version nobody tests",
        ),
        pytest.param(
            {"rates": {"thumbs": Rates(canary=0, stable=0, others={"v1": 0})}},
            "--rate thumbs: v1 is not in abTest.others; there: v2, v3", id="the first by its name",
        ),
    ],
)  # fmt: skip
def test_rates_of_what_is_not_tested_are_refused(assumed: dict[str, Any], said: str) -> None:
    with pytest.raises(Unplayable) as raised:
        make_scene(test_of(), **{"flags": SAFE, "rates": thumbs(0.1, 0.1, 0.1)} | assumed)
    assert str(raised.value) == said


def test_what_serves_cannot_be_tested_beside() -> None:
    others = [{"version": "sft", "weight": 10}]
    with pytest.raises(Unplayable, match="sft and sft are one"):
        make_scene(test_of(others=others), rates=thumbs(0.1, 0.1, 0.1))


@pytest.mark.parametrize("given", ["0.1,v2", "0.1,v2=2", "0.1,v2=x"])
def test_a_rate_of_another_version_that_is_none_is_refused(given: str) -> None:
    assert CliRunner().invoke(app, ["simulate", "x.yaml", "--flag-rate", given]).exit_code == 2


def test_the_output_is_what_the_page_shows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("support.yaml").write_text(test_of(duration="4h"))
    asked = ["simulate", "support.yaml", "--runs", "10", "--sampled", "thumbs=0.2"]
    asked += ["--flag-rate", "0.01,v3=0.08", "--rate", "thumbs=0.14:0.15,v2=0.11"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    shown, _, _ = done.output.partition("\nnot modelled:\n")
    files.compare("cli/simulate/several.txt", shown)
    data = CliRunner().invoke(app, [*asked, "--runs", "1", "-o", "yaml"]).output
    assert {each["version"] for each in yaml.safe_load(data)["ends"]} == {"v1", "v2", "v3"}
