"""What the objectives and the golden prompts say of the model now."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from rlhf_operator.api.evidence import SLOResult, Verdict
from rlhf_operator.api.rollout import RunType
from rlhf_operator.core import analysis, names
from rlhf_operator.core.observed import Assessment, Observed, Run
from rlhf_operator.core.subject import subject
from rlhf_operator.reconcile.ports import World

_TRIED = (RunType.ROLLOUT, RunType.DRILL)
_UNSCRAPED_AFTER = timedelta(seconds=60)


async def measured(seen: Observed, world: World) -> Observed:
    """Add what the objectives and the golden prompts say."""
    run = seen.run
    if run is None or run.status.stable is None:
        return seen
    wanted = subject(seen, run)
    if wanted is not None:
        judged = world.slos.results(seen.key)
        if judged is not None and (judged.version, judged.since) == (wanted.version, wanted.since):
            seen = replace(seen, rules=judged.rules)
            seen = _judged(seen, run, judged.results, judged.stable_results)
            seen = replace(seen, baselines=judged.baselines if wanted.promoted else ())
    preparing = run.is_active and run.status.canary is not None and run.status.step < 0
    parked = run.status.phase == "Parked"
    if not preparing or seen.spec is None or run.spec.type not in _TRIED:
        return seen
    assert run.status.canary is not None
    if seen.workload(run.status.canary).ready == 0:
        return seen
    golden = run.status.golden
    if golden is None:
        host = f"{names.child(run.status.canary.name, 'serving')}.{seen.key.namespace}"
        golden = world.prober.golden(seen.key, run.name, host)
    if golden is None or not golden.passed or parked:
        return replace(seen, golden=golden)
    problems = await world.slos.try_queries(
        run.policies, seen.key.namespace, seen.key.name, run.status.stable.name
    )
    return replace(seen, golden=golden, query_problems=problems)


def _judged(
    seen: Observed, run: Run, results: tuple[SLOResult, ...], stable_results: tuple[SLOResult, ...]
) -> Observed:
    def assessment(found: tuple[SLOResult, ...]) -> Assessment:
        blind = analysis.blind(found)
        return Assessment(
            results=found,
            blind=tuple(result.name for result in blind),
        )

    canary_judged = run.status.canary is not None and run.status.weight > 0
    silent = all(
        result.samples is None and result.verdict is Verdict.INCONCLUSIVE for result in results
    )
    since = run.status.in_force_at
    if silent and results and since is not None and seen.now > since + _UNSCRAPED_AFTER:
        seen = replace(seen, unscraped=True)
    if canary_judged:
        stable = assessment(stable_results) if stable_results else None
        return replace(seen, canary=assessment(results), stable=stable)
    if run.status.standby is not None and run.status.standby.weight > 0:
        seen = replace(seen, control=assessment(stable_results) if stable_results else None)
    return replace(seen, stable=assessment(results))
