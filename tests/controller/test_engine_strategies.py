"""What the engine makes of a test's primary, and of a stable version that has fallen silent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rlhf_operator.api.evidence import ArmCount, SLOResult, Verdict
from rlhf_operator.api.metrics import GUARD_ERRORS, GUARD_REQUESTS
from rlhf_operator.api.strategies import TEST_POLICY
from rlhf_operator.core import plans
from tests import builders as make
from tests.controller.test_engine import KEY, UNSAFE, World, policy, subject

TEST = {
    "strategy": "ABTest",
    "abTest": {"primary": {"name": "errors", "indicator": {"type": "ErrorRate"}}},
}
PLAN = make.make_run(plan=TEST).plan


async def judged_test(mine: float, stable: float) -> tuple[SLOResult, ...]:
    """Judge a test in which each arm answers 100 times a second for 100 seconds."""
    world = World()
    counters = []
    for version, errors in (("v2", mine), ("v1", stable)):
        unsafe, responses = world.guard(version)
        counters += [(unsafe, 0.0), (responses, 100.0)]
        counters += [
            (world.metrics.add(GUARD_REQUESTS.name, version), 100.0),
            (world.metrics.add(GUARD_ERRORS.name, version), errors),
        ]
    world.grow(100, *counters)
    asked = replace(subject(stable="v1"), policies=plans.asked(PLAN, (policy(UNSAFE),)))
    world.engine.follow(asked)
    await world.tick(100)
    found = world.engine.results(KEY)
    assert found is not None
    return found.results


@pytest.mark.parametrize(
    ("mine", "stable", "verdict"),
    [
        pytest.param(2, 5, Verdict.SUCCESSFUL, id="fewer errors win"),
        pytest.param(5, 2, Verdict.FAILED, id="more errors lose"),
        pytest.param(3, 3, Verdict.INCONCLUSIVE, id="as many decide nothing"),
    ],
)
async def test_the_primary_is_judged_beside_the_guardrails(
    mine: float, stable: float, verdict: Verdict
) -> None:
    guardrail, primary = await judged_test(mine, stable)
    assert (guardrail.policy, guardrail.verdict) == ("p", Verdict.SUCCESSFUL)
    assert (primary.policy, primary.name, primary.verdict) == (TEST_POLICY, "errors", verdict)
    assert (primary.samples, primary.stable_samples) == (10_000, 10_000)
    assert primary.harm_proven is not None and float(primary.harm_proven) == pytest.approx(
        3.69, 0.01
    )
    assert primary.good_proven == primary.harm_proven, "half of the error each way"
    assert primary.ratio is not None and float(primary.ratio) == pytest.approx(mine / stable, 0.05)


COMPARED = {
    "name": "errors",
    "class": "Quality",
    "indicator": {"type": "ErrorRate"},
    "versusStable": {"ratio": "1.5"},
}


@pytest.mark.parametrize(
    ("errors", "before", "verdict"),
    [
        pytest.param(2, 800, Verdict.SUCCESSFUL, id="as good as stable was"),
        pytest.param(9, 800, Verdict.FAILED, id="worse than stable was"),
        pytest.param(2, None, Verdict.INCONCLUSIVE, id="nothing is known of before"),
    ],
)
async def test_a_version_with_all_traffic_is_compared_with_what_was(
    errors: float, before: int | None, verdict: Verdict
) -> None:
    world = World()
    mine = (world.metrics.add(GUARD_REQUESTS.name), world.metrics.add(GUARD_ERRORS.name))
    silent = (
        world.metrics.add(GUARD_REQUESTS.name, "v1"),
        world.metrics.add(GUARD_ERRORS.name, "v1"),
    )
    world.grow(400, (mine[0], 100), (mine[1], errors), (silent[0], 0), (silent[1], 0))
    kept = () if before is None else (
        ArmCount(slo="p/errors", version="v1", events=before, samples=40_000),
    )  # fmt: skip
    world.engine.follow(replace(subject(COMPARED, stable="v1"), before_switch=kept))
    await world.tick(400)
    found = world.engine.results(KEY)
    assert found is not None
    assert found.results[0].verdict is verdict, found.results[0].message
