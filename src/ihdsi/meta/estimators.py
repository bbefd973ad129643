"""Meta-analysis of one effect per site, for all features at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "PooledEffects",
    "benjamini_hochberg",
    "genomic_control_lambda",
    "leave_one_site_out",
    "log_odds_ratio",
    "pool_effects",
    "usable_estimates",
    "wilson_interval",
]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class PooledEffects:
    """Pooled estimates, one element a feature; NaN where a quantity cannot be estimated.

    `same_direction` is 1 when the estimates of all sites have one sign, 0 when they do not, and
    NaN with fewer than two sites. `n_unusable` counts sites that gave an effect whose standard
    error is not a positive finite number (or an effect that is not finite).
    """

    n_sites: IntArray
    n_unusable: IntArray
    fixed_effect: FloatArray
    fixed_standard_error: FloatArray
    fixed_statistic: FloatArray
    fixed_p_value: FloatArray
    fixed_confidence_low: FloatArray
    fixed_confidence_high: FloatArray
    random_effect: FloatArray
    random_standard_error: FloatArray
    random_statistic: FloatArray
    random_p_value: FloatArray
    random_confidence_low: FloatArray
    random_confidence_high: FloatArray
    tau_squared: FloatArray
    q_statistic: FloatArray
    q_p_value: FloatArray
    i_squared: FloatArray
    h_squared: FloatArray
    same_direction: FloatArray


def usable_estimates(effects: ArrayLike, standard_errors: ArrayLike) -> BoolArray:
    """Mark estimates that can be weighted: finite effect, positive finite standard error."""
    effect = np.asarray(effects, dtype=float)
    error = np.asarray(standard_errors, dtype=float)
    with np.errstate(invalid="ignore"):
        usable = np.isfinite(effect) & np.isfinite(error) & (error > 0)
    return np.asarray(usable)


def _divide(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Divide, giving NaN where the denominator is zero."""
    quotient = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator != 0)
    return quotient


