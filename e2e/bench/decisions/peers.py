"""The rules of Flagger 1.44 and Argo Rollouts 1.9, on series of measurements, for many runs.

Both compare one number with a constant once an interval, over a range of the last minutes.

- Flagger: a check fails when the number is over its maximum, NaN or missing. Failed checks add up
  over the run and are never forgotten. A failed check keeps the weight where it is for that
  interval; when `threshold` (1) checks have failed, the *next* tick rolls back. Written as
  `stepWeights`, a plan that holds is many nearly equal steps: one successful check each.
- Argo Rollouts, background analysis: the plan follows the clock. More than `failureLimit` (0)
  failed measurements abort the run at once. A missing number is an error; it is asked again every
  ten seconds, and more than `consecutiveErrorLimit` (4) in a row abort: an interval of a minute
  without data does, or five of ten seconds.
  A NaN fails a success condition; with both conditions written it is inconclusive, and as
  `inconclusiveLimit` is 0 the run is paused for a person.

Source: reference code of both (scheduler.go, metrics/providers/prometheus.go; analysis.go,
utils/evaluate), as it was read, not run.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from e2e.bench.decisions.traffic import Flags, Numbers

NEVER = 1 << 30
"""A tick that does not come."""
LIMITS = (1, 2, 3, 5, 10, 30)
"""How many failures end a run: Flagger's threshold, and Argo's failureLimit + 1."""

Ticks = NDArray[np.int64]


class Peer(StrEnum):
    """Whose rules."""

    FLAGGER = "Flagger"
    ARGO = "Argo Rollouts"


class Silence(StrEnum):
    """What the query and the conditions make of NaN and of no number at all."""

    FAILS = "fails"
    """As it comes: Flagger, and Argo with a success condition alone."""
    PAUSES = "pauses"
    """Argo with both conditions: NaN is inconclusive. A missing number stays an error."""
    PASSES = "passes"
    """Guarded by hand: `or vector(0)`, or isNaN and len(result) in the condition."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One measurement in each run; a missing one has no number."""

    failed: Flags
    erred: Flags
    inconclusive: Flags


def check(peer: Peer, silence: Silence, value: Numbers, missing: Flags, most: Numbers) -> Check:
    """Return what one measurement is; `missing` where the query returned nothing."""
    nothing = np.zeros(np.broadcast(value, most).shape, dtype=bool)
    missing, nan = missing | nothing, (np.isnan(value) & ~missing) | nothing
    over = (value > most) & ~missing
    if silence is Silence.PASSES:
        return Check(failed=over, erred=nothing, inconclusive=nothing)
    if peer is Peer.FLAGGER:
        return Check(failed=over | nan | missing, erred=nothing, inconclusive=nothing)
    if silence is Silence.PAUSES:
        return Check(failed=over, erred=missing, inconclusive=nan)
    return Check(failed=over | nan, erred=missing, inconclusive=nothing)


class Progress:
    """Where runs are in the plan of one peer, without a limit to failures; limits come after.

    `failures[k]` is the tick of the failure number LIMITS[k], `aborted` that of a minute of
    errors, `paused` that of an inconclusive measurement, `done` that of the plan's end.
    """

    def __init__(self, peer: Peer, shape: tuple[int, ...], ticks: int, errors: int = 1) -> None:
        """Begin a plan of so many ticks; `errors` in a row abort."""
        self._peer, self._plan, self._most_errors = peer, ticks, errors
        self._now = 0
        self._errors = np.zeros(shape, np.int64)
        self._failed, self._passed = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        self.failures = np.full((len(LIMITS), *shape), NEVER)
        self.aborted, self.paused, self.done = (np.full(shape, NEVER) for _ in range(3))

    @property
    def place(self) -> Ticks:
        """Return how many ticks of the plan each run has behind it."""
        if self._peer is Peer.FLAGGER:
            return np.minimum(self._passed, self._plan - 1)
        return np.full(self._passed.shape, min(self._now, self._plan - 1))

    def add(self, found: Check) -> None:
        """Go one interval further with the measurement at its end."""
        self._now += 1
        self._failed += found.failed
        self._passed += ~found.failed
        for place, limit in enumerate(LIMITS):
            self._note(self.failures[place], found.failed & (self._failed == limit))
        self._errors = np.where(found.erred, self._errors + 1, 0)
        self._note(self.aborted, self._errors >= self._most_errors)
        self._note(self.paused, found.inconclusive)
        walked = self._passed if self._peer is Peer.FLAGGER else self._now
        self._note(self.done, np.broadcast_to(walked >= self._plan, self.done.shape))

    def _note(self, when: Ticks, now: Flags) -> None:
        when[now & (when == NEVER)] = self._now

    def ends(self, limit: int) -> tuple[Ticks, Flags, Flags]:
        """Return when each run ends, whether it is rolled back, and whether it is promoted.

        limit is one of LIMITS. What happens at the same tick: a failure goes first.
        """
        failed = self.failures[LIMITS.index(limit)]
        rolled = np.minimum(failed, self.aborted)
        first = np.minimum(np.minimum(rolled, self.paused), self.done)
        is_rolled = (rolled == first) & (rolled < NEVER)
        is_promoted = (self.done == first) & ~is_rolled & (self.paused > first)
        # Flagger sees that the threshold was reached when it looks the next time.
        late = is_rolled & (self._peer is Peer.FLAGGER)
        return first + late, is_rolled, is_promoted & (first < NEVER)
