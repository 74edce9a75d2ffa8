"""Has a bounded mean fallen? A change detector whose false alarms are bounded without asymptotics.

An e-process is begun anew at every value, and all of them are added up (Shiryaev-Roberts).
Source: Shin, Ramdas and Rinaldo 2022, E-detectors (arXiv 2203.03532).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp, inf, log, log1p

from rlhf_operator.core.statistics.numerics import checked, log_mean_exp

BETS = (0.25, 0.5, 1.0, 1.5)
"""How boldly to bet on a fall; those that could lose everything at one value are left out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EDetector:
    """Alarms when values in [0, 1] have no longer a conditional mean of at least `floor`.

    Guarantee: as long as the mean given the past is at least the floor, the average number of
    values before an alarm is at least `run_length`, whatever their distribution and however
    they depend on each other. For measures where higher is worse feed 1 - x.
    """

    floor: float
    """The least mean that is still good, above 0 and below 1."""
    run_length: float
    """The wanted average number of values between false alarms."""
    log_levels: tuple[float, ...] = ()
    """ln of each bet's sum; empty before the first value."""

    def __post_init__(self) -> None:
        if not 0 < self.floor < 1:
            raise ValueError(f"a floor of {self.floor} does not lie between 0 and 1")
        checked(self.run_length, "the run length", 1)

    @property
    def bets(self) -> tuple[float, ...]:
        """Return the bets that no single value can ruin."""
        return tuple(bet for bet in BETS if bet * (1 - self.floor) < 1)

    def update(self, value: float) -> EDetector:
        """Return the detector after one value, or after the mean of one window of values."""
        checked(value, "a value", 0, 1)
        before = self.log_levels or (-inf,) * len(self.bets)
        after = tuple(
            _log_plus_one(level) + log1p(bet * (self.floor - value))
            for level, bet in zip(before, self.bets, strict=True)
        )
        return replace(self, log_levels=after)

    @property
    def alarmed(self) -> bool:
        """Return whether the mean has fallen below the floor."""
        return bool(self.log_levels) and log_mean_exp(self.log_levels) >= log(self.run_length)


def _log_plus_one(level: float) -> float:
    """Return ln(exp(level) + 1)."""
    return level + log1p(exp(-level)) if level > 0 else log1p(exp(level))
