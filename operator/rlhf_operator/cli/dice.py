"""Random numbers that the standard library lacks: how many events happen in a while."""

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
