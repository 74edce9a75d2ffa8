"""A circuit breaker per query: what fails again and again is asked ever more rarely."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from rlhf_operator.api.measurements import Answer, Silence

_CLOSED_FAILURES = 3
_FIRST_PAUSE = 10.0
_LONGEST_PAUSE = 300.0
_REMEMBERED = 1024


@dataclass(frozen=True, slots=True)
class _Trouble:
    """Failures of one query in a row."""

    silence: Silence
    failures: int = 1
    open_until: float = 0.0


class Breaker:
    """Remembers queries in trouble. Mutable; used by one event loop."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._troubles: OrderedDict[str, _Trouble] = OrderedDict()

    def open(self, query: str) -> Silence | None:
        """Return what to answer instead of asking, while this query is not to be asked."""
        trouble = self._troubles.get(query)
        left = 0.0 if trouble is None else trouble.open_until - self._monotonic()
        if trouble is None or left <= 0:
            return None
        message = f"{trouble.silence.message}; asked again in {left:.0f} s"
        return replace(trouble.silence, message=message)

    def note(self, query: str, answer: Answer) -> None:
        """Take in how a query went."""
        before = self._troubles.pop(query, None)
        if not isinstance(answer, Silence) or not answer.problem.is_error:
            return
        failures = 1 if before is None else before.failures + 1
        pause = 0.0
        if failures >= _CLOSED_FAILURES:
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(10, failures - _CLOSED_FAILURES))
        self._troubles[query] = _Trouble(answer, failures, self._monotonic() + pause)
        if len(self._troubles) > _REMEMBERED:
            self._troubles.popitem(last=False)
