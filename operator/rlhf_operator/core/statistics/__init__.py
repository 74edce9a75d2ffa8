"""Tests and intervals that stay valid however often one looks, and detectors of change.

Pure, from counts and sums alone, with the standard library alone. What each one promises, on
which assumptions, and a worked number for each: docs/statistics.md. Evidence is ln E throughout:
0 says nothing, ln(1/alpha) rejects at alpha.
"""

from rlhf_operator.core.statistics.bounded import bounded_mean
from rlhf_operator.core.statistics.burn import (
    BURN_RULES,
    Burn,
    BurnRule,
    Urgency,
    burn_rate,
    burns,
)
from rlhf_operator.core.statistics.ceiling import log_e_ceiling
from rlhf_operator.core.statistics.change import RateChange, change_threshold
from rlhf_operator.core.statistics.conclusion import (
    Conclusion,
    Evidence,
    advance_threshold,
    conclude,
    rollback_threshold,
)
from rlhf_operator.core.statistics.cusum import (
    Cusum,
    average_run_length,
    head_start,
    two_sided_run_length,
)
from rlhf_operator.core.statistics.detector import EDetector
from rlhf_operator.core.statistics.forecast import Need, ceiling_need, difference_need, ratio_need
from rlhf_operator.core.statistics.interval import Interval, difference
from rlhf_operator.core.statistics.means import (
    MeanStratum,
    Sums,
    log_e_mean_change,
    log_e_mean_difference,
    mean_difference,
)
from rlhf_operator.core.statistics.rates import Count, rate_difference, rate_interval
from rlhf_operator.core.statistics.ratio import (
    EVENLY,
    GRID,
    MOSTLY_TWO,
    Bets,
    Stratum,
    log_e_ratio,
    ratio_interval,
)
from rlhf_operator.core.statistics.split import MISMATCH, Split, log_e_split

__all__ = [
    "BURN_RULES",
    "EVENLY",
    "GRID",
    "MISMATCH",
    "MOSTLY_TWO",
    "Bets",
    "Burn",
    "BurnRule",
    "Conclusion",
    "Count",
    "Cusum",
    "EDetector",
    "Evidence",
    "Interval",
    "MeanStratum",
    "Need",
    "RateChange",
    "Split",
    "Stratum",
    "Sums",
    "Urgency",
    "advance_threshold",
    "average_run_length",
    "bounded_mean",
    "burn_rate",
    "burns",
    "ceiling_need",
    "change_threshold",
    "conclude",
    "difference",
    "difference_need",
    "head_start",
    "log_e_ceiling",
    "log_e_mean_change",
    "log_e_mean_difference",
    "log_e_ratio",
    "log_e_split",
    "mean_difference",
    "rate_difference",
    "rate_interval",
    "ratio_interval",
    "ratio_need",
    "rollback_threshold",
    "two_sided_run_length",
]
