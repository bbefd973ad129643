"""Estimate a site's expression effects."""

import polars as pl

from ihdsi.logs import log_to
from ihdsi.quality_control import excluded_patients, without_patients
from ihdsi.study import ClinicalVariable, Contrast
from ihdsi.summaries import write_table
from ihdsi.summaries.expression_effects import estimate_expression_effects

log_to(snakemake.log[0])
excluded = excluded_patients(pl.read_parquet(snakemake.input.decisions), ["tumour_rna"])
effects = estimate_expression_effects(
    without_patients(pl.read_parquet(snakemake.input.counts), excluded),
    pl.read_parquet(snakemake.input.clinical),
    {name: Contrast(**keys) for name, keys in snakemake.params.contrasts.items()},
    {name: ClinicalVariable(**keys) for name, keys in snakemake.params.variables.items()},
    snakemake.params.minimum_n,
    maximum_contribution=snakemake.params.maximum_contribution,
    n_cpus=snakemake.threads,
)
write_table(effects, "expression_effects", snakemake.output[0])
