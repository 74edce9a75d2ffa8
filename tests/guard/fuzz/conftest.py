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

MARK = "zqxzqkzx"
"""A word that is blocked, of letters that nothing else has."""
MARKED = a_stage("marked", action="Block", rules=[{"category": "mark", "keywords": [MARK]}])
STICKY = {"mode": "Arm", "maxAgeSeconds": 60, "armToken": "v1.canary.abc"}
CHECKED = {
    "guard": {
        "stages": [a_stage(action="Block", appliesTo=["Input", "Output"]), MARKED],
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
def streaming(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    """The same before a model that answers in parts."""
    folder = tmp_path_factory.mktemp("streaming")
    with loopback.running(folder, is_decoupled=True, **CHECKED) as running:
        yield running


@pytest.fixture(scope="session")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    """A guard that does not wait for long."""
    limits = {"bodySeconds": 1}
    with loopback.running(tmp_path_factory.mktemp("hasty"), limits=limits) as running:
        yield running


@pytest.fixture(params=["checked", "streaming"])
def guarded(request: pytest.FixtureRequest) -> Iterator[Loopback]:
    """Either of them."""
    running: Loopback = request.getfixturevalue(request.param)
    yield running
    running.model.forget()
