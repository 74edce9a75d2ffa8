"""The shipped samples can do what they are shipped for: with their policies good versions pass."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from rlhf_operator.cli.__main__ import app
from tests.golden import files

ROOT = Path(__file__).parents[2]
SAMPLES = "manifests/samples"
TEST = ["--rate", "thumbs-down=0.05:0.08", "--sampled", "thumbs-down=0.05"]


def simulated(sample: str, *options: str) -> str:
    """Return what is said of a sample with its versions and policies, at 20 answers a second."""
    read = [f"{SAMPLES}/{name}.yaml" for name in (sample, "policy", "versions")]
    asked = ["simulate", *read, "--traffic", "20", "--flag-rate", "0.005", *options]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize(
    ("sample", "more"),
    [
        pytest.param("model-gateway", (), id="canary"),
        pytest.param("strategies/shadow", (), id="shadow"),
        pytest.param("strategies/blue-green", (), id="switch"),
        pytest.param("strategies/ab-test", TEST, id="test"),
    ],
)
def test_a_sample_promotes_what_is_no_worse(
    sample: str, more: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    said = simulated(sample, "--runs", "5", "-o", "yaml", *more)
    chances = {each["outcome"]: each["runs"] for each in yaml.safe_load(said)["chances"]}
    assert chances == {"Promoted": 5}


def test_the_switch_is_what_the_page_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    shown, _, _ = simulated("strategies/blue-green", "--runs", "20").partition("\nnot modelled:\n")
    files.compare("cli/simulate/sample-switch.txt", shown)
