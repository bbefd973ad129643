"""Estimate a site's expression effects."""

import polars as pl

from ihdsi.logs import log_to
from ihdsi.study import ClinicalVariable, Contrast
from ihdsi.summaries import write_table
from ihdsi.summaries.expression_effects import estimate_expression_effects

log_to(snakemake.log[0])
effects = estimate_expression_effects(
    pl.read_parquet(snakemake.input.counts),
    pl.read_parquet(snakemake.input.clinical),
    {name: Contrast(**keys) for name, keys in snakemake.params.contrasts.items()},
    {name: ClinicalVariable(**keys) for name, keys in snakemake.params.variables.items()},
    snakemake.params.minimum_n,
    n_cpus=snakemake.threads,
)
write_table(effects, "expression_effects", snakemake.output[0])
