"""The little arithmetic that the tests need: logarithms that do not overflow, and bisection.

The image has no numerical library, and needs none: everything is a handful of logarithms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import erfc, exp, fsum, inf, isfinite, lgamma, log, log1p, pi, sqrt


def log_mean_exp(values: Sequence[float]) -> float:
    """Return the logarithm of the mean of exp(values), without leaving the logarithms."""
    top = max(values)
    if not isfinite(top):
        return top
    return top + log(fsum([exp(value - top) for value in values]) / len(values))


def log_beta(a: float, b: float) -> float:
    """Return ln B(a, b) of the beta function, for a and b above 0."""
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def log_normal_cdf(z: float) -> float:
    """Return ln Φ(z), the probability that a standard normal number is below z."""
    if z < -35:
        # Φ itself would be rounded to 0 here; this is the first term of its expansion.
        return -z * z / 2 - log(-z * sqrt(2 * pi)) + log1p(-1 / (z * z))
    return log(erfc(-z / sqrt(2)) / 2)


def boundary(inside: Callable[[float], bool], within: float, outside: float) -> float:
    """Return the last place, going from `within` to `outside`, where `inside` is still true.

    It must be true at `within` and change once on the way at most. The place returned lies on
    the outer side by a rounding error at most, so an interval is never reported too short.
    """
    if inside(outside):
        return outside
    for _ in range(200):
        middle = (within + outside) / 2
        if middle in (within, outside):
            break
        if inside(middle):
            within = middle
        else:
            outside = middle
    return outside


def checked(value: float, name: str, low: float = -inf, high: float = inf) -> float:
    """Return a number within the closed range; ValueError for anything else, NaN included."""
    if not (isfinite(value) and low <= value <= high):
        raise ValueError(f"{name} is {value}, not a number from {low} to {high}")
    return value


def checked_level(alpha: float) -> float:
    """Return an error probability; ValueError unless it lies between 0 and 1, both excluded."""
    if not 0 < alpha < 1:
        raise ValueError(f"an error probability of {alpha} does not lie between 0 and 1")
    return alpha
