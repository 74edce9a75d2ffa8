"""How a run ended, when, and what it cost: the same for every way to decide."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from e2e.bench.decisions.traffic import Flags, Numbers


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One entry for each run; whatever was neither rolled back nor promoted is undecided."""

    rolled_back: Flags
    promoted: Flags
    seconds: Numbers
    """From the first weight to the end of the run."""
    bad: Numbers
    """Bad answers that the canary served until then."""

    @property
    def undecided(self) -> float:
        """Return the share of runs that ended without a decision."""
        return 1 - float(np.mean(self.rolled_back | self.promoted))
