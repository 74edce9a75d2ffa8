"""Every setting of a peer's rule on one scenario, and the choice among them by hindsight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from e2e.bench.decisions import peers, rewards
from e2e.bench.decisions.peers import LIMITS, Peer, Silence
from e2e.bench.decisions.scenarios import Scenario
from e2e.bench.decisions.traffic import LOOK, MINUTE, Interval, Numbers, Traffic

Counts = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How often a number is compared, and what with."""

    every: int
    """Seconds of an interval."""
    hold: int
    """Intervals of a step."""
    ranges: tuple[int, ...]
    """Intervals that a query may reach back."""
    errors: int
    """So many intervals in a row without a number abort Argo: five errors, ten seconds apart."""


PACES = (
    Pace(every=LOOK, hold=60, ranges=(6, 30), errors=5),
    Pace(every=MINUTE, hold=10, ranges=(1, 5, 10), errors=1),
    Pace(every=6 * MINUTE, hold=10, ranges=(1, 5, 10), errors=1),
)
"""The first two make steps as long as our holds, the last makes steps of an hour."""
_USUAL = PACES[1]
BOUNDS = (1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)
"""Times the rate that stable is known to have, or times the rate that it has now."""
REWARD_BOUNDS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
"""Deviations below stable's known mean, or below what it has now."""
_USEFUL = 0.5
"""The share of equal versions that a rule must promote to be chosen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """How a user may set a peer's rule."""

    relative: bool
    """Compared with stable by a query written by hand, not with a constant."""
    bound: int
    """Which of BOUNDS or REWARD_BOUNDS."""
    reach: int
    """Intervals that the query reaches back."""
    limit: int
    silence: Silence
    pace: Pace = _USUAL

    def text(self, scenario: Scenario) -> str:
        """Return it in words, with this scenario's numbers."""
        of = "stable's" if self.relative else "the usual"
        if scenario.shift is None:
            bound = f"> {BOUNDS[self.bound]:g} x {of}"
        else:
            bound = f"> {REWARD_BOUNDS[self.bound]:g} sd below {of}"
        return (
            f"{bound} over {self.reach * self.pace.every // MINUTE}m, every {self.pace.every}s, "
            f"{self.limit} failures, silence {self.silence}"
        )


