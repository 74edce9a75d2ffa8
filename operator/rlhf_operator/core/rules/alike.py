"""When traffic fled by itself and nothing got better, the model was not the cause."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rlhf_operator.api.evidence import SLOResult
from rlhf_operator.api.policy import SLO
from rlhf_operator.api.reasons import Reason
from rlhf_operator.core import analysis, capacity, mandatory, statistics
from rlhf_operator.core.decision import Decision, keep
from rlhf_operator.core.indicators import Better, Form, measure
from rlhf_operator.core.observed import Observed, Run
from rlhf_operator.core.rules import harm, resting
from rlhf_operator.core.windows import WINDOW

_FLED = frozenset({Reason.SAFETY_FAILED, Reason.SLO_FAILED})


def not_the_model(seen: Observed) -> Decision | None:
    """Make no second automatic move where what was fled to fails as much as what was left."""
    run = seen.run
    if run is None or run.is_active or run.status.stable is None:
        return None
    known = run.status.not_the_model
    if known is None:
        return _first_told(seen, run)
    veto = seen.quarantines.get(run.status.stable.identity)
    is_vetoed = veto is not None and veto.author is not None
    if is_vetoed or _may_start(seen, run) or (_is_wanted(seen, run) and not _failing(seen)):
        return None  # a person has acted, or all is well
    if harm.stable_unsafe(seen) is not None:
        return None  # it fails safety otherwise, or has no place to go to and must be restrained
    return keep(Reason.NOT_THE_MODEL, known, stalled=True)


def _first_told(seen: Observed, run: Run) -> Decision | None:
    found = _alike(seen, run)
    if not found:
        return None
    names = tuple(f"{each.policy}/{each.name}" for each in found)
    return replace(keep(Reason.NOT_THE_MODEL, _told(run, found[0]), stalled=True), alike=names)


def _alike(seen: Observed, run: Run) -> tuple[SLOResult, ...]:
    """Return what fails here as it failed where traffic fled from, within one window."""
    cause, since = run.spec.cause, run.status.in_force_at
    fled = run.spec.type in capacity.AT_ONCE and cause.author is None and cause.reason in _FLED
    if not fled or since is None or seen.now > since + WINDOW:
        return ()
    slos = {f"{policy.name}/{slo.name}": slo for policy in seen.policies for slo in policy.slos}
    now = {_key(each, {}): each for each in _failing(seen)}
    own = mandatory.own_names(seen.policies)
    left = {_key(each, own): each for each in cause.evidence}
    return tuple(
        now[which]
        for which, before in left.items()
        if which in now and which in slos and _no_better(slos[which], before, now[which])
    )


def _key(result: SLOResult, own: Mapping[str, str]) -> str:
    """Return policy/objective; of what stood beside those of a run, as it is called after it."""
    name = f"{result.policy}/{result.name}"
    return own.get(name, name)


def _told(run: Run, result: SLOResult) -> str:
    assert run.status.stable is not None
    left = run.spec.from_.name if run.spec.from_ else "the version before"
    return (
        f"{run.status.stable.name} fails like {left}: {result.message}; no further move is made "
        "by itself. Look at the traffic, the guard and the metrics; a LiftQuarantine decision "
        f"lets {left} serve again"
    )[:4096]


def _no_better(slo: SLO, before: SLOResult, after: SLOResult) -> bool:
    """Return whether a failed objective did not get better: two rates by their 95 % intervals."""
    asked = measure(slo)
    lower = asked.better is Better.LOWER
    if asked.form is Form.COUNT:
        return True  # one event more is one too many again
    if asked.form is Form.RATE:
        old, new = _interval(before), _interval(after)
        if old is None or new is None:
            return False
        return new.high >= old.low if lower else new.low <= old.high
    if before.value is None or after.value is None:
        return False
    old_value, new_value = float(before.value), float(after.value)
    return new_value >= old_value if lower else new_value <= old_value


def _interval(result: SLOResult) -> statistics.Interval | None:
    if not result.samples or result.events is None:
        return None
    return statistics.rate_interval(min(result.events, result.samples), result.samples, 0.05)


def _failing(seen: Observed) -> tuple[SLOResult, ...]:
    results = seen.stable.results if seen.stable is not None else ()
    return tuple(
        result
        for class_ in ("Safety", "Quality", "Performance")
        for result in analysis.failed(results, class_)
    )


def _is_wanted(seen: Observed, run: Run) -> bool:
    stable = run.status.stable
    return (
        stable is not None and seen.target is not None and seen.target.identity == stable.identity
    )


def _may_start(seen: Observed, run: Run) -> bool:
    """Return whether a version is asked for that may be the cure."""
    if seen.invalid is not None or seen.target is None or _is_wanted(seen, run):
        return False
    return not seen.is_quarantined(seen.target) and resting.target_failed(seen) is None
