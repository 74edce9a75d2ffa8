"""Every way to decide on one scenario, as one piece of work."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from e2e.bench.decisions import ours, page, tuning
from e2e.bench.decisions.outcome import Outcome
from e2e.bench.decisions.peers import Peer
from e2e.bench.decisions.scenarios import Scenario, Trait
from e2e.bench.decisions.traffic import Unit
from e2e.bench.decisions.tuning import Rule, Score

_USERS = (
    Trait.HEAVY, Trait.HEAVY_STICKY, Trait.ATTACK_CANARY, Trait.ATTACK_STABLE,
    Trait.ACCOUNTS_CANARY, Trait.ACCOUNTS_STABLE,
)  # fmt: skip


def _methods(scenario: Scenario) -> dict[str, tuple[Unit, ours.Setting]]:
    """Return ours as it is built, and beside it how else one might count or ask.

    An attacker holds the token of an arm, so arms are sticky there.
    """
    plain = ours.Setting()
    if scenario.shift is not None:
        settings = {
            "ours": plain,
            page.QUALITY: replace(plain, rewards_are_safety=False),
            page.EVENLY: replace(plain, scores_evenly=True),
        }
        return {method: (Unit.ANSWER, setting) for method, setting in settings.items()}
    if scenario.trait not in _USERS:
        return {"ours": (Unit.ANSWER, plain)}
    built = Unit.ANSWER if scenario.trait is Trait.HEAVY else Unit.FIRST_FLAG
    return {"ours": (built, plain)} | {name: (unit, plain) for name, unit in page.USERS.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """How the runs of one scenario ended under every way to decide."""

    ours: Mapping[str, Outcome]
    theirs: Mapping[Peer, Mapping[Rule, Score]]
    cpu_seconds: float


def simulate(seed: int, scenario: Scenario, runs: int) -> Found:
    """Simulate one scenario."""
    began = time.process_time()
    found = {
        method: ours.simulate(scenario, runs, seed, unit=unit, setting=setting)
        for method, (unit, setting) in _methods(scenario).items()
    }
    theirs = tuning.scores(scenario, runs, 1000 + seed)
    return Found(ours=found, theirs=theirs, cpu_seconds=time.process_time() - began)
