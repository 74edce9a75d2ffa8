"""How many answers an undecided rate still needs: of all that rates can be asked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from rlhf_operator.api.evidence import SLOResult, Verdict
from rlhf_operator.api.strategies import TEST_POLICY
from rlhf_operator.core import analysis
from rlhf_operator.core.objective import objectives
from rlhf_operator.core.results import result
from tests.core.test_evidence import DONE, NOW, SINCE, UNSAFE, policy, rate

MARGIN = {"versusStable": {"ratio": "1.5"}}
PRIMARY = {"class": "Informational", "versusStable": {"ratio": "1"}}
Counts = tuple[float, float]


def shown(slo: dict[str, Any], canary: Counts, stable: Counts) -> SLOResult:
    """What is told of events and samples of both versions; of a test's primary by its policy."""
    test = {"name": TEST_POLICY} if slo["class"] == "Informational" else {}
    ((_, goal),) = objectives((policy(slo, **test),))
    mine, theirs = (rate(round(events), round(samples)) for events, samples in (canary, stable))
    found = analysis.weigh(
        goal, mine, theirs, None, now=NOW, since=SINCE, stale=timedelta(seconds=35)
    )
    return result(goal, "v2", found)


def grown(counts: Counts, answers: float) -> Counts:
    """Half of so many answers more, at the same rate."""
    events, samples = counts
    return events + events / samples * answers / 2, samples + answers / 2


@pytest.mark.parametrize(
    ("slo", "canary", "stable", "decided"),
    [
        pytest.param(UNSAFE | MARGIN, (20, 1000), (20, 1000), Verdict.SUCCESSFUL,
                     id="a rate that should be low"),
        pytest.param(DONE | MARGIN, (30, 60), (30, 60), Verdict.SUCCESSFUL,
                     id="a rate that should be high"),
        pytest.param(UNSAFE | PRIMARY, (30, 1000), (45, 1000), Verdict.SUCCESSFUL,
                     id="a test's primary, on the side of the better version"),
        pytest.param(UNSAFE | PRIMARY, (45, 1000), (30, 1000), Verdict.FAILED,
                     id="and on that of the worse one"),
        pytest.param(DONE | PRIMARY, (130, 250), (110, 250), Verdict.SUCCESSFUL,
                     id="a primary that should be high"),
        pytest.param(DONE | PRIMARY, (110, 250), (130, 250), Verdict.FAILED,
                     id="and is lower than stable's"),
    ],
)  # fmt: skip
def test_what_is_still_needed_decides(
    slo: dict[str, Any], canary: Counts, stable: Counts, decided: Verdict
) -> None:
    now = shown(slo, canary, stable)
    assert now.verdict is Verdict.INCONCLUSIVE and now.needs is not None
    assert f"about {now.needs} more answers" in now.message
    half = shown(slo, grown(canary, 0.5 * now.needs), grown(stable, 0.5 * now.needs))
    assert half.verdict is Verdict.INCONCLUSIVE
    enough = shown(slo, grown(canary, 1.05 * now.needs), grown(stable, 1.05 * now.needs))
    assert enough.verdict is decided


@pytest.mark.parametrize(
    ("slo", "canary", "stable"),
    [
        pytest.param(UNSAFE | PRIMARY, (40, 1000), (40, 1000), id="two that are equal"),
        pytest.param(DONE | PRIMARY, (125, 250), (125, 250), id="also where higher is better"),
        pytest.param(UNSAFE | MARGIN, (0, 10), (0, 0), id="one that stands alone"),
    ],
)
def test_nothing_is_told_of_what_never_decides(
    slo: dict[str, Any], canary: Counts, stable: Counts
) -> None:
    assert shown(slo, canary, stable).needs is None
