"""The conditions of a model that stand beside what was decided: what a person should know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from rlhf_operator.api.common import Condition
from rlhf_operator.api.model import ModelStatus
from rlhf_operator.api.reasons import ConditionType, Reason
from rlhf_operator.core import (
    contenders,
    drills,
    guards,
    mandatory,
    outlook,
    plans,
    reward_hacking,
    split,
)
from rlhf_operator.core.conditions import Fact
from rlhf_operator.core.observed import Observed, Run


def told(seen: Observed, run: Run | None, before: ModelStatus | None) -> Iterator[Fact]:
    """Yield the conditions that hold now, from the record, the router, the metrics and the spec."""
    late = outlook.fact(seen, before) if run is not None and run.is_active else None
    if late is not None:
        yield late
    yield from _of_the_fallback(seen, run)
    yield from _of_what_is_applied(seen)
    if run is not None:
        yield from _of_the_flight(run)
    yield from _of_the_guards(seen)
    yield from _of_the_metrics(seen, run)
    yield from _of_the_split(seen, run, before)
    yield from _of_the_budget(seen, before)
    yield from _of_what_was_edited(seen, run)


def _true(kind: ConditionType, reason: str, message: str) -> Fact:
    return Fact(type=kind, status="True", reason=reason, message=message)


def _of_the_fallback(seen: Observed, run: Run | None) -> Iterator[Fact]:
    spec, fallback = seen.spec, seen.fallback
    serves = run is not None and fallback is not None and run.status.stable == fallback
    if spec is not None and spec.fallback.replicas == 0 and not serves:
        yield _true(
            ConditionType.FALLBACK_COLD,
            "NoReplicas",
            "the fallback keeps no pod: a rollback to it takes a model load",
        )
    yield from drills.facts(seen, run)


def _of_what_is_applied(seen: Observed) -> Iterator[Fact]:
    failure = seen.route.failure
    if failure is not None:
        yield _true(ConditionType.ROUTE_DEGRADED, failure.reason, failure.message)
    if seen.refused is not None:
        message = f"the API server refuses {seen.refused}"[:1024]
        yield _true(ConditionType.APPLY_REFUSED, "Refused", message)


def _of_the_flight(run: Run) -> Iterator[Fact]:
    status = run.status
    if status.refuse:
        yield _true(
            ConditionType.REFUSING,
            str(Reason.REFUSING),
            f"nothing safe is left: {status.stable.name if status.stable else ''} "
            "answers every request with 503",
        )
    if status.not_the_model is not None:
        yield _true(ConditionType.NOT_THE_MODEL, "RefugeFailsAlike", status.not_the_model)


def _of_the_guards(seen: Observed) -> Iterator[Fact]:
    lacking = []
    for version, work in sorted(seen.workloads.items()):
        is_floor = seen.fallback is not None and seen.fallback.name == version
        wanted = guards.reach_without_floor(seen.guard_reach) if is_floor else seen.guard_reach
        missing = guards.lacking(wanted, work.reach) if wanted and work.wanted else ()
        if missing:
            lacking.append(f"{version} ({', '.join(missing)})")
    if lacking:
        yield _true(
            ConditionType.GUARD_NEEDS_RESTART,
            "PodsLackWhatTheSpecNeeds",
            f"guards were made without what the spec needs by now: {'; '.join(lacking)}. A "
            "Restart decision or the next rollout brings it; until then the stages that need it "
            "cannot judge, and their failure policy decides"[:1024],
        )


def _of_the_metrics(seen: Observed, run: Run | None) -> Iterator[Fact]:
    if seen.unscraped:
        yield _true(
            ConditionType.NO_SCRAPE_TARGET,
            "NoSeries",
            "Prometheus has no series of this model's pods: apply the chart's PodMonitor "
            "or its scrape snippet",
        )
    tries = run is not None and run.status.canary is not None
    suspicion = reward_hacking.suspicion(seen, run) if tries and run else None
    if suspicion is not None:
        yield _true(ConditionType.REWARD_HACKING_SUSPECTED, "RewardUpPeopleDown", suspicion)


def _of_the_budget(seen: Observed, before: ModelStatus | None) -> Iterator[Fact]:
    """Tell what spends its budget too fast for days, for a person to look at."""
    if seen.stable is None:  # nothing was judged yet, and what was known stands
        for each in before.conditions if before else ():
            if each.type == ConditionType.SLOW_BURN:
                yield _true(ConditionType.SLOW_BURN, each.reason, each.message)
        return
    slow = [f"{one.name} of {one.version} {one.slow_burn}" for one in seen.stable.results
            if one.slow_burn is not None]  # fmt: skip
    if slow:
        told = f"{'; '.join(slow)}: no rollback follows of it; look why, and ship a better version"
        yield _true(ConditionType.SLOW_BURN, "BudgetBurns", told[:1024])


def _of_the_split(seen: Observed, run: Run | None, before: ModelStatus | None) -> Iterator[Fact]:
    """Tell of a router that splits otherwise than declared; the first sentence of a run stands.

    Its numbers would change with every answer.
    """
    if run is None or not run.is_active or run.status.canary is None:
        return
    known = _known(ConditionType.TRAFFIC_SPLIT_MISMATCH, before)
    if before is None or before.rollout != run.name:
        known = None
    views = contenders.views(replace(seen, run=run))
    every = (split.of_run(view, view.run) for view in views if view.run is not None)
    found = next((each for each in every if each is not None), None)
    if found is None and (known is None or split.is_known(seen)):
        return
    reason = "AnswersMissing" if found and found.missing else "MoreThanDeclared"
    if known is not None and (found is None or known.reason == reason):
        yield _true(ConditionType.TRAFFIC_SPLIT_MISMATCH, known.reason, known.message)
    elif found is not None:
        yield _true(ConditionType.TRAFFIC_SPLIT_MISMATCH, reason, found.message[:1024])


def news(seen: Observed, before: ModelStatus | None) -> tuple[Fact, ...]:
    """Return what is to be told once, as an Event, when it shows."""
    found = (*_of_the_budget(seen, before), *_of_the_split(seen, seen.run, before))
    return tuple(each for each in found if _known(each.type, before) is None)


def _known(kind: str, before: ModelStatus | None) -> Condition | None:
    """Return the condition of this type that stood before."""
    found = before.conditions if before is not None else ()
    return next((each for each in found if each.type == kind), None)


def _of_what_was_edited(seen: Observed, run: Run | None) -> Iterator[Fact]:
    if seen.deleted_versions:
        yield _true(
            ConditionType.VERSION_DELETED,
            "NotFound",
            f"{', '.join(seen.deleted_versions)} was deleted and goes on serving from "
            "its pinned template",
        )
    if (
        seen.spec is not None
        and run is not None
        and run.status.canary is not None
        and not drills.is_drill(run)
        and plans.digest(plans.plan(seen.spec), seen.policies) != run.plan_digest
    ):
        tightened = mandatory.binding(run.policies, seen.policies) != run.policies
        also = "; what is stricter in a mandatory policy binds this one too" if tightened else ""
        yield _true(
            ConditionType.PLAN_CHANGED,
            "Pinned",
            f"the plan or a policy was edited; it applies to the next run{also}",
        )
