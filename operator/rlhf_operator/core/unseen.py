"""What no guard can show: answers that it has no means to recognise.

A guard exports the counters of what its stages and patterns look for, and no others, so such an
objective has no series and stays Inconclusive: nobody looked, and that is no success. Pure.
"""

from __future__ import annotations

from rlhf_operator.api import categories, metrics
from rlhf_operator.api.guard import GuardSpec, looking_at
from rlhf_operator.api.measure import Indicator
from rlhf_operator.core.indicators import Measure, Touching

_UNSAFE = "Unsafe"
_NOT_REFUSED = "guard.refusalPatterns is empty, so that no answer counts as a refusal"
_NOT_UNSAFE = "no stage of the guard looks at answers (appliesTo: [Output])"


def why(guard: GuardSpec, indicator: Indicator) -> str | None:
    """Return why a guard cannot count what an indicator asks for; None if it can."""
    if indicator.type == "RefusalRate":
        return None if guard.refusal_patterns else _NOT_REFUSED
    if not indicator.type.startswith(_UNSAFE):
        return None
    stages = looking_at(guard, "Output")
    if not stages:
        return _NOT_UNSAFE
    if any(categories.names_its_own(stage) for stage in stages):
        return None
    found = categories.in_stages(stages)
    missing = [each for each in indicator.categories if each not in found]
    return f"{_unfound(missing)}; found are {', '.join(sorted(found))}" if missing else None


def guess(measure: Measure) -> str | None:
    """Return why a guard that is there has no series of what a measure counts."""
    events = measure.events
    if events is None:
        return None
    if events.name == metrics.GUARD_REFUSED.name:
        return _NOT_REFUSED
    if "_unsafe_" not in events.name:
        return None
    wanted = [
        word
        for _, values in events.where
        for word in (values.words if isinstance(values, Touching) else values)
    ]
    return _unfound(wanted) if wanted else _NOT_UNSAFE


def _unfound(names: list[str]) -> str:
    return f"no stage of the guard that looks at answers is known to find {' or '.join(names)}"
