"""Bounds compared as plain numbers: which of them a reading breaks, in words."""

from __future__ import annotations

from rlhf_operator.core.indicators import Better
from rlhf_operator.core.objective import Objective, Reading, amount, short

# Two floats that should be equal may differ in the last digits after a multiplication.
_ROUNDING = 1e-12


def broken(goal: Objective, reading: Reading) -> list[str]:
    """Return the absolute bounds that a reading breaks."""
    name, most, found = goal.slo.name, goal.slo.max_count, []
    if most is not None and (reading.events or 0) > most:
        found.append(f"{name} {reading.events} > {most}")
    value = reading.value
    if value is None:
        return found
    if goal.maximum is not None and _above(value, goal.maximum):
        found.append(f"{name} {amount(goal, reading)} > {goal.slo.max}")
    if goal.minimum is not None and _above(goal.minimum, value):
        found.append(f"{name} {amount(goal, reading)} < {goal.slo.min}")
    return found


def worse_than_stable(goal: Objective, reading: Reading, stable: Reading | None) -> list[str]:
    """Return how a reading is further from stable's than the margin allows, if it is."""
    if stable is None or stable.value is None or reading.value is None:
        return []
    lower = goal.measure.better is Better.LOWER
    if goal.ratio is not None:
        limit = stable.value * goal.ratio if lower else stable.value / goal.ratio
        margin = f"{goal.ratio:g} times" if lower else f"1/{goal.ratio:g} of"
    elif goal.difference is not None:
        limit = stable.value + (goal.difference if lower else -goal.difference)
        margin = f"{goal.difference:g} {'above' if lower else 'below'}"
    else:
        return []
    if not (_above(reading.value, limit) if lower else _above(limit, reading.value)):
        return []
    sign = ">" if lower else "<"
    shown = f"{goal.slo.name} {amount(goal, reading)} {sign} {short(limit)}"
    return [f"{shown}, {margin} stable's {amount(goal, stable)}"]


def _above(value: float, limit: float) -> bool:
    return value > limit and value - limit > _ROUNDING * max(abs(value), abs(limit))
