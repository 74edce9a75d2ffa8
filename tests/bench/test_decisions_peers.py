"""The peers' rules on hand-made series: what they make of failures, NaN and silence."""

from __future__ import annotations

import numpy as np
import pytest

from e2e.bench.decisions.peers import NEVER, Peer, Progress, Silence, check

NAN = float("nan")
GONE = None
"""A query that returns nothing."""

FLAGGER, ARGO = Peer.FLAGGER, Peer.ARGO
FAILS, PAUSES, PASSES = Silence.FAILS, Silence.PAUSES, Silence.PASSES


def walk(
    peer: Peer, silence: Silence, limit: int, series: list[float | None], plan: int, errors: int = 1
) -> tuple[int, str]:
    """Return at which tick a run with the maximum 0.03 ends, and how."""
    progress = Progress(peer, (1,), plan, errors)
    for each in series:
        value = np.array([NAN if each is None else each])
        progress.add(check(peer, silence, value, np.array([each is None]), np.array([0.03])))
    ticks, rolled_back, promoted = progress.ends(limit)
    if ticks[0] >= NEVER:
        return -1, "goes on"
    return int(ticks[0]), (
        "rolled back" if rolled_back[0] else "promoted" if promoted[0] else "paused"
    )


@pytest.mark.parametrize(
    ("peer", "silence", "limit", "series", "ends"),
    [
        pytest.param(
            FLAGGER, FAILS, 1, [0.01] * 4, (4, "promoted"),
            id="Flagger promotes when every check of the plan has passed",
        ),
        pytest.param(
            FLAGGER, FAILS, 1, [0.01, 0.05, 0.01], (3, "rolled back"),
            id="Flagger rolls back one tick after the threshold was reached",
        ),
        pytest.param(
            FLAGGER, FAILS, 2, [0.05, 0.01, 0.01, 0.05, 0.01], (5, "rolled back"),
            id="Flagger never forgets a failed check, however many pass in between",
        ),
        pytest.param(
            FLAGGER, FAILS, 3, [0.05, 0.05, 0.01, 0.01, 0.01, 0.01], (6, "promoted"),
            id="Flagger keeps the weight for each failed check, so the plan takes longer",
        ),
        pytest.param(
            FLAGGER, FAILS, 2, [NAN, NAN, 0.01], (3, "rolled back"),
            id="Flagger counts NaN, as of an idle canary, as a failed check",
        ),
        pytest.param(
            FLAGGER, FAILS, 2, [GONE, GONE, 0.01], (3, "rolled back"),
            id="Flagger counts no values at all as a failed check",
        ),
        pytest.param(
            FLAGGER, FAILS, 1, [0.03] * 4, (4, "promoted"),
            id="Flagger passes a value that is exactly the maximum",
        ),
        pytest.param(
            FLAGGER, PASSES, 1, [NAN, GONE, 0.01, 0.01], (4, "promoted"),
            id="Flagger passes silence where the query turns it into zero",
        ),
        pytest.param(
            ARGO, FAILS, 1, [0.01, 0.05], (2, "rolled back"),
            id="Argo aborts at the first failed measurement, at once",
        ),
        pytest.param(
            ARGO, FAILS, 2, [0.05, 0.01, 0.01, 0.05], (4, "rolled back"),
            id="Argo adds failures up over the run, and a failure goes before the plan's end",
        ),
        pytest.param(
            ARGO, FAILS, 3, [0.05, 0.05, 0.01, 0.01], (4, "promoted"),
            id="Argo's plan follows the clock, whatever was measured",
        ),
        pytest.param(
            ARGO, FAILS, 10, [0.01, GONE, 0.01, 0.01], (2, "rolled back"),
            id="Argo aborts in a minute of errors, whatever the failure limit",
        ),
        pytest.param(
            ARGO, FAILS, 1, [0.01, NAN], (2, "rolled back"),
            id="Argo fails a success condition on NaN",
        ),
        pytest.param(
            ARGO, PAUSES, 1, [0.01, NAN], (2, "paused"),
            id="Argo with both conditions pauses on NaN for a person",
        ),
        pytest.param(
            ARGO, PAUSES, 10, [0.01, GONE], (2, "rolled back"),
            id="Argo with both conditions still errs on an empty result",
        ),
        pytest.param(
            ARGO, PASSES, 1, [NAN, GONE, NAN, GONE], (4, "promoted"),
            id="Argo promotes on nothing but silence where conditions let it pass",
        ),
        pytest.param(
            ARGO, FAILS, 1, [0.01, 0.01], (-1, "goes on"),
            id="Argo goes on while the plan is not over and nothing failed",
        ),
    ],
)  # fmt: skip
def test_a_series_ends_as_the_peer_would_end_it(
    peer: Peer, silence: Silence, limit: int, series: list[float | None], ends: tuple[int, str]
) -> None:
    assert walk(peer, silence, limit, series, plan=4) == ends


def test_argo_that_looks_every_ten_seconds_forgives_a_gap_of_four() -> None:
    gap: list[float | None] = [0.01, GONE, GONE, GONE, GONE, 0.01, GONE, 0.01]
    assert walk(ARGO, FAILS, 1, gap, plan=8, errors=5) == (8, "promoted")
    longer = [*gap[:5], *gap[1:]]
    assert walk(ARGO, FAILS, 1, longer, plan=8, errors=5) == (6, "rolled back")


def test_the_weight_of_flagger_waits_and_that_of_argo_does_not() -> None:
    for peer, place in ((FLAGGER, 1), (ARGO, 3)):
        progress = Progress(peer, (1,), 4)
        for value in (0.05, 0.01, 0.05):
            one = np.array([value])
            progress.add(check(peer, FAILS, one, np.array([False]), np.array([0.03])))
        assert progress.place.tolist() == [place]
