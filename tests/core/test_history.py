"""Which records are in force, and which may go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rlhf_operator.api.model import History
from rlhf_operator.api.quarantine import Lift
from rlhf_operator.api.rollout import Outcome, RunType
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


def vetoing(revision: int, lift: Lift | None = None) -> Run:
    (entry,) = make.vetoed(V1).values()
    return record(revision, vetoes=(entry.model_copy(update={"lifted": lift}),))


SIX = [record(revision) for revision in (1, 2, 3, 4, 5, 6)]


@pytest.mark.parametrize(
    ("runs", "pinned", "limit", "gone"),
    [
        pytest.param(SIX, (), 50, (), id="few records stay"),
        pytest.param(SIX, (), 4, ("r1", "r2"), id="the oldest go first"),
        pytest.param(SIX, (), 1, ("r1", "r2", "r3", "r4"), id="the two newest always stay"),
        pytest.param([vetoing(1), *SIX[1:]], (), 4, ("r2", "r3"), id="a veto in force stays"),
        pytest.param([vetoing(1, LIFTED), *SIX[1:]], (), 4, ("r1", "r2"),
                     id="one that was lifted does not"),
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


def pinning(revision: int, *names: str) -> Run:
    pins = [{"version": name.split("-")[0], "revision": name} for name in names]
    return record(revision, pins=pins)


@pytest.mark.parametrize(
    ("runs", "gone", "spare"),
    [
        pytest.param([pinning(1, "v1-a"), pinning(2, "v1-a")], ("r1",), (),
                     id="a pin that a kept record names stays"),
        pytest.param([pinning(1, "v1-a"), pinning(2, "v1-b")], ("r1",), ("v1-a",),
                     id="a pin that a restart replaced goes with the old record"),
        pytest.param([pinning(1, "v1-a"), pinning(2, "v1-a", "v2-a"), pinning(3, "v2-a")],
                     ("r1", "r2"), ("v1-a",), id="a pin that several old records name goes once"),
        pytest.param([pinning(1, "v1-a"), pinning(2, "v2-a")], (), (),
                     id="while no record goes no pin goes"),
    ],
)  # fmt: skip
def test_which_pins_go(runs: list[Run], gone: tuple[str, ...], spare: tuple[str, ...]) -> None:
    assert tuple(pin.revision for pin in history.spare_pins(runs, gone)) == spare


def test_a_veto_is_told_before_a_failure() -> None:
    for runs in ([quarantining(1), vetoing(2)], [vetoing(2), quarantining(1)]):
        name, found = history.quarantines(runs)[V1.identity]
        assert (name, found.author) == ("r2", "ann")


def test_a_lift_ends_what_is_of_its_identity_and_in_force() -> None:
    other = Lift(decision="other", author="bob", at=NOW)
    (veto,) = vetoing(1).status.vetoes
    entry, own = quarantining(1, other).status.quarantine, make.vetoed(make.V2)[make.V2.identity]
    status = record(1, quarantine=entry, vetoes=(veto, own)).status
    lifted = history.lift(status, V1.identity, LIFTED)
    assert [each.lifted for each in lifted.quarantines] == [other, LIFTED, None]
    assert history.lift(lifted, V1.identity, other) == lifted


def test_only_quarantines_that_nobody_lifted_are_in_force() -> None:
    assert set(history.quarantines([quarantining(1)])) == {V1.identity}
    assert history.quarantines([quarantining(1, LIFTED), record(2)]) == {}


FLIGHT = make.ended(
    revision=4, type=RunType.FALLBACK, from_=V1,
    cause={"reason": "SafetyFailed", "message": "v1: unsafe 0.3 > 0.02"},
)  # fmt: skip


def test_a_run_against_what_traffic_fled_from_was_rolled_back_without_blame() -> None:
    status = history.closed(make.make_run(stable=V1, canary=make.V2), FLIGHT, NOW, epoch=2)
    assert (status.outcome, status.reason) == (Outcome.ROLLED_BACK, "SafetyFailed")
    assert status.message == "traffic fled from stable v1: unsafe 0.3 > 0.02"
    assert (status.weight, status.canary, status.quarantine) == (0, None, None)
    assert status.settled_at == NOW


def test_a_record_that_was_cut_off_waits_for_nothing() -> None:
    waited = make.make_run(stable=V1, canary=make.V2, not_holding_since=NOW, blind_since=NOW)
    status = history.closed(waited, FLIGHT, NOW, epoch=2)
    assert status.not_holding_since is None and status.blind_since is None


def test_a_drill_from_which_traffic_fled_was_superseded() -> None:
    status = history.closed(make.drill(), FLIGHT, NOW, epoch=2)
    assert (status.outcome, status.reason) == (Outcome.SUPERSEDED, "Superseded")
    assert (status.weight, status.canary, status.settled_at) == (0, None, NOW)


def test_a_run_of_a_model_that_went_unseen_was_aborted() -> None:
    status = history.closed(make.make_run(), None, NOW, epoch=2)
    assert (status.outcome, status.reason) == (Outcome.ABORTED, "Deleted")
    newer = replace(FLIGHT, model_uid="another")
    status = history.closed(make.make_run(), newer, NOW, epoch=2)
    assert (status.outcome, status.reason) == (Outcome.ABORTED, "Deleted")
