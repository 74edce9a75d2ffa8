"""Standings: what the record keeps of each version that a run tests, beside its canary."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from rlhf_operator.api.evidence import Checkpoint, SLOResult
from rlhf_operator.api.rollout import RolloutStatus
from rlhf_operator.core import contenders, facts
from rlhf_operator.core.observed import Observed

NO_CHECKPOINTS: Mapping[str, Checkpoint] = MappingProxyType({})


def noted(
    seen: Observed, status: RolloutStatus, checkpoints: Mapping[str, Checkpoint], *, moved: bool
) -> RolloutStatus:
    """Return a record with what was seen of each version that is tested beside the canary."""
    for view in contenders.views(seen)[1:]:
        status = _noted(view, status, checkpoints, moved=moved)
    return status


def _noted(
    view: Observed, status: RolloutStatus, checkpoints: Mapping[str, Checkpoint], *, moved: bool
) -> RolloutStatus:
    """Return a record with what was seen of one more tested version in that one's place."""
    run, name = view.run, contenders.named(view).name
    front = status.canary
    if run is None or front is None or name not in {arm.version for arm in status.testing}:
        return status
    mine = contenders.in_front(status, name)
    found = facts.of_arm(view, run, mine, checkpoints.get(name), moved=moved)
    return contenders.in_front(mine.model_copy(update=found), front.name)


def last_seen(seen: Observed) -> tuple[SLOResult, ...]:
    """Return the evidence on every version that is tested."""
    views = contenders.views(seen) or (seen,)
    return tuple(result for view in views for result in _last_seen(view))


def _last_seen(view: Observed) -> tuple[SLOResult, ...]:
    """Return the evidence on a tested version.

    After a restart the engine may have judged nothing yet; what is on record of this weight is
    what was last seen of it.
    """
    if view.canary is not None or view.run is None:
        return view.canary.results if view.canary else ()
    return view.run.status.slos if view.run.status.checkpoint is not None else ()
