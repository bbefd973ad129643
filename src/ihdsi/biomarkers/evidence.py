"""Combine the layers' evidence on each gene and sort the genes into the study's tiers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from ihdsi.cohort import MATRIX_ASSAYS
from ihdsi.meta.estimators import benjamini_hochberg

__all__ = [
    "BIOMARKER_SCHEMA",
    "EVIDENCE_SCHEMA",
    "LAYERS",
    "combine_p_values",
    "evidence_table",
    "rank_biomarkers",
]

FloatArray = NDArray[np.float64]

#: Layer to what its effect is.
LAYERS: dict[str, str] = {
    "expression": "log2 fold change",
    "cell_expression": "log2 fold change within a cell type",
    "survival": "log hazard ratio",
    "alteration_contrast": "log odds ratio",
    "recurrence": "log2 of observed over expected frequency",
    "protein": "difference in the unit of the study's protein matrices",
    "methylation": "difference in the unit of the study's methylation matrices",
    "metabolite": "difference in the unit of the study's metabolite matrices",
}

EVIDENCE_SCHEMA: dict[str, pl.DataType] = {
    "gene_id": pl.String(),
    "gene_name": pl.String(),
    "layer": pl.String(),
    "contrast": pl.String(),
    "effect": pl.Float64(),
    "p_value": pl.Float64(),
    "fdr": pl.Float64(),
    "i_squared": pl.Float64(),
    "n_sites": pl.Int64(),
    "same_direction": pl.Boolean(),
}

BIOMARKER_SCHEMA: dict[str, pl.DataType] = {
    "rank": pl.Int64(),
    "gene_id": pl.String(),
    "gene_name": pl.String(),
    "tier": pl.String(),
    "combined_p_value": pl.Float64(),
    "fdr": pl.Float64(),
    "n_layers": pl.Int64(),
    "lead_layer": pl.String(),
    "lead_contrast": pl.String(),
    "lead_effect": pl.Float64(),
    "lead_p_value": pl.Float64(),
    "lead_fdr": pl.Float64(),
    "lead_i_squared": pl.Float64(),
    "lead_n_sites": pl.Int64(),
    "lead_same_direction": pl.Boolean(),
    "reason": pl.String(),
    **{f"{layer}_{name}": pl.Float64() for layer in LAYERS for name in ("effect", "fdr")},
}

#: Smallest p-value that enters a combination; 1 / (p·π) is still finite there.
SMALLEST_P = 1e-300


class TierRule(Protocol):
    """What a tier of the study file says (`ihdsi.study.Tier`)."""

    @property
    def name(self) -> str:
        """The tier's name."""

    @property
    def maximum_fdr(self) -> float:
        """Largest false discovery rate of the combined p-value."""

    @property
    def same_direction(self) -> bool:
        """Whether all sites must agree on the sign."""

    @property
    def maximum_i_squared(self) -> float | None:
        """Largest heterogeneity, or None for no limit."""

    @property
    def minimum_sites(self) -> int:
        """Smallest number of sites behind the leading layer."""


