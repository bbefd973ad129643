"""Differential expression per contrast and gene."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from ihdsi.summaries.table import (
    CONTRAST_COLUMN,
    GENE_COLUMNS,
    WALD_TEST_COLUMNS,
    Column,
    Constraint,
    TableSpec,
)

if TYPE_CHECKING:
    from ihdsi.study import ClinicalVariable, Contrast

__all__ = ["SPEC", "estimate_expression_effects"]

logger = logging.getLogger(__name__)

SPEC = TableSpec(
    name="expression_effects",
    version=1,
    description="PyDESeq2 estimates (unshrunken) of each contrast and gene.",
    columns=(
        CONTRAST_COLUMN,
        *GENE_COLUMNS,
        Column(
            "n_case",
            pl.Int64,
            "count",
            minimum=0,
            unit="1",
            description="Patients of the case level.",
        ),
        Column(
            "n_control",
            pl.Int64,
            "count",
            minimum=0,
            unit="1",
            description="Patients of the control level.",
        ),
        Column(
            "base_mean",
            pl.Float64,
            "statistic",
            minimum=0,
            unit="1",
            description="Mean of normalised counts.",
        ),
        Column(
            "log2_fold_change",
            pl.Float64,
            "statistic",
            nullable=True,
            unit="1",
            description="Case against control, unshrunken; null where not estimable.",
        ),
        *WALD_TEST_COLUMNS,
    ),
    keys=("contrast", "gene_id"),
    constraints=(
        Constraint(
            "standard_error",
            lambda: pl.col("standard_error").is_null() == pl.col("log2_fold_change").is_null(),
            "effect and standard error are given together or not at all",
        ),
    ),
)


def estimate_expression_effects(
    counts: pl.DataFrame,
    clinical: pl.DataFrame,
    contrasts: Mapping[str, Contrast],
    variables: Mapping[str, ClinicalVariable],
    minimum_n: int,
    n_cpus: int = 1,
    maximum_contribution: float = 0.5,
) -> pl.DataFrame:
    """Estimate every contrast of the study with PyDESeq2.

    Parameters
    ----------
    counts
        gene_id, gene_name and one column of raw counts a patient.
    clinical
        patient and clinical variables; patients with an unknown covariate are left out.
    contrasts, variables
        The study's comparisons and its dictionary.
    minimum_n
        A contrast with a smaller group is skipped; the log says so.
    n_cpus
        Worker processes.

    Returns
    -------
    polars.DataFrame
        The table `expression_effects`: expressed genes (see `expressed_genes`) of the contrasts
        that could be fitted.
    """
    # PyDESeq2 takes seconds to import and only this job needs it.
    from ihdsi.expression.differential import wald_test
    from ihdsi.expression.normalisation import expressed_genes
    from ihdsi.summaries.design import CASE, contrast_design, gene_matrix, refusal

    labels, matrix, measured = gene_matrix(counts)
    parts = [pl.DataFrame(schema=SPEC.schema)]
    for name, contrast in contrasts.items():
        design = contrast_design(clinical, measured, contrast, variables, full_rank=True)
        reason = refusal(design, minimum_n, maximum_contribution)
        if reason is not None:
            logger.warning("contrast %s is skipped: %s", name, reason)
            continue
        columns = [measured.index(patient) for patient in design.patients]
        chosen = matrix[:, columns]
        kept = expressed_genes(chosen, min(design.n_case, design.n_control))
        if not kept.any():
            logger.warning("contrast %s is skipped: no gene is expressed", name)
            continue
        test = wald_test(chosen[kept], design.matrix, design.terms, CASE, n_cpus)
        parts.append(
            labels.filter(pl.Series(kept))
            .with_columns(
                contrast=pl.lit(name),
                n_case=pl.lit(design.n_case),
                n_control=pl.lit(design.n_control),
                **{
                    column: pl.Series(getattr(test, column)).fill_nan(None)
                    for column in (
                        "base_mean",
                        "log2_fold_change",
                        "standard_error",
                        "statistic",
                        "p_value",
                    )
                },
            )
            .select(pl.col(column).cast(dtype) for column, dtype in SPEC.schema.items())
        )
    return pl.concat(parts).sort(SPEC.keys)
