"""What `simulate` foretells: the real rules on made-up answers, the same for the same seed."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import mean, pvariance

import pytest
import yaml
from click.testing import CliRunner

from rlhf_operator.api.rollout import Outcome
from rlhf_operator.cli import dice, manifests, odds, prospects, scene, simulation
from rlhf_operator.cli.__main__ import app
from rlhf_operator.cli.assumptions import Assumptions, Rates, Unplayable
from rlhf_operator.cli.ending import Ending
from tests.cli.fixed import text
from tests.golden import files

ROOT = Path(__file__).parents[2]
MONDAY = datetime(2026, 1, 5, 10, tzinfo=UTC)
MODEL = """
apiVersion: rlhf.dev/v1alpha1
kind: RLHFModel
metadata: {name: support}
spec:
  version: v1
  fallback: {version: sft}
  policies: [{name: safe}]
  traffic: {router: GatewayAPI, parentRefs: [{name: public}]}
  rollout:
    strategy: Canary
    maxHold: 1h
    canary: {steps: [{weight: 10, hold: 5m}, {weight: 50, hold: 5m}]}
---
apiVersion: rlhf.dev/v1alpha1
kind: AlignmentPolicy
metadata: {name: safe}
spec:
  slos:
  - {name: unsafe, class: Safety, indicator: {type: UnsafeServedRate}, max: "0.05", minSamples: 50}
  - {name: errors, class: Performance, indicator: {type: ErrorRate}, max: "0.02", minSamples: 50}
