"""A circuit breaker: what is dead is not waited for. Pure; time is an argument, in seconds.

Only what costs time counts as a failure: no answer, a late one, a refusal. An answer that is not
understood may be the doing of the text that was sent, and nobody shall open a circuit by what
they write.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

ROW = 5
"""So many failures in a row open the circuit."""
SHARE = 0.5
"""So does this share of failures among the last calls, once there are enough of them."""
ENOUGH = 20
WINDOW = 30.0
"""How long a call is remembered."""
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
PROBE_TIME = 30.0
"""After this long a probe of which nothing was heard is forgotten."""


class State(StrEnum):
    """Whether a service is asked."""

    CLOSED = "closed"  # it is
    OPEN = "open"  # it is not
    HALF_OPEN = "half_open"  # one call finds out


class Outcome(StrEnum):
    """How a call ended."""

    WORKED = "worked"
    FAILED = "failed"
    UNKNOWN = "unknown"  # it was given up before it could tell anything


@dataclass(frozen=True, kw_only=True, slots=True)
class Circuit:
    """What is remembered of one service."""

    row: int = 0
    recent: tuple[tuple[float, bool], ...] = ()  # when, and whether it failed
    opened: int = 0  # times in succession
    open_until: float | None = None
    probe_until: float | None = None

    def state(self, now: float) -> State:
        """Return whether the service is asked now."""
        if self.open_until is None:
            return State.CLOSED
        is_probed = self.probe_until is not None and now < self.probe_until
        return State.OPEN if now < self.open_until or is_probed else State.HALF_OPEN

    def begin(self, now: float) -> Circuit:
        """Return the circuit with a call under way; it must not be open."""
        if self.state(now) is State.HALF_OPEN:
            return replace(self, probe_until=now + PROBE_TIME)
        return self

    def end(self, now: float, outcome: Outcome, *, is_probe: bool) -> Circuit:
        """Return the circuit after a call; `is_probe` if it began half open.

        Calls from before it opened tell nothing new.
        """
        if is_probe:
            return self._after_probe(now, outcome)
        if outcome is Outcome.UNKNOWN or self.open_until is not None:
            return self
        failed = outcome is Outcome.FAILED
        recent = (*(each for each in self.recent if each[0] > now - WINDOW), (now, failed))
        recent = recent[-ENOUGH:]
        row = self.row + 1 if failed else 0
        failures = sum(1 for _, has_failed in recent if has_failed)
        is_bad = failed and len(recent) >= ENOUGH and failures >= SHARE * len(recent)
        if row >= ROW or is_bad:
            return _opened(now, 1)
        return replace(self, row=row, recent=recent)

    def _after_probe(self, now: float, outcome: Outcome) -> Circuit:
        match outcome:
            case Outcome.WORKED:
                return Circuit()
            case Outcome.FAILED:
                return _opened(now, self.opened + 1)
            case Outcome.UNKNOWN:
                return replace(self, probe_until=None)


def _opened(now: float, times: int) -> Circuit:
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(times - 1, 16))
    return Circuit(opened=times, open_until=now + pause)
