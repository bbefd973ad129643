"""Compute a site's moments of protein, methylation and metabolite values."""

import polars as pl

from ihdsi.logs import log_to
from ihdsi.matrices.gather import read_assays
from ihdsi.study import ClinicalVariable, Contrast
from ihdsi.summaries import write_table
from ihdsi.summaries.matrix_moments import build_matrix_moments

log_to(snakemake.log[0])
design, moments = build_matrix_moments(
    read_assays(snakemake.input.matrices),
    pl.read_parquet(snakemake.input.clinical),
    {name: Contrast(**keys) for name, keys in snakemake.params.contrasts.items()},
    {name: ClinicalVariable(**keys) for name, keys in snakemake.params.variables.items()},
    snakemake.params.minimum_n,
    maximum_contribution=snakemake.params.maximum_contribution,
    site_covariates=read_assays(snakemake.input.covariates),
)
write_table(design, "matrix_design", snakemake.output.design)
write_table(moments, "matrix_moments", snakemake.output.moments)