def _inference(
    effect: FloatArray, error: FloatArray, confidence_level: float
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    # Here and below: it takes more than half a second, and whoever draws a share alone needs none.
    from scipy import stats

    statistic = _divide(effect, error)
    p_value = 2.0 * stats.norm.sf(np.abs(statistic))
    half_width = stats.norm.isf((1.0 - confidence_level) / 2.0) * error
    return statistic, p_value, effect - half_width, effect + half_width


def pool_effects(
    effects: ArrayLike, standard_errors: ArrayLike, confidence_level: float = 0.95
) -> PooledEffects:
    """Inverse-variance fixed effect and DerSimonian–Laird random effects.

    With weights w = 1 / SE², the fixed effect is Σwy / Σw with variance 1 / Σw, Cochran's
    Q = Σw(y − fixed)², tau² = max(0, (Q − (k − 1)) / (Σw − Σw² / Σw)), and the random effect uses
    the weights 1 / (SE² + tau²). H² = Q / (k − 1) and I² = max(0, 1 − 1 / H²).

    Parameters
    ----------
    effects, standard_errors
        Arrays of shape (features, sites) on one additive scale (log2 fold change, log hazard
        ratio, log odds ratio). NaN marks a site that released nothing for the feature. A cell
        whose standard error is NaN, zero, negative or infinite counts as missing.
    confidence_level
        Coverage of the Wald intervals.

    Returns
    -------
    PooledEffects
        Arrays of length `features`. A feature with one site takes that site's estimate in both
        models, with heterogeneity NaN; a feature without sites is NaN throughout.

    Raises
    ------
    ValueError
        If the two arrays are not two-dimensional and of the same shape.

    References
    ----------
    DerSimonian R, Laird N (1986) Meta-analysis in clinical trials. Control Clin Trials 7:177–188.
    Higgins JPT, Thompson SG (2002) Quantifying heterogeneity. Stat Med 21:1539–1558.
    """
    from scipy import stats

    effect = np.asarray(effects, dtype=float)
    error = np.asarray(standard_errors, dtype=float)
    if effect.ndim != 2 or effect.shape != error.shape:
        raise ValueError(
            "effects and standard_errors must both have the shape (features, sites); "
            f"got {effect.shape} and {error.shape}"
        )
    usable = usable_estimates(effect, error)
    n_sites = usable.sum(axis=1)
    several = n_sites > 1
    y = np.where(usable, effect, 0.0)
    variance = np.where(usable, error, 1.0) ** 2
    weight = np.where(usable, 1.0 / variance, 0.0)

    total = weight.sum(axis=1)
    fixed = _divide((weight * y).sum(axis=1), total)
    fixed_error = np.sqrt(_divide(np.ones_like(total), total))
    residual = np.where(usable, y - np.where(n_sites > 0, fixed, 0.0)[:, None], 0.0)
    q = np.where(several, (weight * residual**2).sum(axis=1), np.nan)
    degrees = np.where(several, n_sites - 1.0, np.nan)
    scale = total - _divide((weight**2).sum(axis=1), total)
    tau_squared = np.where(several, np.maximum(0.0, _divide(q - degrees, scale)), np.nan)
    h_squared = q / degrees
    i_squared = np.where(
        several, np.maximum(0.0, 1.0 - _divide(degrees, np.where(q > 0, q, degrees))), np.nan
    )

    between = np.where(several, tau_squared, 0.0)[:, None]
    random_weight = np.where(usable, 1.0 / (variance + between), 0.0)
    random_total = random_weight.sum(axis=1)
    random = _divide((random_weight * y).sum(axis=1), random_total)
    random_error = np.sqrt(_divide(np.ones_like(random_total), random_total))

    signs = np.where(usable, np.sign(y), 0.0).sum(axis=1)
    same_direction = np.where(several, (np.abs(signs) == n_sites).astype(float), np.nan)

    fixed_z, fixed_p, fixed_low, fixed_high = _inference(fixed, fixed_error, confidence_level)
    random_z, random_p, random_low, random_high = _inference(random, random_error, confidence_level)
    return PooledEffects(
        n_sites=n_sites.astype(np.int64),
        n_unusable=(~np.isnan(effect) & ~usable).sum(axis=1).astype(np.int64),
        fixed_effect=fixed,
        fixed_standard_error=fixed_error,
        fixed_statistic=fixed_z,
        fixed_p_value=fixed_p,
        fixed_confidence_low=fixed_low,
        fixed_confidence_high=fixed_high,
        random_effect=random,
        random_standard_error=random_error,
        random_statistic=random_z,
        random_p_value=random_p,
        random_confidence_low=random_low,
        random_confidence_high=random_high,
        tau_squared=tau_squared,
        q_statistic=q,
        q_p_value=np.asarray(stats.chi2.sf(q, degrees)),
        i_squared=i_squared,
        h_squared=h_squared,
        same_direction=same_direction,
    )


def leave_one_site_out(
    effects: ArrayLike, standard_errors: ArrayLike, confidence_level: float = 0.95
) -> list[PooledEffects]:
    """Pool again without each site in turn.

    Parameters
    ----------
    effects, standard_errors
        As for :func:`pool_effects`, shape (features, sites).
    confidence_level
        Coverage of the Wald intervals.

    Returns
    -------
    list of PooledEffects
        Element j leaves out the site in column j.
    """
    effect = np.asarray(effects, dtype=float)
    error = np.asarray(standard_errors, dtype=float)
    return [
        pool_effects(np.delete(effect, j, axis=1), np.delete(error, j, axis=1), confidence_level)
        for j in range(effect.shape[1])
    ]


def benjamini_hochberg(p_values: ArrayLike, groups: ArrayLike | None = None) -> FloatArray:
    """Adjust p-values for the false discovery rate, within groups.

    Parameters
    ----------
    p_values
        Shape (features,). NaN (not estimated) is no test: it stays NaN and is not counted.
    groups
        Labels of the same shape, for example the contrast; one family without it.

    Returns
    -------
    FloatArray
        Adjusted p-values.

    References
    ----------
    Benjamini Y, Hochberg Y (1995) J R Stat Soc B 57:289–300.
    """
    from scipy import stats

    p = np.asarray(p_values, dtype=float)
    adjusted = np.full(p.shape, np.nan)
    labels = np.zeros(p.shape, dtype=int) if groups is None else np.asarray(groups)
    tested = ~np.isnan(p)
    for label in np.unique(labels[tested]):
        family = tested & (labels == label)
        adjusted[family] = stats.false_discovery_control(p[family], method="bh")
    return adjusted


def genomic_control_lambda(p_values: ArrayLike) -> float:
    """Median of the tests' chi-squared(1) quantiles over its expectation under the null.

    NaN when no p-value is given. Devlin B, Roeder K (1999) Biometrics 55:997–1004.
    """
    from scipy import stats

    p = np.asarray(p_values, dtype=float)
    p = p[~np.isnan(p)]
    if p.size == 0:
        return float("nan")
    observed = np.median(stats.chi2.isf(np.clip(p, np.finfo(float).tiny, 1.0), 1))
    return float(observed / stats.chi2.isf(0.5, 1))


def log_odds_ratio(
    case_altered: ArrayLike, case_n: ArrayLike, control_altered: ArrayLike, control_n: ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Log odds ratio and its standard error (Woolf), elementwise over tables of counts.

    0.5 is added to all four cells of a table that holds a zero (Haldane–Anscombe). A table whose
    two groups are all unaltered, or all altered, says nothing about the odds ratio and gives NaN.

    Parameters
    ----------
    case_altered, case_n, control_altered, control_n
        Patients altered and assessed in each group; any one shape. NaN gives NaN.

    Returns
    -------
    tuple of FloatArray
        Log odds ratio and standard error.

    References
    ----------
    Woolf B (1955) Ann Hum Genet 19:251–253; Haldane JBS (1956) Ann Hum Genet 20:309–311.
    """
    a = np.asarray(case_altered, dtype=float)
    b = np.asarray(case_n, dtype=float) - a
    c = np.asarray(control_altered, dtype=float)
    d = np.asarray(control_n, dtype=float) - c
    uninformative = (a + c == 0) | (b + d == 0) | (a + b == 0) | (c + d == 0)
    cells = np.stack([a, b, c, d])
    cells = cells + 0.5 * (cells == 0).any(axis=0)
    cells = np.where(uninformative, np.nan, cells)
    with np.errstate(invalid="ignore"):
        effect = np.log(cells[0] * cells[3] / (cells[1] * cells[2]))
        error = np.sqrt((1.0 / cells).sum(axis=0))
    return effect, error


def wilson_interval(
    successes: ArrayLike, trials: ArrayLike, confidence_level: float = 0.95
) -> tuple[FloatArray, FloatArray]:
    """Score interval of a proportion, elementwise; NaN without trials.

    Wilson EB (1927) J Am Stat Assoc 22:209–212.
    """
    from scipy.special import ndtri

    k = np.asarray(successes, dtype=float)
    n = np.asarray(trials, dtype=float)
    n = np.where(n > 0, n, np.nan)
    z = -ndtri((1.0 - confidence_level) / 2.0)
    share = k / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half_width = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # The bounds of none and of all are exact, which rounding would miss by 1e-17.
    low = np.where(k == 0, 0.0, np.clip(centre - half_width, 0.0, 1.0))
    high = np.where(k == n, 1.0, np.clip(centre + half_width, 0.0, 1.0))
    return np.where(np.isnan(n), np.nan, low), np.where(np.isnan(n), np.nan, high)
