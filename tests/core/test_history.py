"""Which records are in force, and which may go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rlhf_operator.api.model import History
from rlhf_operator.api.rollout import Lift, Outcome
from rlhf_operator.core import history
from rlhf_operator.core.observed import Run
from tests import builders as make
from tests.builders import NOW, V1, ago

LIFTED = Lift(decision="lift", author="ann", at=NOW)


def record(revision: int, **changes: Any) -> Run:
    return replace(make.ended(revision=revision, **changes), name=f"r{revision}")


def quarantining(revision: int, lift: Lift | None = None) -> Run:
    (entry,) = make.quarantine(V1).values()
    entry = entry.model_copy(update={"lifted": lift})
    return replace(make.ended(Outcome.ROLLED_BACK, revision=revision, quarantine=entry),
                   name=f"r{revision}")  # fmt: skip


SIX = [record(revision) for revision in (1, 2, 3, 4, 5, 6)]


@pytest.mark.parametrize(
    ("runs", "pinned", "limit", "gone"),
    [
        pytest.param(SIX, (), 50, (), id="few records stay"),
        pytest.param(SIX, (), 4, ("r1", "r2"), id="the oldest go first"),
        pytest.param(SIX, (), 1, ("r1", "r2", "r3", "r4"), id="the two newest always stay"),
        pytest.param(SIX, ("r1",), 4, ("r2", "r3"), id="what a person pinned stays"),
        pytest.param([quarantining(1), *SIX[1:]], (), 4, ("r2", "r3"),
                     id="a quarantine in force stays"),
        pytest.param([quarantining(1, LIFTED), *SIX[1:]], (), 4, ("r1", "r2"),
                     id="a quarantine that was lifted may go"),
        pytest.param([record(1, settled_at=None), *SIX[1:]], (), 5, ("r2",),
                     id="what has not settled stays"),
        pytest.param([record(1, finished_at=ago(60 * 24 * 366)), *SIX[1:]], (), 50, ("r1",),
                     id="what is too old goes"),
        pytest.param(list(reversed(SIX)), (), 5, ("r1",), id="the order of reading is no matter"),
    ],
)  # fmt: skip
def test_what_may_be_pruned(
    runs: list[Run], pinned: tuple[str, ...], limit: int, gone: tuple[str, ...]
) -> None:
    assert history.prunable(runs, frozenset(pinned), History(limit=limit), NOW) == gone


def test_only_quarantines_that_nobody_lifted_are_in_force() -> None:
    assert set(history.quarantines([quarantining(1)])) == {V1.identity}
    assert history.quarantines([quarantining(1, LIFTED), record(2)]) == {}
