"""Many simulated rollouts as chances, times, and bad answers that users read."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from math import inf, isfinite
from statistics import median, median_low, quantiles

from rlhf_operator.api.plan import Plan
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import Outcome
from rlhf_operator.api.strategies import StrategyName
from rlhf_operator.cli import consents, simulation
from rlhf_operator.cli.chances import Assumed, Chance, End, Odds, Stand, Test
from rlhf_operator.cli.doubts import doubts
from rlhf_operator.cli.ending import Ending
from rlhf_operator.cli.played import Played
from rlhf_operator.cli.scene import Scene
from rlhf_operator.core import plans

NOT_MODELLED = (
    "answers are flagged independently of each other; real users repeat themselves, and real "
    "harm comes in bursts",
    "an objective with a rate of its own is thrown apart from the others, though a real answer "
    "may count for several",
    "the guard is taken at its word: what it does not flag is not bad here",
    "pods get ready on time and stay so, golden prompts pass, the router obeys at once, and "
    "Prometheus never falls silent",
    "people approve as it is supposed and do nothing else: nobody vetoes, pauses or promotes",
    "a rollout ends with its outcome: what is judged after a promotion is not played",
    f"a step is looked at {simulation.LOOKS} times while it is held, or each interval if that is "
    "rarer, and less and less often after; the operator looks more often and may decide a little "
    "sooner",
)
_OF_STRATEGY: dict[StrategyName, str] = {
    "Shadow": "a shadow answers the same requests as stable; here both are thrown apart, so their "
    "events are less alike than real ones",
    "BlueGreen": "who asks after the switch is taken to be like who asked before it",
    "ABTest": "each answer or vote is somebody else's: a user who stays on an arm counts as many",
}


_STANDS = 6


def simulate(
    scene: Scene, runs: int, seed: int, progress: Callable[[int], None] = lambda _: None
) -> Odds:
    """Play a scene many times; the same seed gives the same odds."""
    endings = []
    for number in range(runs):
        # The same throws in the same order for each seed, however long single runs take.
        endings.append(simulation.play(scene, random.Random(f"{seed}/{number}")))  # noqa: S311
        progress(number + 1)
    return odds(scene, endings, seed)


def odds(scene: Scene, endings: list[Ending], seed: int) -> Odds:
    """Return what endings say together; there is at least one."""
    ways: dict[tuple[str, str], list[Ending]] = {}
    for each in endings:
        ways.setdefault((_outcome(each), each.reason), []).append(each)
    bad, strategy = [each.bad for each in endings], scene.spec.rollout.strategy
    plan, more = plans.plan(scene.spec), _OF_STRATEGY.get(strategy)
    shown = [each.shown_before for each in endings if each.shown_before]
    return Odds(
        model=scene.key.name,
        from_=scene.stable.name,
        to=scene.canary.name,
        others=tuple(each.name for each in scene.others),
        strategy=strategy,
        plan=_in_words(plan, scene.canary.name),
        supposed=tuple(consents.told(plan, scene.assumed.approve_after)),
        runs=len(endings),
        seed=seed,
        traffic=scene.assumed.traffic,
        objectives=tuple(_assumed(each, scene) for each in scene.objectives),
        chances=tuple(
            _chance(outcome, reason, found, len(endings))
            for (outcome, reason), found in sorted(
                ways.items(), key=lambda item: (-len(item[1]), item[0])
            )
        ),
        stands=tuple(_stands(endings)),
        test=_test(endings) if plan.ab_test is not None else None,
        ends=tuple(_ends(endings)),
        took_median=_decided(endings),
        limit=scene.assumed.limit,
        bad_median=median(bad),
        bad_mean=sum(bad) / len(bad),
        bad_p95=_quantile(bad, 0.95),
        bad_most=max(bad),
        unread_mean=sum(each.unread for each in endings) / len(endings),
        shown_before_median=median(shown) if shown else None,
        notes=(*scene.notes, *doubts(scene)),
        not_modelled=(*NOT_MODELLED, *([more] if more else [])),
    )


def _in_words(plan: Plan, to: str) -> str:
    """Return what a plan does, for people."""
    step, test = plan.steps[0], plan.ab_test
    match plan.strategy:
        case "Shadow":
            return f"{step.weight} % of the requests are copied for {step.hold}"
        case "BlueGreen":
            return f"all traffic at once, held for {step.hold}"
        case "ABTest" if test is not None:
            weights = [f"{step.weight} %"]
            if test.others:
                weights = [f"{to} {step.weight} %"]
                weights += [f"{each.version} {each.weight} %" for each in test.others]
            what = f"{', '.join(weights)} for {test.minimum} to {test.duration}"
            return f"{what}, decided by {test.primary.name}"
        case _:
            steps = ", ".join(f"{each.weight} % for {each.hold}" for each in plan.steps)
            return f"{steps}, then promotion"


def _stands(endings: list[Ending]) -> Iterator[Stand]:
    """Yield how rollouts stand at equal intervals up to the end of the longest."""
    longest = max(each.took for each in endings)
    if not longest:
        return
    for place in range(1, _STANDS + 1):
        after = longest * place / _STANDS
        over = [each.outcome for each in endings if each.outcome and each.took <= after]
        promoted = over.count(Outcome.PROMOTED)
        yield Stand(
            after=after,
            promoted=promoted / len(endings),
            ended=(len(over) - promoted) / len(endings),
        )


def _test(endings: list[Ending]) -> Test:
    reasons = [each.reason for each in endings]
    return Test(
        won=sum(each.outcome is Outcome.PROMOTED for each in endings),
        lost=reasons.count(Reason.LOST_AB_TEST),
        no_difference=reasons.count(Reason.NO_DIFFERENCE),
    )


def _ends(endings: list[Ending]) -> Iterator[End]:
    """Yield how often each of several tested versions ended in which way."""
    found = Counter(end for each in endings for end in each.ends)
    order = list(dict.fromkeys(version for version, _ in found))
    for (version, reason), runs in sorted(
        found.items(), key=lambda item: (order.index(item[0][0]), -item[1], item[0][1])
    ):
        yield End(version=version, reason=reason, runs=runs, share=runs / len(endings))


def _outcome(ending: Ending) -> str:
    if ending.outcome is not None:
        return ending.outcome
    return "StillGoing" if ending.highest or ending.took else "NeverStarts"


def _assumed(played: Played, scene: Scene) -> Assumed:
    return Assumed(
        objective=played.name,
        class_=played.slo.class_,
        canary=played.assumed(is_canary=True),
        stable=played.assumed(is_canary=False),
        deviation=played.spread.deviation if played.spread else None,
        others=tuple(played.assumed(is_canary=True, version=each.name) for each in scene.others),
        note=played.note,
    )


def _chance(outcome: str, reason: str, found: list[Ending], runs: int) -> Chance:
    bad, unread = [each.bad for each in found], [each.unread for each in found]
    took = [each.took.total_seconds() for each in found]
    return Chance(
        outcome=outcome,
        reason=reason,
        runs=len(found),
        share=len(found) / runs,
        took_median=_median_time(found),
        took_p90=timedelta(seconds=_quantile(took, 0.9)),
        bad_mean=sum(bad) / len(bad),
        bad_p90=_quantile(bad, 0.9),
        unread_mean=sum(unread) / len(unread),
        unread_p90=_quantile(unread, 0.9),
        answers_median=median(each.answers for each in found),
    )


def _decided(endings: list[Ending]) -> timedelta | None:
    """Return within which time half of the rollouts were decided; one without outcome never is."""
    middle = median_low(each.took.total_seconds() if each.outcome else inf for each in endings)
    return timedelta(seconds=middle) if isfinite(middle) else None


def _median_time(found: list[Ending]) -> timedelta:
    return timedelta(seconds=median(each.took.total_seconds() for each in found))


def _quantile(values: list[int] | list[float], share: float) -> float:
    """Return a quantile between the values that are there; one value is its own."""
    if len(values) == 1:
        return float(values[0])
    return float(quantiles(values, n=100, method="inclusive")[round(share * 100) - 1])
