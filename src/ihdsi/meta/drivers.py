"""Genes altered in more patients than the background mutation rate explains."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from scipy import stats

from ihdsi.meta.estimators import benjamini_hochberg
from ihdsi.meta.harmonise import stack_tables

__all__ = ["DRIVER_SCHEMA", "find_driver_genes", "pooled_mutation_rate"]

DRIVER_SCHEMA: dict[str, pl.DataType] = {
    "gene_id": pl.String(),
    "gene_name": pl.String(),
    "coding_length": pl.Int64(),
    "n_sites": pl.Int64(),
    "n_assessed": pl.Int64(),
    "n_altered": pl.Int64(),
    "n_withheld": pl.Int64(),
    "frequency": pl.Float64(),
    "expected": pl.Float64(),
    "p_value": pl.Float64(),
    "fdr": pl.Float64(),
    "same_direction": pl.Boolean(),
}


def pooled_mutation_rate(tables: Mapping[str, pl.DataFrame]) -> float | None:
    """Mean nonsynonymous mutations per megabase over all patients; None if nobody released it.

    Parameters
    ----------
    tables
        `mutation_burden` by site; the rows of the whole cohort count, weighted by n.

    Raises
    ------
    ValueError
        If a site states the burden in another unit than 1/Mb.
    """
    rows = stack_tables(tables).filter(
        (pl.col("measure") == "nonsynonymous_mutations")
        & (pl.col("stratum") == "all")
        & pl.col("mean").is_not_null()
        & (pl.col("n") > 0)
    )
    if rows.is_empty():
        return None
    units = set(rows["unit"])
    if units != {"1/Mb"}:
        raise ValueError(f"mutation_burden: expected the unit 1/Mb, found {sorted(units)}")
    return float(np.average(rows["mean"].to_numpy(), weights=rows["n"].to_numpy()))


def find_driver_genes(
    alterations: Mapping[str, pl.DataFrame], burdens: Mapping[str, pl.DataFrame]
) -> pl.DataFrame:
    """Test each gene's alteration frequency against a uniform background rate.

    A gene of L megabases is altered by chance with probability 1 − exp(−rate · L), where the rate
    is the cohort's mean nonsynonymous burden; the number of altered patients is compared with the
    binomial (one-sided). This is the simplest member of the family of recurrence tests: it knows
    nothing of trinucleotide context, replication timing or expression, so long late-replicating
    genes can pass, and it treats all patients as equally mutated. The drivers themselves raise
    the rate, which makes it conservative.

    Disclosure control withholds small counts, so the sites that release a gene are those where it
    is frequent. A test on them alone would be biased towards significance; the patients of sites
    that assessed but withheld the gene therefore enter the test as unaltered.

    Parameters
    ----------
    alterations
        `gene_alterations` by site; the class "any" of the whole cohort is used.
    burdens
        `mutation_burden` by site.

    Returns
    -------
    pl.DataFrame
        Columns of `DRIVER_SCHEMA`, by p-value. n_assessed, n_altered and frequency are of the sites
        that released the gene, n_withheld counts the patients of the others. `expected` is the
        background probability; it and the p-value are null where the coding length or the burden
        is unknown. `same_direction` says whether every contributing site exceeds the expectation;
        null with one site.

    References
    ----------
    Lawrence MS et al. (2013) Mutational heterogeneity in cancer and the search for new
    cancer-associated genes. Nature 499:214–218 (which also shows the limits named above).
    """
    rate = pooled_mutation_rate(burdens)
    per_site = stack_tables(alterations).filter(
        (pl.col("alteration_class") == "any")
        & (pl.col("stratum") == "all")
        & pl.col("n_altered").is_not_null()
        & (pl.col("n_assessed") > 0)
    )
    assessed_anywhere = (
        per_site.group_by("site").agg(pl.col("n_assessed").max()).select("n_assessed").sum().item()
    )
    length = pl.col("coding_length").max().over("gene_id")
    expected = (
        1.0 - (-(length.cast(pl.Float64) / 1e6) * rate).exp()
        if rate is not None
        else pl.lit(None, dtype=pl.Float64)
    )
    above = pl.col("n_altered") / pl.col("n_assessed") > pl.col("expected")
    genes = (
        per_site.with_columns(expected=expected)
        .with_columns(above=above)
        .group_by("gene_id")
        .agg(
            pl.col("gene_name").first(),
            pl.col("coding_length").max(),
            pl.col("site").n_unique().alias("n_sites"),
            pl.col("n_assessed").sum(),
            pl.col("n_altered").sum(),
            pl.col("expected").first(),
            pl.when(pl.col("site").n_unique() > 1)
            .then(pl.col("above").all(ignore_nulls=False))
            .alias("same_direction"),
        )
        .sort("gene_id")
        .with_columns(n_withheld=(assessed_anywhere - pl.col("n_assessed")).clip(lower_bound=0))
    )
    probability = genes["expected"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    p_value = np.asarray(
        stats.binom.sf(
            genes["n_altered"].to_numpy() - 1,
            (genes["n_assessed"] + genes["n_withheld"]).to_numpy(),
            probability,
        )
    )
    return (
        genes.with_columns(
            frequency=pl.col("n_altered") / pl.col("n_assessed"),
            p_value=pl.Series(p_value, dtype=pl.Float64).fill_nan(None),
            fdr=pl.Series(benjamini_hochberg(p_value), dtype=pl.Float64).fill_nan(None),
        )
        .select(pl.col(name).cast(dtype) for name, dtype in DRIVER_SCHEMA.items())
        .sort("p_value", "gene_id", nulls_last=True)
    )