DEFAULT = Rule(relative=False, bound=1, reach=1, limit=1, silence=Silence.FAILS)
"""Limits as they are when nothing is set; the bound is our margin over the usual rate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """How the runs of a scenario ended under one rule."""

    rolled_back: float
    promoted: float
    median_seconds: float
    bad: float

    @property
    def undecided(self) -> float:
        """Return the share that was paused for a person."""
        return max(0.0, 1 - self.rolled_back - self.promoted)


def scores(scenario: Scenario, runs: int, seed: int) -> dict[Peer, dict[Rule, Score]]:
    """Return the score of every rule of each peer, all of one pace on the same answers."""
    found: dict[Peer, dict[Rule, Score]] = {peer: {} for peer in Peer}
    for pace in PACES:
        answers = _answers(scenario, runs, seed, pace)
        for relative, reach in product((False, True), pace.ranges):
            rule = Rule(
                relative=relative, bound=0, reach=reach, limit=1, silence=Silence.FAILS, pace=pace
            )
            for silence in (Silence.FAILS, Silence.PASSES):
                found[Peer.FLAGGER] |= _walk(Peer.FLAGGER, scenario, answers, rule, (silence,))
            # The plan of Argo Rollouts goes on whatever silence means, so one walk does for all.
            found[Peer.ARGO] |= _walk(Peer.ARGO, scenario, answers, rule, tuple(Silence))
    return found


def _answers(scenario: Scenario, runs: int, seed: int, pace: Pace) -> Counts:
    """Return what would be measured; axes: (tick, run, step of the plan, number).

    The numbers: the canary's flags, or the sum of its losses, and stable's; their answers;
    whether each could not be read at all (1) or could (0); the bad answers.
    """
    rng = np.random.default_rng(seed)
    every = min(pace.every, MINUTE)
    traffic = Traffic(scenario, runs, rng, every=every)
    ticks = len(scenario.steps) * pace.hold + max(LIMITS) + 1
    told = np.zeros((ticks, runs, len(scenario.steps), 7), dtype=np.float32)
    told[..., 4:6] = 1
    for tick in told:
        for _ in range(pace.every // every):
            traffic.tick()
            for place, weight in enumerate(scenario.steps):
                seen = traffic.interval(np.full(runs, weight))
                tick[:, place, :4] += _counted(seen, scenario, rng).T
                tick[:, place, 4:6] *= ~np.stack([seen.canary_read, seen.stable_read], axis=1)
                tick[:, place, 6] += _bad(seen, scenario)
    return told


def _counted(seen: Interval, scenario: Scenario, rng: np.random.Generator) -> Numbers:
    """Return the canary's and stable's events or losses, and what they are counted among."""
    if scenario.shift is None:
        return np.stack([seen.canary_flags, seen.stable_flags, seen.canary, seen.stable])
    return rewards.scored(seen, scenario, rng)[[1, 4, 0, 3]]


def _bad(seen: Interval, scenario: Scenario) -> Numbers:
    return seen.bad if scenario.shift is None else seen.canary * rewards.bad_share(scenario)


def _walk(
    peer: Peer, scenario: Scenario, told: Counts, rule: Rule, silences: tuple[Silence, ...]
) -> dict[Rule, Score]:
    """Take all bounds through the plan at once; the limits are read off afterwards."""
    bounds = BOUNDS if scenario.shift is None else REWARD_BOUNDS
    most = np.array(bounds)[:, None]
    if not rule.relative and scenario.shift is None:
        most = most * scenario.base
    pace, runs = rule.pace, np.arange(told.shape[1])
    plan, shape = len(scenario.steps) * pace.hold, (len(bounds), len(runs))
    walks = [(each, peers.Progress(peer, shape, plan, pace.errors)) for each in silences]
    # Where failures do not hold the weight back, all bounds see the same.
    paths = len(bounds) if peer is Peer.FLAGGER else 1
    past: list[Counts] = []
    window = np.zeros((paths, len(runs), 6))
    costs = [np.zeros((paths, len(runs)))]
    for tick in told[:plan] if peer is Peer.ARGO else told:
        step = walks[0][1].place[:paths] // pace.hold
        seen = tick[None, :, step[0, 0]] if peer is Peer.ARGO else tick[runs, step]
        past.append(seen[..., :6])
        window += past[-1]
        if len(past) > rule.reach:
            window -= past.pop(0)
        gaps = window[..., 4] >= len(past), window[..., 5] >= len(past)
        missing = np.logical_or(*gaps) if rule.relative else gaps[0]
        value = _measured(window, rule.relative, scenario)
        for silence, progress in walks:
            progress.add(peers.check(peer, silence, value, missing, most))
        costs.append(costs[-1] + seen[..., 6])
    served = np.broadcast_to(np.stack(costs), (len(costs), len(bounds), len(runs)))
    found: dict[Rule, Score] = {}
    for silence, progress in walks:
        found |= _scored(progress, served, replace(rule, silence=silence))
    return found


def _measured(window: Numbers, relative: bool, scenario: Scenario) -> Numbers:
    """Return the number that is compared with the bound, as PromQL's division gives it."""
    answers, others = window[..., 2], window[..., 3]
    # Without answers nothing may be left of a sum, not even the rounding of earlier ones.
    canary, stable = (
        np.where(n, total, 0) for n, total in ((answers, window[..., 0]), (others, window[..., 1]))
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        value: Numbers = canary / answers
        other: Numbers = stable / others
        if not relative:
            return value
        compared: Numbers = value / other if scenario.shift is None else value - other
        return compared


def _scored(progress: peers.Progress, costs: Numbers, rule: Rule) -> dict[Rule, Score]:
    """Return the scores of all bounds and limits; rule says all else."""
    found: dict[Rule, Score] = {}
    for limit in LIMITS:
        ends, rolled_back, promoted = progress.ends(limit)
        last = np.minimum(ends, len(costs) - 1)
        bad = np.take_along_axis(costs, last[None], axis=0)[0]
        for bound in range(len(bad)):
            found[replace(rule, bound=bound, limit=limit)] = Score(
                rolled_back=float(rolled_back[bound].mean()),
                promoted=float(promoted[bound].mean()),
                median_seconds=rule.pace.every * float(np.median(last[bound])),
                bad=float(bad[bound].mean()),
            )
    return found


def best_by_hindsight(
    bad: Mapping[Rule, Score], twin: Mapping[Rule, Score], most: float = 0.01
) -> Rule:
    """Return the rule that is best on a bad version, of those that let its equal twin pass.

    They roll at most `most` of the twin's runs back, and promote half of them at least, for a
    rule that pauses whatever comes is of no use. Of these the one with the fewest bad answers
    among those that promote the bad version in at most as many, and in at most as many leave it
    waiting for a person: there it goes on serving, which is not counted here. Where none does,
    the one that promotes fewest, and of these the one that leaves fewest waiting.
    """
    useful = [rule for rule in bad if twin[rule].promoted >= _USEFUL] or list(bad)
    allowed = [rule for rule in useful if twin[rule].rolled_back <= most]
    if not allowed:
        allowed = [min(useful, key=lambda rule: twin[rule].rolled_back)]

    def cost(rule: Rule) -> tuple[float, float, float]:
        found = bad[rule]
        return max(found.promoted, most), max(found.undecided, most), found.bad

    return min(allowed, key=cost)


def best_for_all(found: Mapping[Scenario, Mapping[Rule, Score]], most: float = 0.01) -> Rule:
    """Return the rule that misses the aim in fewest scenarios, and then by least.

    The aim: equal versions rolled back or paused for good, and versions twice as bad promoted,
    in `most` of the runs.
    """

    def missed(rule: Rule) -> tuple[int, float]:
        wrong = [_wrong(scenario, found[scenario][rule]) for scenario in found]
        return sum(each > most for each in wrong), sum(wrong)

    return min(next(iter(found.values())), key=missed)


def _wrong(scenario: Scenario, score: Score) -> float:
    if not scenario.is_bad:
        return score.rolled_back + score.undecided
    return score.promoted if scenario.is_aimed_at else 0.0
