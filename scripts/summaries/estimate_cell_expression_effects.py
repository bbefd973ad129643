"""Estimate a site's expression effects in each cell type."""

import polars as pl

from ihdsi.logs import log_to
from ihdsi.quality_control import excluded_patients, without_patients
from ihdsi.study import ClinicalVariable, Contrast
from ihdsi.summaries import write_table
from ihdsi.summaries.cell_expression_effects import (
    estimate_cell_expression_effects,
    pseudobulk_by_type,
)

log_to(snakemake.log[0])
excluded = excluded_patients(pl.read_parquet(snakemake.input.decisions), ["tumour_single_cell"])
pseudobulk = without_patients(pl.read_parquet(snakemake.input.pseudobulk), excluded)
effects = estimate_cell_expression_effects(
    pseudobulk_by_type(pseudobulk),
    pl.read_parquet(snakemake.input.clinical),
    {name: Contrast(**keys) for name, keys in snakemake.params.contrasts.items()},
    {name: ClinicalVariable(**keys) for name, keys in snakemake.params.variables.items()},
    snakemake.params.minimum_n,
    maximum_contribution=snakemake.params.maximum_contribution,
    n_cpus=snakemake.threads,
)
write_table(effects, "cell_expression_effects", snakemake.output[0])
