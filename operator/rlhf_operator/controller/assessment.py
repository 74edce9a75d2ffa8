"""What all objectives of one subject say, as the engine tells it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rlhf_operator.core.observed import Key
from rlhf_operator.reconcile.ports import Judged


@dataclass(frozen=True, kw_only=True, slots=True)
class Assessment(Judged):
    """What all SLOs of one subject say, for the version and stratum followed.

    `results` has one per policy and SLO for the version under judgement; `stable_results` has
    the Safety SLOs of the stable version under their absolute bounds.
    """

    key: Key
    at: datetime
    """When it was judged."""
