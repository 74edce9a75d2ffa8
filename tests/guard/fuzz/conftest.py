"""Fuzzing of the guard, over HTTP, by hypothesis and schemathesis.

A guard runs as a process of its own (`loopback.py`) before a model server that sends whatever
bytes a test tells it. What is looked for:

- `test_described.py`: the guard does what its OpenAPI description says, and no more;
- `test_requests.py`: clients as the attacker: no bytes crash it, or get a 5xx or no answer;
- `test_replies.py`: the model server as the attacker: its bytes become 502 or a proper answer;
- `test_leaks.py`: no prefix of any answer holds a word that a rule blocks, however it is hidden,
  and however the answer was cut on its way;
- `test_memory.py`: what is held of a request, a reply or a stream is bounded.

By default the examples are few, and the same in every run. `make fuzz` runs many, at random.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.guard.fuzz import loopback
from tests.guard.fuzz.loopback import Loopback
from tests.guard.world import a_stage

STICKY = {"mode": "Arm", "maxAgeSeconds": 60, "armToken": "v1.canary.abc"}
CHECKED = {
    "guard": {
        "stages": [a_stage(action="Block", appliesTo=["Input", "Output"])],
        "refusalPatterns": ["^i cannot help"],
        "userHeader": "x-user",
    },
    "stickiness": STICKY,
    "limits": {"bodyBytes": 65_536, "timeoutSeconds": 10},
}


@pytest.fixture(scope="session")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    """A guard that blocks, both ways."""
    with loopback.running(tmp_path_factory.mktemp("checked"), **CHECKED) as running:
        yield running


@pytest.fixture(scope="session")
def unchecked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    """A guard without any stage."""
    with loopback.running(tmp_path_factory.mktemp("unchecked"), guard={}) as running:
        yield running


@pytest.fixture(autouse=True)
def _as_ever(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let the model server answer as Triton does, until a test tells it otherwise."""
    yield
    for name in ("checked", "unchecked"):
        if name in request.fixturenames:
            model = request.getfixturevalue(name).model
            model.told, model.text = None, loopback.Model.text
            model.asked.clear()
