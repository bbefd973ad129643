"""Sufficient statistics of the linear model of expression."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from ihdsi.summaries.table import ENSEMBL_GENE, UNIT_OF_TERMS, Column, Constraint, TableSpec

if TYPE_CHECKING:
    from ihdsi.study import ClinicalVariable, Contrast

__all__ = ["DESIGN_SPEC", "MOMENTS_SPEC", "build_expression_moments"]

logger = logging.getLogger(__name__)

DESIGN_SPEC = TableSpec(
    name="expression_design",
    version=1,
    description="X'X of the linear model of each contrast.",
    columns=(
        Column("contrast", pl.String, "key", description="Contrast of the study."),
        Column("n", pl.Int64, "count", minimum=0, unit="1", description="Patients."),
        Column("row_term", pl.String, "key", description="Term of the model."),
        Column("column_term", pl.String, "key", description="Term of the model."),
        Column(
            "value",
            pl.Float64,
            "statistic",
            unit=UNIT_OF_TERMS,
            description="Sum over patients of the product of both terms.",
        ),
    ),
    keys=("contrast", "row_term", "column_term"),
)

MOMENTS_SPEC = TableSpec(
    name="expression_moments",
    version=1,
    description="X'y and y'y of log2-CPM for each contrast and gene.",
    columns=(
        Column("contrast", pl.String, "key", description="Contrast of the study."),
        Column(
            "gene_id",
            pl.String,
            "key",
            pattern=ENSEMBL_GENE,
            description="Ensembl gene without version.",
        ),
        Column("gene_name", pl.String, "label", description="HGNC symbol."),
        Column("n", pl.Int64, "count", minimum=0, unit="1", description="Patients."),
        Column(
            "terms",
            pl.List(pl.String),
            "key",
            description="Terms of the model, in the order of xty.",
        ),
        Column(
            "xty",
            pl.List(pl.Float64),
            "statistic",
            unit=UNIT_OF_TERMS,
            description="X'y: sum over patients of term times log2-CPM, one value a term.",
        ),
        Column(
            "yty",
            pl.Float64,
            "statistic",
            minimum=0,
            unit="1",
            description="y'y: sum over patients of log2-CPM squared.",
        ),
    ),
    keys=("contrast", "gene_id"),
    constraints=(
        Constraint(
            "xty",
            lambda: pl.col("xty").list.len() == pl.col("terms").list.len(),
            "xty has one value a term",
        ),
        Constraint(
            "terms",
            lambda: ~pl.col("terms").list.eval(pl.element().is_null()).list.any(),
            "no term is null",
        ),
    ),
)


def build_expression_moments(
    counts: pl.DataFrame,
    clinical: pl.DataFrame,
    contrasts: Mapping[str, Contrast],
    variables: Mapping[str, ClinicalVariable],
    minimum_n: int,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Compute the sufficient statistics of log2-CPM ~ intercept + case + covariates.

    Categorical covariates are coded against the study's first level at every site and numbers are
    centred on the site's mean, so the pooled model with site intercepts follows exactly from sums
    over sites (a term that a site lacks is a column of zeros there).

    Parameters
    ----------
    counts, clinical, contrasts, variables, minimum_n
        As for `estimate_expression_effects`.

    Returns
    -------
    tuple of polars.DataFrame
        The tables `expression_design` and `expression_moments`, for the same contrasts, patients
        and genes as `expression_effects`.
    """
    from ihdsi.expression.moments import linear_moments
    from ihdsi.expression.normalisation import expressed_genes, log2_cpm
    from ihdsi.summaries.design import contrast_design, gene_matrix, refusal

    labels, matrix, measured = gene_matrix(counts)
    expression = log2_cpm(matrix)
    designs = [pl.DataFrame(schema=DESIGN_SPEC.schema)]
    moments = [pl.DataFrame(schema=MOMENTS_SPEC.schema)]
    for name, contrast in contrasts.items():
        fitted = contrast_design(clinical, measured, contrast, variables, full_rank=True)
        reason = refusal(fitted, minimum_n)
        if reason is not None:
            logger.warning("contrast %s is skipped: %s", name, reason)
            continue
        design = contrast_design(clinical, measured, contrast, variables, full_rank=False)
        columns = [measured.index(patient) for patient in design.patients]
        kept = expressed_genes(matrix[:, columns], min(design.n_case, design.n_control))
        xtx, xty, yty = linear_moments(design.matrix, expression[kept][:, columns])
        n, terms = len(design.patients), list(design.terms)
        designs.append(
            pl.DataFrame(
                [
                    (name, n, row, column, float(xtx[i, j]))
                    for i, row in enumerate(terms)
                    for j, column in enumerate(terms)
                ],
                schema=DESIGN_SPEC.schema,
                orient="row",
            )
        )
        moments.append(
            labels.filter(pl.Series(kept))
            .with_columns(
                contrast=pl.lit(name),
                n=pl.lit(n),
                terms=pl.lit(terms, dtype=pl.List(pl.String)),
                xty=pl.Series(xty, dtype=pl.Array(pl.Float64, len(terms))).arr.to_list(),
                yty=pl.Series(yty),
            )
            .select(pl.col(column).cast(dtype) for column, dtype in MOMENTS_SPEC.schema.items())
        )
    return pl.concat(designs), pl.concat(moments).sort(MOMENTS_SPEC.keys)
