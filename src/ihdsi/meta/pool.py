"""Pooled tables of the study, from the sites' effects and counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import polars as pl
from scipy import stats

from ihdsi.meta.estimators import benjamini_hochberg, pool_effects, wilson_interval
from ihdsi.meta.harmonise import (
    alteration_site_effects,
    cell_expression_site_effects,
    expression_site_effects,
    stack_tables,
    survival_site_effects,
)

__all__ = [
    "Model",
    "pool_alteration_contrasts",
    "pool_cell_expression_effects",
    "pool_expression_effects",
    "pool_gene_alterations",
    "pool_means",
    "pool_mutation_burden",
    "pool_site_effects",
    "pool_survival_effects",
]

Model = Literal["fixed", "dersimonian_laird"]

ESTIMATE_SCHEMA: dict[str, pl.DataType] = {
    "effect": pl.Float64(),
    "standard_error": pl.Float64(),
    "confidence_low": pl.Float64(),
    "confidence_high": pl.Float64(),
    "p_value": pl.Float64(),
    "fdr": pl.Float64(),
    "fixed_effect": pl.Float64(),
    "fixed_standard_error": pl.Float64(),
    "fixed_p_value": pl.Float64(),
    "random_effect": pl.Float64(),
    "random_standard_error": pl.Float64(),
    "random_p_value": pl.Float64(),
    "tau_squared": pl.Float64(),
    "q_statistic": pl.Float64(),
    "q_p_value": pl.Float64(),
    "i_squared": pl.Float64(),
    "h_squared": pl.Float64(),
    "same_direction": pl.Boolean(),
}

GENE_KEYS = ("contrast", "feature", "gene_id")


def _chosen_columns(model: Model) -> dict[str, str]:
    prefix = "fixed" if model == "fixed" else "random"
    return {
        "effect": f"{prefix}_effect",
        "standard_error": f"{prefix}_standard_error",
        "confidence_low": f"{prefix}_confidence_low",
        "confidence_high": f"{prefix}_confidence_high",
        "p_value": f"{prefix}_p_value",
    }


def pool_site_effects(
    site_effects: pl.DataFrame, model: Model = "dersimonian_laird", counts: Sequence[str] = ("n",)
) -> pl.DataFrame:
    """Pool a long table of site effects, gene by gene, within contrast and feature.

    Parameters
    ----------
    site_effects
        One analysis in the form of `ihdsi.meta.harmonise.SITE_EFFECT_SCHEMA`; only rows marked
        `used` enter.
    model
        The study's model, which fills `effect`, its error, interval, `p_value` and `fdr`. Both
        models are always reported beside it.
    counts
        Columns of patient numbers to add up over the sites used.

    Returns
    -------
    pl.DataFrame
        contrast, feature, gene_id, gene_name, n_sites, the counts, and `ESTIMATE_SCHEMA`.
        Sorted by contrast, feature and p-value. The false discovery rate is controlled within
        contrast and feature.
    """
    used = site_effects.filter(pl.col("used"))
    genes = (
        used.group_by(*GENE_KEYS)
        .agg(pl.col("gene_name").first(), *(pl.col(name).sum() for name in counts))
        .sort(*GENE_KEYS)
        .with_row_index("row")
    )
    sites = used.select(pl.col("site").unique().sort()).with_row_index("column")
    cells = used.join(genes.select("row", *GENE_KEYS), on=list(GENE_KEYS)).join(sites, on="site")
    shape = (genes.height, sites.height)
    effect, error = np.full(shape, np.nan), np.full(shape, np.nan)
    place = (cells["row"].to_numpy(), cells["column"].to_numpy())
    effect[place] = cells["effect"].to_numpy()
    error[place] = cells["standard_error"].to_numpy()
    pooled = pool_effects(effect, error)

    columns = {
        name: getattr(pooled, name)
        for name in ESTIMATE_SCHEMA
        if name not in ("fdr",) and hasattr(pooled, name)
    }
    columns |= {name: getattr(pooled, source) for name, source in _chosen_columns(model).items()}
    family = genes.select(pl.struct("contrast", "feature").rank("dense")).to_series().to_numpy()
    columns["fdr"] = benjamini_hochberg(columns["p_value"], family)
    return (
        genes.with_columns(
            pl.Series("n_sites", pooled.n_sites, dtype=pl.Int64),
            *(
                pl.Series(name, values, dtype=pl.Float64).fill_nan(None)
                for name, values in columns.items()
            ),
        )
        .with_columns(same_direction=pl.col("same_direction").cast(pl.Boolean))
        .select(*GENE_KEYS, "gene_name", "n_sites", *counts, *ESTIMATE_SCHEMA)
        .sort("contrast", "feature", "p_value", "gene_id", nulls_last=True)
    )


def pool_expression_effects(
    tables: Mapping[str, pl.DataFrame], model: Model = "dersimonian_laird"
) -> pl.DataFrame:
    """Pool log2 fold changes over sites.

    Parameters
    ----------
    tables
        `expression_effects` by site.
    model
        The study's model.

    Returns
    -------
    pl.DataFrame
        contrast, gene_id, gene_name, n_sites, n_case, n_control and `ESTIMATE_SCHEMA`; one row a
        contrast and gene that at least one site gave a usable estimate for.
    """
    effects = expression_site_effects(tables)
    return pool_site_effects(effects, model, ("n_case", "n_control")).drop("feature")


def pool_cell_expression_effects(
    tables: Mapping[str, pl.DataFrame], model: Model = "dersimonian_laird"
) -> pl.DataFrame:
    """Pool log2 fold changes within cell types over sites.

    Parameters
    ----------
    tables
        `cell_expression_effects` by site.
    model
        The study's model.

    Returns
    -------
    pl.DataFrame
        cell_type, contrast, gene_id, gene_name, n_sites, n_case, n_control (donors) and
        `ESTIMATE_SCHEMA`; one row a cell type, contrast and gene that at least one site gave a
        usable estimate for. The false discovery rate is controlled within cell type and contrast.
    """
    effects = cell_expression_site_effects(tables)
    pooled = pool_site_effects(effects, model, ("n_case", "n_control"))
    return pooled.select(pl.col("feature").alias("cell_type"), pl.exclude("feature")).sort(
        "cell_type", "contrast", "p_value", "gene_id", nulls_last=True
    )


def pool_survival_effects(
    tables: Mapping[str, pl.DataFrame], model: Model = "dersimonian_laird"
) -> pl.DataFrame:
    """Pool log hazard ratios over sites.

    Parameters
    ----------
    tables
        `survival_effects` by site.
    model
        The study's model.

    Returns
    -------
    pl.DataFrame
        endpoint, feature_type, gene_id, gene_name, n_sites, n, n_events and `ESTIMATE_SCHEMA`;
        `effect` is the log hazard ratio per unit of the feature.
    """
    effects = survival_site_effects(tables)
    return pool_site_effects(effects, model, ("n", "n_events")).rename(
        {"contrast": "endpoint", "feature": "feature_type"}
    )


def pool_alteration_contrasts(
    tables: Mapping[str, pl.DataFrame],
    contrasts: Mapping[str, tuple[str, str, str]],
    model: Model = "dersimonian_laird",
) -> pl.DataFrame:
    """Pool log odds ratios of being altered, case against control stratum.

    Parameters
    ----------
    tables
        `gene_alterations` by site.
    contrasts
        Contrast name to (stratum variable, case level, control level); contrasts whose variable is
        not a stratum of the study give no rows.
    model
        The study's model.

    Returns
    -------
    pl.DataFrame
        contrast, alteration_class, gene_id, gene_name, n_sites, n_case, n_control and
        `ESTIMATE_SCHEMA`.
    """
    effects = alteration_site_effects(tables, contrasts)
    return pool_site_effects(effects, model, ("n_case", "n_control")).rename(
        {"feature": "alteration_class"}
    )


def pool_gene_alterations(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Add up altered and assessed patients over the sites that released both.

    Parameters
    ----------
    tables
        `gene_alterations` by site.

    Returns
    -------
    pl.DataFrame
        gene_id, gene_name, coding_length (bp; the longest that a site gave), alteration_class,
        stratum_variable, stratum, n_assessed, n_altered, frequency with its Wilson 95 % interval,
        n_sites and sites (contributing, sorted). The sums are exact; sites that withheld a cell
        leave both numerator and denominator.
    """
    keys = ["gene_id", "alteration_class", "stratum_variable", "stratum"]
    summed = (
        stack_tables(tables)
        .filter(pl.col("n_assessed").is_not_null() & pl.col("n_altered").is_not_null())
        .group_by(keys)
        .agg(
            pl.col("gene_name").first(),
            pl.col("coding_length").max(),
            pl.col("n_assessed").sum().cast(pl.Int64),
            pl.col("n_altered").sum().cast(pl.Int64),
            pl.col("site").n_unique().cast(pl.Int64).alias("n_sites"),
            pl.col("site").unique().sort().alias("sites"),
        )
    )
    low, high = wilson_interval(summed["n_altered"].to_numpy(), summed["n_assessed"].to_numpy())
    return (
        summed.with_columns(
            frequency=pl.when(pl.col("n_assessed") > 0).then(
                pl.col("n_altered") / pl.col("n_assessed")
            ),
            confidence_low=pl.Series(low, dtype=pl.Float64).fill_nan(None),
            confidence_high=pl.Series(high, dtype=pl.Float64).fill_nan(None),
        )
        .select(
            "gene_id",
            "gene_name",
            "coding_length",
            "alteration_class",
            "stratum_variable",
            "stratum",
            "n_assessed",
            "n_altered",
            "frequency",
            "confidence_low",
            "confidence_high",
            "n_sites",
            "sites",
        )
        .sort(*keys)
    )


