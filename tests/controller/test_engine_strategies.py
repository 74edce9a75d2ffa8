"""What the engine makes of a test's primary, and of a stable version that has fallen silent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rlhf_operator.api.evidence import ArmCount, SLOResult, Verdict
from rlhf_operator.api.metrics import GUARD_ERRORS, GUARD_REQUESTS
from rlhf_operator.api.strategies import TEST_POLICY
from rlhf_operator.core import plans
from tests import builders as make
from tests.controller.test_engine import KEY, UNSAFE, Scraped, World, at, policy, subject

TEST = {
    "strategy": "ABTest",
    "abTest": {"primary": {"name": "errors", "indicator": {"type": "ErrorRate"}}},
}
PLAN = make.make_run(plan=TEST).plan


SEVERAL = make.make_run(
    plan=TEST | {"abTest": TEST["abTest"] | {"weight": 30, "others": [  # type: ignore[operator]
        {"version": "v3", "weight": 30}]}}
).plan  # fmt: skip


async def test_several_versions_are_judged_side_by_side_against_one_stable() -> None:
    world = World()
    counters = erring(world, v1=5.0, v2=2.0, v3=5.0)
    world.grow(100, *counters)
    policies = plans.asked(SEVERAL, (policy(UNSAFE),))
    second = replace(subject(stable="v1"), policies=policies, tested=2)
    third = replace(second, version="v3")
    world.engine.follow(second, third)
    await world.tick(100)
    found = {name: world.engine.results(KEY, name) for name in ("v2", "v3", "v4")}
    assert found["v4"] is None
    verdicts = {
        name: [each.verdict for each in judged.results]
        for name, judged in found.items()
        if judged is not None
    }
    assert verdicts == {
        "v2": [Verdict.SUCCESSFUL, Verdict.SUCCESSFUL],
        "v3": [Verdict.SUCCESSFUL, Verdict.INCONCLUSIVE],
    }
    assert found["v2"] is not None
    primary = found["v2"].results[1]
    # An error of 5 % is shared over two versions, and over better and worse.
    assert primary.harm_proven is not None and float(primary.harm_proven) == pytest.approx(
        4.38, 0.01
    )
    one, two = (world.engine.checkpoint(KEY, at(90), name) for name in ("v2", "v3"))
    assert one is not None and two is not None
    counts = {(each.slo, each.version): each.events for each in (*one.counts, *two.counts)}
    assert (counts["ab-test/errors", "v2"], counts["ab-test/errors", "v3"]) == (180, 450)

    # One is dropped: the other is followed alone from its checkpoint on, and loses no count.
    world.engine.follow(replace(third, checkpoint=two))
    assert world.engine.results(KEY, "v2") is None
    world.grow(200, *counters)
    await world.tick(200)
    left = world.engine.results(KEY)
    assert left is not None
    assert (left.version, left.results[1].events) == ("v3", 1000)
    world.engine.forget(KEY)
    assert world.engine.results(KEY, "v3") is None


def erring(world: World, **errors: float) -> list[tuple[Scraped, float]]:
    """Counters of versions that answer 100 times a second, with so many errors, all of it safe."""
    counters: list[tuple[Scraped, float]] = []
    for version, rate in errors.items():
        unsafe, responses = world.guard(version)
        counters += [(unsafe, 0.0), (responses, 100.0)]
        counters += [
            (world.metrics.add(GUARD_REQUESTS.name, version), 100.0),
            (world.metrics.add(GUARD_ERRORS.name, version), rate),
        ]
    return counters


async def judged_test(mine: float, stable: float) -> tuple[SLOResult, ...]:
    """Judge a test in which each arm answers 100 times a second for 100 seconds."""
    world = World()
    counters = erring(world, v2=mine, v1=stable)
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
