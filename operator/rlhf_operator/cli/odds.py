"""`simulate`: many simulated rollouts told as chances, times, and bad answers that users read."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from statistics import median, quantiles

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rlhf_operator.api.rollout import Outcome
from rlhf_operator.api.schema import parse_duration
from rlhf_operator.cli import marks, sentences, simulation
from rlhf_operator.cli.scene import Played, Scene
from rlhf_operator.cli.simulation import Ending
from rlhf_operator.core import foresight, plans
from rlhf_operator.core.prospect import Pace

NOT_MODELLED = (
    "answers are flagged independently of each other; real users repeat themselves, and real "
    "harm comes in bursts",
    "an objective with a rate of its own is thrown apart from the others, though a real answer "
    "may count for several",
    "the guard is taken at its word: what it does not flag is not bad here",
    "pods get ready on time and stay so, golden prompts pass, the router obeys at once, and "
    "Prometheus never falls silent",
    "nobody decides anything: a step that waits for approval is waited at until the limit",
    "a rollout ends with its outcome: what is judged after a promotion is not played",
    f"a step is looked at {simulation.LOOKS} times while it is held, or each interval if that is "
    "rarer, and less and less often after; the operator looks more often and may decide a little "
    "sooner",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Assumed:
    """One objective and what was assumed of it."""

    objective: str
    class_: str
    canary: float | None
    stable: float | None
    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Chance:
    """One way in which rollouts went."""

    outcome: str
    reason: str
    runs: int
    share: float
    took_median: timedelta
    took_p90: timedelta
    bad_mean: float
    bad_p90: float
    answers_median: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Odds:
    """What many simulated rollouts say together."""

    model: str
    from_: str
    to: str
    runs: int
    seed: int
    traffic: float
    objectives: tuple[Assumed, ...]
    chances: tuple[Chance, ...]
    """The most frequent first."""
    took_median: timedelta
    bad_median: float
    bad_mean: float
    bad_p95: float
    bad_most: int
    notes: tuple[str, ...]
    not_modelled: tuple[str, ...] = NOT_MODELLED


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
    bad = [each.bad for each in endings]
    return Odds(
        model=scene.key.name,
        from_=scene.stable.name,
        to=scene.canary.name,
        runs=len(endings),
        seed=seed,
        traffic=scene.assumed.traffic,
        objectives=tuple(_assumed(each) for each in scene.objectives),
        chances=tuple(
            _chance(outcome, reason, found, len(endings))
            for (outcome, reason), found in sorted(
                ways.items(), key=lambda item: (-len(item[1]), item[0])
            )
        ),
        took_median=_median_time(endings),
        bad_median=median(bad),
        bad_mean=sum(bad) / len(bad),
        bad_p95=_quantile(bad, 0.95),
        bad_most=max(bad),
        notes=(*scene.notes, *_doubts(scene)),
    )


def _doubts(scene: Scene) -> Iterator[str]:
    """Yield where the plan leaves an equal version no time, as the operator would warn."""
    plan = plans.plan(scene.spec)
    for played in scene.objectives:
        if (
            played.rates is None
            or not scene.assumed.traffic
            or played.slo.class_ == "Informational"
        ):
            continue
        rate = played.rates.stable
        known = Pace(low=rate, high=rate, per_second=scene.assumed.traffic)
        found = foresight.doubt(played.goal, known, plan.steps, parse_duration(plan.max_hold))
        if found is not None:
            yield found.message


def _outcome(ending: Ending) -> str:
    if ending.outcome is not None:
        return ending.outcome
    return "StillGoing" if ending.highest or ending.took else "NeverStarts"


def _assumed(played: Played) -> Assumed:
    note = "the flagged answers" if played.is_of_flags else played.assumed_because
    return Assumed(
        objective=played.name,
        class_=played.slo.class_,
        canary=played.rates.canary if played.rates else None,
        stable=played.rates.stable if played.rates else None,
        note=note,
    )


def _chance(outcome: str, reason: str, found: list[Ending], runs: int) -> Chance:
    bad = [each.bad for each in found]
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
        answers_median=median(each.answers for each in found),
    )


def _median_time(found: list[Ending]) -> timedelta:
    return timedelta(seconds=median(each.took.total_seconds() for each in found))


def _quantile(values: list[int] | list[float], share: float) -> float:
    """Return a quantile between the values that are there; one value is its own."""
    if len(values) == 1:
        return float(values[0])
    return float(quantiles(values, n=100, method="inclusive")[round(share * 100) - 1])


def render(found: Odds) -> RenderableType:
    """Return the odds as text, with what they leave out."""
    runs = sentences.count(found.runs, "rollout")
    parts: list[RenderableType] = [
        Text.assemble(
            (found.model, "name"),
            f"  {found.from_} → {found.to}: {runs} played at {found.traffic:g} answers/s,",
            f" seed {found.seed}",
        ),
        Text(""),
        _objectives(found),
        Text(""),
        _chances(found),
        Text(""),
        Text(
            f"in half of all rollouts a decision falls within {sentences.length(found.took_median)}"
        ),
        Text(
            f"bad answers that users read from {found.to}: {found.bad_mean:.1f} on average, "
            f"{found.bad_median:g} in the median, {found.bad_p95:.0f} or fewer in 95 of 100, "
            f"at most {found.bad_most}"
        ),
    ]
    parts += [Text(f"note: {each}", "wait") for each in found.notes]
    parts += [Text(""), Text("not modelled:", "faint")]
    parts += [Text(f"- {each}", "faint") for each in found.not_modelled]
    return Group(*parts)


def _objectives(found: Odds) -> Table:
    table = Table(box=None, pad_edge=False, header_style="faint")
    for title in ("OBJECTIVE", "CLASS", found.to.upper(), found.from_.upper(), ""):
        table.add_column(title, no_wrap=True)
    for each in found.objectives:
        table.add_row(
            Text(each.objective, "name"),
            each.class_,
            _rate(each.canary),
            _rate(each.stable),
            Text(each.note, "faint"),
        )
    return table


def _rate(rate: float | None) -> str:
    return "holds" if rate is None else f"{100 * rate:g} %"


def _chances(found: Odds) -> Table:
    table = Table(box=None, pad_edge=False, header_style="faint")
    for title in ("CHANCE", "", "OUTCOME", "WHY", "TIME (MEDIAN, P90)", "BAD ANSWERS (MEAN, P90)"):
        table.add_column(title, no_wrap=True)
    for each in found.chances:
        style = {Outcome.PROMOTED: "good", Outcome.ROLLED_BACK: "bad"}.get(
            Outcome(each.outcome) if each.outcome in list(Outcome) else Outcome.SUPERSEDED, "wait"
        )
        table.add_row(
            marks.bar(each.share, 20, style),
            f"{each.runs} of {found.runs}",
            Text(each.outcome, style),
            each.reason,
            f"{sentences.length(each.took_median)}, {sentences.length(each.took_p90)}",
            f"{each.bad_mean:.1f}, {each.bad_p90:.0f}",
        )
    return table