def pool_means(sites: pl.DataFrame, keys: Sequence[str], n: str = "n") -> pl.DataFrame:
    """Mean and variance of each site, and of the patients of all sites together.

    Parameters
    ----------
    sites
        site, the keys, `n`, mean and variance (n − 1) of each site; rows without a mean, or of one
        patient, are left out.
    keys
        Columns that name what is averaged.
    n
        Column with the number of patients or donors.

    Returns
    -------
    pl.DataFrame
        The keys, site (null: all sites that released the row), `n`, mean, variance,
        confidence_low and confidence_high (Student's 95 % interval of the mean), n_sites. Mean and
        variance of several sites are those of their patients together, exactly: sums and sums of
        squares add up. Sorted by keys, each site before all together.
    """
    usable = sites.filter(
        pl.col("mean").is_not_null() & pl.col("variance").is_not_null() & (pl.col(n) > 1)
    )
    centre = (pl.col(n) * pl.col("mean")).sum() / pl.col(n).sum()
    squares = (
        (pl.col(n) - 1) * pl.col("variance") + pl.col(n) * (pl.col("mean") - centre) ** 2
    ).sum()
    together = usable.group_by(keys).agg(
        site=pl.lit(None, dtype=pl.String),
        n_sites=pl.col("site").n_unique().cast(pl.Int64),
        variance=squares / (pl.col(n).sum() - 1),
        mean=centre,
        **{n: pl.col(n).sum()},
    )
    columns = [*keys, "site", n, "mean", "variance", "n_sites"]
    rows = pl.concat(
        [
            usable.with_columns(n_sites=pl.lit(1, dtype=pl.Int64)).select(columns),
            together.select(columns),
        ]
    )
    size = rows[n].to_numpy()
    half = pl.Series(stats.t.ppf(0.975, size - 1) * np.sqrt(rows["variance"].to_numpy() / size))
    return (
        rows.with_columns(
            confidence_low=pl.col("mean") - half, confidence_high=pl.col("mean") + half
        )
        .select(*columns[:-1], "confidence_low", "confidence_high", "n_sites")
        .sort(*keys, "site", nulls_last=True)
    )


def pool_mutation_burden(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Mean of each burden and signature share, by site and over all sites.

    Parameters
    ----------
    tables
        `mutation_burden` by site.

    Returns
    -------
    pl.DataFrame
        measure, unit, stratum_variable, stratum, and the columns of `pool_means`; the interval is
        not below 0, that of shares not above 1.

    Raises
    ------
    ValueError
        If the sites state a measure in different units.
    """
    sites = stack_tables(tables)
    # A row that says nothing of the mean has no unit to disagree in.
    stated = sites.filter(pl.col("mean").is_not_null() & (pl.col("n") > 1))
    units = stated.group_by("measure").agg(pl.col("unit").n_unique()).filter(pl.col("unit") > 1)
    if units.height:
        raise ValueError(f"mutation_burden: sites give {units['measure'][0]} in different units")
    is_share = pl.col("unit") == "1"
    return pool_means(sites, ["measure", "unit", "stratum_variable", "stratum"]).with_columns(
        pl.col("confidence_low").clip(lower_bound=0),
        pl.when(is_share)
        .then(pl.col("confidence_high").clip(upper_bound=1))
        .otherwise("confidence_high")
        .alias("confidence_high"),
    )
