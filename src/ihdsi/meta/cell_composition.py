"""Shares of cell types over the donors of all sites, and their differences between groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from scipy import stats

from ihdsi.meta.estimators import benjamini_hochberg, pool_effects
from ihdsi.meta.harmonise import composition_site_effects, pair_strata, stack_tables
from ihdsi.meta.pool import pool_means

__all__ = [
    "COMPOSITION_CONTRAST_SCHEMA",
    "compare_cell_composition",
    "pool_cell_composition",
]

COMPOSITION_CONTRAST_SCHEMA: dict[str, pl.DataType] = {
    "contrast": pl.String(),
    "cell_type": pl.String(),
    "n_sites": pl.Int64(),
    "n_case": pl.Int64(),
    "n_control": pl.Int64(),
    "degrees_of_freedom": pl.Int64(),
    "mean_case": pl.Float64(),
    "mean_control": pl.Float64(),
    "difference": pl.Float64(),
    "standard_error": pl.Float64(),
    "confidence_low": pl.Float64(),
    "confidence_high": pl.Float64(),
    "statistic": pl.Float64(),
    "p_value": pl.Float64(),
    "fdr": pl.Float64(),
    "i_squared": pl.Float64(),
    "same_direction": pl.Boolean(),
}

#: A residual sum of squares below this part of the sum of squared shares is rounding of equal ones.
RESIDUAL_TOLERANCE = 1e-14


def pool_cell_composition(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Mean share of each cell type, by site and over the donors of all sites.

    Parameters
    ----------
    tables
        `cell_composition` by site.

    Returns
    -------
    pl.DataFrame
        cell_type, stratum_variable, stratum, and the columns of `ihdsi.meta.pool.pool_means` with
        n_donors; the interval is within 0 and 1.
    """
    return pool_means(
        stack_tables(tables), ["cell_type", "stratum_variable", "stratum"], "n_donors"
    ).with_columns(
        pl.col("confidence_low").clip(lower_bound=0), pl.col("confidence_high").clip(upper_bound=1)
    )


def compare_cell_composition(
    tables: Mapping[str, pl.DataFrame], contrasts: Mapping[str, Sequence[str]]
) -> pl.DataFrame:
    """Fit share = site + case over the donors of all sites, exactly, from means and variances.

    Within site s the difference d_s of the group means has the weight
    w_s = n_case n_control / (n_case + n_control); the least-squares difference is Σwd / Σw, and its
    residual sum of squares is that of the groups, Σ(n − 1) variance, and Σw(d_s − difference)² of
    the sites. The study's covariates are not in the model: what is released does not hold them.

    Parameters
    ----------
    tables
        `cell_composition` by site.
    contrasts
        Contrast name to (stratum variable, case level, control level). A site that withheld one of
        the two groups of a cell type does not enter the type's comparison.

    Returns
    -------
    pl.DataFrame
        Columns of `COMPOSITION_CONTRAST_SCHEMA`, one row a contrast and cell type that at least one
        site released both groups of. `mean_case` and `mean_control` are those of the donors of the
        sites together; `difference` (case less control, a share) is adjusted for the site, and is
        not theirs where the sites have different shares of cases. The interval is Student's 95 %
        interval on `degrees_of_freedom`; the false discovery rate is controlled within the
        contrast. Error, interval and test are null where no donor differs from another.
        `i_squared` and `same_direction` compare the sites' own differences (Higgins and Thompson
        2002); null with fewer than two sites that have one with an error.
    """
    types = ["contrast", "cell_type"]
    pairs = pair_strata(
        stack_tables(tables), contrasts, ("site", "cell_type"), ("n_donors", "mean", "variance")
    ).drop_nulls()
    rows = pairs.select(types).unique().sort(types).with_row_index("row")
    sites = pairs.select(pl.col("site").unique().sort()).with_row_index("column")

    def arrange(frame: pl.DataFrame, name: str, absent: float) -> np.ndarray[tuple[int, int]]:
        """Shape (cell types of all contrasts, sites)."""
        values = np.full((rows.height, sites.height), absent)
        place = frame.join(rows, on=types).join(sites, on="site")
        values[place["row"].to_numpy(), place["column"].to_numpy()] = place[name].to_numpy()
        return values

    n_case, n_control, mean_case, mean_control, variance_case, variance_control = (
        arrange(pairs, f"{value}_{suffix}", 0.0)
        for value in ("n_donors", "mean", "variance")
        for suffix in ("case", "control")
    )
    n = n_case + n_control
    here = n > 0
    weight = n_case * n_control / np.where(here, n, 1.0)
    total = weight.sum(axis=1)
    own = mean_case - mean_control
    difference = (weight * own).sum(axis=1) / total
    within = (
        np.where(here, (n_case - 1) * variance_case + (n_control - 1) * variance_control, 0.0)
    ).sum(axis=1)
    residual = within + (weight * (own - difference[:, None]) ** 2).sum(axis=1)
    squares = residual + (n_case * mean_case**2 + n_control * mean_control**2).sum(axis=1)
    residual = np.where(residual > RESIDUAL_TOLERANCE * squares, residual, np.nan)
    degrees = n.sum(axis=1) - here.sum(axis=1) - 1
    error = np.sqrt(residual / degrees / total)
    statistic = difference / error
    p_value = 2.0 * stats.t.sf(np.abs(statistic), degrees)
    half = stats.t.ppf(0.975, degrees) * error

    effects = composition_site_effects(tables, contrasts).filter(
        pl.col("standard_error").is_not_null()
    )
    named = effects.rename({"feature": "cell_type"})
    agreement = pool_effects(
        arrange(named, "effect", np.nan), arrange(named, "standard_error", np.nan)
    )
    columns = {
        "n_sites": here.sum(axis=1),
        "n_case": n_case.sum(axis=1),
        "n_control": n_control.sum(axis=1),
        "degrees_of_freedom": degrees,
        "mean_case": (n_case * mean_case).sum(axis=1) / n_case.sum(axis=1),
        "mean_control": (n_control * mean_control).sum(axis=1) / n_control.sum(axis=1),
        "difference": difference,
        "standard_error": error,
        "confidence_low": difference - half,
        "confidence_high": difference + half,
        "statistic": statistic,
        "p_value": p_value,
        "fdr": benjamini_hochberg(p_value, rows["contrast"].to_numpy()),
        "i_squared": agreement.i_squared,
        "same_direction": agreement.same_direction,
    }
    return rows.with_columns(
        pl.Series(name, values, nan_to_null=True).cast(COMPOSITION_CONTRAST_SCHEMA[name])
        for name, values in columns.items()
    ).select(*COMPOSITION_CONTRAST_SCHEMA)
