"""The survival curve of all sites' patients, from counts by time bin."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from ihdsi.meta.harmonise import stack_tables

__all__ = ["CURVE_SCHEMA", "pool_survival_curve"]

FloatArray = NDArray[np.float64]

_CURVE = ("endpoint", "stratum_variable", "stratum")
_COUNTS = ("n_at_risk", "n_events", "n_censored")

CURVE_SCHEMA: dict[str, pl.DataType] = {
    "endpoint": pl.String(),
    "stratum_variable": pl.String(),
    "stratum": pl.String(),
    "time_lower": pl.Float64(),
    "time_upper": pl.Float64(),
    "n_sites": pl.Int64(),
    "n_at_risk": pl.Int64(),
    "n_events": pl.Int64(),
    "n_censored": pl.Int64(),
    "survival": pl.Float64(),
    "standard_error": pl.Float64(),
    "confidence_low": pl.Float64(),
    "confidence_high": pl.Float64(),
    "kaplan_meier_low": pl.Float64(),
    "kaplan_meier_high": pl.Float64(),
}


def pool_survival_curve(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    r"""Add up the sites' bins and estimate survival at the end of each.

    Sites merge bins as their counts ask, each in its own way. Counts of two sites add up only
    between edges that both have; so the bins of the result are those between the edges that all
    sites of the curve share, and the curve ends with the site that ends first. A site that released
    no more than an open bin has no edges and does not contribute. Nothing is interpolated.

    Within a bin it is not known who was censored before whom the event befell. The estimate is
    that of the life table, which counts those censored in a bin as at risk for half of it:
    :math:`\hat S = \prod_j \left(1 - \frac{d_j}{n_j - c_j / 2}\right)` with the variance of
    Greenwood on the same :math:`n_j - c_j / 2` and an interval on the scale
    :math:`\log(-\log S)`. The Kaplan–Meier estimate of the patients themselves lies between
    `kaplan_meier_low` (all were censored before any event of their bin) and `kaplan_meier_high`
    (all after), exactly.

    Parameters
    ----------
    tables
        `survival_curve` by site.

    Returns
    -------
    pl.DataFrame
        Columns of `CURVE_SCHEMA`, survival just before `time_upper` (days). The interval is null
        where the estimate is 1 (no event yet) or 0.

    References
    ----------
    Cutler & Ederer 1958, J Chronic Dis 8:699. Greenwood 1926, Reports on Public Health and Medical
    Subjects 33. Kalbfleisch & Prentice 2002, The Statistical Analysis of Failure Time Data, 1.4.
    """
    bins = stack_tables(tables).filter(pl.col("time_upper").is_not_null())
    parts = [_pooled(curve) for curve in bins.partition_by(_CURVE)]
    return pl.concat([pl.DataFrame(schema=CURVE_SCHEMA), *parts]).sort(*_CURVE, "time_lower")


def _pooled(curve: pl.DataFrame) -> pl.DataFrame:
    sites = [_from_zero(site) for site in curve.partition_by("site")]
    sites = [site for site in sites if site.height]
    if not sites:
        return pl.DataFrame(schema=CURVE_SCHEMA)
    shared = set.intersection(*(set(site["time_upper"]) for site in sites))
    edges = np.array([0.0, *sorted(shared)])
    if edges.size < 2:
        return pl.DataFrame(schema=CURVE_SCHEMA)
    sums = np.zeros((3, edges.size - 1))
    for site in sites:
        lower = site["time_lower"].to_numpy()
        first = np.searchsorted(lower, edges[:-1])
        sums[0] += site["n_at_risk"].to_numpy()[first]
        last = np.searchsorted(site["time_upper"].to_numpy(), edges[-1], side="right")
        for row, name in ((1, "n_events"), (2, "n_censored")):
            sums[row] += np.add.reduceat(site[name].to_numpy()[:last], first)
    n_at_risk, n_events, n_censored = sums
    columns = _life_table(n_at_risk, n_events, n_censored)
    return pl.DataFrame(
        {
            **{name: [curve[name][0]] * (edges.size - 1) for name in _CURVE},
            "time_lower": edges[:-1],
            "time_upper": edges[1:],
            "n_sites": [len(sites)] * (edges.size - 1),
            **dict(zip(_COUNTS, sums.astype(np.int64), strict=True)),
            **columns,
        },
        schema=CURVE_SCHEMA,
        nan_to_null=True,
    )


def _from_zero(site: pl.DataFrame) -> pl.DataFrame:
    """Bins of one site that follow each other from time 0 on."""
    ordered = site.sort("time_lower")
    follows = pl.col("time_lower") == pl.col("time_upper").shift(1, fill_value=0.0)
    return ordered.filter(follows.cum_prod() == 1)


def _life_table(
    n_at_risk: FloatArray, n_events: FloatArray, n_censored: FloatArray
) -> dict[str, FloatArray]:
    """Estimate, error, interval and bounds at the end of each bin."""

    def share(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
        known = denominator > 0
        return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=known)

    def product(exposed: FloatArray) -> FloatArray:
        return np.asarray(np.cumprod(1.0 - share(n_events, exposed)))

    exposed = n_at_risk - n_censored / 2.0
    survival = product(exposed)
    inside = (survival > 0) & (survival < 1)
    greenwood = np.cumsum(share(n_events, exposed * (exposed - n_events)))
    error = np.where(survival > 0, survival * np.sqrt(greenwood), np.nan)
    logarithm = np.log(np.where(inside, survival, np.exp(-1.0)))
    half = stats.norm.ppf(0.975) * np.sqrt(greenwood) / np.abs(logarithm)
    low, high = (
        np.where(inside, np.exp(logarithm * np.exp(sign * half)), np.nan) for sign in (1.0, -1.0)
    )
    return {
        "survival": survival,
        "standard_error": error,
        "confidence_low": low,
        "confidence_high": high,
        "kaplan_meier_low": product(n_at_risk - n_censored),
        "kaplan_meier_high": product(n_at_risk),
    }
