"""Survival effects per endpoint and feature."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from ihdsi.summaries.table import (
    ENDPOINT_COLUMN,
    GENE_COLUMNS,
    WALD_TEST_COLUMNS,
    Column,
    Constraint,
    TableSpec,
)

if TYPE_CHECKING:
    from ihdsi.study import ClinicalVariable, Endpoint

__all__ = ["SPEC", "estimate_survival_effects"]

logger = logging.getLogger(__name__)

SPEC = TableSpec(
    name="survival_effects",
    version=1,
    description="Cox log hazard ratio per unit of log2-CPM, by endpoint and gene (Efron ties).",
    columns=(
        ENDPOINT_COLUMN,
        Column(
            "feature_type",
            pl.String,
            "key",
            allowed=("expression",),
            description="What was measured of the gene.",
        ),
        *GENE_COLUMNS,
        Column("n", pl.Int64, "count", minimum=0, unit="1", description="Patients."),
        Column(
            "n_events",
            pl.Int64,
            "count",
            minimum=0,
            unit="1",
            description="Patients with the event.",
        ),
        Column(
            "log_hazard_ratio",
            pl.Float64,
            "statistic",
            nullable=True,
            unit="1",
            description="Natural logarithm, per unit of log2-CPM; null where not estimable.",
        ),
        *WALD_TEST_COLUMNS,
    ),
    keys=("endpoint", "feature_type", "gene_id"),
    constraints=(
        Constraint("n_events", lambda: pl.col("n_events") <= pl.col("n"), "n_events ≤ n"),
        Constraint(
            "standard_error",
            lambda: pl.col("standard_error").is_null() == pl.col("log_hazard_ratio").is_null(),
            "effect and standard error are given together or not at all",
        ),
    ),
)


def estimate_survival_effects(
    counts: pl.DataFrame,
    clinical: pl.DataFrame,
    endpoints: Mapping[str, Endpoint],
    variables: Mapping[str, ClinicalVariable],
    minimum_n: int,
) -> pl.DataFrame:
    """Fit a Cox model to every expressed gene and endpoint.

    Parameters
    ----------
    counts
        gene_id, gene_name and one column of raw counts a patient.
    clinical
        patient and clinical variables. Patients without time, event or a covariate are left out.
    endpoints, variables
        The study's outcomes and its dictionary; the event variable has the levels yes and no.
    minimum_n
        An endpoint with fewer patients is skipped, as is one with no more events than parameters
        or with covariates that determine each other; the log says why. Genes need `MINIMUM_COUNT`
        reads in at least this many of the patients.

    Returns
    -------
    polars.DataFrame
        The table `survival_effects`, per unit of log2-CPM; null where there is no finite estimate.
    """
    # numpy and scipy are of no use to those who only look up the table's name.
    import numpy as np
    from scipy.special import erfc

    from ihdsi.expression.normalisation import expressed_genes, log2_cpm
    from ihdsi.summaries.design import (
        covariate_terms,
        endpoint_cases,
        endpoint_refusal,
        gene_matrix,
    )
    from ihdsi.survival.cox import fit_cox

    labels, matrix, measured = gene_matrix(counts)
    expression = log2_cpm(matrix)
    parts = [pl.DataFrame(schema=SPEC.schema)]
    for name, endpoint in endpoints.items():
        frame = endpoint_cases(clinical, measured, endpoint)
        terms, covariates = covariate_terms(frame, endpoint.covariates, variables, full_rank=True)
        died = (frame[endpoint.event] == "yes").to_numpy()
        reason = endpoint_refusal(terms, covariates, died, minimum_n)
        if reason is not None:
            logger.warning("endpoint %s is skipped: %s", name, reason)
            continue
        columns = [measured.index(patient) for patient in frame["patient"]]
        kept = expressed_genes(matrix[:, columns], minimum_n)
        fit = fit_cox(
            frame[endpoint.time].cast(pl.Float64).to_numpy(),
            died,
            expression[kept][:, columns].T,
            covariates,
        )
        for lacking, n in zip(*np.unique(fit.reason, return_counts=True), strict=True):
            if lacking:
                logger.warning("endpoint %s: %d genes without estimate: %s", name, n, lacking)
        statistic = fit.log_hazard_ratio / fit.standard_error
        parts.append(
            labels.filter(pl.Series(kept))
            .with_columns(
                endpoint=pl.lit(name),
                feature_type=pl.lit("expression"),
                n=pl.lit(frame.height),
                n_events=pl.lit(int(died.sum())),
                log_hazard_ratio=pl.Series(fit.log_hazard_ratio).fill_nan(None),
                standard_error=pl.Series(fit.standard_error).fill_nan(None),
                statistic=pl.Series(statistic).fill_nan(None),
                p_value=pl.Series(erfc(np.abs(statistic) / np.sqrt(2.0))).fill_nan(None),
            )
            .select(pl.col(column).cast(dtype) for column, dtype in SPEC.schema.items())
        )
    return pl.concat(parts).sort(SPEC.keys)
