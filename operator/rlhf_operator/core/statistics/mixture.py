"""The normal mixture: an e-process for a sum whose noise is known, and its boundary.

Let S be a sum of deviations from the hypothesis and V the sum of their variances. Averaging the
likelihood ratios of all drifts, weighted like a normal distribution with variance 1/prior, gives
E = sqrt(prior/(V + prior)) · exp(S²/(2(V + prior))). The one-sided form averages only the drifts
above 0.

Source: Robbins 1970; Howard, Ramdas, McAuliffe and Sekhon 2021 (arXiv 1810.08240), section 3.1.
"""

from __future__ import annotations

from math import log, log1p, sqrt

from rlhf_operator.core.statistics.numerics import checked, checked_level, log_normal_cdf


def tightest_prior(variance: float, alpha: float, *, one_sided: bool) -> float:
    """Return the prior with which the boundary is about narrowest at this sum of variances."""
    checked(variance, "the variance to tune for", 1e-300)
    level = checked_level(2 * alpha if one_sided else alpha)
    return variance / (-2 * log(level) + log1p(-2 * log(level)))


def log_mixture(total: float, variance: float, prior: float, *, one_sided: bool) -> float:
    """Return ln E of a sum of deviations and the sum of their variances.

    The one-sided form is evidence for a positive drift alone. `prior` is in units of variance.
    """
    width = variance + prior
    fit = total * total / (2 * width) + log(prior / width) / 2
    return fit + log(2) + log_normal_cdf(total / sqrt(width)) if one_sided else fit


def boundary_of_sum(variance: float, prior: float, alpha: float, *, one_sided: bool) -> float:
    """Return how far the sum strays at most, at any time, with probability 1 - alpha.

    Two-sided this is exactly where `log_mixture` reaches ln(1/alpha). One-sided it is the closed
    form with ln(1 + …) in place of the normal distribution's own, never narrower than that.
    """
    width = variance + prior
    if one_sided:
        reach = log1p(sqrt(width / prior) / (2 * alpha))
    else:
        reach = log(sqrt(width / prior) / alpha)
    return sqrt(2 * width * reach)
