"""Estimate a site's survival effects."""

import polars as pl

from ihdsi.logs import log_to
from ihdsi.quality_control import excluded_patients, without_patients
from ihdsi.study import ClinicalVariable, Endpoint
from ihdsi.summaries import write_table
from ihdsi.summaries.survival_effects import estimate_survival_effects

log_to(snakemake.log[0])
excluded = excluded_patients(pl.read_parquet(snakemake.input.decisions), ["tumour_rna"])
effects = estimate_survival_effects(
    without_patients(pl.read_parquet(snakemake.input.counts), excluded),
    pl.read_parquet(snakemake.input.clinical),
    {name: Endpoint(**keys) for name, keys in snakemake.params.endpoints.items()},
    {name: ClinicalVariable(**keys) for name, keys in snakemake.params.variables.items()},
    snakemake.params.minimum_n,
)
write_table(effects, "survival_effects", snakemake.output[0])
