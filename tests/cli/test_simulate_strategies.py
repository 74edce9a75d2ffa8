"""What `simulate` foretells of shadows, switches and tests, and of what is voted on or scored."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path
from statistics import mean, pvariance
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from rlhf_operator.api.arms import Arms
from rlhf_operator.api.rollout import Outcome
from rlhf_operator.cli import dice, odds
from rlhf_operator.cli.__main__ import app
from rlhf_operator.cli.assumptions import Rates, Spread, Unplayable
from tests.cli.test_simulate import endings, make_scene, ways
from tests.golden import files

SHADOW = {"strategy": "Shadow", "maxHold": "1h", "shadow": {"percent": 20, "hold": "10m"}}
SWITCH = {
    "strategy": "BlueGreen", "surge": "Full", "maxHold": "1h", "blueGreen": {"hold": "10m"},
}  # fmt: skip
TEST = {
    "strategy": "ABTest",
    "abTest": {
        "weight": 50, "minimum": "30m", "duration": "3h",
        "primary": {"name": "thumbs", "indicator": {"type": "ThumbsDownRate"}},
    },
}  # fmt: skip
CANARY = {
    "strategy": "Canary",
    "maxHold": "1h",
    "canary": {"steps": [{"weight": 50, "hold": "5m"}]},
}
MAX = {"name": "unsafe", "class": "Safety", "indicator": {"type": "UnsafeServedRate"},
       "max": "0.05", "minSamples": 50}  # fmt: skip
VERSUS = MAX | {"versusStable": {"ratio": "3"}, "minSamples": 3000}
REWARD = {"name": "reward", "class": "Quality", "indicator": {"type": "RewardScore"},
          "versusStable": {"difference": "0.3"}}  # fmt: skip
SLOW = {"name": "slow", "class": "Performance", "indicator": {"type": "SlowRatio",
        "slowerThan": "2.5"}, "versusStable": {"ratio": "1.5"}}  # fmt: skip
THUMBS = {"name": "thumbs", "class": "Quality", "indicator": {"type": "ThumbsDownRate"},
          "max": "0.5"}  # fmt: skip
P95 = {"name": "p95", "class": "Performance", "max": "2.5", "query": {
       "promQL": "sum by (namespace, rlhf_model, rlhf_version) (up)", "samples": "asked_total",
       "betterWhen": "Lower"}}  # fmt: skip


def text(rollout: dict[str, Any], *slos: dict[str, Any], **spec: Any) -> str:
    """Return a model with this plan, and a policy with these objectives."""
    head = {"apiVersion": "rlhf.dev/v1alpha1"}
    model = head | {
        "kind": "RLHFModel", "metadata": {"name": "support"},
        "spec": {
            "version": "v1", "fallback": {"version": "sft"}, "policies": [{"name": "safe"}],
            "traffic": {"router": "GatewayAPI", "parentRefs": [{"name": "public"}]},
            "rollout": rollout,
        } | spec,
    }  # fmt: skip
    policy = {"kind": "AlignmentPolicy", "metadata": {"name": "safe"}, "spec": {"slos": list(slos)}}
    return yaml.safe_dump_all([model, head | policy])


PROMOTED = (Outcome.PROMOTED, "Promoted")
UNSAFE = (Outcome.ROLLED_BACK, "SafetyFailed")
FAILED = (Outcome.ROLLED_BACK, "SLOFailed")
LATE = (Outcome.ROLLED_BACK, "MaxHoldExceeded")


def thumbs(canary: float) -> dict[str, Any]:
    return {"rates": {"thumbs": Rates(canary=canary, stable=0.3)}}


@pytest.mark.parametrize(
    ("played", "assumed", "way"),
    [
        pytest.param(text(SHADOW, MAX), {"flags": 0.005}, PROMOTED, id="a good shadow is promoted"),
        pytest.param(text(SHADOW, MAX), {"flags": 0.3}, UNSAFE, id="a bad shadow is rolled back"),
        pytest.param(
            text(SHADOW, MAX | {"versusStable": {"ratio": "3"}}), {"traffic": 30}, PROMOTED,
            id="a shadow that equals stable passes beside it",
        ),
        pytest.param(text(SWITCH, MAX), {"flags": 0.005}, PROMOTED, id="a good switch stays"),
        pytest.param(text(SWITCH, MAX), {"flags": 0.3}, UNSAFE, id="a bad one is taken back"),
        pytest.param(
            text(SWITCH, VERSUS), {"flags": 0.004, "traffic": 50}, PROMOTED,
            id="one that is better than what stable showed before stays",
        ),
        pytest.param(
            text(SWITCH, VERSUS | {"minSamples": 100}), {"flags": 0.01}, LATE,
            id="against the little that stable showed nothing is proven",
        ),
        pytest.param(
            text(SWITCH, VERSUS), {"flags": 0.2, "traffic": 50}, UNSAFE,
            id="one that is worse than stable was goes back",
        ),
        pytest.param(
            text(SWITCH, VERSUS), {"traffic": 0.0, "limit": timedelta(hours=3)},
            (None, "Inconclusive"), id="without answers of stable no switch comes",
        ),
        pytest.param(text(TEST, MAX), thumbs(0.1), PROMOTED, id="the better version wins a test"),
        pytest.param(
            text(TEST, MAX), thumbs(0.6), (Outcome.ROLLED_BACK, "LostABTest"),
            id="the worse one loses it",
        ),
        pytest.param(
            text(TEST, MAX), thumbs(0.3), (Outcome.ROLLED_BACK, "NoDifference"),
            id="and equal ones show no difference",
        ),
        pytest.param(
            text(TEST, MAX), thumbs(0.1) | {"flags": 0.3}, UNSAFE,
            id="an unsafe version wins no test",
        ),
        pytest.param(
            text(CANARY, REWARD), {"means": {"reward": Spread(mean=0.4, deviation=1, shift=0)}},
            PROMOTED, id="an equal mean passes",
        ),
        pytest.param(
            text(CANARY, REWARD), {"means": {"reward": Spread(mean=0.4, deviation=1, shift=-1)}},
            FAILED, id="a mean that fell far fails",
        ),
        pytest.param(
            text(CANARY, REWARD),
            {"means": {"reward": Spread(mean=0.4, deviation=1)}, "sampled": {"reward": 0.005}},
            LATE, id="of few scores nothing is said",
        ),
        pytest.param(
            text(CANARY, SLOW), {"rates": {"slow": Rates(canary=0.5, stable=0.1)}}, FAILED,
            id="slow answers are a rate",
        ),
    ],
)  # fmt: skip
def test_each_strategy_ends_as_it_would(
    played: str, assumed: dict[str, Any], way: tuple[Outcome | None, str]
) -> None:
    made = make_scene(played, **{"flags": 0.01} | assumed)
    assert ways(made, 5) == {way}


def test_nobody_reads_what_a_shadow_answers() -> None:
    for each in endings(make_scene(text(SHADOW, MAX), flags=0.3), 5):
        assert each.bad == 0 < each.unread <= each.answers


def test_a_switch_waits_until_stable_has_shown_enough() -> None:
    free = endings(make_scene(text(SWITCH, MAX), flags=0.01), 3)
    waited = endings(make_scene(text(SWITCH, VERSUS), flags=0.01), 3)
    for early, late in zip(free, waited, strict=True):
        assert early.shown_before < 3000 <= late.shown_before
        # 3000 answers at 5 a second, and one hold; without a comparison pods alone are waited for.
        assert late.took >= timedelta(seconds=600) + timedelta(minutes=10) > early.took - DELAY


DELAY = timedelta(minutes=5)


def test_a_test_that_shows_nothing_ends_with_its_time() -> None:
    for each in endings(make_scene(text(TEST, MAX), **thumbs(0.3)), 3):
        assert timedelta(0) <= each.took - timedelta(hours=3) < timedelta(minutes=3)


def test_the_ends_of_tests_are_counted() -> None:
    made = make_scene(text(TEST, MAX), **thumbs(0.27))
    test = odds.simulate(made, 10, 1).test
    assert test is not None
    assert test.won + test.lost + test.no_difference == 10
    assert odds.simulate(make_scene(), 1, 1).test is None


def test_how_rollouts_stand_only_ever_grows_to_the_end() -> None:
    stands = odds.simulate(make_scene(flags=0.04), 10, 1).stands
    shares = [(each.promoted, each.ended) for each in stands]
    assert shares == sorted(shares)
    assert sum(shares[-1]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("played", "assumed", "said"),
    [
        pytest.param(text(TEST, MAX), {}, "--rate thumbs=CANARY:STABLE", id="an unknown primary"),
        pytest.param(
            text(CANARY, REWARD), {"rates": {"reward": Rates(canary=0, stable=0)}},
            "--mean reward=", id="a rate of a mean",
        ),
        pytest.param(
            text(CANARY, MAX), {"means": {"unsafe": Spread(mean=0, deviation=1)}},
            "--rate unsafe=", id="a mean of a rate",
        ),
        pytest.param(
            text(CANARY, MAX), {"rates": {"errors": Rates(canary=0, stable=0)}},
            "no such objective; there: unsafe", id="an unknown objective",
        ),
        pytest.param(
            text(CANARY, MAX), {"sampled": {"unsafe": 0.5}}, "judges every answer",
            id="a part of the flags",
        ),
        pytest.param(
            text(CANARY, THUMBS), {"sampled": {"thumbs": 0.5}}, "say what it counts with --rate",
            id="a part of what is not played",
        ),
        pytest.param(
            text(CANARY, MAX, P95), {"rates": {"p95": Rates(canary=0, stable=0)}},
            "PromQL is not played", id="an expression",
        ),
    ],
)  # fmt: skip
def test_what_is_assumed_in_vain_is_told_in_one_line(
    played: str, assumed: dict[str, Any], said: str
) -> None:
    with pytest.raises(Unplayable) as raised:
        make_scene(played, **assumed)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_field_that_nobody_knows_is_named() -> None:
    test = TEST | {"abTest": TEST["abTest"] | {"arms": []}}
    with pytest.raises(Unplayable, match=r"rollout\.abTest\.arms: extra inputs"):
        make_scene(text(test, MAX))


@pytest.mark.parametrize(
    ("slo", "said"),
    [
        pytest.param(P95, "an expression in PromQL; not played", id="an expression"),
        pytest.param(REWARD, "no --mean reward=… was given", id="a mean"),
        pytest.param(SLOW, "no --rate slow=… was given", id="a rate"),
    ],
)
def test_what_is_left_out_is_named(slo: dict[str, Any], said: str) -> None:
    found = odds.simulate(make_scene(text(CANARY, MAX, slo)), 1, 1)
    (out,) = (each for each in found.objectives if each.objective == f"safe/{slo['name']}")
    assert (out.canary, out.note) == (None, said)


def test_what_no_strategy_can_judge_never_starts_and_says_why() -> None:
    made = make_scene(text(SHADOW, THUMBS))
    assert ways(made, 1) == {(None, "SpecInvalid")}
    assert any("nobody votes" in note for note in made.notes)


@pytest.mark.parametrize(
    ("arms", "canary", "stable"),
    [
        pytest.param(None, 0.2, 0.2, id="alone, all of the share"),
        pytest.param(("v1", 50, False), 0.2, 0.2, id="halves alike"),
        pytest.param(("v1", 20, False), 0.5, 0.125, id="equal numbers of both arms"),
        pytest.param(("v1", 5, False), 1.0, 15 / 95, id="stable gives what is missing"),
        pytest.param(("v1", 20, True), 0.5, 0.1, id="also of copies"),
    ],
)
def test_scores_are_shared_as_guards_sample(
    arms: tuple[str, int, bool] | None, canary: float, stable: float
) -> None:
    sampling = {"service": {"name": "desk", "port": 80}, "share": "0.2"}
    spread = {"reward": Spread(mean=0, deviation=1)}
    made = make_scene(text(CANARY, REWARD, guard={"sampling": sampling}), means=spread)
    (reward,) = made.objectives
    known = arms and Arms(canary=arms[0], percent=arms[1], step=0, run="r", is_copied=arms[2])
    assert reward.share(known, "v1") == pytest.approx(canary)
    assert reward.share(known, "sft") == pytest.approx(stable)


def test_the_dice_sum_up_normal_values() -> None:
    chance = random.Random(1)
    thrown = [dice.sums(10, 2.0, 3.0, chance) for _ in range(20_000)]
    totals, squares = ([each[place] for each in thrown] for place in (0, 1))
    assert mean(totals) == pytest.approx(20, abs=0.4)
    assert pvariance(totals) == pytest.approx(90, rel=0.1)
    # E of a square is the variance and the squared mean.
    assert mean(squares) == pytest.approx(10 * (9 + 4), rel=0.02)
    within = [square - total * total / 10 for total, square in thrown]
    assert mean(within) == pytest.approx(81, rel=0.02)
    assert pvariance(within) == pytest.approx(2 * 9 * 81, rel=0.1)
    assert dice.sums(0, 2.0, 3.0, chance) == (0.0, 0.0)


@pytest.mark.parametrize(
    "given", ["reward", "reward=1", "reward=1:0", "reward=1:x", "reward=1:2:3:4"]
)
def test_values_that_are_none_are_refused(given: str) -> None:
    asked = ["simulate", "x.yaml", "--flag-rate", "0", "--mean", given]
    assert CliRunner().invoke(app, asked).exit_code == 2


@pytest.mark.parametrize("given", ["thumbs", "thumbs=0", "thumbs=1.1", "thumbs=x"])
def test_a_part_that_is_none_is_refused(given: str) -> None:
    asked = ["simulate", "x.yaml", "--flag-rate", "0", "--sampled", given]
    assert CliRunner().invoke(app, asked).exit_code == 2


SHOWN = {
    "shadow": (text(SHADOW, MAX | {"versusStable": {"ratio": "2"}}), ["--flag-rate", "0.02:0.01"]),
    "blue-green": (text(SWITCH, VERSUS), ["--flag-rate", "0.02:0.01", "--traffic", "20"]),
    "ab-test": (
        text(TEST | {"abTest": TEST["abTest"] | {"duration": "12h"}}, MAX),
        ["--flag-rate", "0.01", "--rate", "thumbs=0.13:0.15", "--sampled", "thumbs=0.1"],
    ),
    "mean": (
        text(
            CANARY,
            MAX,
            REWARD,
            guard={"sampling": {"service": {"name": "desk", "port": 80}, "share": "0.2"}},
        ),
        ["--flag-rate", "0.01", "--mean", "reward=0.4:1:-0.2"],
    ),
}


@pytest.mark.parametrize("name", SHOWN)
def test_the_output_is_what_the_page_shows(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    written, options = SHOWN[name]
    Path("support.yaml").write_text(written)
    done = CliRunner().invoke(app, ["simulate", "support.yaml", "--runs", "20", *options])
    assert done.exit_code == 0, done.output
    shown, _, rest = done.output.partition("\nnot modelled:\n")
    files.compare(f"cli/simulate/{name}.txt", shown)  # the rest stands on the page once
    assert rest.startswith("- answers are flagged independently")
