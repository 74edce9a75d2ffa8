"""Where a simulated plan leaves an equal version no time, as the operator would warn."""

from __future__ import annotations

from collections.abc import Iterator

from rlhf_operator.api.arms import Arms
from rlhf_operator.api.plan import Plan
from rlhf_operator.api.schema import parse_duration
from rlhf_operator.cli.played import Played
from rlhf_operator.cli.scene import Scene
from rlhf_operator.core import foresight, plans
from rlhf_operator.core.prospect import Before, MeanPace, Pace
from rlhf_operator.core.subject import GATHERING


def doubts(scene: Scene) -> Iterator[str]:
    """Yield a sentence for each objective that the plan leaves too little time."""
    plan = plans.plan(scene.spec)
    if scene.others:
        return  # at one weight beside several others the path is another one
    for played in scene.objectives:
        known = _pace(scene, played, plan)
        if known is None or played.slo.class_ == "Informational":
            continue
        found = foresight.doubt(
            played.goal,
            known,
            plan.steps,
            parse_duration(plan.max_hold),
            strategy=plan.strategy,
        )
        if found is not None:
            yield found.message


def _pace(scene: Scene, played: Played, plan: Plan) -> Pace | MeanPace | None:
    """Return what is assumed of an objective at the first weight; None where nothing is counted."""
    copied = plan.strategy == "Shadow"
    name = scene.canary.name
    arms = Arms(canary=name, percent=plan.steps[0].weight, step=0, run="", is_copied=copied)
    counted = {
        version: scene.assumed.traffic * arms.share_of(version) * played.share(arms, version)
        for version in (name, scene.stable.name)
    }
    both, rate = sum(counted.values()), played.assumed(is_canary=False)
    if rate is None or not both:
        return None
    sampled = played.sampled if played.is_scored else None
    if played.spread is not None:
        return MeanPace(deviation=played.spread.deviation, per_second=both, sampled=sampled)
    before = None
    if plan.strategy == "BlueGreen":
        waits = min(scene.assumed.ready_after, GATHERING).total_seconds()
        shown = max(float(played.slo.min_samples), waits * both)
        before = Before(events=rate * shown, samples=shown, is_awaited=True)
    return Pace(low=rate, high=rate, per_second=both, sampled=sampled, before=before)
