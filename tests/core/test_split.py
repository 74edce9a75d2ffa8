"""Whether a router splits as declared: a wrong one is told, a right one is never accused."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from rlhf_operator.api.evidence import SLOResult, StepRecord, Verdict
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.traffic import Traffic
from rlhf_operator.core import contenders, split, statistics
from rlhf_operator.core.decision import Action
from rlhf_operator.core.observed import ArmSeen, Assessment, Observed
from rlhf_operator.core.split import Mismatch
from tests import builders as make
from tests.builders import ago
from tests.core.rule_rows import check, row

GATEWAY = Traffic.model_validate({"router": "GatewayAPI", "parentRefs": [{"name": "gw"}]})
SERVICE = Traffic(router="Service")
RESPONSES, REQUESTS = "rlhf_guard_responses_total", "rlhf_guard_requests_total"


def shown(
    canary: int, stable: int | None, counter: str = RESPONSES, *, version: str = "v1"
) -> SLOResult:
    return make.GOOD.results[0].model_copy(
        update={
            "samples": canary, "stable_samples": stable, "version": version,
            "query": f"events / {counter}", "name": counter,
        }
    )  # fmt: skip


def seen(
    *results: SLOResult, weight: int = 10, minutes: float = 30, traffic: Traffic = GATEWAY,
    router: Any = None, **run: Any,
) -> Observed:  # fmt: skip
    """A run at a weight for some minutes, with what was counted at it."""
    made = make.make_run(weight=weight, in_force_at=ago(minutes), **run)
    spec = make.model_spec().model_copy(update={"traffic": traffic})
    return make.make_observed(
        run=made, spec=spec, canary=Assessment(results=results) if results else None
    )


def of_run(picture: Observed) -> Mismatch | None:
    assert picture.run is not None
    return split.of_run(picture, picture.run)


def told(picture: Observed) -> str | None:
    """How the split is off, if it is."""
    found = of_run(picture)
    return None if found is None else "missing" if found.missing else "more"


@pytest.mark.parametrize(
    ("found", "weight", "minutes", "expected"),
    [
        pytest.param([shown(2520, 33480)], 5, 30, "more", id="7 % for 5 %, for half an hour"),
        pytest.param([shown(420, 5580)], 5, 5, None, id="not after five minutes"),
        pytest.param([shown(900, 35100)], 5, 30, "missing", id="half of its answers are missing"),
        pytest.param([shown(0, 36000)], 5, 30, "missing", id="all of them are"),
        pytest.param([shown(0, 40)], 5, 30, None, id="of few answers chance says it all"),
        pytest.param([shown(1900, 34100)], 5, 30, None, id="5.3 % for 5 % is near enough"),
        pytest.param([shown(40_000, 60_000)], 50, 30, "missing", id="40 % for 50 %"),
        pytest.param([shown(48_000, 52_000)], 50, 30, None, id="48 % for 50 %"),
        pytest.param([shown(900, None)], 5, 30, None, id="stable that was not counted"),
        pytest.param([shown(0, 0)], 5, 30, None, id="no traffic at all"),
        pytest.param([shown(10, 9000, "votes")], 5, 30, None, id="what counts votes or scores"),
        pytest.param([shown(9, 9000), shown(500, 9500, REQUESTS)], 5, 30, None,
                     id="requests before answers: a version that fails shows elsewhere"),
        pytest.param([shown(9, 9000, version="v9")], 5, 30, None, id="another version's counts"),
    ],
)  # fmt: skip
def test_which_splits_are_told(
    found: list[SLOResult], weight: int, minutes: float, expected: str | None
) -> None:
    assert told(seen(*found, weight=weight, minutes=minutes)) == expected


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"traffic": SERVICE}, id="the ratio of replicas"),
        pytest.param({"plan": {"stickiness": "Arm"}}, id="users who stay with their version"),
        pytest.param({"plan": {"strategy": "Shadow"}}, id="copies"),
        pytest.param({"weight": 100}, id="all traffic"),
        pytest.param({"in_force_at": None}, id="a weight that is not in force"),
    ],
)
def test_where_requests_are_no_draws_nothing_is_told(changes: dict[str, Any]) -> None:
    given = {"weight": 5} | changes
    if "in_force_at" in given:
        picture = seen(shown(0, 9000), weight=5)
        status = picture.run.status.model_copy(update=changes) if picture.run else None
        assert picture.run is not None and status is not None
        picture = replace(picture, run=replace(picture.run, status=status))
        assert told(picture) is None
        return
    assert told(seen(shown(0, 9000), **given)) is None


def step(weight: int, canary: int, stable: int, minutes: int = 30) -> StepRecord:
    ended = ago(60)
    return StepRecord(
        index=0, weight=weight, declared_at=ended - timedelta(minutes=minutes), ended_at=ended,
        in_force_at=ended - timedelta(minutes=minutes), slos=(shown(canary, stable),),
    )  # fmt: skip


def test_all_weights_of_a_run_count_together_and_a_restart_loses_none() -> None:
    """What is on record is enough; the present weight alone is what holds."""
    picture = seen(shown(1000, 9000), weight=10, steps=(step(5, 2520, 33480),))
    found = of_run(picture)
    assert found is not None and not found.missing
    assert found.message.startswith("v1 answered 7.0% of what it and stable answered, where 5.0%")
    assert picture.run is not None and split.of_step(picture, picture.run) is None
    unseen = replace(picture, canary=None)
    assert told(unseen) == "more" and not split.is_known(unseen)
    right = seen(shown(1000, 9000), weight=10, steps=(step(5, 1800, 34200),))
    assert told(right) is None


def test_each_of_several_versions_has_its_own_share() -> None:
    """20 % of v1 and 30 % of v2 beside 50 % of stable."""
    arm = {"version": "v2", "identity": make.V2.identity, "weight": 30}
    picture = seen(shown(2000, 5000), weight=20, others=(make.V2,), arms=(arm,))
    beside = Assessment(results=(shown(1000, 5000, version="v2"),))
    picture = replace(picture, arms={"v2": ArmSeen(judged=beside)})
    views = contenders.views(picture)
    assert [told(view) for view in views] == [None, "missing"]


@pytest.mark.parametrize("per_second", [2, 20, 200, 2000])
def test_a_right_gateway_is_never_accused(per_second: int) -> None:
    """Whenever one looks, in 50 runs of three weights each.

    Each version is scraped at its own moment, every fifteen or thirty seconds; a scrape shows what
    the version has answered since the one before the change of weight. A restart loses up to
    fifteen seconds. For half a minute a gateway's workers may still do the earlier weight.
    """
    rng = np.random.default_rng(per_second)
    for _ in range(50):
        accused = _play(rng, per_second, (5, 25, 50), (5, 25, 50))
        assert accused == [None, None, None]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param((7, 25, 50), "more", id="7 % for 5 %"),
        pytest.param((2.5, 12.5, 25), "missing", id="half of what is declared"),
    ],
)
def test_a_wrong_gateway_is_told(given: tuple[float, ...], expected: str) -> None:
    rng = np.random.default_rng(5)
    found = [_play(rng, 20, (5, 25, 50), given)[0] for _ in range(40)]
    assert found.count(expected) >= 38


def _play(
    rng: np.random.Generator, per_second: int, declared: tuple[int, ...], given: tuple[float, ...]
) -> list[str | None]:
    """What is told of each weight at last, or at any look, with what each look has counted."""
    looks, found = range(30, 1801, 60), []
    before = 0.0
    for weight, share in zip(declared, given, strict=True):
        interval = rng.choice([15, 30])
        phases = rng.uniform(0, interval, 2)
        slow = rng.uniform(0, 30)
        lost = rng.uniform(0, 15, 2) * (rng.random(2) < 0.5)
        accused = None
        for at in looks:
            counts = []
            for side in (0, 1):
                part = share if side == 0 else 100 - share
                early = before if side == 0 else 100 - before
                until = max(0.0, at - (at + phases[side]) % interval - lost[side])
                from_before = min(until, slow) + (until > 0) * phases[side]
                seconds = from_before * early + max(0.0, until - slow) * part
                counts.append(int(rng.poisson(per_second * seconds / 100)))
            accused = told(seen(shown(*counts), weight=weight, minutes=at / 60)) or accused
        found.append(accused)
        before = share
    return found


@pytest.mark.parametrize("counts", [(30, 970), (50, 950), (90, 910), (0, 400), (700, 300)])
def test_the_nearest_share_is_the_least_evidence_of_all_that_are_tolerated(
    counts: tuple[int, int],
) -> None:
    """So the evidence is an e-process against all of them together."""
    canary, stable = counts
    tolerated = split._Step(
        share=0.05, canary=canary, stable=stable, lasted=timedelta(minutes=20)
    ).tolerated
    least = statistics.log_e_split([tolerated])
    slack, odds = 1.35, 0.05 / 0.95
    for part in np.linspace(odds / slack, odds * slack, 41):
        other = replace(tolerated, share=part / (1 + part))
        assert least <= statistics.log_e_split([other]) + 0.05 or least < 0


BEHIND = make.model_spec().model_copy(update={"traffic": GATEWAY})
HALF_LOST = Assessment(results=(shown(900, 35100),))
ROWS = [
    row("no weight rises while answers are missing", "answers_missing", Action.HOLD,
        Reason.TRAFFIC_SPLIT_MISMATCH, spec=BEHIND, canary=HALF_LOST,
        run=make.make_run(in_force_at=ago(30))),
    row("what nobody judged does not serve for ever", "answers_missing",
        Action.ROLL_BACK, Reason.MAX_HOLD_EXCEEDED, spec=BEHIND, canary=HALF_LOST,
        run=make.make_run(in_force_at=ago(9 * 24 * 60))),
    row("nothing is promoted either", "answers_missing", Action.HOLD,
        Reason.TRAFFIC_SPLIT_MISMATCH, spec=BEHIND, canary=HALF_LOST,
        run=make.make_run(step=1, weight=50, in_force_at=ago(30))),
    row("more than its weight holds nothing up", "step_passed", Action.ADVANCE, Reason.ADVANCED,
        spec=BEHIND, canary=Assessment(results=(shown(9000, 27000),)),
        run=make.make_run(in_force_at=ago(30))),
    row("harm goes before missing answers", "canary_unsafe", Action.ROLL_BACK,
        Reason.SAFETY_FAILED, spec=BEHIND, run=make.make_run(in_force_at=ago(30)),
        canary=Assessment(results=(
            shown(900, 35100).model_copy(update={"verdict": Verdict.FAILED}),))),
    row("a person promotes past them", "person_decided", Action.PROMOTE,
        Reason.PROMOTED_BY_PERSON, spec=BEHIND, canary=HALF_LOST,
        run=make.make_run(in_force_at=ago(30)), acts=(make.act("Promote"),)),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "action", "reason", "changes"), ROWS)
def test_what_follows(rule: str, action: Action, reason: Reason, changes: dict[str, Any]) -> None:
    decision = check(rule, action, reason, changes)
    waits = rule == "answers_missing" and action is Action.HOLD
    assert decision.stalled is waits, "a person must look"