"""


def make_scene(text: str = MODEL, *, flags: float | Rates = 0.01, traffic: float = 5.0, **changes):
    read = manifests.readable(yaml.safe_load_all(text))
    rates = flags if isinstance(flags, Rates) else Rates(canary=flags, stable=0.01)
    assumed = Assumptions(
        **{"traffic": traffic, "flags": rates, "rates": {}, "start": MONDAY} | changes
    )
    return scene.scene(read, scene.only_model(read, None), assumed)


def endings(made: scene.Scene, runs: int = 10) -> list[Ending]:
    return [simulation.play(made, random.Random(number)) for number in range(runs)]


def ways(made: scene.Scene, runs: int = 10) -> set[tuple[Outcome | None, str]]:
    return {(each.outcome, each.reason) for each in endings(made, runs)}


@pytest.mark.parametrize(
    ("changes", "way"),
    [
        pytest.param({"flags": 0.001}, (Outcome.PROMOTED, "Promoted"), id="a good one is promoted"),
        pytest.param(
            {"flags": 0.5}, (Outcome.ROLLED_BACK, "SafetyFailed"), id="a bad one is rolled back"
        ),
        pytest.param(
            {"flags": 0.001, "rates": {"errors": Rates(canary=0.3, stable=0.0)}},
            (Outcome.ROLLED_BACK, "SLOFailed"),
            id="one that fails often is rolled back",
        ),
        pytest.param(
            {"traffic": 0.0},
            (Outcome.ROLLED_BACK, "MaxHoldExceeded"),
            id="without traffic nothing is promoted",
        ),
        pytest.param(
            {"ready_after": timedelta(hours=1)},
            (Outcome.ROLLED_BACK, "NotReady"),
            id="pods that are too slow end the run",
        ),
        pytest.param(
            {"limit": timedelta(minutes=3)}, (None, "Holding"), id="the limit leaves a run as it is"
        ),
    ],
)
def test_the_rules_decide_as_they_would(changes, way):
    assert ways(make_scene(**changes)) == {way}


def test_a_suspended_model_never_starts():
    made = make_scene(MODEL.replace("  version: v1\n", "  version: v1\n  suspend: true\n"))
    assert ways(made, 1) == {(None, "Suspended")}
    assert odds.simulate(made, 1, 1).chances[0].outcome == "NeverStarts"


def test_a_plan_that_no_pods_can_give_never_starts():
    made = make_scene(MODEL.replace("router: GatewayAPI, ", "router: Service, "))
    assert ways(made, 1) == {(None, "StepsUnreachable")}


def test_a_freeze_window_is_waited_for():
    window = "{name: w, days: [Mon], start: '09:00', end: '12:00'}"
    frozen = MODEL.replace("    maxHold: 1h\n", f"    freezeWindows: [{window}]\n")
    free, late = endings(make_scene(flags=0.001), 1)[0], endings(make_scene(frozen, flags=0.001), 1)
    assert late[0].outcome is Outcome.PROMOTED
    assert late[0].took >= timedelta(hours=2) > free.took


def test_a_promotion_takes_at_least_every_hold():
    for each in endings(make_scene(flags=0.001)):
        assert each.took >= timedelta(minutes=10)
        assert each.highest == 50


def test_more_harm_is_found_sooner():
    slow, fast = make_scene(flags=0.06, traffic=20), make_scene(flags=0.6, traffic=20)
    assert mean(e.took.total_seconds() for e in endings(fast)) <= mean(
        e.took.total_seconds() for e in endings(slow)
    )


def test_the_bad_answers_are_a_part_of_the_answers():
    for each in endings(make_scene(flags=0.2, lag=timedelta())):
        assert 0 < each.bad <= each.answers


def test_the_same_seed_gives_the_same_odds():
    made = make_scene(flags=0.04)
    assert odds.simulate(made, 5, 7) == odds.simulate(made, 5, 7)
    assert odds.simulate(made, 5, 7).chances != odds.simulate(made, 5, 8).chances


@pytest.mark.parametrize(("traffic", "noted"), [(0.01, True), (50.0, False)])
def test_a_plan_that_leaves_no_time_is_noted(traffic, noted):
    found = odds.simulate(make_scene(traffic=traffic, limit=timedelta(minutes=2)), 1, 1)
    said = [note for note in found.notes if "step 1 (10 %) has 1h5m" in note]
    assert (len(said) == 1) is noted


@pytest.mark.parametrize(
    ("minutes", "within"),
    [
        pytest.param([2, 3, 4], 3, id="of all that are decided the middle one"),
        pytest.param([2, 3, 4, 5], 3, id="of an even number the one that makes half"),
        pytest.param([9, None, 2], 9, id="one that is never decided comes last"),
        pytest.param([2, 7, None, None], 7, id="half of them is enough"),
        pytest.param([2, None, None], None, id="fewer than half have no such time"),
        pytest.param([None], None, id="nor has none at all"),
    ],
)
def test_the_time_to_a_decision_counts_what_is_never_decided(minutes, within):
    made = make_scene(limit=timedelta(minutes=30))
    found = odds.odds(made, [ending(each) for each in minutes], 1)
    shown = text(prospects.render(found))
    if within is None:
        assert found.took_median is None
        assert "fewer than half of all rollouts are decided within 30 min\n" in shown
        assert "a decision falls" not in shown
    else:
        assert found.took_median == timedelta(minutes=within)
        assert f"in half of all rollouts a decision falls within {within} min\n" in shown


def ending(minutes: float | None) -> Ending:
    """A rollout that was promoted then, or one that was not decided within half an hour."""
    return Ending(
        outcome=None if minutes is None else Outcome.PROMOTED,
        reason="Inconclusive" if minutes is None else "Promoted",
        took=timedelta(minutes=30 if minutes is None else minutes),
        highest=10, answers=1, bad=0, unread=0, shown_before=0,
    )  # fmt: skip


def test_chances_add_up():
    found = odds.simulate(make_scene(flags=0.04), 12, 3)
    assert sum(each.runs for each in found.chances) == found.runs == 12
    assert sum(each.share for each in found.chances) == pytest.approx(1)


@pytest.mark.parametrize("expected", [0.3, 12.0, 400.0])
def test_the_dice_have_the_mean_and_variance_of_a_poisson(expected):
    chance = random.Random(1)
    thrown = [dice.poisson(expected, chance) for _ in range(20_000)]
    # Five standard errors of the mean, and for the variance a rough tenth.
    assert mean(thrown) == pytest.approx(expected, abs=5 * (expected / 20_000) ** 0.5)
    assert pvariance(thrown) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(MODEL.split("---")[0], "AlignmentPolicy safe is not in", id="no policy"),
        pytest.param(MODEL.split("---")[1], "no usable RLHFModel", id="no model"),
        pytest.param(MODEL.replace("version: v1", "version: sft"), "already", id="nothing to do"),
    ],
)
def test_what_cannot_be_played_is_told_in_one_line(text, said):
    with pytest.raises(Unplayable, match=said) as raised:
        make_scene(text)
    assert "\n" not in str(raised.value)


def test_the_command_needs_no_cluster(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    Path("support.yaml").write_text(MODEL)
    asked = ["simulate", "support.yaml", "--flag-rate", "0.04:0.01", "--runs", "20"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    files.compare("cli/simulate/canary.txt", done.output)


FILES = {
    "one.yaml": MODEL,
    "two.yaml": MODEL.split("---")[0],
    "other.yaml": MODEL.split("---")[0].replace("name: support", "name: faq"),
}


@pytest.mark.parametrize(
    ("files", "options", "said"),
    [
        pytest.param(
            ["one.yaml", "two.yaml"], [],
            "RLHFModel support is defined 2 times: in one.yaml, two.yaml; name one of these files",
            id="one name in two files",
        ),
        pytest.param(
            ["one.yaml", "two.yaml", "other.yaml"], ["--model", "support"],
            "RLHFModel support is defined 2 times: in one.yaml, two.yaml; name one of these files",
            id="the name that was chosen",
        ),
        pytest.param(
            ["one.yaml", "one.yaml"], [], "defined 2 times: in one.yaml;", id="one file twice"
        ),
        pytest.param(
            ["one.yaml", "two.yaml", "other.yaml"], [],
            "several models; choose with --model: support, faq", id="each name once",
        ),
    ],
)  # fmt: skip
def test_a_model_that_several_files_define_is_told_with_them(
    files, options, said, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    for name, written in FILES.items():
        Path(name).write_text(written)
    with pytest.raises(Unplayable) as raised:
        app(["simulate", *files, *options, "--flag-rate", "0.01"], standalone_mode=False)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("rate", ["2", "x", "0.1:x", "-1"])
def test_a_rate_that_is_none_is_refused(rate):
    done = CliRunner().invoke(app, ["simulate", "x.yaml", "--flag-rate", rate])
    assert done.exit_code == 2
