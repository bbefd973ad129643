"""Sufficient statistics of the linear model of expression."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from ihdsi.summaries.model_moments import (
    DESIGN_COLUMNS,
    MOMENT_CONSTRAINTS,
    moment_columns,
    moment_rows,
)
from ihdsi.summaries.table import CONTRAST_COLUMN, GENE_COLUMNS, TableSpec

if TYPE_CHECKING:
    from ihdsi.study import ClinicalVariable, Contrast

__all__ = ["DESIGN_SPEC", "MOMENTS_SPEC", "build_expression_moments"]

logger = logging.getLogger(__name__)

DESIGN_SPEC = TableSpec(
    name="expression_design",
    version=1,
    description="X'X of the linear model of each contrast.",
    columns=(
        CONTRAST_COLUMN,
        *DESIGN_COLUMNS,
    ),
    keys=("contrast", "row_term", "column_term"),
)

MOMENTS_SPEC = TableSpec(
    name="expression_moments",
    version=1,
    description="X'y and y'y of log2-CPM for each contrast and gene.",
    columns=(
        CONTRAST_COLUMN,
        *GENE_COLUMNS,
        *moment_columns("log2-CPM"),
    ),
    keys=("contrast", "gene_id"),
    constraints=MOMENT_CONSTRAINTS,
)


def build_expression_moments(
    counts: pl.DataFrame,
    clinical: pl.DataFrame,
    contrasts: Mapping[str, Contrast],
    variables: Mapping[str, ClinicalVariable],
    minimum_n: int,
    maximum_contribution: float = 0.5,
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
    from ihdsi.expression.normalisation import expressed_genes, log2_cpm
    from ihdsi.summaries.design import contrast_design, gene_matrix, refusal

    labels, matrix, measured = gene_matrix(counts)
    expression = log2_cpm(matrix)
    designs = [pl.DataFrame(schema=DESIGN_SPEC.schema)]
    moments = [pl.DataFrame(schema=MOMENTS_SPEC.schema)]
    for name, contrast in contrasts.items():
        fitted = contrast_design(clinical, measured, contrast, variables, full_rank=True)
        reason = refusal(fitted, minimum_n, maximum_contribution)
        if reason is not None:
            logger.warning("contrast %s is skipped: %s", name, reason)
            continue
        design = contrast_design(clinical, measured, contrast, variables, full_rank=False)
        columns = [measured.index(patient) for patient in design.patients]
        kept = expressed_genes(matrix[:, columns], min(design.n_case, design.n_control))
        rows = moment_rows(
            design,
            labels.filter(pl.Series(kept)),
            expression[kept][:, columns],
            {"contrast": name},
            (DESIGN_SPEC, MOMENTS_SPEC),
        )
        designs.append(rows[0])
        moments.append(rows[1])
    return pl.concat(designs), pl.concat(moments).sort(MOMENTS_SPEC.keys)