def combine_p_values(p_values: ArrayLike) -> FloatArray:
    """Combine p-values row by row with the aggregated Cauchy association test (ACAT).

    With equal weights T is the mean of tan((0.5 − p)·π), and the combined p-value is its upper tail
    under the standard Cauchy distribution, approximately for any dependence between the layers.
    A p-value below 1e-16 enters as 1 / (p·π), its limit. A p-value of exactly 1 (a one-sided test
    of a discrete count) would force the combination to 1 and enters as 1 − 1/d, d being the number
    of p-values combined, as the method's authors advise; with d = 1 it stays.

    Parameters
    ----------
    p_values
        Shape (genes, tests); NaN where a gene has no test.

    Returns
    -------
    FloatArray
        Combined p-value of each row; NaN for a row without tests.

    References
    ----------
    Liu Y, Xie J (2020) Cauchy combination test. J Am Stat Assoc 115:393–402.
    Liu Y et al. (2019) ACAT. Am J Hum Genet 104:410–421.
    """
    p = np.atleast_2d(np.asarray(p_values, dtype=float))
    count = np.sum(~np.isnan(p), axis=1, keepdims=True)
    replaced = np.where((p == 1.0) & (count > 1), 1.0 - 1.0 / np.maximum(count, 1), p)
    clipped = np.clip(replaced, SMALLEST_P, 1.0)
    tiny = clipped < 1e-16
    cauchy = np.where(
        tiny, 1.0 / (clipped * np.pi), np.tan((0.5 - np.where(tiny, 0.5, clipped)) * np.pi)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        statistic = np.nansum(cauchy, axis=1) / count[:, 0]
        # arctan2(1, T) / π is 0.5 − arctan(T) / π without its cancellation for large T.
        combined = np.arctan2(1.0, statistic) / np.pi
    return np.asarray(np.where(count[:, 0] > 0, combined, np.nan))


def evidence_table(
    expression: pl.DataFrame,
    survival: pl.DataFrame,
    alteration_contrasts: pl.DataFrame,
    drivers: pl.DataFrame,
    matrices: pl.DataFrame | None = None,
    cell_expression: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """One row per gene, layer and contrast, from the pooled tables.

    Parameters
    ----------
    expression, survival, alteration_contrasts
        Pooled tables of `ihdsi.meta.pool`; of the alteration contrasts the class "any" counts.
    drivers
        `ihdsi.meta.drivers.find_driver_genes`.
    matrices
        `ihdsi.meta.linear.fit_pooled_matrix_model`. Each assay is a layer. The moderated p-values
        count, so that a variance that came out small by chance in few patients makes no evidence.
        Features without a gene are not in it; of several features of a gene, the p-values are
        combined, and the effect is that of the smallest one.
    cell_expression
        `ihdsi.meta.pool.pool_cell_expression_effects`, one layer. Of several cell types, the
        p-values of a gene are combined, and the effect is that of the smallest one; `contrast`
        names its cell type ("muscle_invasion in fibroblast").

    Returns
    -------
    pl.DataFrame
        Columns of `EVIDENCE_SCHEMA`; rows without a p-value are left out. `LAYERS` says what the
        effect of each layer is.
    """
    observed_over_expected = (
        pl.when((pl.col("frequency") > 0) & (pl.col("expected") > 0))
        .then(pl.col("frequency") / pl.col("expected"))
        .log(2)
    )
    layers = [
        expression.with_columns(layer=pl.lit("expression")),
        survival.with_columns(layer=pl.lit("survival"), contrast=pl.col("endpoint")),
        alteration_contrasts.filter(pl.col("alteration_class") == "any").with_columns(
            layer=pl.lit("alteration_contrast")
        ),
        drivers.with_columns(
            layer=pl.lit("recurrence"),
            contrast=pl.lit("all"),
            effect=observed_over_expected,
            i_squared=pl.lit(None, dtype=pl.Float64),
        ),
    ]
    if matrices is not None and matrices.height:
        moderated = matrices.with_columns(
            layer="assay",
            gene_name="feature_name",
            effect="coefficient",
            p_value="moderated_p_value",
        )
        layers.append(_genes_of_features(moderated))
    if cell_expression is not None and cell_expression.height:
        within = cell_expression.with_columns(layer=pl.lit("cell_expression"), feature="cell_type")
        layers.append(
            _genes_of_features(within).with_columns(
                contrast=pl.format("{} in {}", "contrast", "feature")
            )
        )
    # A feature's name stands for the gene only where no other layer names it.
    name_of_gene = pl.col("gene_name").drop_nulls().first().over("gene_id")
    return (
        pl.concat(
            frame.select(pl.col(name).cast(dtype) for name, dtype in EVIDENCE_SCHEMA.items())
            for frame in layers
        )
        .with_columns(
            pl.when(pl.col("layer").is_in(MATRIX_ASSAYS)).then(name_of_gene).otherwise("gene_name")
        )
        .filter(pl.col("p_value").is_not_null())
        .sort("gene_id", "layer", "contrast")
    )


def _genes_of_features(features: pl.DataFrame) -> pl.DataFrame:
    """One row per gene, layer and contrast, from the features or cell types that the gene has.

    The p-value is the combination of all, the other columns are those of the smallest one.
    """
    place = ["gene_id", "layer", "contrast"]
    known = features.drop_nulls(["gene_id", "p_value"]).sort(*place, "p_value", "feature")
    numbered = known.with_columns(
        row=pl.struct(place).rle_id().cast(pl.Int64), number=pl.int_range(pl.len()).over(place)
    )
    genes = numbered.filter(pl.col("number") == 0).select(
        *place, "gene_name", "feature", "effect", "n_sites", "i_squared", "same_direction"
    )
    most = numbered["number"].n_unique()
    p_values = np.full((genes.height, most), np.nan)
    p_values[numbered["row"].to_numpy(), numbered["number"].to_numpy()] = numbered["p_value"]
    combined = genes.with_columns(p_value=pl.Series(combine_p_values(p_values), dtype=pl.Float64))
    return combined.with_columns(
        fdr=pl.col("p_value")
        .map_batches(lambda p: pl.Series(benjamini_hochberg(p.to_numpy())), return_dtype=pl.Float64)
        .over("layer", "contrast")
    )


def _p_value_matrix(evidence: pl.DataFrame, genes: pl.DataFrame) -> FloatArray:
    """Arrange p-values as (genes, layer × contrast), NaN where a gene has none."""
    tests = evidence.select("layer", "contrast").unique().sort("layer", "contrast")
    cells = evidence.join(genes.with_row_index("row"), on="gene_id").join(
        tests.with_row_index("column"), on=["layer", "contrast"]
    )
    matrix = np.full((genes.height, tests.height), np.nan)
    matrix[cells["row"].to_numpy(), cells["column"].to_numpy()] = cells["p_value"].to_numpy()
    return matrix


def _tier_conditions(tier: TierRule) -> dict[str, pl.Expr]:
    """Conditions that a gene fails, in words, each with the expression that is true on failing.

    Recurrence has no heterogeneity statistic, so a limit on I² does not apply to it; a condition
    on any other null value (one site only) is failed.
    """
    sites = pl.col("lead_n_sites")
    failed = {
        f"FDR above {tier.maximum_fdr:g}": (pl.col("fdr") > tier.maximum_fdr).fill_null(value=True),
        f"fewer than {tier.minimum_sites} sites": (sites < tier.minimum_sites).fill_null(
            value=True
        ),
    }
    if tier.same_direction:
        agree = pl.col("lead_same_direction")
        failed["direction needs two sites"] = agree.is_null()
        failed["sites disagree in direction"] = (~agree).fill_null(value=False)
    if tier.maximum_i_squared is not None:
        i_squared, pooled = pl.col("lead_i_squared"), pl.col("lead_layer") != "recurrence"
        failed["heterogeneity needs two sites"] = pooled & i_squared.is_null()
        failed[f"I² above {tier.maximum_i_squared:g}"] = (
            i_squared > tier.maximum_i_squared
        ).fill_null(value=False)
    return failed


def _grounds() -> pl.Expr:
    """Say what a gene's tier rests on."""
    several = pl.col("n_layers") > 1
    return pl.concat_str(
        pl.lit("led by "),
        pl.col("lead_layer").str.replace("_", " "),
        pl.when(pl.col("lead_contrast") != "all")
        .then(pl.format(" ({})", pl.col("lead_contrast").str.replace_all("_", " ")))
        .otherwise(pl.lit("")),
        pl.when(several)
        .then(pl.format(" of {} lines of evidence", pl.col("n_layers")))
        .otherwise(pl.lit("")),
        pl.when(pl.col("lead_same_direction").is_null())
        .then(pl.lit(", one site"))
        .when(pl.col("lead_same_direction") & (pl.col("lead_layer") == "recurrence"))
        .then(pl.format(", above expectation at {} sites", pl.col("lead_n_sites")))
        .when(pl.col("lead_same_direction"))
        .then(pl.format(", same direction at {} sites", pl.col("lead_n_sites")))
        .otherwise(pl.format(", {} sites disagree in direction", pl.col("lead_n_sites"))),
        pl.when(pl.col("lead_i_squared").is_not_null())
        .then(pl.format(", I² {}", pl.col("lead_i_squared").round(2)))
        .otherwise(pl.lit("")),
    )


def rank_biomarkers(evidence: pl.DataFrame, tiers: Sequence[TierRule]) -> pl.DataFrame:
    """Combine each gene's p-values and sort the genes into tiers.

    The false discovery rate is controlled over genes on the combined p-value. A tier's conditions
    on direction, heterogeneity and number of sites are asked of the gene's leading evidence, the
    one with the smallest p-value: significance that rests on a result which the sites do not share
    does not reach a tier that demands agreement.

    Parameters
    ----------
    evidence
        Result of :func:`evidence_table`.
    tiers
        The study's tiers, strictest first.

    Returns
    -------
    pl.DataFrame
        Columns of `BIOMARKER_SCHEMA`, ranked by tier and combined p-value. `tier` is null for genes
        that reach none; `reason` says what the tier rests on and what kept the gene from the
        strictest one. `<layer>_effect` and `<layer>_fdr` are of the layer's best contrast.
    """
    if evidence.is_empty():
        return pl.DataFrame(schema=BIOMARKER_SCHEMA)
    ordered = evidence.sort("gene_id", "p_value", "layer", "contrast")
    lead_columns = ("effect", "p_value", "fdr", "i_squared", "n_sites", "same_direction")
    genes = ordered.group_by("gene_id", maintain_order=True).agg(
        pl.col("gene_name").drop_nulls().first(),
        pl.col("layer").first().alias("lead_layer"),
        pl.col("contrast").first().alias("lead_contrast"),
        pl.len().cast(pl.Int64).alias("n_layers"),
        *(pl.col(name).first().alias(f"lead_{name}") for name in lead_columns),
        *(
            pl.col(name).filter(pl.col("layer") == layer).first().alias(f"{layer}_{name}")
            for layer in LAYERS
            for name in ("effect", "fdr")
        ),
    )
    combined = combine_p_values(_p_value_matrix(evidence, genes.select("gene_id")))
    genes = genes.with_columns(
        combined_p_value=pl.Series(combined).fill_nan(None),
        fdr=pl.Series(benjamini_hochberg(combined)).fill_nan(None),
    )

    tier_name: pl.Expr = pl.lit(None, dtype=pl.String)
    tier_order: pl.Expr = pl.lit(len(tiers))
    for order, tier in reversed(list(enumerate(tiers))):
        reached = ~pl.any_horizontal(*_tier_conditions(tier).values())
        tier_name = pl.when(reached).then(pl.lit(tier.name)).otherwise(tier_name)
        tier_order = pl.when(reached).then(pl.lit(order)).otherwise(tier_order)
    reason = _grounds()
    if tiers:
        strictest = tiers[0]
        obstacles = pl.concat_str(
            *(
                pl.when(failed).then(pl.lit(words))
                for words, failed in _tier_conditions(strictest).items()
            ),
            separator=", ",
            ignore_nulls=True,
        )
        reason = pl.concat_str(
            reason,
            pl.when(obstacles != "").then(
                pl.format("not {}: {}", pl.lit(strictest.name), obstacles)
            ),
            separator="; ",
            ignore_nulls=True,
        )
    return (
        genes.with_columns(tier=tier_name, tier_order=tier_order, reason=reason)
        .sort("tier_order", "combined_p_value", "gene_id")
        .with_columns(rank=pl.int_range(1, pl.len() + 1))
        .select(pl.col(name).cast(dtype) for name, dtype in BIOMARKER_SCHEMA.items())
    )
