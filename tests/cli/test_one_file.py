"""The plugin as one file: it is made as `make plugin` makes it, and works away from everything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlhf_operator.cli.__main__ import app

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "manifests/samples"
# Whoever gets these tests makes the file once.
pytestmark = pytest.mark.xdist_group("one-file")


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file, made by the recipe of the Makefile in a folder of its own."""
    folder = tmp_path_factory.mktemp("plugin")
    made = folder / "kubectl-rlhf"
    places = {"VENV": sys.prefix, "PLUGIN": str(made), "PARTS": str(folder / "parts")}
    # What these tests run in is installed already.
    command = ["make", "plugin", "--assume-old", f"{sys.prefix}/installed"]
    command += [f"{name}={place}" for name, place in places.items()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return made


def run(plugin: Path, *arguments: str) -> str:
    """Return what the file prints, in a Python that has nothing but its standard library."""
    known = {"PATH": os.defpath, "HOME": str(plugin.parent)}
    command = [sys._base_executable, "-I", str(plugin), *arguments]  # type: ignore[attr-defined]
    done = subprocess.run(
        command, cwd=plugin.parent, env=known, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_names_every_command(plugin: Path) -> None:
    said = run(plugin, "--help")
    assert [name for name in app.commands if f"\n  {name} " not in said] == []


def test_it_simulates_a_sample_without_cluster(plugin: Path) -> None:
    read = [str(SAMPLES / f"{name}.yaml") for name in ("model-gateway", "policy", "versions")]
    said = run(plugin, "simulate", *read, "--flag-rate", "0.2:0.005", "--runs", "3")
    assert "support-sft → support-v7: 3 rollouts played" in said
    assert "3 of 3  RolledBack" in said
