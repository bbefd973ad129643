"""Empirical Bayes moderation of residual variances: limma's and limma-trend's moderated t.

Many features and few patients make each feature's own residual variance uncertain. The variances of
all features together say how variances are spread, and that prior is worth some degrees of freedom
to each of them. The Python packages that hold the method (InMoose, pylimma, python-limma) are
translations of limma under the GPL or LGPL, so the formulas of the papers are written out here.

References
----------
Smyth GK (2004) Linear models and empirical Bayes methods for assessing differential expression in
microarray experiments. Stat Appl Genet Mol Biol 3:3 (sections 6 and the appendix).
Law CW, Chen Y, Shi W, Smyth GK (2014) voom. Genome Biol 15:R29 (limma-trend).
Phipson B, Lee S, Majewski IJ, Alexander WS, Smyth GK (2016) Robust hyperparameter estimation. Ann
Appl Stat 10:946-963 (sections 2 and 3; the robust variant is not used).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline
from scipy.special import digamma, polygamma

__all__ = ["ModeratedVariances", "moderate_variances", "natural_spline_basis"]

logger = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]

#: Variances below this share of their median count as that much where the prior is estimated, so
#: that the logarithm of a zero does not decide the fit (as limma does).
SMALLEST_SHARE_OF_MEDIAN = 1e-5
#: Numbers of variances from which the trend has two, three and four degrees of freedom (limma's).
TREND_STEPS = (3, 6, 30)
#: Knots closer than this share of the covariate's range are one knot.
KNOT_DISTANCE = 1e-9
#: Outside of these the inverse of the trigamma function is 1/√x and 1/x to working accuracy.
TRIGAMMA_LARGE, TRIGAMMA_SMALL = 1e7, 1e-6


@dataclass(frozen=True)
class ModeratedVariances:
    """Variances after moderation; arrays have one element a feature.

    Attributes
    ----------
    prior_degrees_of_freedom
        What the prior is worth; infinite where the variances differ no more than chance lets them,
        0 with one usable variance, NaN with none.
    prior_variance
        Variance that the prior expects: the same for all, or on the trend at the covariate.
    posterior_variance
        Mean of a feature's own and the prior variance, weighted by degrees of freedom.
    degrees_of_freedom
        Of the moderated t: own and prior, at most those of all features together.
    """

    prior_degrees_of_freedom: float
    prior_variance: FloatArray
    posterior_variance: FloatArray
    degrees_of_freedom: FloatArray


def moderate_variances(
    variances: ArrayLike, degrees_of_freedom: ArrayLike, covariate: ArrayLike | None = None
) -> ModeratedVariances:
    """Shrink residual variances towards what the variances of all features lead one to expect.

    The variances follow s0²·F(d, d0). d0 and s0² are estimated from the mean and the variance of
    log s² (Smyth 2004, section 6.2). With a covariate, log s0² is a natural cubic spline of it with
    one to four degrees of freedom by the number of features, and knots at its quantiles.

    The estimates equal those of limma's `eBayes(fit)` and `eBayes(fit, trend=TRUE)`; where the
    degrees of freedom differ between features, with `legacy=TRUE` where a version has that.

    Parameters
    ----------
    variances
        Shape (features,): residual variances. Zero is allowed: it enters the prior as a hundred
        thousandth of the median (of 1, if more than half are zero, which is logged), and the
        posterior as zero.
    degrees_of_freedom
        Shape (features,) or one number: their degrees of freedom. A feature with none takes the
        prior variance.
    covariate
        Shape (features,), for example the mean log2 expression; None fits one variance for all.

    Returns
    -------
    ModeratedVariances
        NaN for a feature with neither a variance nor zero degrees of freedom, or whose covariate
        is not finite; such features take no part in the prior.
    """
    variance = np.array(variances, dtype=float)
    degrees = np.array(np.broadcast_to(np.asarray(degrees_of_freedom, dtype=float), variance.shape))
    place = np.zeros(variance.shape) if covariate is None else np.array(covariate, dtype=float)
    bare = degrees == 0
    variance[bare] = 0.0
    known = np.isfinite(variance) & (variance >= 0) & np.isfinite(degrees) & np.isfinite(place)
    used = known & ~bare
    prior_variance = np.full(variance.shape, np.nan)
    if used.sum() < 2:
        prior_degrees = 0.0 if used.any() else np.nan
        prior_variance[known] = variance[used][0] if used.any() else np.nan
    else:
        prior_degrees, prior_variance[known] = _prior(
            _away_from_zero(variance[used]), degrees[used], place[used], place[known]
        )
    if np.isinf(prior_degrees):
        posterior = prior_variance.copy()
    else:
        weight = degrees + prior_degrees
        own = degrees * variance + prior_degrees * prior_variance
        posterior = np.divide(own, weight, out=np.full(variance.shape, np.nan), where=weight > 0)
    total = np.minimum(degrees + prior_degrees, degrees[known].sum())
    return ModeratedVariances(
        float(prior_degrees),
        prior_variance,
        np.where(known, posterior, np.nan),
        np.where(known, total, np.nan),
    )


def natural_spline_basis(
    values: ArrayLike, degrees_of_freedom: int, at: ArrayLike | None = None
) -> FloatArray:
    """Evaluate a basis of the natural cubic splines with knots at quantiles of the values.

    It spans the space of R's `splines::ns(values, df, intercept = TRUE)`, with another basis: each
    column is 1 at one knot and 0 at the others. The outer knots are the smallest and the largest
    value, and the splines go on as straight lines beyond them.

    Parameters
    ----------
    values
        Shape (n,), finite.
    degrees_of_freedom
        Dimension of the space, 2 or more. It is smaller where quantiles fall together.
    at
        Shape (m,): where to evaluate, at the values themselves by default.

    Returns
    -------
    FloatArray
        Shape (m, dimension).
    """
    x = np.asarray(values, dtype=float)
    low, width = x.min(), np.ptp(x)
    if width == 0:
        return np.ones((x.size if at is None else np.size(at), 1))
    knots = np.quantile((x - low) / width, np.linspace(0.0, 1.0, degrees_of_freedom))
    # The last knot stays, whatever falls together with it: the ends of the range are knots.
    apart = np.diff(knots[:-1], prepend=-1.0) > KNOT_DISTANCE
    inner = knots[:-1][apart & (knots[-1] - knots[:-1] > KNOT_DISTANCE)]
    knots = np.append(inner, knots[-1])
    spline = CubicSpline(knots, np.eye(knots.size), bc_type="natural")
    where = (x if at is None else np.asarray(at, dtype=float)) - low
    inside = np.clip(where / width, knots[0], knots[-1])
    beyond = (where / width - inside)[:, None]
    return np.asarray(spline(inside) + beyond * spline(inside, 1))


def _away_from_zero(variance: FloatArray) -> FloatArray:
    median = float(np.median(variance))
    if median == 0:
        logger.warning(
            "More than half of the residual variances are zero: moderated statistics are unreliable"
        )
        median = 1.0
    return np.maximum(variance, SMALLEST_SHARE_OF_MEDIAN * median)


def _prior(
    variance: FloatArray, degrees: FloatArray, covariate: FloatArray, at: FloatArray
) -> tuple[float, FloatArray]:
    """Degrees of freedom of the prior, and its variance at `at`; two variances or more."""
    # Log s² without the mean that the logarithm of a chi-squared variable over its d has.
    logs = np.log(variance) - digamma(degrees / 2) + np.log(degrees / 2)
    allowed = 1 + sum(variance.size >= step for step in TREND_STEPS)
    dimension = min(allowed, np.unique(covariate).size)
    if dimension == 1:
        expected = np.full(at.shape, logs.mean())
        spread = logs.var(ddof=1)
    else:
        basis = natural_spline_basis(covariate, dimension)
        coefficients, _, rank, _ = np.linalg.lstsq(basis, logs, rcond=None)
        expected = natural_spline_basis(covariate, dimension, at) @ coefficients
        spread = ((logs - basis @ coefficients) ** 2).sum() / (variance.size - rank)
    excess = float(spread - polygamma(1, degrees / 2).mean())
    if excess <= 0:
        one = dimension == 1
        return np.inf, np.full(at.shape, variance.mean()) if one else np.exp(expected)
    prior_degrees = 2 * _inverse_trigamma(excess)
    return prior_degrees, np.exp(expected + digamma(prior_degrees / 2) - np.log(prior_degrees / 2))


def _inverse_trigamma(x: float) -> float:
    """Solve trigamma(y) = x for x > 0 by Newton's method on 1/trigamma (Smyth 2004, appendix).

    The function is convex and nearly straight, so the iterates rise to the solution without fail.
    """
    if x > TRIGAMMA_LARGE:
        return float(1 / np.sqrt(x))
    if x < TRIGAMMA_SMALL:
        return 1 / x
    y = 0.5 + 1 / x
    for _ in range(50):
        trigamma = polygamma(1, y)
        step = trigamma * (1 - trigamma / x) / polygamma(2, y)
        y += step
        if -step / y < 1e-12:
            break
    return float(y)
