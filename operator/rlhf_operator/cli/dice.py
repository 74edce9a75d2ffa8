"""Random numbers that the standard library lacks: counts of events, and sums of values."""

from __future__ import annotations

from math import exp, sqrt
from random import Random

_EXACT_BELOW = 60.0


def poisson(mean: float, chance: Random) -> int:
    """Return a Poisson number with this mean (0 or more).

    Up to a mean of 60 it is exact: how many unit-exponential gaps fit in, by the product of
    uniform numbers (Knuth, The Art of Computer Programming, 3.4.1). Above, it is the rounded
    normal approximation, whose skewness of 1/sqrt(mean) is then below 0.13.
    """
    if mean <= 0:
        return 0
    if mean > _EXACT_BELOW:
        return max(0, round(chance.gauss(mean, sqrt(mean))))
    limit, product, count = exp(-mean), chance.random(), 0
    while product > limit:
        product *= chance.random()
        count += 1
    return count


def sums(number: int, mean: float, deviation: float, chance: Random) -> tuple[float, float]:
    """Return the sum of so many normal values, and that of their squares.

    Exact without throwing each: the mean of n values is normal, and, apart from it, the squares
    of their distances from it sum up to a chi-squared number with n - 1 degrees of freedom, which
    is twice a gamma number (Cochran 1934).
    """
    if number <= 0:
        return 0.0, 0.0
    middle = chance.gauss(mean, deviation / sqrt(number))
    around = deviation**2 * chance.gammavariate((number - 1) / 2, 2.0) if number > 1 else 0.0
    return number * middle, around + number * middle**2
