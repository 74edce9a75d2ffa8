"""A rule about a canary, asked of every version that a run tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps

from rlhf_operator.api.reasons import Reason
from rlhf_operator.core import contenders
from rlhf_operator.core.decision import Action, Decision
from rlhf_operator.core.observed import Observed

Rule = Callable[[Observed], Decision | None]


def each(rule: Rule) -> Rule:
    """Return a rule that is asked of every tested version as if it were the only one.

    What would end the run of one drops it, and the others go on; what holds one up holds all up.
    """

    @wraps(rule)
    def asked(seen: Observed) -> Decision | None:
        views = contenders.views(seen)
        if len(views) < 2:
            return rule(seen)
        answers = [(view, found) for view in views if (found := rule(view)) is not None]
        for view, found in answers:
            if found.action is Action.ROLL_BACK and found.reason is not Reason.APPROVAL_TIMEOUT:
                return drop((contenders.named(view).name,), found)
        held = [(view, found) for view, found in answers if found.action is Action.HOLD]
        if held:
            return _joined(held, of=len(views))
        return answers[0][1] if answers else None

    return asked


def drop(names: tuple[str, ...], why: Decision) -> Decision:
    """Return a decision to drop tested versions for what would end a run with one alone."""
    return replace(why, action=Action.DROP, arms=names, outcome=None, weight=None)


def _joined(held: Sequence[tuple[Observed, Decision]], *, of: int) -> Decision:
    """Return one decision to wait for all that there is to wait for.

    People are asked when nothing else is: while they think it over nobody's time runs out.
    """
    held = [each for each in held if each[1].awaiting is None] or held
    told: dict[str, list[str]] = {}
    for view, answer in held:
        name = contenders.named(view).name
        told.setdefault(answer.message.removeprefix(f"{name}: "), []).append(name)
    parts = [
        message if len(names) == of else f"{', '.join(names)}: {message}"
        for message, names in told.items()
    ]
    return replace(
        held[0][1],
        message="; ".join(parts)[:4096],
        stalled=any(answer.stalled for _, answer in held),
        wake=min((answer.wake for _, answer in held if answer.wake is not None), default=None),
    )
