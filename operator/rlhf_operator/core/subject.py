"""What the SLO engine is asked to judge, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from rlhf_operator.api.evidence import (
    ArmCount,
    BaselineRecord,
    Checkpoint,
    DriftRecord,
    SLOResult,
    StratumRecord,
)
from rlhf_operator.api.plan import PinnedPolicy
from rlhf_operator.core import contenders, mandatory, plans
from rlhf_operator.core.observed import Key, Observed, Run

GATHERING = timedelta(hours=1)
"""Before all its traffic goes elsewhere at once, stable's counts are to be worth comparing with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """One model under judgement, as its rollout's status has it."""

    key: Key
    policies: tuple[PinnedPolicy, ...]
    version: str
    """The version under judgement."""
    stable: str | None
    """The version to compare with; None when no other serves."""
    since: datetime
    """The last weight change in force."""
    checkpoint: Checkpoint | None = None
    """Counts from which to count on."""
    strata: tuple[StratumRecord, ...] = ()
    """What was shown at earlier weights of the run."""
    sticky: bool = False
    """Whether users stay with their version, so that each counts once."""
    previous: tuple[SLOResult, ...] = ()
    """Recorded results, so that runs of failures go on after a restart."""
    before_switch: tuple[ArmCount, ...] | None = None
    """What stable showed before it fell silent; None while it answers beside the canary."""
    controlled: bool = False
    """Whether it was promoted, and the version before it keeps some traffic as a control arm."""
    promoted: bool = False
    """Whether it serves for good, and is judged by windows for as long as it does."""
    baseline: tuple[BaselineRecord, ...] = ()
    """What a promoted version showed at first."""
    drifts: tuple[DriftRecord, ...] = ()
    """How far the watch over its means was, from which to go on."""

    rules: str | None = None
    """The digest of the guards' rules under which this weight is counted, if it is on record."""
    rules_since: datetime | None = None
    """Since when a promoted version's guards have these rules, where it was promoted by others."""
    tested: int = 1
    """How many versions its run is about: their strata share the room that a record has."""

    @property
    def is_tested(self) -> bool:
        """Whether a run gives it weight: not what is counted before one, nor what was promoted."""
        return self.stable is not None and not self.promoted and not self.controlled

    @property
    def question(self) -> tuple[object, ...]:
        """Return what makes it another subject; counts that are on record do not."""
        judged = (self.version, self.stable, self.since, self.sticky)
        kind = (self.promoted, self.controlled)
        return (*judged, *kind, self.policies, self.baseline, self.rules_since)


def subjects(seen: Observed, run: Run | None) -> tuple[Subject, ...]:
    """Return all that is to be judged now: one subject for each version that a run tests."""
    first = subject(seen, run)
    if run is None or first is None or run.status.canary is None or run.status.weight == 0:
        return () if first is None else (first,)
    others = (contenders.view(replace(seen, run=run), arm.version) for arm in run.status.testing)
    found = (subject(view, view.run) for view in others)
    return (first, *(each for each in found if each is not None))


def subject(seen: Observed, run: Run | None) -> Subject | None:
    """Return what is to be judged now; None while no weight is in force."""
    if run is None or run.status.stable is None:
        return None
    status, since = run.status, run.status.in_force_at
    if since is None:
        return None
    policies = mandatory.binding(run.policies, seen.policies) if status.canary else seen.policies
    if not policies:
        return None
    if status.canary is not None and status.weight > 0:
        return Subject(
            key=seen.key,
            policies=plans.asked(run.plan, policies),
            version=status.canary.name,
            stable=status.stable.name if status.stable else None,
            since=since,
            checkpoint=status.checkpoint,
            strata=status.strata,
            sticky=run.plan.stickiness == "Arm",
            previous=status.slos,
            before_switch=status.before_switch if run.weight == 100 else None,
            rules=status.rules_digest,
            tested=len(contenders.tried(run)),
        )
    assert status.stable is not None, "checked above"
    if status.standby is not None and status.standby.weight > 0:
        # Until the first checkpoint what is on record was judged on the way to promotion.
        known = status.slos if status.checkpoint is not None else ()
        return Subject(
            key=seen.key,
            policies=policies,
            version=status.stable.name,
            stable=status.standby.version.name,
            since=since,
            checkpoint=status.checkpoint,
            previous=known,
            controlled=True,
            rules=status.rules_digest,
        )
    return Subject(
        key=seen.key,
        policies=policies,
        version=status.stable.name,
        stable=None,
        since=_hour_of(since, seen.now) if _is_gathering(run) else since,
        promoted=not _is_gathering(run),
        baseline=status.baseline,
        drifts=status.drifts,
        rules=status.rules_digest,
        rules_since=status.rules_since,
    )


def _is_gathering(run: Run) -> bool:
    """Return whether stable is counted for a comparison that comes when it is silent."""
    return run.status.canary is not None and run.plan.strategy == "BlueGreen"


def _hour_of(start: datetime, now: datetime) -> datetime:
    """Return the start of the present hour, counted from when the weight was in force."""
    return start + max(0, (now - start) // GATHERING) * GATHERING
