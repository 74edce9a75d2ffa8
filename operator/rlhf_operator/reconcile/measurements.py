"""What the objectives and the golden prompts say of the model now."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from rlhf_operator.api.evidence import GoldenResult, SLOResult, Verdict
from rlhf_operator.api.rollout import RunType
from rlhf_operator.core import analysis, contenders, mandatory, names
from rlhf_operator.core.observed import NOTHING_SEEN, ArmSeen, Assessment, Observed, Run
from rlhf_operator.core.rules_in_force import UNKNOWN
from rlhf_operator.core.subject import subjects
from rlhf_operator.reconcile.ports import Judged, World

_TRIED = (RunType.ROLLOUT, RunType.DRILL)
_UNSCRAPED_AFTER = timedelta(seconds=60)


async def measured(seen: Observed, world: World) -> Observed:
    """Add what the objectives and the golden prompts say."""
    run = seen.run
    if run is None or run.status.stable is None:
        return seen
    wanted = subjects(seen, run)
    for place, each in enumerate(wanted):
        judged = world.slos.results(seen.key, each.version)
        if judged is None or judged.since != each.since:
            continue
        seen = replace(seen, rules=seen.rules.with_those(judged.rules))
        if place > 0:
            beside = ArmSeen(judged=_assessment(judged.results))
            seen = replace(seen, arms={**seen.arms, each.version: beside})
            continue
        seen = _judged(seen, run, judged)
        if each.promoted:
            seen = replace(seen, baselines=judged.baselines, drifts=judged.drifts)
    preparing = run.is_active and run.status.canary is not None and run.status.step < 0
    parked = run.status.phase == "Parked"
    if not preparing or seen.spec is None or run.spec.type not in _TRIED:
        return seen
    golden, asked = _golden(seen, run, world), []
    for view in contenders.views(seen)[1:]:
        assert view.run is not None, "a view is of a run"
        name, found = contenders.named(view).name, _golden(view, view.run, world)
        mine = replace(seen.arms.get(name, NOTHING_SEEN), golden=found)
        seen = replace(seen, arms={**seen.arms, name: mine})
        asked.append(found)
    seen = replace(seen, golden=golden)
    if parked or not all(each is not None and each.passed for each in (golden, *asked)):
        return seen
    bound = mandatory.binding(run.policies, seen.policies)
    problems = await world.slos.try_queries(
        bound, seen.key.namespace, seen.key.name, run.status.stable.name
    )
    return replace(seen, query_problems=problems)


def _golden(seen: Observed, run: Run, world: World) -> GoldenResult | None:
    """Return what the golden prompts showed of the version in front, as far as it was asked."""
    canary = contenders.named(seen)
    if seen.workload(canary).ready == 0:
        return None
    if run.status.golden is not None:
        return run.status.golden
    host = f"{names.child(canary.name, 'serving')}.{seen.key.namespace}"
    return world.prober.golden(seen.key, run.name, host)


def _assessment(found: tuple[SLOResult, ...]) -> Assessment:
    blind = analysis.blind(found)
    return Assessment(results=found, blind=tuple(result.name for result in blind))


def _judged(seen: Observed, run: Run, judged: Judged) -> Observed:
    canary_judged = run.status.canary is not None and run.status.weight > 0
    since = run.status.in_force_at
    if since is not None and seen.now > since + _UNSCRAPED_AFTER and _is_unscraped(judged):
        seen = replace(seen, unscraped=True)
    stable = _assessment(judged.stable_results) if judged.stable_results else None
    if canary_judged:
        return replace(seen, canary=_assessment(judged.results), stable=stable)
    if run.status.standby is not None and run.status.standby.weight > 0:
        seen = replace(seen, control=stable)
    return replace(seen, stable=_assessment(judged.results))


def _is_unscraped(judged: Judged) -> bool:
    """Return whether Prometheus answers, and neither an objective nor a guard is in what it says.

    Objectives alone prove nothing: a query may yield nothing for pods that are scraped.
    """
    silent = all(
        result.samples is None and result.verdict is Verdict.INCONCLUSIVE
        for result in judged.results
    )
    return silent and bool(judged.results) and judged.rules == UNKNOWN
